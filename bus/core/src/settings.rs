//! Settings: one typed table row for each, with name, help text, default and parser, and a reader that reports every
//! invalid one.

mod parse;
mod reader;

use std::fmt;

pub use parse::{bytes, number, path, socket_address, span, text, yes_or_no};
pub use reader::SettingReader;

/// Look-up of a setting's value by its name: in the environment, in flags, or in a test's table.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Setting with a value of type `T`. It is the only place of its name, help text, default and allowed values: flags,
/// `--help` and reading are made from it.
#[derive(Clone, Copy, Debug)]
pub struct Setting<T> {
    description: SettingDescription,
    parse: fn(&str) -> Result<T, String>,
}

/// Description of a setting, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingDescription {
    /// Name, as an environment variable, such as `REDIS_URL`.
    pub name: &'static str,
    /// Help text: what the setting sets, with its range.
    pub help: &'static str,
    /// Default.
    pub default: SettingDefault,
}

/// Default of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingDefault {
    /// None: the setting is required, or does nothing while it is unset, as its help text says.
    None,
    /// A value, in the text form of the setting.
    Value(&'static str),
    /// A value that depends on other settings or on the machine; the text describes it.
    Computed(&'static str),
}

impl<T> Setting<T> {
    /// Creates a setting without default. `parse` returns the value, or which values are allowed.
    #[must_use]
    pub const fn new(
        name: &'static str,
        help: &'static str,
        parse: fn(&str) -> Result<T, String>,
    ) -> Self {
        let default = SettingDefault::None;
        Self { description: SettingDescription { name, help, default }, parse }
    }

    /// Sets the default, in the text form of the setting.
    #[must_use]
    pub const fn with_default(mut self, value: &'static str) -> Self {
        self.description.default = SettingDefault::Value(value);
        self
    }

    /// Describes a default that depends on other settings or on the machine.
    #[must_use]
    pub const fn with_computed_default(mut self, described: &'static str) -> Self {
        self.description.default = SettingDefault::Computed(described);
        self
    }

    /// Returns what people read about the setting.
    #[must_use]
    pub const fn description(&self) -> SettingDescription {
        self.description
    }

    /// Returns the name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.description.name
    }

    /// Returns the default.
    ///
    /// # Panics
    /// If the setting has none, or one that it does not allow: a mistake in the table, which its tests find.
    #[must_use]
    pub fn default(&self) -> T {
        let SettingDefault::Value(text) = self.description.default else {
            panic!("{} has no default", self.name());
        };
        (self.parse)(text).unwrap_or_else(|allowed| panic!("{}={text:?}: {allowed}", self.name()))
    }

    /// Reads the setting; `None` if it is unset. A text with U+FFFD is refused.
    ///
    /// # Errors
    /// [`SettingError`] with the value and the allowed values.
    pub fn read(&self, lookup: Lookup<'_>) -> Result<Option<T>, SettingError> {
        let Some(text) = lookup(self.name()) else { return Ok(None) };
        // A look-up puts U+FFFD in the place of bytes that are not UTF-8: two values would become one.
        if text.contains(char::REPLACEMENT_CHARACTER) {
            // It is not shown, for it may have a password.
            return Err(SettingError::new(self.name(), "***", "must be UTF-8"));
        }
        let parsed = (self.parse)(&text);
        parsed.map(Some).map_err(|allowed| SettingError::new(self.name(), &text, allowed))
    }
}

/// The help text, followed by the default.
impl fmt::Display for SettingDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.help)?;
        match self.default {
            SettingDefault::None => Ok(()),
            SettingDefault::Value(text) | SettingDefault::Computed(text) => {
                write!(f, " [default: {text}]")
            }
        }
    }
}

/// Invalid setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value:?}: {allowed}")]
pub struct SettingError {
    /// The setting's name, such as `REDIS_URL`.
    pub name: String,
    /// The refused value, without credentials.
    pub value: String,
    /// The allowed values.
    pub allowed: String,
}

impl SettingError {
    /// Creates the error for setting `name` with this value.
    #[must_use]
    pub fn new(name: &str, value: &str, allowed: impl fmt::Display) -> Self {
        Self { name: name.to_owned(), value: value.to_owned(), allowed: allowed.to_string() }
    }
}

/// Every invalid setting, in one error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid settings: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct SettingErrors(pub Vec<SettingError>);

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: Setting<u16> =
        Setting::new("PORT", "Port", number::<u16, 1, 9_000>).with_default("80");

    #[test]
    fn the_description_ends_with_the_default() {
        assert_eq!(PORT.description().to_string(), "Port [default: 80]");
        let computed = Setting::new("NAME", "Name", text).with_computed_default("the host name");
        assert_eq!(computed.description().to_string(), "Name [default: the host name]");
        let required = Setting::new("NAME", "Name; required", text);
        assert_eq!(required.description().to_string(), "Name; required");
    }

    #[test]
    fn a_value_is_parsed_and_a_wrong_one_is_reported_with_what_is_allowed() {
        let read = |text: Option<&str>| PORT.read(&|_| text.map(str::to_owned));
        assert_eq!((read(None), PORT.default()), (Ok(None), 80));
        assert_eq!(read(Some("7")), Ok(Some(7)));
        let error = read(Some("9001")).unwrap_err();
        assert_eq!(error.to_string(), r#"PORT="9001": must be a number from 1 to 9000"#);
    }

    #[test]
    fn a_value_that_was_not_utf_8_is_refused() {
        let setting = Setting::new("DIR", "Folder", path);
        let lookup = |_: &str| Some(String::from_utf8_lossy(b"/spool/\xff").into_owned());
        let error = setting.read(&lookup).unwrap_err();
        assert_eq!(error.to_string(), "DIR=\"***\": must be UTF-8");
    }

    #[test]
    #[should_panic(expected = "PORT has no default")]
    fn a_default_that_is_missing_from_the_table_is_a_mistake() {
        let _ = Setting::new("PORT", "Port", number::<u16, 1, 9_000>).default();
    }
}
