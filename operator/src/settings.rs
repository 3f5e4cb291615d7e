//! Settings of `operator run`; all invalid ones are reported together.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use eventbus::config::{Lookup, SettingError};
use eventbus_program::Setting;

/// Settings with their help texts, in the order of `--help`.
pub const SETTINGS: [Setting; 6] = [
    ("ENDPOINTS_FILE", "YAML file with the Redis endpoints (required)"),
    ("CONSUMER_IMAGE", "Image of the consumer pods (required)"),
    (
        "WATCH_NAMESPACES",
        "Namespaces whose resources are reconciled, separated by commas [default: all]",
    ),
    (
        "LEASE_NAME",
        "Lease of the leader election, in the operator's namespace [default: eventbus-operator]",
    ),
    ("LISTEN", "Address of /livez, /readyz and /metrics [default: 0.0.0.0:9090]"),
    (
        "STATUS_WRITES_PER_SECOND",
        "Maximum number of status writes per second, 1 to 1000 [default: 50]",
    ),
];

/// Settings of the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `ENDPOINTS_FILE`.
    pub endpoints_file: PathBuf,
    /// `CONSUMER_IMAGE`.
    pub consumer_image: String,
    /// `WATCH_NAMESPACES`; empty: all.
    pub watch_namespaces: Vec<String>,
    /// `LEASE_NAME`, a Lease in the operator's own namespace. Default `eventbus-operator`.
    pub lease_name: String,
    /// `LISTEN`. Default `0.0.0.0:9090`.
    pub listen: SocketAddr,
    /// `STATUS_WRITES_PER_SECOND`. Default 50.
    pub status_writes_per_second: u32,
    /// Times of the leader election; not a setting.
    pub lease: LeaseTimes,
}

/// Times of the leader election: `retry` < `renew_deadline` < `duration`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// Time without a renewal after which other replicas may acquire the Lease. Default 15 s.
    pub duration: Duration,
    /// Time without a renewal after which the leader stops writing. Default 10 s.
    pub renew_deadline: Duration,
    /// Time between two attempts to acquire or renew the Lease. Default 2 s.
    pub retry: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

impl Settings {
    /// Reads the settings.
    ///
    /// # Errors
    /// All invalid settings.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, Vec<SettingError>> {
        let mut errors = Vec::new();
        let value = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let mut required = |name: &str, example: &str| {
            value(name).unwrap_or_else(|| {
                errors.push(SettingError::new(name, "", format!("must be set, such as {example}")));
                String::new()
            })
        };
        let endpoints_file = required("ENDPOINTS_FILE", "/etc/eventbus/endpoints.yaml").into();
        let consumer_image = required("CONSUMER_IMAGE", "registry.example/consumer:1.0");
        let watch_namespaces = list(value("WATCH_NAMESPACES"));
        for namespace in watch_namespaces.iter().filter(|name| !is_label(name)) {
            let allowed =
                format!("{namespace:?} is not a namespace: use lower-case letters, digits and '-'");
            let whole = watch_namespaces.join(",");
            errors.push(SettingError::new("WATCH_NAMESPACES", &whole, allowed));
        }
        let lease_name = value("LEASE_NAME").unwrap_or_else(|| "eventbus-operator".to_owned());
        if lease_name.len() > 253 || !lease_name.split('.').all(is_label) {
            let allowed = "must be the name of a Lease: lower-case letters, digits, '-' and '.'";
            errors.push(SettingError::new("LEASE_NAME", &lease_name, allowed));
        }
        let listen = value("LISTEN").unwrap_or_else(|| "0.0.0.0:9090".to_owned());
        let address = listen.parse().map_err(|_| {
            SettingError::new(
                "LISTEN",
                &listen,
                "must be an address and a port, such as 0.0.0.0:9090",
            )
        });
        let rate = value("STATUS_WRITES_PER_SECOND").unwrap_or_else(|| "50".to_owned());
        let writes = rate.parse().ok().filter(|rate| (1..=1_000).contains(rate)).ok_or_else(|| {
            let allowed = "must be a whole number from 1 to 1000";
            SettingError::new("STATUS_WRITES_PER_SECOND", &rate, allowed)
        });
        match (address, writes, errors.is_empty()) {
            (Ok(listen), Ok(status_writes_per_second), true) => Ok(Self {
                endpoints_file,
                consumer_image,
                watch_namespaces,
                lease_name,
                listen,
                status_writes_per_second,
                lease: LeaseTimes::default(),
            }),
            (address, writes, _) => {
                errors.extend(address.err());
                errors.extend(writes.err());
                Err(errors)
            }
        }
    }
}

fn list(text: Option<String>) -> Vec<String> {
    let text = text.unwrap_or_default();
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(ToOwned::to_owned).collect()
}

fn is_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len())
        && name.chars().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<Settings, Vec<SettingError>> {
        let find =
            |name: &str| settings.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Settings::from_lookup(&find)
    }

    const REQUIRED: [(&str, &str); 2] = [("ENDPOINTS_FILE", "/e.yaml"), ("CONSUMER_IMAGE", "i")];

    #[test]
    fn the_required_settings_are_enough() {
        let settings = read(&REQUIRED).unwrap();
        assert_eq!(settings.watch_namespaces, Vec::<String>::new());
        assert_eq!(settings.lease_name, "eventbus-operator");
        assert_eq!(settings.listen.to_string(), "0.0.0.0:9090");
        assert_eq!(settings.status_writes_per_second, 50);
    }

    #[test]
    fn namespaces_are_a_list() {
        let with = |value| read(&[REQUIRED[0], REQUIRED[1], ("WATCH_NAMESPACES", value)]);
        assert_eq!(with("a, b-1,").unwrap().watch_namespaces, ["a", "b-1"]);
        assert!(with("a,B").unwrap_err()[0].allowed.contains("\"B\""));
    }

    #[test]
    fn all_invalid_settings_are_reported_together() {
        let errors =
            read(&[("LEASE_NAME", "Lease"), ("LISTEN", "9090"), ("STATUS_WRITES_PER_SECOND", "0")])
                .unwrap_err();
        let names: Vec<_> = errors.iter().map(|error| &*error.name).collect();
        assert_eq!(
            names,
            [
                "ENDPOINTS_FILE",
                "CONSUMER_IMAGE",
                "LEASE_NAME",
                "LISTEN",
                "STATUS_WRITES_PER_SECOND"
            ]
        );
    }
}
