//! Moments of a process, and durations as text, in resources and settings: `90s`, `1h30m`, `500ms`.

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A moment on a process's monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// The moment that others count from.
    pub const START: Self = Self(Duration::ZERO);
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0 + span)
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, span: Duration) {
        self.0 += span;
    }
}

impl Sub for Moment {
    type Output = Duration;

    /// Returns the time between two moments; nothing if the first is not the later one.
    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Malformed duration. The message has the text and an example.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} must be a duration such as 90s or 1h30m")]
pub struct DurationError(pub String);

/// Parses a duration: one to four numbers of up to five digits, each with a unit of `h`, `m`, `s` or `ms`.
///
/// # Errors
/// [`DurationError`] with the text.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let refused = || DurationError(text.to_owned());
    let (mut rest, mut parts, mut total) = (text, 0, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        if !(1..=5).contains(&digits) || parts == 4 {
            return Err(refused());
        }
        let number: u64 = number.parse().map_err(|_| refused())?;
        let (unit, tail) = unit(tail).ok_or_else(refused)?;
        total += Duration::from_millis(number * unit);
        (rest, parts) = (tail, parts + 1);
    }
    if parts == 0 { Err(refused()) } else { Ok(total) }
}

/// Returns the milliseconds of the unit at the start of `text`, and the rest. `ms` is tried before `m`.
fn unit(text: &str) -> Option<(u64, &str)> {
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)]
        .into_iter()
        .find_map(|(unit, millis)| Some((millis, text.strip_prefix(unit)?)))
}

/// Formats a duration so that [`parse`] returns the same value, to the millisecond.
#[must_use]
pub fn format(span: Duration) -> String {
    let mut rest = millis(span);
    let mut text = String::new();
    for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        let number = rest / size;
        rest %= size;
        if number > 0 {
            text.push_str(&format!("{number}{unit}"));
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Returns a time span in milliseconds, as Redis counts them.
#[must_use]
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_duration_are_added() {
        let cases = [("90s", 90_000), ("1h30m", 5_400_000), ("500ms", 500), ("1m1ms", 60_001)];
        for (text, millis) in cases {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn a_malformed_duration_is_refused_with_an_example() {
        for text in ["", "5", "s", "1d", "-1s", "1.5s", "123456s", "1s1s1s1s1s", "1 s"] {
            assert_eq!(parse(text), Err(DurationError(text.into())), "{text}");
        }
        let message = parse("5").unwrap_err().to_string();
        assert_eq!(message, r#""5" must be a duration such as 90s or 1h30m"#);
    }

    #[test]
    fn a_formatted_duration_parses_to_the_same_value() {
        for millis in [0, 1, 999, 1_000, 61_000, 3_600_000, 5_430_250] {
            let span = Duration::from_millis(millis);
            assert_eq!(parse(&format(span)), Ok(span));
        }
    }
}
