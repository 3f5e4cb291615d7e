//! Parsers that several settings share; each error says what is allowed.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use eventbus::duration;

/// Parses a whole number within `range`.
///
/// # Errors
/// The range.
pub fn number<T>(text: &str, range: RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("must be a number from {} to {}", range.start(), range.end()))
}

/// Parses a time span such as `90s` or `1h30m` within `range`.
///
/// # Errors
/// The form and the range.
pub fn span(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    let span = duration::parse(text).ok().filter(|span| range.contains(span));
    span.ok_or_else(|| {
        let (from, to) = (duration::format(*range.start()), duration::format(*range.end()));
        format!("must be a duration such as 90s or 1h30m, from {from} to {to}")
    })
}

/// Parses `true` or `false`.
///
/// # Errors
/// The two.
pub fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "must be true or false".to_owned())
}

/// Parses an address and a port.
///
/// # Errors
/// The form.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be an address and a port such as 0.0.0.0:9090".to_owned())
}
