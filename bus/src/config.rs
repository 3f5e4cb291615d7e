//! Settings, read by name from a look-up; every invalid setting is reported, all in one error.

mod durability;
mod outbox;
mod url;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use eventbus_core::names::StreamKey;
use eventbus_core::retention::{HARD_MAX_ENTRIES, MAX_ENTRIES, MISSING_GROUP_HOLD, OVERFLOW, TRIM};
use eventbus_core::settings::{path, text};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

pub use eventbus_core::retention::{HardCap, Overflow, Retention, TrimMode};
pub use eventbus_core::settings::{
    Lookup, Setting, SettingDefault, SettingDescription, SettingError, SettingErrors, SettingReader,
};

pub use durability::{Durability, PUBLISH_TIMEOUT};
pub use outbox::OutboxConfig;

use self::durability::DURABILITY;

const URL: Setting<String> =
    Setting::new("REDIS_URL", "URL of the Redis server, redis:// or rediss://", text)
        .with_default("redis://localhost:6379");
const STREAM_NAME: Setting<StreamKey> =
    Setting::new("REDIS_STREAM_NAME", "Key of the stream", stream_key)
        .with_default("stream:events");
const USERNAME_FILE: Setting<PathBuf> =
    Setting::new("REDIS_USERNAME_FILE", "File with the user name, read at each connect", path);
const PASSWORD_FILE: Setting<PathBuf> =
    Setting::new("REDIS_PASSWORD_FILE", "File with the password, read at each connect", path);
const CA_FILE: Setting<PathBuf> =
    Setting::new("REDIS_CA_FILE", "PEM file with the certificate authorities", path)
        .with_computed_default("the system's");
const CERT_FILE: Setting<PathBuf> =
    Setting::new("REDIS_CERT_FILE", "PEM file with the client certificate", path);
const KEY_FILE: Setting<PathBuf> =
    Setting::new("REDIS_KEY_FILE", "PEM file with the client key", path);

/// Settings of the Redis connection and of publishing. They are the same for every program, so that one set of variables
/// serves all.
pub const SETTINGS: [SettingDescription; 15] = [
    URL.description(),
    STREAM_NAME.description(),
    USERNAME_FILE.description(),
    PASSWORD_FILE.description(),
    CA_FILE.description(),
    CERT_FILE.description(),
    KEY_FILE.description(),
    TRIM.description(),
    MAX_ENTRIES.description(),
    HARD_MAX_ENTRIES.description(),
    OVERFLOW.description(),
    MISSING_GROUP_HOLD.description(),
    DURABILITY.description(),
    outbox::DIR.description(),
    outbox::MAX_BYTES.description(),
];

/// Address of a Redis server: its URL, and files for credentials and certificates.
///
/// The files are read at each connect, so that a change needs no restart. `Debug` shows no credentials.
#[derive(Clone)]
pub struct RedisConfig {
    pub(crate) info: ConnectionInfo,
    pub(crate) files: CredentialFiles,
}

/// Files with one credential each; a trailing line end is ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialFiles {
    /// `REDIS_USERNAME_FILE`: user name; without it that of the URL.
    pub username: Option<PathBuf>,
    /// `REDIS_PASSWORD_FILE`: password; without it that of the URL.
    pub password: Option<PathBuf>,
    /// `REDIS_CA_FILE`: certificate authorities, PEM. Default: those of the system.
    pub ca: Option<PathBuf>,
    /// `REDIS_CERT_FILE`: client certificate, PEM. Needs the key.
    pub cert: Option<PathBuf>,
    /// `REDIS_KEY_FILE`: key of the client certificate, PEM. Needs the certificate.
    pub key: Option<PathBuf>,
}

