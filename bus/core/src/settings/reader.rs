//! Reading the settings of one program.

use std::fmt::Display;

use super::{Lookup, Setting, SettingError};

/// Reads settings and collects the errors, so that all are reported at once.
pub struct SettingReader<'a> {
    lookup: Lookup<'a>,
    errors: Vec<SettingError>,
}

impl<'a> SettingReader<'a> {
    /// Creates a reader without errors.
    #[must_use]
    pub fn new(lookup: Lookup<'a>) -> Self {
        Self { lookup, errors: Vec::new() }
    }

    /// Returns the text of a setting or another variable, `None` if it is unset.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name)
    }

    /// Reads a setting; `None` if it is unset or invalid.
    pub fn optional<T>(&mut self, setting: &Setting<T>) -> Option<T> {
        self.check(setting.read(self.lookup).map_err(|error| vec![error]))?
    }

    /// Reads a setting; its default if it is unset, `None` if it is invalid.
    ///
    /// # Panics
    /// As [`Setting::default`].
    pub fn valid<T>(&mut self, setting: &Setting<T>) -> Option<T> {
        let value = self.check(setting.read(self.lookup).map_err(|error| vec![error]))?;
        Some(value.unwrap_or_else(|| setting.default()))
    }

    /// Reads a setting; its default if it is unset or invalid.
    ///
    /// # Panics
    /// As [`Setting::default`].
    pub fn value<T>(&mut self, setting: &Setting<T>) -> T {
        self.valid(setting).unwrap_or_else(|| setting.default())
    }

    /// Reads a setting that has to be set.
    pub fn required<T>(&mut self, setting: &Setting<T>) -> Option<T> {
        if self.text(setting.name()).is_none() {
            self.refuse(setting, "must be set");
        }
        self.optional(setting)
    }

    /// Records that `setting` is invalid, with the allowed values; an unset one is shown as empty.
    pub fn refuse<T>(&mut self, setting: &Setting<T>, allowed: impl Display) {
        let value = self.text(setting.name()).unwrap_or_default();
        self.refuse_shown(setting, &value, allowed);
    }

    /// Records that `setting` is invalid, and shows `value` instead of its own, which may contain a secret.
    pub fn refuse_shown<T>(&mut self, setting: &Setting<T>, value: &str, allowed: impl Display) {
        self.errors.push(SettingError::new(setting.name(), value, allowed));
    }

    /// Records the errors of settings that were read elsewhere.
    pub fn check<T>(&mut self, result: Result<T, Vec<SettingError>>) -> Option<T> {
        result.map_err(|errors| self.errors.extend(errors)).ok()
    }

    /// Returns every error.
    #[must_use]
    pub fn into_errors(self) -> Vec<SettingError> {
        self.errors
    }

    /// Returns `value` if there were no errors.
    ///
    /// # Errors
    /// Every invalid setting.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Vec<SettingError>> {
        match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => Err(self.errors),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::settings::{number, text};

    use super::*;

    const NAME: Setting<String> = Setting::new("NAME", "Name; required", text);
    const SIZE: Setting<u8> = Setting::new("SIZE", "Size", number::<u8, 1, 9>).with_default("3");

    #[test]
    fn every_error_is_reported_in_the_order_of_reading() {
        let mut reader = SettingReader::new(&|name| (name == "SIZE").then(|| "10".to_owned()));
        assert_eq!((reader.required(&NAME), reader.value(&SIZE)), (None, 3));
        let errors = reader.finish(Some(())).unwrap_err();
        let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [r#"NAME="": must be set"#, r#"SIZE="10": must be a number from 1 to 9"#]
        );
    }

    #[test]
    fn a_secret_is_not_shown() {
        let mut reader = SettingReader::new(&|_| Some("hunter2".to_owned()));
        reader.refuse_shown(&NAME, "***", "must be another");
        assert_eq!(reader.into_errors()[0].to_string(), r#"NAME="***": must be another"#);
    }
}
