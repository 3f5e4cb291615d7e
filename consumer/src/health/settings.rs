//! Settings of `consumer health`, read by name from a look-up. Every invalid one is reported, all in one error.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use eventbus::config::{
    BusConfig, Lookup, RedisConfig, Setting, SettingDescription, SettingError, SettingReader,
};
use eventbus::{GroupName, StreamKey};
use eventbus_core::settings::socket_address;

const GROUPS: Setting<BTreeSet<GroupName>> = Setting::new(
    "HEALTH_GROUPS",
    "Comma-separated groups to report even if they are missing",
    groups,
)
.with_default("applications,matching,bff");
const LISTEN: Setting<SocketAddr> = Setting::new(
    "LISTEN",
    "Listen address of the health answers, probes and metrics",
    socket_address,
)
.with_default("[::]:8080");

/// Settings of `consumer health`, without those of Redis.
pub const HEALTH: [SettingDescription; 2] = [GROUPS.description(), LISTEN.description()];

/// Settings of the health service.
#[derive(Clone, Debug)]
pub struct HealthSettings {
    /// Address of the Redis server.
    pub redis: RedisConfig,
    /// Stream whose groups are reported.
    pub stream: StreamKey,
    /// Groups that are reported even if they are missing. All other groups of the stream are reported as well.
    pub groups: BTreeSet<GroupName>,
    /// Listen address of health answers, probes and metrics.
    pub listen: SocketAddr,
}

impl HealthSettings {
    /// Reads the settings. An empty value counts as unset.
    ///
    /// # Errors
    /// Every invalid setting.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, Vec<SettingError>> {
        let lookup = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let mut reader = SettingReader::new(&lookup);
        let bus = reader.check(BusConfig::from_lookup(&lookup));
        let (groups, listen) = (reader.value(&GROUPS), reader.value(&LISTEN));
        reader.finish(bus.map(|bus| Self { redis: bus.redis, stream: bus.stream, groups, listen }))
    }
}

fn groups(text: &str) -> Result<BTreeSet<GroupName>, String> {
    let names = text.split(',').map(|name| GroupName::new(name.trim()));
    names.collect::<Result<_, _>>().map_err(|error| format!("{error}; separate groups with commas"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<HealthSettings, Vec<SettingError>> {
        let lookup = |name: &str| {
            settings.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        };
        HealthSettings::from_lookup(&lookup)
    }

    fn names(settings: &HealthSettings) -> Vec<&str> {
        settings.groups.iter().map(GroupName::as_str).collect()
    }

    #[test]
    fn without_settings_the_documented_defaults_hold() {
        for unset in [&[][..], &[("HEALTH_GROUPS", ""), ("LISTEN", "")]] {
            let settings = read(unset).unwrap();
            assert_eq!(names(&settings), ["applications", "bff", "matching"]);
            assert_eq!(settings.listen.to_string(), "[::]:8080");
            assert_eq!(settings.stream.as_str(), "stream:events");
        }
    }

    #[test]
    fn groups_are_separated_by_commas_and_counted_once() {
        let settings = read(&[("HEALTH_GROUPS", "b, a,b")]).unwrap();
        assert_eq!(names(&settings), ["a", "b"]);
    }

    #[test]
    fn all_invalid_settings_are_reported_at_once() {
        let errors = read(&[
            ("REDIS_URL", "http://h"),
            ("REDIS_STREAM_NAME", &"s".repeat(513)),
            ("HEALTH_GROUPS", "a,,b"),
            ("LISTEN", "8080"),
        ])
        .unwrap_err();
        let names: Vec<_> = errors.iter().map(|error| error.name.as_str()).collect();
        assert_eq!(names, ["REDIS_URL", "REDIS_STREAM_NAME", "HEALTH_GROUPS", "LISTEN"]);
    }
}
