//! Settings of `consumer health`, read by name from a look-up. Every invalid one is reported, all in one error.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use eventbus::config::{BusConfig, Lookup, RedisConfig, SettingError};
use eventbus::{GroupName, StreamKey};
use eventbus_program::Setting;

/// Settings of `consumer health`, without those of Redis.
pub const HEALTH: [Setting; 2] = [
    (
        GROUPS,
        "Comma-separated groups to report even if they are missing [default: applications,matching,bff]",
    ),
    (LISTEN, "Listen address of the health answers, probes and metrics [default: 0.0.0.0:8080]"),
];

const GROUPS: &str = "HEALTH_GROUPS";
const LISTEN: &str = "LISTEN";
const DEFAULT_GROUPS: &str = "applications,matching,bff";

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
        let bus = BusConfig::from_lookup(&lookup);
        let groups = groups(&lookup(GROUPS).unwrap_or_else(|| DEFAULT_GROUPS.to_owned()));
        let listen = lookup(LISTEN).map_or_else(
            || Ok(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080))),
            |text| listen(&text),
        );
        match (bus, groups, listen) {
            (Ok(bus), Ok(groups), Ok(listen)) => {
                Ok(Self { redis: bus.redis, stream: bus.stream, groups, listen })
            }
            (bus, groups, listen) => {
                let mut errors = bus.err().unwrap_or_default();
                errors.extend(groups.err());
                errors.extend(listen.err());
                Err(errors)
            }
        }
    }
}

fn groups(text: &str) -> Result<BTreeSet<GroupName>, SettingError> {
    text.split(',').map(|name| GroupName::new(name.trim())).collect::<Result<_, _>>().map_err(
        |error| SettingError::new(GROUPS, text, format!("{error}; separate groups with commas")),
    )
}

fn listen(text: &str) -> Result<SocketAddr, SettingError> {
    let allowed = "must be an address and a port such as 0.0.0.0:8080";
    text.parse().map_err(|_| SettingError::new(LISTEN, text, allowed))
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
            assert_eq!(settings.listen.to_string(), "0.0.0.0:8080");
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
