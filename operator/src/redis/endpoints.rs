//! Redis endpoints that the administrator defined, with the namespaces and streams that may use them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use eventbus::StreamKey;
use eventbus::config::{CredentialFiles, RedisConfig};
use eventbus_core::pattern;
use serde::Deserialize;

use crate::yaml;

/// Name of the endpoint of a resource that names none.
pub const DEFAULT: &str = "default";

/// Credential files by the setting that names them, and the key of the Secret that holds them.
const FILES: [(&str, &str); 5] = [
    ("REDIS_USERNAME_FILE", "username"),
    ("REDIS_PASSWORD_FILE", "password"),
    ("REDIS_CA_FILE", "ca.crt"),
    ("REDIS_CERT_FILE", "tls.crt"),
    ("REDIS_KEY_FILE", "tls.key"),
];

/// Redis server by the name that resources use.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The name in `spec.redis.name`.
    pub name: String,
    /// The URL without credentials, as consumers get it.
    pub url: String,
    /// Connection settings of the operator itself.
    pub redis: RedisConfig,
    /// The Secret that consumer pods mount in their own namespace.
    pub secret: Option<PodSecret>,
    namespaces: Vec<String>,
    streams: Vec<String>,
}

/// A Secret with credentials, as a consumer pod sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSecret {
    /// The Secret's name, in the pod's namespace.
    pub name: String,
    /// The settings that name a file of it, with the Secret's key.
    pub files: Vec<(&'static str, &'static str)>,
}

/// Endpoints by name.
#[derive(Clone, Debug, Default)]
pub struct Endpoints(BTreeMap<String, Endpoint>);

/// Error of a resource that may not use an endpoint. The message names the requested one and the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// No endpoint has that name.
    #[error("redis.name {name:?} is not an endpoint; use one of: {known}")]
    Unknown {
        /// Requested name.
        name: String,
        /// Names of the existing endpoints.
        known: String,
    },
    /// The endpoint is not for this namespace.
    #[error(
        "endpoint {name:?} may not be used from namespace {namespace:?}; ask the administrator to list it"
    )]
    Namespace {
        /// The endpoint.
        name: String,
        /// The resource's namespace.
        namespace: String,
    },
    /// The endpoint is not for this stream.
    #[error(
        "endpoint {name:?} may not be used for stream {stream:?}; ask the administrator to list it"
    )]
    Stream {
        /// The endpoint.
        name: String,
        /// The resource's stream.
        stream: String,
    },
}

