//! Logs: filter and format of the lines.

use std::io;

use eventbus::config::{Lookup, Setting, SettingDescription, SettingError, SettingReader};
use tracing_subscriber::EnvFilter;

const FILTER: Setting<String> =
    Setting::new("RUST_LOG", "Log filter, such as info or eventbus=debug", directives)
        .with_default("info");
const FORMAT: Setting<Format> =
    Setting::new("LOG_FORMAT", "Format of log lines: text or json", format).with_default("text");

/// Settings of the logs.
pub const LOGGING: [SettingDescription; 2] = [FILTER.description(), FORMAT.description()];

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
        let lookup = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let mut reader = SettingReader::new(&lookup);
        let directives = reader.optional(&FILTER).unwrap_or_else(|| filter.to_owned());
        let logging = Self { filter: EnvFilter::new(directives), format: reader.value(&FORMAT) };
        reader.finish(Some(logging))
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

fn directives(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("must be levels such as info or eventbus=debug,info: {error}")),
    }
}

fn format(text: &str) -> Result<Format, String> {
    match text {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        _ => Err("must be text or json".to_owned()),
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
