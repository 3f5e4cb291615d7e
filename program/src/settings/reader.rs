//! Reads settings one by one and collects the errors.

use std::fmt::Display;

use eventbus::config::{Lookup, SettingError};

use super::{Entry, Required, Setting, WithDefault};

/// Reads the settings of one program; an empty value counts as unset.
pub struct Reader<'a> {
    lookup: Lookup<'a>,
    errors: Vec<SettingError>,
}

impl<'a> Reader<'a> {
    /// Starts with nothing read.
    #[must_use]
    pub fn new(lookup: Lookup<'a>) -> Self {
        Self { lookup, errors: Vec::new() }
    }

    /// Returns the text of a variable, which need not be a setting.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|text| !text.is_empty())
    }

    /// Returns the value; `None` where it is unset, or refused, which is noted.
    pub fn optional<T>(&mut self, setting: &Setting<T>) -> Option<T> {
        self.parsed(&setting.entry, setting.parse)
    }

    /// Returns the value, or the default where it is unset, or refused, which is noted.
    pub fn value<T>(&mut self, setting: &WithDefault<T>) -> T {
        self.given(setting).unwrap_or_else(|| setting.default())
    }

    /// Returns the value of a setting whose default does not always hold; `None` as [`optional`](Self::optional).
    pub fn given<T>(&mut self, setting: &WithDefault<T>) -> Option<T> {
        self.optional(&setting.setting)
    }

    /// Returns the value; `None` where it is unset or refused, both of which are noted.
    pub fn required<T>(&mut self, setting: &Required<T>) -> Option<T> {
        let entry = &setting.setting.entry;
        if self.text(entry.name).is_none() {
            self.refuse(entry, format!("must be set, such as {}", setting.example));
            return None;
        }
        self.optional(&setting.setting)
    }

    /// Returns the value by a parser that needs more than the text; `None` as [`optional`](Self::optional).
    pub fn parsed<T, E: Display>(
        &mut self,
        entry: &Entry,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(entry.name)?;
        let refused = |allowed| SettingError::new(entry.name, &text, allowed);
        parse(&text).map_err(|allowed| self.errors.push(refused(allowed))).ok()
    }

    /// Returns what `read` makes of the settings that it knows itself; `None` where it refuses, which is noted.
    pub fn all<T>(
        &mut self,
        read: impl FnOnce(Lookup<'_>) -> Result<T, Vec<SettingError>>,
    ) -> Option<T> {
        let result = read(&|name| self.text(name));
        result.map_err(|errors| self.errors.extend(errors)).ok()
    }

    /// Notes that a setting is refused; one that is unset is shown as empty.
    pub fn refuse(&mut self, entry: &Entry, allowed: impl Display) {
        let text = self.text(entry.name).unwrap_or_default();
        self.refuse_shown(entry, &text, allowed);
    }

    /// Notes that a setting is refused, and shows `shown` instead of its text, which may hold a secret.
    pub fn refuse_shown(&mut self, entry: &Entry, shown: &str, allowed: impl Display) {
        self.errors.push(SettingError::new(entry.name, shown, allowed));
    }

    /// Returns all that was refused.
    #[must_use]
    pub fn into_errors(self) -> Vec<SettingError> {
        self.errors
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::settings::parse;

    use super::*;

    const GROUP: Required<String> =
        Setting::new("GROUP", "The group", |text| Ok(text.to_owned())).required("orders");
    const SPAN: WithDefault<Duration> = Setting::new("SPAN", "A span", |text| {
        parse::span(text, Duration::from_secs(1)..=Duration::from_secs(60))
    })
    .or("30s");
    const FLAG: Setting<bool> = Setting::new("FLAG", "A flag", parse::boolean).unset_means("no");

    type Values = (Option<String>, Duration, Option<bool>);

    fn read(settings: &[(&str, &str)]) -> (Values, Vec<String>) {
        let lookup = |name: &str| {
            settings.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        };
        let mut reader = Reader::new(&lookup);
        let values = (reader.required(&GROUP), reader.value(&SPAN), reader.optional(&FLAG));
        (values, reader.into_errors().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_value_that_is_set_is_parsed() {
        let (values, errors) = read(&[("GROUP", "g"), ("SPAN", "1m"), ("FLAG", "true")]);
        assert_eq!(values, (Some("g".into()), Duration::from_secs(60), Some(true)));
        assert_eq!(errors, Vec::<String>::new());
    }

    #[test]
    fn an_empty_value_counts_as_unset() {
        let (values, errors) = read(&[("GROUP", ""), ("SPAN", ""), ("FLAG", "")]);
        assert_eq!(values, (None, Duration::from_secs(30), None));
        assert_eq!(errors, [r#"GROUP="": must be set, such as orders"#]);
    }

    #[test]
    fn every_refused_value_is_noted_and_the_rest_is_read_on() {
        let (values, errors) = read(&[("GROUP", "g"), ("SPAN", "2m"), ("FLAG", "yes")]);
        assert_eq!(values, (Some("g".into()), Duration::from_secs(30), None));
        let expected = [
            r#"SPAN="2m": must be a duration such as 90s or 1h30m, from 1s to 1m"#,
            r#"FLAG="yes": must be true or false"#,
        ];
        assert_eq!(errors, expected);
    }

    #[test]
    fn the_help_says_what_holds_where_a_setting_is_unset() {
        let helps = [GROUP.entry().help(), SPAN.entry().help(), FLAG.entry().help()];
        assert_eq!(helps, ["The group (required)", "A span [default: 30s]", "A flag [default: no]"]);
    }
}
