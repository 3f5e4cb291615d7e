//! Logs: filter and format of the lines.

use std::io;

use eventbus::config::{Lookup, SettingError};
use tracing_subscriber::EnvFilter;

use crate::Setting;

/// Settings of the logs.
pub const LOGGING: [Setting; 2] = [
    ("RUST_LOG", "Log filter, such as info or eventbus=debug [default: info]"),
    ("LOG_FORMAT", "Format of log lines: text or json [default: text]"),
];

/// Parsed settings of the logs: `RUST_LOG` and `LOG_FORMAT`.
#[derive(Debug)]
pub struct Logging {
    filter: EnvFilter,
    format: Format,
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Text,
    Json,
}

impl Logging {
    /// Reads the settings; `filter` is the default of `RUST_LOG`, `text` that of `LOG_FORMAT`.
    ///
    /// # Errors
    /// Every invalid setting.
    pub fn from_lookup(lookup: Lookup<'_>, filter: &str) -> Result<Self, Vec<SettingError>> {
        let value = |name, default: &str| {
            lookup(name).filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
        };
        let (directives, format) = (value("RUST_LOG", filter), value("LOG_FORMAT", "text"));
        let filter = EnvFilter::try_new(&directives).map_err(|error| {
            let allowed = format!("must be levels such as info or eventbus=debug,info: {error}");
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
    ///
    /// # Panics
    /// If the logs of the process are already set up.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)], default: &str) -> Result<String, Vec<String>> {
        let lookup = |name: &str| {
            settings.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        };
        let logging = Logging::from_lookup(&lookup, default);
        let texts = |errors: Vec<SettingError>| errors.iter().map(ToString::to_string).collect();
        logging.map(|logging| logging.filter.to_string()).map_err(texts)
    }

    #[test]
    fn an_unset_or_empty_filter_is_the_programs_own_default() {
        assert_eq!(read(&[], "warn").as_deref(), Ok("warn"));
        assert_eq!(read(&[("RUST_LOG", "")], "info").as_deref(), Ok("info"));
        assert_eq!(read(&[("RUST_LOG", "debug")], "warn").as_deref(), Ok("debug"));
    }

    #[test]
    fn both_settings_are_refused_at_once() {
        let errors = read(&[("RUST_LOG", "info=loud"), ("LOG_FORMAT", "xml")], "info").unwrap_err();
        assert!(errors[0].starts_with(r#"RUST_LOG="info=loud": must be levels"#), "{errors:?}");
        assert_eq!(errors[1], r#"LOG_FORMAT="xml": must be text or json"#);
    }
}
