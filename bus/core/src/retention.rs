//! Retention of a stream: finished entries are trimmed, and a hard cap bounds the rest.

mod admission;

use std::str::FromStr;
use std::time::Duration;

use crate::settings::{Lookup, SettingError};
use crate::time;

pub use admission::{Admission, AdmissionGate};

const MAX_ENTRIES: &str = "REDIS_MAX_ENTRIES";
const HARD_MAX_ENTRIES: &str = "REDIS_HARD_MAX_ENTRIES";
const HOLD: &str = "REDIS_MISSING_GROUP_HOLD";
/// Default of `REDIS_MISSING_GROUP_HOLD`: 7 days.
pub const MISSING_GROUP_HOLD: Duration = Duration::from_secs(7 * 24 * 3600);
/// Maximum of `REDIS_MISSING_GROUP_HOLD` in hours: 10 years.
const MAX_HOLD_HOURS: u64 = 87_600;
/// Settings go up to so many entries: more than a server holds.
const MOST: u64 = 1_000_000_000_000;
/// Minimum distance of the hard cap from `REDIS_MAX_ENTRIES`, in entries: approximate trimming removes whole nodes (100
/// entries by default) and leaves up to two nodes too many.
pub const SLACK: u64 = 200;

/// Retention settings of a publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// `REDIS_TRIM`, default `acked`.
    pub mode: TrimMode,
    /// `REDIS_MAX_ENTRIES`, default 10,000, from 1 to 10¹²: finished entries that are kept.
    pub max_entries: u64,
    /// `REDIS_HARD_MAX_ENTRIES` and `REDIS_OVERFLOW`; by default there is no cap.
    pub hard_cap: Option<HardCap>,
}

/// Mode of trimming.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrimMode {
    /// `acked`: trims entries that every group has acknowledged, beyond [`Retention::max_entries`], from time to time
    /// after a publish.
    #[default]
    Acked,
    /// `maxlen`: trims the oldest entries beyond [`Retention::max_entries`], **read or not**, with each publish.
    MaxLen,
    /// `none`: never trims.
    None,
}

/// Maximum length of the stream. Publishers read the length ten times a second at most, so they exceed the cap by what
/// they send in between. Other clients are not bound by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HardCap {
    /// `REDIS_HARD_MAX_ENTRIES`, at least 200 above `REDIS_MAX_ENTRIES`.
    pub entries: u64,
    /// Behaviour at the cap.
    pub overflow: Overflow,
}

/// Behaviour of a publisher at the hard cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// `reject`: refuses events until there is room.
    #[default]
    Reject,
    /// `drop-oldest`: drops the oldest entries, a hundredth of the cap at a time once the stream exceeds the cap by
    /// that much, and counts the entries that each group loses.
    DropOldest,
}

impl Default for Retention {
    fn default() -> Self {
        Self { mode: TrimMode::default(), max_entries: 10_000, hard_cap: None }
    }
}

impl Retention {
    /// Reads `REDIS_TRIM`, `REDIS_MAX_ENTRIES`, `REDIS_HARD_MAX_ENTRIES` and `REDIS_OVERFLOW`.
    ///
    /// # Errors
    /// Every setting that is wrong.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, Vec<SettingError>> {
        let mode = parsed(lookup, "REDIS_TRIM", TrimMode::default());
        let overflow = parsed(lookup, "REDIS_OVERFLOW", Overflow::default());
        let max_entries = number(lookup, MAX_ENTRIES, 10_000, 1);
        let cap = match &max_entries {
            Ok(kept) if lookup(HARD_MAX_ENTRIES).is_some_and(|text| text != "0") => {
                number(lookup, HARD_MAX_ENTRIES, 0, kept + SLACK).map(Some)
            }
            Ok(_) => Ok(None),
            Err(_) => number(lookup, HARD_MAX_ENTRIES, 0, 0).map(|_| None),
        };
        match (mode, max_entries, cap, overflow) {
            (Ok(mode), Ok(max_entries), Ok(cap), Ok(overflow)) => {
                let hard_cap = cap.map(|entries| HardCap { entries, overflow });
                Ok(Self { mode, max_entries, hard_cap })
            }
            (mode, max_entries, cap, overflow) => {
                let errors = [mode.err(), max_entries.err(), cap.err(), overflow.err()];
                Err(errors.into_iter().flatten().collect())
            }
        }
    }

    /// Returns the number of publishes of one process between two trims: a hundredth of `max_entries`, at least 100
    /// (one node).
    pub fn trim_after(&self) -> u64 {
        (self.max_entries / 100).max(100)
    }
}

/// Reads `REDIS_MISSING_GROUP_HOLD`: how long a declared group that is missing and has no owner holds trimming back.
///
/// Default 168h, which is 7 days; from 0s to 87600h.
///
/// # Errors
/// [`SettingError`] with the range.
pub fn missing_group_hold(lookup: Lookup<'_>) -> Result<Duration, SettingError> {
    let Some(text) = lookup(HOLD) else { return Ok(MISSING_GROUP_HOLD) };
    let hold =
        time::parse(&text).ok().filter(|hold| *hold <= Duration::from_secs(MAX_HOLD_HOURS * 3600));
    hold.ok_or_else(|| {
        let allowed = format!("must be a duration such as 168h or 90m, up to {MAX_HOLD_HOURS}h");
        SettingError::new(HOLD, &text, allowed)
    })
}