/// Keys of an [`Entry`], as the file has them.
const KEYS: [&str; 6] = ["name", "url", "credentialsDir", "secretName", "namespaces", "streams"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    endpoints: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Entry {
    name: String,
    url: String,
    credentials_dir: Option<PathBuf>,
    secret_name: Option<String>,
    #[serde(default = "everything")]
    namespaces: Vec<String>,
    #[serde(default = "everything")]
    streams: Vec<String>,
}

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

impl Endpoints {
    /// Reads the endpoints file. `exists` returns true if a credential file exists: only such files are used, by the
    /// operator and, under the Secret's keys of the same names, by the consumers.
    ///
    /// # Errors
    /// One message for each invalid value, without credentials.
    pub fn parse(yaml: &str, exists: &dyn Fn(&Path) -> bool) -> Result<Self, Vec<String>> {
        let file: File = serde_yaml::from_str(yaml).map_err(|error| vec![malformed(&error)])?;
        let (mut endpoints, mut errors) = (BTreeMap::new(), Vec::new());
        for (number, entry) in (1..).zip(file.endpoints) {
            let name = entry.name.clone();
            match endpoint(entry, exists) {
                Err(error) => errors.push(format!("endpoint {}: {error}", shown(&name, number))),
                Ok(endpoint) => {
                    if endpoints.insert(name.clone(), endpoint).is_some() {
                        errors.push(format!("endpoint {} is defined twice", shown(&name, number)));
                    }
                }
            }
        }
        if errors.is_empty() { Ok(Self(endpoints)) } else { Err(errors) }
    }

    /// Returns the endpoint `name` if `namespace` may use it for `stream`.
    ///
    /// # Errors
    /// [`NotAllowed`].
    pub fn find(
        &self,
        name: &str,
        namespace: &str,
        stream: &StreamKey,
    ) -> Result<&Endpoint, NotAllowed> {
        let endpoint = self.0.get(name).ok_or_else(|| NotAllowed::Unknown {
            name: name.to_owned(),
            known: if self.0.is_empty() { "none".to_owned() } else { self.names().join(", ") },
        })?;
        let allowed =
            |patterns: &[String], text: &str| patterns.iter().any(|p| pattern::matches(p, text));
        if !allowed(&endpoint.namespaces, namespace) {
            let (name, namespace) = (name.to_owned(), namespace.to_owned());
            return Err(NotAllowed::Namespace { name, namespace });
        }
        if !allowed(&endpoint.streams, stream.as_str()) {
            return Err(NotAllowed::Stream { name: name.to_owned(), stream: stream.to_string() });
        }
        Ok(endpoint)
    }

    /// Returns the address and database of an endpoint, which are the same for all names of one server; the name itself if
    /// no such endpoint exists.
    #[must_use]
    pub fn address(&self, name: &str) -> String {
        self.get(name).map_or_else(|| name.to_owned(), |endpoint| endpoint.redis.endpoint())
    }

    /// Returns the endpoint `name` without a check of permissions.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Endpoint> {
        self.0.get(name)
    }

    fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

/// Returns the name of an endpoint, or its number if the name is none and so may be another text of the file.
fn shown(name: &str, number: usize) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if !name.is_empty() && name.len() <= 63 && name.chars().all(is_plain) {
        return format!("{name:?}");
    }
    format!("number {number}")
}

/// Describes an error of the file's form by its place: the library's own text quotes what it found there, which may be a
/// URL with a password.
fn malformed(error: &serde_yaml::Error) -> String {
    format!(
        "the endpoints file is malformed: {} is not what is expected there; the file has one key, \
         \"endpoints\": a list whose items have the keys {}, of which name and url are required",
        yaml::place(error),
        KEYS.join(", ")
    )
}

