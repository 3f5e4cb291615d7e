//! Settings of `operator run`; all invalid ones are reported together.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use eventbus::config::{Lookup, Setting, SettingDescription, SettingError, SettingReader};
use eventbus_core::settings::{number, path, socket_address, text};

const ENDPOINTS_FILE: Setting<PathBuf> =
    Setting::new("ENDPOINTS_FILE", "YAML file with the Redis endpoints; required", path);
const CONSUMER_IMAGE: Setting<String> =
    Setting::new("CONSUMER_IMAGE", "Image of the consumer pods; required", text);
const WATCH_NAMESPACES: Setting<Vec<String>> = Setting::new(
    "WATCH_NAMESPACES",
    "Namespaces whose resources are reconciled, separated by commas",
    namespaces,
)
.with_computed_default("all");
const LEASE_NAME: Setting<String> = Setting::new(
    "LEASE_NAME",
    "Lease of the leader election, in the operator's namespace",
    object_name,
)
.with_default("eventbus-operator");
const LISTEN: Setting<SocketAddr> =
    Setting::new("LISTEN", "Address of /livez, /readyz and /metrics", socket_address)
        .with_default("[::]:9090");
const STATUS_WRITES_PER_SECOND: Setting<u32> = Setting::new(
    "STATUS_WRITES_PER_SECOND",
    "Maximum number of status writes per second, 1 to 1000",
    number::<u32, 1, 1_000>,
)
.with_default("50");

/// Time limit of one watch request. Nothing else tells a watch whose connection is frozen from one without events.
pub(crate) const WATCH: Duration = Duration::from_secs(20);

/// Settings, in the order of `--help`.
pub const SETTINGS: [SettingDescription; 6] = [
    ENDPOINTS_FILE.description(),
    CONSUMER_IMAGE.description(),
    WATCH_NAMESPACES.description(),
    LEASE_NAME.description(),
    LISTEN.description(),
    STATUS_WRITES_PER_SECOND.description(),
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
    /// `LISTEN`. Default `[::]:9090`.
    pub listen: SocketAddr,
    /// `STATUS_WRITES_PER_SECOND`. Default 50.
    pub status_writes_per_second: u32,
    /// Address of the API server as pods see it, which Kubernetes tells every pod; `None` outside of Kubernetes.
    pub api_server: Option<IpAddr>,
    /// Times of the leader election; not a setting.
    pub lease: LeaseTimes,
    /// Time limit of one watch request, after which it is repeated; not a setting. Default 20 s.
    pub watch: Duration,
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
        let lookup = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let mut reader = SettingReader::new(&lookup);
        let endpoints_file = reader.required(&ENDPOINTS_FILE);
        let consumer_image = reader.required(&CONSUMER_IMAGE);
        let watch_namespaces = reader.optional(&WATCH_NAMESPACES).unwrap_or_default();
        let lease_name = reader.value(&LEASE_NAME);
        let listen = reader.value(&LISTEN);
        let status_writes_per_second = reader.value(&STATUS_WRITES_PER_SECOND);
        let api_server = reader.text("KUBERNETES_SERVICE_HOST").and_then(|ip| ip.parse().ok());
        let required = endpoints_file.zip(consumer_image);
        reader.finish(required.map(|(endpoints_file, consumer_image)| Self {
            endpoints_file,
            consumer_image,
            watch_namespaces,
            lease_name,
            listen,
            status_writes_per_second,
            api_server,
            lease: LeaseTimes::default(),
            watch: WATCH,
        }))
    }
}

fn namespaces(text: &str) -> Result<Vec<String>, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(ToOwned::to_owned).collect();
    match names.iter().find(|name| !is_label(name)) {
        Some(name) => Err(format!("{name:?} is not the name of a namespace")),
        None => Ok(names),
    }
}

fn object_name(text: &str) -> Result<String, String> {
    let is_name = text.len() <= 253 && text.split('.').all(is_label);
    let allowed = "must be an object's name: lower-case letters, digits, '-' and '.'";
    if is_name { Ok(text.to_owned()) } else { Err(allowed.to_owned()) }
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
        assert_eq!(settings.listen.to_string(), "[::]:9090");
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
