//! Where consumers send events.

use eventbus_api::Format;

/// Where events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandlerKind {
    /// Each event is sent to a URL.
    Http {
        /// The URL.
        url: String,
        /// The format of the request.
        format: Format,
    },
    /// One log line is written for each event.
    Log,
}

impl HandlerKind {
    /// Returns the consumer's settings for this handler, by their names.
    pub(super) fn settings(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Log => vec![("HANDLER", "log")],
            Self::Http { url, format } => vec![
                ("HANDLER", "http"),
                ("HANDLER_URL", url),
                ("HANDLER_FORMAT", format_name(*format)),
            ],
        }
    }
}

fn format_name(format: Format) -> &'static str {
    match format {
        Format::CloudEventBinary => "CloudEventBinary",
        Format::CloudEventStructured => "CloudEventStructured",
        Format::Json => "Json",
    }
}