fn endpoint(entry: Entry, exists: &dyn Fn(&Path) -> bool) -> Result<Endpoint, String> {
    let directory = entry.credentials_dir.as_deref();
    let found = |key: &str| directory.map(|dir| dir.join(key)).filter(|path| exists(path));
    let files = CredentialFiles {
        username: found("username"),
        password: found("password"),
        ca: found("ca.crt"),
        cert: found("tls.crt"),
        key: found("tls.key"),
    };
    let redis = RedisConfig::new("url", &entry.url, files).map_err(|error| error.to_string())?;
    if redis.has_inline_credentials() {
        return Err("url must not contain credentials; put them into the Secret".to_owned());
    }
    if entry.name.is_empty() || entry.name.len() > 63 {
        return Err("name must have 1 to 63 characters".to_owned());
    }
    if entry.secret_name.is_some() && directory.is_none() {
        return Err("secretName requires credentialsDir, whose files name the keys of the Secret"
            .to_owned());
    }
    let files = FILES.into_iter().filter(|(_, key)| found(key).is_some()).collect();
    Ok(Endpoint {
        secret: entry.secret_name.map(|name| PodSecret { name, files }),
        name: entry.name,
        url: entry.url,
        redis,
        namespaces: entry.namespaces,
        streams: entry.streams,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
endpoints:
- name: default
  url: redis://redis.example:6379
- name: orders
  url: rediss://orders.example:6380/2
  credentialsDir: /etc/redis/orders
  secretName: orders-redis
  namespaces: [shop, shop-*]
  streams: ['orders:*']
";

    fn parse(yaml: &str) -> Result<Endpoints, Vec<String>> {
        Endpoints::parse(yaml, &|path| path.ends_with("password") || path.ends_with("ca.crt"))
    }

    fn find(name: &str, namespace: &str, stream: &str) -> Result<String, NotAllowed> {
        let endpoints = parse(FILE).unwrap();
        let stream = StreamKey::new(stream).unwrap();
        endpoints.find(name, namespace, &stream).map(|endpoint| endpoint.redis.endpoint())
    }

    #[test]
    fn an_endpoint_without_lists_is_for_everybody() {
        assert_eq!(find("default", "any", "any"), Ok("redis.example:6379/0".to_owned()));
    }

    #[test]
    fn an_endpoint_is_used_only_by_listed_namespaces_and_streams() {
        assert!(find("orders", "shop-eu", "orders:new").is_ok());
        let refused = find("orders", "ship", "orders:new").unwrap_err();
        assert!(matches!(refused, NotAllowed::Namespace { .. }), "{refused}");
        let refused = find("orders", "shop", "order").unwrap_err();
        assert!(matches!(refused, NotAllowed::Stream { .. }), "{refused}");
    }

    #[test]
    fn an_unknown_endpoint_is_reported_with_those_that_exist() {
        let message = find("order", "shop", "s").unwrap_err().to_string();
        assert_eq!(
            message,
            r#"redis.name "order" is not an endpoint; use one of: default, orders"#
        );
    }

    #[test]
    fn only_credential_files_that_exist_are_given_to_consumers() {
        let endpoints = parse(FILE).unwrap();
        let secret = endpoints.get("orders").unwrap().secret.clone().unwrap();
        assert_eq!(secret.name, "orders-redis");
        let files = [("REDIS_PASSWORD_FILE", "password"), ("REDIS_CA_FILE", "ca.crt")];
        assert_eq!(secret.files, files);
    }

    #[test]
    fn all_invalid_values_are_reported_together_and_without_credentials() {
        let errors = parse(
            "
endpoints:
- {name: a, url: 'redis://user:hunter2@h'}
- {name: b, url: 'http://h'}
- {name: c, url: 'redis://h', secretName: s}
- {name: d, url: 'redis://h'}
- {name: d, url: 'redis://h'}
- {name: 'redis://user:hunter2@h', url: 'http://h'}
",
        )
        .unwrap_err();
        assert_eq!(errors.len(), 5, "{errors:?}");
        assert!(errors[4].starts_with("endpoint number 6: "), "{errors:?}");
        assert!(!errors.join(" ").contains("hunter2"));
    }

    #[test]
    fn a_malformed_file_is_an_error_with_the_place_and_the_keys_and_nothing_of_its_text() {
        let malformed = [
            "endpoints:\n- name: a\n  url: redis://h\n  tls: true\n",
            "endpoints:\n- name: a\n  redis://u:hunter2@h: x\n",
            "endpoints:\n- redis://u:hunter2@h\n",
            "endpoints:\n- name: a\n  url: [redis://u:hunter2@h]\n",
            "endpoints:\n- name: a\n  url: 'redis://u:hunter2@h\n",
            "endpoints: redis://u:hunter2@h\n",
            "redis://u:hunter2@h\n",
            "hunter2: [{name: a, url: redis://h}]\n",
            "endpoints:\n- name: a\n\turl: redis://u:hunter2@h\n",
            "- *hunter2\n",
            "",
        ];
        for yaml in malformed {
            let errors = parse(yaml).unwrap_err().join(" ");
            assert!(!errors.contains("hunter2"), "{yaml:?}: {errors}");
            assert!(errors.contains(&KEYS.join(", ")), "{yaml:?}: {errors}");
        }
        let errors = parse(malformed[0]).unwrap_err().join(" ");
        assert!(errors.contains("line 4, column 3"), "{errors}");
    }

    #[test]
    fn the_keys_in_the_message_are_those_that_the_file_may_have() {
        let entry = KEYS.map(|key| match key {
            "namespaces" | "streams" => format!("{key}: ['*']"),
            "url" => format!("{key}: redis://h"),
            _ => format!("{key}: x"),
        });
        let yaml = format!("endpoints: [{{{}}}]", entry.join(", "));
        assert!(parse(&yaml).is_ok(), "{yaml}");
    }
}
