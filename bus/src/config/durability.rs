//! Setting of the durability: the confirmation that a publish waits for.

use std::num::NonZeroU8;
use std::time::Duration;

use eventbus_core::settings::{Lookup, SettingError};

/// Time limit of a publish with [`Durability::Async`], connecting included; see [`Durability::publish_timeout`] for the
/// others.
pub const PUBLISH_TIMEOUT: Duration = Duration::from_millis(250);

/// Time limit of a publish with `fsynced`. With `appendfsync everysec`, the server's default, an event is on disk after up
/// to a second.
const FSYNC_TIMEOUT: Duration = Duration::from_secs(5);

/// Confirmation that a publish waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// `async`: the server has the event in memory. After a crash it depends on the server's persistence whether the event
    /// is there; a failover may lose the last second.
    #[default]
    Async,
    /// `replicated:N`: N replicas have the event in memory too.
    Replicated(NonZeroU8),
    /// `fsynced`: the event is on the server's disk. Needs WAITAOF (Redis or Valkey 7.2) and the append-only file; with
    /// `appendfsync everysec` a publish takes up to a second.
    Fsynced,
}

impl Durability {
    /// Reads `REDIS_DURABILITY`.
    ///
    /// # Errors
    /// [`SettingError`] with what is allowed.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, SettingError> {
        const NAME: &str = "REDIS_DURABILITY";
        let Some(text) = lookup(NAME) else { return Ok(Self::default()) };
        let replicas =
            || text.strip_prefix("replicated:").filter(|n| !n.starts_with('+'))?.parse().ok();
        match text.as_str() {
            "async" => Ok(Self::Async),
            "fsynced" => Ok(Self::Fsynced),
            _ => replicas().map(Self::Replicated).ok_or_else(|| {
                let allowed = "must be async, replicated:N with N from 1 to 255, or fsynced";
                SettingError::new(NAME, &text, allowed)
            }),
        }
    }

    /// Returns the time limit of a publish, connecting included: [`PUBLISH_TIMEOUT`] for `async`, twice that for
    /// `replicated`, 5 s for `fsynced`.
    #[must_use]
    pub fn publish_timeout(self) -> Duration {
        match self {
            Self::Async => PUBLISH_TIMEOUT,
            Self::Replicated(_) => PUBLISH_TIMEOUT * 2,
            Self::Fsynced => FSYNC_TIMEOUT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Durability, String> {
        Durability::from_lookup(&|_| Some(text.to_owned())).map_err(|error| error.to_string())
    }

    #[test]
    fn the_setting_is_async_replicated_or_fsynced() {
        let replicated = |n| Durability::Replicated(NonZeroU8::new(n).unwrap());
        assert_eq!(Durability::from_lookup(&|_| None), Ok(Durability::Async));
        assert_eq!(read("async"), Ok(Durability::Async));
        assert_eq!(read("fsynced"), Ok(Durability::Fsynced));
        assert_eq!(
            [read("replicated:1"), read("replicated:255")],
            [1, 255].map(|n| Ok(replicated(n)))
        );
    }

    #[test]
    fn any_other_value_is_refused_with_the_allowed_ones() {
        let allowed = "must be async, replicated:N with N from 1 to 255, or fsynced";
        for text in ["", "Async", "replicated", "replicated:0", "replicated:256", "replicated:+1"] {
            assert_eq!(read(text), Err(format!("REDIS_DURABILITY={text:?}: {allowed}")));
        }
    }

    #[test]
    fn two_waits_fit_into_the_time_of_a_publish() {
        let packed = |d: Durability| {
            String::from_utf8(d.confirmation().unwrap().get_packed_command()).unwrap()
        };
        let replicated = Durability::Replicated(NonZeroU8::new(2).unwrap());
        assert_eq!(packed(replicated), "*3\r\n$4\r\nWAIT\r\n$1\r\n2\r\n$3\r\n150\r\n");
        let fsynced = "*4\r\n$7\r\nWAITAOF\r\n$1\r\n1\r\n$1\r\n0\r\n$4\r\n1500\r\n";
        assert_eq!(packed(Durability::Fsynced), fsynced);
    }
}
