//! Log lines: which ones, and in what form.

use std::io;

use eventbus::config::{Lookup, SettingError};
use tracing_subscriber::EnvFilter;

/// `RUST_LOG` and `LOG_FORMAT`.
pub struct Logging {
    filter: EnvFilter,
    format: Format,
}

#[derive(Clone, Copy)]
enum Format {
    Text,
    Json,
}

impl Logging {
    /// Reads the settings; defaults `info` and `text`.
    ///
    /// # Errors
    /// Every setting that is wrong.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, Vec<SettingError>> {
        let value = |name, default: &str| {
            lookup(name).filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
        };
        let (directives, format) = (value("RUST_LOG", "info"), value("LOG_FORMAT", "text"));
        let filter = EnvFilter::try_new(&directives).map_err(|error| {
            let allowed =
                format!("must be levels such as info or eventbus_operator=debug,info: {error}");
            SettingError::new("RUST_LOG", &directives, allowed)
        });
        let format = match format.as_str() {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => Err(SettingError::new("LOG_FORMAT", &format, "must be text or json")),
        };
        match (filter, format) {
            (Ok(filter), Ok(format)) => Ok(Self { filter, format }),
            (filter, format) => Err(filter.err().into_iter().chain(format.err()).collect()),
        }
    }

    /// Writes log lines to standard error from now on.
    pub fn start(self) {
        let lines = tracing_subscriber::fmt()
            .with_env_filter(self.filter)
            .with_ansi(false)
            .with_writer(io::stderr);
        match self.format {
            Format::Text => lines.init(),
            Format::Json => lines.json().flatten_event(true).init(),
        }
    }
}
