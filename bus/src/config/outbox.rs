//! Settings of the outbox.

use std::path::PathBuf;

use eventbus_core::settings::{Lookup, Setting, SettingError, bytes, path};

/// `REDIS_OUTBOX_DIR`.
pub(super) const DIR: Setting<PathBuf> = Setting::new(
    "REDIS_OUTBOX_DIR",
    "Directory in which publishers store events until Redis has them",
    path,
)
.with_computed_default("no outbox");
/// `REDIS_OUTBOX_MAX_BYTES`: 1 MiB to 1 TiB, by default 1 GiB.
pub(super) const MAX_BYTES: Setting<u64> = Setting::new(
    "REDIS_OUTBOX_MAX_BYTES",
    "Maximum size of the outbox in bytes",
    bytes::<{ 1 << 20 }, { 1 << 40 }>,
)
.with_default("1073741824");

/// Configuration of the outbox, which stores events on disk until they are in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxConfig {
    /// `REDIS_OUTBOX_DIR`: a directory that only this process uses; created if it is missing.
    pub dir: PathBuf,
    /// `REDIS_OUTBOX_MAX_BYTES`, 1 MiB to 1 TiB, default 1 GiB: maximum size of all segments and of the events that were set
    /// aside together. Events beyond it are published directly. Copies of damaged segments do not count.
    pub max_bytes: u64,
}

impl OutboxConfig {
    /// Creates a configuration for `dir` with the default size.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), max_bytes: MAX_BYTES.default() }
    }

    /// Sets the maximum size of all segments together, 1 MiB to 1 TiB.
    #[must_use]
    pub fn with_max_bytes(self, max_bytes: u64) -> Self {
        Self { max_bytes, ..self }
    }

    /// Reads `REDIS_OUTBOX_DIR` and `REDIS_OUTBOX_MAX_BYTES`; `None` if the former is unset or empty.
    ///
    /// # Errors
    /// [`SettingError`] with what is allowed.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Option<Self>, SettingError> {
        let max_bytes = MAX_BYTES.read(lookup)?.unwrap_or_else(|| MAX_BYTES.default());
        let dir = DIR.read(lookup)?.filter(|dir| !dir.as_os_str().is_empty());
        Ok(dir.map(|dir| Self { dir, max_bytes }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<Option<OutboxConfig>, SettingError> {
        let find = |name: &str| settings.iter().find(|(n, _)| *n == name);
        OutboxConfig::from_lookup(&|name| find(name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn without_a_directory_there_is_no_outbox() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("REDIS_OUTBOX_DIR", "")]), Ok(None));
    }

    #[test]
    fn a_directory_is_enough_and_its_size_is_a_gibibyte() {
        let expected = OutboxConfig { dir: "/o".into(), max_bytes: 1_073_741_824 };
        assert_eq!(read(&[("REDIS_OUTBOX_DIR", "/o")]), Ok(Some(expected)));
    }

    #[test]
    fn a_size_out_of_its_range_is_refused() {
        for text in ["", "1048575", "1GiB", "-1", "+1048576", "1099511627777"] {
            let error = read(&[("REDIS_OUTBOX_MAX_BYTES", text)]).unwrap_err();
            let allowed = "must be a number of bytes from 1048576 to 1099511627776";
            assert_eq!((error.value.as_str(), error.allowed.as_str()), (text, allowed));
        }
    }
}
