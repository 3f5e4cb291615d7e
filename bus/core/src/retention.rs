//! Retention of a stream: finished entries are trimmed, and a hard cap bounds the rest.

mod admission;

use std::time::Duration;

use crate::settings::{Lookup, Setting, SettingError, SettingReader, number, span};

pub use admission::{Admission, AdmissionGate};

/// `REDIS_TRIM`.
pub const TRIM: Setting<TrimMode> =
    Setting::new("REDIS_TRIM", "Trimming by publishers: acked, maxlen or none", trim_mode)
        .with_default("acked");
/// `REDIS_MAX_ENTRIES`.
pub const MAX_ENTRIES: Setting<u64> = Setting::new(
    "REDIS_MAX_ENTRIES",
    "Number of finished entries that publishers keep",
    number::<u64, 1, LIMIT>,
)
.with_default("10000");
/// `REDIS_HARD_MAX_ENTRIES`.
pub const HARD_MAX_ENTRIES: Setting<u64> = Setting::new(
    "REDIS_HARD_MAX_ENTRIES",
    "Hard cap: length at which the stream is full; 0 for no cap",
    hard_max_entries,
)
.with_default("0");
/// `REDIS_OVERFLOW`.
pub const OVERFLOW: Setting<Overflow> = Setting::new(
    "REDIS_OVERFLOW",
    "Action of publishers at the hard cap: reject or drop-oldest",
    overflow,
)
.with_default("reject");
/// `REDIS_MISSING_GROUP_HOLD`: 7 days, at most 10 years.
pub const MISSING_GROUP_HOLD: Setting<Duration> = Setting::new(
    "REDIS_MISSING_GROUP_HOLD",
    "Time for which a missing group without owner holds trimming back, up to 87600h",
    span::<0, { 87_600 * 3_600_000 }>,
)
.with_default("168h");
/// Maximum of the settings of a length: more entries than a server holds.
const LIMIT: u64 = 1_000_000_000_000;
/// Number of entries beyond `REDIS_MAX_ENTRIES` from which trimming removes entries one by one where it finds no whole node
/// to remove, which costs the server less. The hard cap is at least as far from `REDIS_MAX_ENTRIES`.
pub const SLACK: u64 = 200;

/// Retention settings of a publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
    /// Sets what is trimmed.
    #[must_use]
    pub fn with_mode(self, mode: TrimMode) -> Self {
        Self { mode, ..self }
    }

    /// Sets the number of finished entries that are kept, from 1 to 10¹².
    #[must_use]
    pub fn with_max_entries(self, max_entries: u64) -> Self {
        Self { max_entries, ..self }
    }

    /// Sets the hard cap; `None` is no cap.
    #[must_use]
    pub fn with_hard_cap(self, hard_cap: Option<HardCap>) -> Self {
        Self { hard_cap, ..self }
    }

    /// Reads `REDIS_TRIM`, `REDIS_MAX_ENTRIES`, `REDIS_HARD_MAX_ENTRIES` and `REDIS_OVERFLOW`.
    ///
    /// # Errors
    /// Every setting that is wrong.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, Vec<SettingError>> {
        let mut reader = SettingReader::new(lookup);
        let (mode, max_entries) = (reader.value(&TRIM), reader.valid(&MAX_ENTRIES));
        let cap = reader.value(&HARD_MAX_ENTRIES);
        // Beside an invalid `REDIS_MAX_ENTRIES` it is not known what the cap has to be.
        if cap != 0 && max_entries.is_some_and(|max| cap < max + SLACK) {
            reader.refuse(&HARD_MAX_ENTRIES, allowed_cap());
        }
        let overflow = reader.value(&OVERFLOW);
        let hard_cap = (cap != 0).then_some(HardCap { entries: cap, overflow });
        reader.finish(max_entries.map(|max_entries| Self { mode, max_entries, hard_cap }))
    }

    /// Returns the number of publishes of one process between two trims: a hundredth of `max_entries`, at least 100.
    pub fn trim_after(&self) -> u64 {
        (self.max_entries / 100).max(100)
    }
}

impl HardCap {
    /// Returns the number of entries that one script drops: a hundredth of the cap, at least 100 and at most 1,000, so
    /// that the script does not block other clients for long.
    pub fn step(self) -> u64 {
        (self.entries / 100).clamp(100, 1_000)
    }
}

fn trim_mode(text: &str) -> Result<TrimMode, String> {
    match text {
        "acked" => Ok(TrimMode::Acked),
        "maxlen" => Ok(TrimMode::MaxLen),
        "none" => Ok(TrimMode::None),
        _ => Err("must be acked, maxlen or none".to_owned()),
    }
}

fn overflow(text: &str) -> Result<Overflow, String> {
    match text {
        "reject" => Ok(Overflow::Reject),
        "drop-oldest" => Ok(Overflow::DropOldest),
        _ => Err("must be reject or drop-oldest".to_owned()),
    }
}

fn hard_max_entries(text: &str) -> Result<u64, String> {
    number::<u64, 0, LIMIT>(text).map_err(|_| allowed_cap())
}

fn allowed_cap() -> String {
    format!("must be 0 (no cap), or from {} + {SLACK} to {LIMIT}", MAX_ENTRIES.name())
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
        let read = |text: Option<&str>| {
            let lookup = |_: &str| text.map(str::to_owned);
            let mut reader = SettingReader::new(&lookup);
            let hold = reader.value(&MISSING_GROUP_HOLD);
            reader.finish(Some(hold))
        };
        let hours = |hours: u64| Ok(Duration::from_secs(hours * 3600));
        let cases = [(None, 168), (Some("0s"), 0), (Some("24h"), 24), (Some("87600h"), 87_600)];
        for (text, expected) in cases {
            assert_eq!(read(text), hours(expected), "{text:?}");
        }
        for text in ["", "7", "7d", "-1h", "87601h"] {
            let message = read(Some(text)).unwrap_err()[0].to_string();
            let allowed = "must be a duration such as 90s or 1h30m, from 0s to 87600h";
            assert_eq!(message, format!("REDIS_MISSING_GROUP_HOLD={text:?}: {allowed}"));
        }
    }

    #[test]
    fn trimming_and_dropping_take_a_hundredth_but_no_less_than_a_hundred() {
        let retention = |max_entries| Retention { max_entries, ..Retention::default() };
        assert_eq!([1, 10_000, 50_000].map(|n| retention(n).trim_after()), [100, 100, 500]);
        let cap = |entries| HardCap { entries, overflow: Overflow::DropOldest }.step();
        assert_eq!([300, 50_000, 10_000_000].map(cap), [100, 500, 1_000]);
    }
}
