//! Parsers of settings. Each returns the value, or which values are allowed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::time;

/// Takes any text.
///
/// # Errors
/// None.
pub fn text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

/// Takes any text as a path.
///
/// # Errors
/// None.
pub fn path(text: &str) -> Result<PathBuf, String> {
    Ok(text.into())
}

/// Parses `true` or `false`.
///
/// # Errors
/// The allowed values.
pub fn yes_or_no(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "must be true or false".to_owned())
}

/// Parses a whole number from `MIN` to `MAX`, of digits only.
///
/// # Errors
/// The range.
pub fn number<T: TryFrom<u64>, const MIN: u64, const MAX: u64>(text: &str) -> Result<T, String> {
    within(text, MIN, MAX).ok_or_else(|| format!("must be a number from {MIN} to {MAX}"))
}

/// Parses a number of bytes from `MIN` to `MAX`, of digits only.
///
/// # Errors
/// The range.
pub fn bytes<const MIN: u64, const MAX: u64>(text: &str) -> Result<u64, String> {
    within(text, MIN, MAX).ok_or_else(|| format!("must be a number of bytes from {MIN} to {MAX}"))
}

/// Parses a duration such as `90s` or `1h30m`, from `MIN` to `MAX` milliseconds.
///
/// # Errors
/// The range.
pub fn span<const MIN: u64, const MAX: u64>(text: &str) -> Result<Duration, String> {
    let range = Duration::from_millis(MIN)..=Duration::from_millis(MAX);
    time::parse(text).ok().filter(|span| range.contains(span)).ok_or_else(|| {
        let (min, max) = (time::format(*range.start()), time::format(*range.end()));
        format!("must be a duration such as 90s or 1h30m, from {min} to {max}")
    })
}

/// Parses an address and a port.
///
/// # Errors
/// The form.
pub fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be an address and a port such as 0.0.0.0:9090".to_owned())
}

fn within<T: TryFrom<u64>>(text: &str, min: u64, max: u64) -> Option<T> {
    let is_whole = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| is_whole && (min..=max).contains(number))?;
    T::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_digits_only_and_is_within_its_range() {
        for (text, value) in [("1", 1), ("007", 7), ("100", 100)] {
            assert_eq!(number::<u32, 1, 100>(text), Ok(value));
        }
        for text in ["", "0", "101", "+5", "-1", "1_0", " 5", "1.0", "99999999999999999999"] {
            assert_eq!(
                number::<u32, 1, 100>(text),
                Err("must be a number from 1 to 100".to_owned()),
                "{text}"
            );
        }
        assert_eq!(bytes::<2, 3>("1"), Err("must be a number of bytes from 2 to 3".to_owned()));
    }

    #[test]
    fn a_span_is_within_its_range() {
        assert_eq!(span::<1, 3_600_000>("1h"), Ok(Duration::from_secs(3_600)));
        let allowed = "must be a duration such as 90s or 1h30m, from 1ms to 1h";
        for text in ["", "0s", "61m", "5", "5 m"] {
            assert_eq!(span::<1, 3_600_000>(text), Err(allowed.to_owned()), "{text}");
        }
    }
}
