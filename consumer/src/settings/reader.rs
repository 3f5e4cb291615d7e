//! Reader of settings, which collects the invalid ones.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use eventbus::config::{Lookup, SettingError};
use eventbus_core::time as duration;

/// Reader of one program's settings, with the errors so far.
pub struct Reader<'a> {
    lookup: Lookup<'a>,
    errors: Vec<SettingError>,
}

impl<'a> Reader<'a> {
    /// Creates a reader of the settings in `lookup`.
    pub fn new(lookup: Lookup<'a>) -> Self {
        Self { lookup, errors: Vec::new() }
    }

    /// Returns the value, unparsed.
    pub fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name)
    }

    /// Adds an error about `name` with its value, which is empty if unset.
    pub fn refuse(&mut self, name: &str, allowed: impl Display) {
        let value = self.text(name).unwrap_or_default();
        self.refuse_shown(name, &value, allowed);
    }

    /// Adds an error about `name` with `value` instead of its own, which may contain a secret.
    pub fn refuse_shown(&mut self, name: &str, value: &str, allowed: impl Display) {
        self.errors.push(SettingError::new(name, value, allowed));
    }

    /// Adds the errors of settings that were read elsewhere.
    pub fn check<T>(&mut self, result: Result<T, Vec<SettingError>>) -> Option<T> {
        result.map_err(|errors| self.errors.extend(errors)).ok()
    }

    /// Parses the value; `None` if it is unset, or if it is invalid, which adds an error.
    pub fn parsed<T, E: Display>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = self.text(name)?;
        parse(&value)
            .map_err(|allowed| self.errors.push(SettingError::new(name, &value, allowed)))
            .ok()
    }

    /// Parses the value; a missing value adds an error too.
    pub fn required<T, E: Display>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        if self.text(name).is_none() {
            self.refuse(name, "must be set");
        }
        self.parsed(name, parse)
    }

    /// Parses a whole number within `range`.
    pub fn number<T>(&mut self, name: &str, default: T, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        let parse = |text: &str| {
            let number = text.parse().ok().filter(|number| range.contains(number));
            number.ok_or_else(|| {
                format!("must be a number from {} to {}", range.start(), range.end())
            })
        };
        self.parsed(name, parse).unwrap_or(default)
    }

    /// Parses a duration within `range`.
    pub fn span(
        &mut self,
        name: &str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let parse = |text: &str| {
            let span = duration::parse(text).ok().filter(|span| range.contains(span));
            span.ok_or_else(|| Spans(&range).to_string())
        };
        self.parsed(name, parse).unwrap_or(default)
    }

    /// Returns the errors.
    pub fn into_errors(self) -> Vec<SettingError> {
        self.errors
    }
}

struct Spans<'a>(&'a RangeInclusive<Duration>);

impl Display for Spans<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (duration::format(*self.0.start()), duration::format(*self.0.end()));
        write!(f, "must be a duration such as 90s or 1h30m, from {from} to {to}")
    }
}