impl RedisConfig {
    /// Parses a URL (`redis://` or `rediss://`) with credential files.
    ///
    /// # Errors
    /// [`SettingError`] for `name` with the part of the URL that is invalid, never with its credentials. Sentinel and
    /// Cluster URLs are not supported yet.
    pub fn new(name: &str, url: &str, files: CredentialFiles) -> Result<Self, SettingError> {
        let refused = |allowed: &str| SettingError::new(name, &without_credentials(url), allowed);
        url::check(url).map_err(|allowed| refused(&allowed))?;
        let info = url.into_connection_info().map_err(|_| refused("cannot be read as a URL"))?;
        if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
            return Err(refused("must not switch certificate verification off"));
        }
        if files.cert.is_some() != files.key.is_some() {
            return Err(refused(
                "a client certificate needs both REDIS_CERT_FILE and REDIS_KEY_FILE",
            ));
        }
        Ok(Self { info, files })
    }

    /// Reads `REDIS_URL` (default `redis://localhost:6379`) and the five `REDIS_*_FILE` settings.
    ///
    /// # Errors
    /// Every invalid setting.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, Vec<SettingError>> {
        let mut reader = SettingReader::new(lookup);
        let mut file = |setting: &Setting<PathBuf>| {
            reader.optional(setting).filter(|path| !path.as_os_str().is_empty())
        };
        let files = CredentialFiles {
            username: file(&USERNAME_FILE),
            password: file(&PASSWORD_FILE),
            ca: file(&CA_FILE),
            cert: file(&CERT_FILE),
            key: file(&KEY_FILE),
        };
        let url = reader.value(&URL);
        let config = Self::new(URL.name(), &url, files).map_err(|error| vec![error]);
        let config = reader.check(config);
        reader.finish(config)
    }

    /// Returns `host:port/db`, for logs and errors, never with credentials.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}/{}", self.info.addr(), self.info.redis_settings().db())
    }

    /// Returns `true` if the URL contains a user name or a password.
    #[must_use]
    pub fn has_inline_credentials(&self) -> bool {
        let settings = self.info.redis_settings();
        settings.username().is_some() || settings.password().is_some()
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("endpoint", &self.endpoint())
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// Configuration of an [`EventBus`](crate::EventBus): one stream on one Redis server.
///
/// ```no_run
/// # fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use eventbus::config::{BusConfig, Durability, Retention};
///
/// // From REDIS_URL, REDIS_STREAM_NAME, …
/// let config = BusConfig::from_env()?.with_durability(Durability::Fsynced).with_retention(Retention::default());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BusConfig {
    /// `REDIS_URL` and files: the server.
    pub redis: RedisConfig,
    /// `REDIS_STREAM_NAME`: the stream's key, default `stream:events`.
    pub stream: StreamKey,
    /// Retention of the stream, and the policy when it is full.
    pub retention: Retention,
    /// `REDIS_MISSING_GROUP_HOLD`: time, by the server's clock, for which a declared group that is missing and has no owner
    /// holds trimming back, up to 87600h. Default: 168h (7 days).
    pub missing_group_hold: Duration,
    /// `REDIS_DURABILITY`: confirmation that a publish waits for, default `async`.
    pub durability: Durability,
    /// Outbox that stores events on disk until they are in the stream. Default: none.
    pub outbox: Option<OutboxConfig>,
}

impl BusConfig {
    /// Creates a configuration with the defaults of all other settings.
    #[must_use]
    pub fn new(redis: RedisConfig, stream: StreamKey) -> Self {
        let (retention, durability) = (Retention::default(), Durability::default());
        let missing_group_hold = MISSING_GROUP_HOLD.default();
        Self { redis, stream, retention, missing_group_hold, durability, outbox: None }
    }

    /// Sets the retention.
    #[must_use]
    pub fn with_retention(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    /// Sets the time for which a declared group that is missing and has no owner holds trimming back.
    #[must_use]
    pub fn with_missing_group_hold(self, missing_group_hold: Duration) -> Self {
        Self { missing_group_hold, ..self }
    }

    /// Sets the confirmation that a publish waits for.
    #[must_use]
    pub fn with_durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// Sets the outbox, for [`EventBus::publish_or_spool`](crate::EventBus::publish_or_spool).
    #[must_use]
    pub fn with_outbox(self, outbox: OutboxConfig) -> Self {
        Self { outbox: Some(outbox), ..self }
    }

    /// Reads the `REDIS_*` settings from the environment.
    ///
    /// # Errors
    /// Every invalid setting.
    pub fn from_env() -> Result<Self, SettingErrors> {
        #[expect(clippy::disallowed_methods, reason = "the edge where settings enter the program")]
        let lookup = |name: &str| std::env::var_os(name).map(|v| v.to_string_lossy().into_owned());
        Self::from_lookup(&lookup).map_err(SettingErrors)
    }

    /// Reads the `REDIS_*` settings.
    ///
    /// # Errors
    /// Every invalid setting.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, Vec<SettingError>> {
        let mut reader = SettingReader::new(lookup);
        let redis = reader.check(RedisConfig::from_lookup(lookup));
        let stream = reader.value(&STREAM_NAME);
        let retention = reader.check(Retention::from_lookup(lookup));
        let missing_group_hold = reader.value(&MISSING_GROUP_HOLD);
        let durability = reader.value(&DURABILITY);
        let outbox = OutboxConfig::from_lookup(lookup).map_err(|error| vec![error]);
        let outbox = reader.check(outbox).flatten();
        let config = redis.zip(retention).map(|(redis, retention)| Self {
            redis,
            stream,
            retention,
            missing_group_hold,
            durability,
            outbox,
        });
        reader.finish(config)
    }
}