impl HardCap {
    /// Returns the number of entries that one script drops: a hundredth of the cap, at least 100 (one node) and at most
    /// 1,000, so that the script does not block other clients for long.
    pub fn step(self) -> u64 {
        (self.entries / 100).clamp(100, 1_000)
    }
}

fn parsed<T: FromStr<Err = &'static str>>(
    lookup: Lookup<'_>,
    name: &str,
    default: T,
) -> Result<T, SettingError> {
    let Some(text) = lookup(name) else { return Ok(default) };
    text.parse().map_err(|allowed| SettingError::new(name, &text, allowed))
}

fn number(lookup: Lookup<'_>, name: &str, default: u64, least: u64) -> Result<u64, SettingError> {
    let Some(text) = lookup(name) else { return Ok(default) };
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let value = text.parse().ok().filter(|n| digits && (least..=MOST).contains(n));
    value.ok_or_else(|| {
        let allowed = if name == HARD_MAX_ENTRIES {
            format!("must be 0 (no cap), or from {MAX_ENTRIES} + {SLACK} to {MOST}")
        } else {
            format!("must be a number from {least} to {MOST}")
        };
        SettingError::new(name, &text, allowed)
    })
}

impl FromStr for TrimMode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "acked" => Ok(Self::Acked),
            "maxlen" => Ok(Self::MaxLen),
            "none" => Ok(Self::None),
            _ => Err("must be acked, maxlen or none"),
        }
    }
}

impl FromStr for Overflow {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "reject" => Ok(Self::Reject),
            "drop-oldest" => Ok(Self::DropOldest),
            _ => Err("must be reject or drop-oldest"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<Retention, Vec<String>> {
        let look = |name: &str| {
            settings.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        };
        Retention::from_lookup(&look)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_settings_are_read_as_documented() {
        let settings = [
            ("REDIS_TRIM", "none"),
            ("REDIS_MAX_ENTRIES", "1"),
            ("REDIS_HARD_MAX_ENTRIES", "201"),
            ("REDIS_OVERFLOW", "drop-oldest"),
        ];
        let hard_cap = Some(HardCap { entries: 201, overflow: Overflow::DropOldest });
        let expected = Retention { mode: TrimMode::None, max_entries: 1, hard_cap };
        assert_eq!(read(&settings), Ok(expected));
        assert_eq!(read(&[("REDIS_TRIM", "maxlen")]).unwrap().mode, TrimMode::MaxLen);
        assert_eq!(read(&[("REDIS_HARD_MAX_ENTRIES", "0")]), Ok(Retention::default()));
    }

    #[test]
    fn a_number_out_of_range_is_told_with_its_range() {
        let max = "must be a number from 1 to 1000000000000";
        let hard = "must be 0 (no cap), or from REDIS_MAX_ENTRIES + 200 to 1000000000000";
        let cases = [
            ("REDIS_MAX_ENTRIES", "0", max),
            ("REDIS_MAX_ENTRIES", "", max),
            ("REDIS_MAX_ENTRIES", "+5", max),
            ("REDIS_MAX_ENTRIES", "10_000", max),
            ("REDIS_MAX_ENTRIES", "1000000000001", max),
            ("REDIS_HARD_MAX_ENTRIES", "10199", hard),
            ("REDIS_HARD_MAX_ENTRIES", "many", hard),
            ("REDIS_TRIM", "ACKED", "must be acked, maxlen or none"),
            ("REDIS_OVERFLOW", "drop_oldest", "must be reject or drop-oldest"),
        ];
        for (name, value, allowed) in cases {
            assert_eq!(read(&[(name, value)]), Err(vec![format!("{name}={value:?}: {allowed}")]));
        }
    }

    #[test]
    fn a_missing_group_holds_for_seven_days_unless_another_time_is_set() {
        let read = |text: Option<&str>| missing_group_hold(&|_| text.map(str::to_owned));
        let hours = |hours: u64| Ok(Duration::from_secs(hours * 3600));
        let cases = [(None, 168), (Some("0s"), 0), (Some("24h"), 24), (Some("87600h"), 87_600)];
        for (text, expected) in cases {
            assert_eq!(read(text), hours(expected), "{text:?}");
        }
        for text in ["", "7", "7d", "-1h", "87601h"] {
            let message = read(Some(text)).unwrap_err().to_string();
            let allowed = "must be a duration such as 168h or 90m, up to 87600h";
            assert_eq!(message, format!("REDIS_MISSING_GROUP_HOLD={text:?}: {allowed}"));
        }
    }

    #[test]
    fn trimming_and_dropping_take_a_hundredth_but_no_less_than_a_node() {
        let retention = |max_entries| Retention { max_entries, ..Retention::default() };
        assert_eq!([1, 10_000, 50_000].map(|n| retention(n).trim_after()), [100, 100, 500]);
        let cap = |entries| HardCap { entries, overflow: Overflow::DropOldest }.step();
        assert_eq!([300, 50_000, 10_000_000].map(cap), [100, 500, 1_000]);
    }
}
