//! Handler that the consumers call.

use eventbus_api::Format;

/// Handler that the consumers call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandlerKind {
    /// HTTP handler: each event is a request.
    Http {
        /// URL of the handler.
        url: String,
        /// Format of the request.
        format: Format,
    },
    /// Log handler: each event is a log line.
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