fn stream_key(text: &str) -> Result<StreamKey, String> {
    StreamKey::new(text).map_err(|_| "must have 1 to 512 bytes".to_owned())
}

/// Returns the URL if it has only hosts and numeric ports, otherwise only its scheme: a malformed URL may have its
/// password anywhere.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "***".to_owned();
    };
    let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let is_host = |host: &str| {
        let (name, port) = host.split_once(':').unwrap_or((host, ""));
        name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)) && is_number(port)
    };
    let hosts = rest.split('/').next().unwrap_or_default();
    let is_plain = hosts.split(',').all(is_host) && !rest.contains(['?', '#', '@']);
    if is_plain { url.to_owned() } else { format!("{scheme}://***") }
}

#[cfg(test)]
mod tests {
    use eventbus_core::retention::TrimMode;

    use super::*;

    fn with<'a>(settings: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| settings.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
    }

    #[test]
    fn without_settings_the_documented_defaults_hold() {
        let config = BusConfig::from_lookup(&with(&[])).unwrap();
        assert_eq!(config.redis.endpoint(), "localhost:6379/0");
        assert_eq!(config.stream.as_str(), "stream:events");
        let retention = Retention::default()
            .with_mode(TrimMode::Acked)
            .with_max_entries(10_000)
            .with_hard_cap(None);
        assert_eq!((config.retention, config.durability), (retention, Durability::Async));
        assert_eq!(config.missing_group_hold, Duration::from_secs(7 * 24 * 3600));
    }

    #[test]
    fn a_setting_that_was_not_utf_8_is_refused() {
        let lossy = String::from_utf8_lossy(b"/tmp/\xff").into_owned();
        for name in ["REDIS_STREAM_NAME", "REDIS_CA_FILE", "REDIS_PASSWORD_FILE", "REDIS_URL"] {
            let errors = BusConfig::from_lookup(&with(&[(name, &lossy)])).unwrap_err();
            let names: Vec<&str> = errors.iter().map(|error| error.name.as_str()).collect();
            assert_eq!(names, [name]);
            assert_eq!(errors[0].allowed, "must be UTF-8");
        }
    }

    #[test]
    fn all_invalid_settings_are_reported_at_once() {
        let settings = [
            ("REDIS_URL", "http://h"),
            ("REDIS_STREAM_NAME", ""),
            ("REDIS_TRIM", "all"),
            ("REDIS_MAX_ENTRIES", "-1"),
            ("REDIS_HARD_MAX_ENTRIES", "x"),
            ("REDIS_OVERFLOW", "block"),
            ("REDIS_MISSING_GROUP_HOLD", "7d"),
            ("REDIS_DURABILITY", "sync"),
            ("REDIS_OUTBOX_MAX_BYTES", "0"),
        ];
        let errors = BusConfig::from_lookup(&with(&settings)).unwrap_err();
        let reported: Vec<_> = errors.iter().map(|e| (e.name.as_str(), e.value.as_str())).collect();
        assert_eq!(reported[1..], settings[1..]);
        assert_eq!(reported[0], ("REDIS_URL", "http://h"));
    }

    #[test]
    fn no_error_and_no_debug_output_shows_a_password() {
        let wrong = ["http://u:hunter2@h", "redis://u:hunter2", "redis://:hunter2", "u:hunter2@h"];
        for url in wrong {
            let error = RedisConfig::from_lookup(&with(&[("REDIS_URL", url)]));
            assert!(!format!("{:?}", error.unwrap_err()).contains("hunter2"), "{url}");
        }
        let config = RedisConfig::from_lookup(&with(&[("REDIS_URL", "redis://u:hunter2@h")]));
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn sentinel_and_cluster_addresses_are_refused_until_they_work() {
        for url in ["redis-sentinel://a,b/m/0", "redis-cluster://a,b"] {
            let error = RedisConfig::from_lookup(&with(&[("REDIS_URL", url)])).unwrap_err();
            assert!(error[0].allowed.contains("not supported yet"), "{url}");
        }
    }

    #[test]
    fn verification_of_certificates_cannot_be_switched_off() {
        assert!(RedisConfig::new("u", "rediss://h/#insecure", CredentialFiles::default()).is_err());
    }
}
