//! Reads settings one by one and keeps what is wrong with them.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use eventbus::config::{Lookup, SettingError};
use eventbus_core::time as duration;

/// The settings of one program, and the errors so far.
pub struct Reader<'a> {
    lookup: Lookup<'a>,
    errors: Vec<SettingError>,
}

impl<'a> Reader<'a> {
    /// Nothing read yet.
    pub fn new(lookup: Lookup<'a>) -> Self {
        Self { lookup, errors: Vec::new() }
    }

    /// The value as it stands.
    pub fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name)
    }

    /// Notes that `name` is wrong; an unset one is shown as empty.
    pub fn refuse(&mut self, name: &str, allowed: impl Display) {
        let value = self.text(name).unwrap_or_default();
        self.refuse_shown(name, &value, allowed);
    }

    /// Notes that `name` is wrong, and shows `value` instead of its own, which may hold a secret.
    pub fn refuse_shown(&mut self, name: &str, value: &str, allowed: impl Display) {
        self.errors.push(SettingError::new(name, value, allowed));
    }

    /// Takes over the errors of settings that were read elsewhere.
    pub fn take<T>(&mut self, result: Result<T, Vec<SettingError>>) -> Option<T> {
        result.map_err(|errors| self.errors.extend(errors)).ok()
    }

    /// The value, parsed; `None` if it is unset, or wrong, which is then noted.
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

    /// The value, parsed; a missing one is an error too.
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

    /// A whole number within `range`.
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

    /// A time span within `range`.
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

    /// All that was wrong.
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
