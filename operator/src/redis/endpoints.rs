//! The Redis endpoints that the administrator defined, and who may use them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use eventbus::StreamKey;
use eventbus::config::{CredentialFiles, RedisConfig};
use serde::Deserialize;

/// The endpoint of a resource that names none.
pub const DEFAULT: &str = "default";

/// Credential files by the setting that names them, and the key of the Secret that holds them.
const FILES: [(&str, &str); 5] = [
    ("REDIS_USERNAME_FILE", "username"),
    ("REDIS_PASSWORD_FILE", "password"),
    ("REDIS_CA_FILE", "ca.crt"),
    ("REDIS_CERT_FILE", "tls.crt"),
    ("REDIS_KEY_FILE", "tls.key"),
];

/// One Redis, by the name that resources use.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The name in `spec.redis.name`.
    pub name: String,
    /// The URL without credentials, as consumers get it.
    pub url: String,
    /// Configuration of the operator's own connections.
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

/// Every endpoint, by name.
#[derive(Clone, Debug, Default)]
pub struct Endpoints(BTreeMap<String, Endpoint>);

/// Refusal of an endpoint to a resource. The message names the requested endpoint and those that exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// No endpoint has that name.
    #[error("redis.name {name:?} is no endpoint; there are: {known}")]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The names that there are.
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
    /// Reads the endpoints file. `exists` tells whether a credential file is there: only such files are used, by the
    /// operator and, under the Secret's keys of the same names, by the consumers.
    ///
    /// # Errors
    /// A sentence for everything that is wrong; none shows a credential.
    pub fn parse(yaml: &str, exists: &dyn Fn(&Path) -> bool) -> Result<Self, Vec<String>> {
        let file: File = serde_yaml::from_str(yaml)
            .map_err(|error| vec![format!("the endpoints file cannot be read: {error}")])?;
        let (mut endpoints, mut errors) = (BTreeMap::new(), Vec::new());
        for entry in file.endpoints {
            let name = entry.name.clone();
            match endpoint(entry, exists) {
                Err(error) => errors.push(format!("endpoint {name:?}: {error}")),
                Ok(endpoint) => {
                    if endpoints.insert(name.clone(), endpoint).is_some() {
                        errors.push(format!("endpoint {name:?} is defined twice"));
                    }
                }
            }
        }
        if errors.is_empty() { Ok(Self(endpoints)) } else { Err(errors) }
    }

    /// The endpoint `name`, where `namespace` may use it for `stream`.
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
        let allowed = |patterns: &[String], text: &str| patterns.iter().any(|p| matches(p, text));
        if !allowed(&endpoint.namespaces, namespace) {
            let (name, namespace) = (name.to_owned(), namespace.to_owned());
            return Err(NotAllowed::Namespace { name, namespace });
        }
        if !allowed(&endpoint.streams, stream.as_str()) {
            return Err(NotAllowed::Stream { name: name.to_owned(), stream: stream.to_string() });
        }
        Ok(endpoint)
    }

    /// Address and database behind a name, the same for all names of one Redis; the name itself where there is none.
    #[must_use]
    pub fn address(&self, name: &str) -> String {
        self.get(name).map_or_else(|| name.to_owned(), |endpoint| endpoint.redis.endpoint())
    }

    /// The endpoint `name`, whoever asks.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Endpoint> {
        self.0.get(name)
    }

    fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
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
        return Err("its url holds credentials; put them into the Secret".to_owned());
    }
    if entry.name.is_empty() || entry.name.len() > 63 {
        return Err("its name must have 1 to 63 characters".to_owned());
    }
    if entry.secret_name.is_some() && directory.is_none() {
        return Err("secretName needs credentialsDir, whose files tell which keys the Secret has"
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

/// Whether `text` as a whole fits `pattern`, in which `*` stands for any run of characters.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|tail| {
            tail.char_indices().any(|(at, _)| matches(rest, &tail[at..])) || matches(rest, "")
        }),
    }
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
    fn an_unknown_endpoint_is_told_with_those_that_there_are() {
        let message = find("order", "shop", "s").unwrap_err().to_string();
        assert_eq!(message, r#"redis.name "order" is no endpoint; there are: default, orders"#);
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
    fn all_that_is_wrong_is_told_at_once_and_without_credentials() {
        let errors = parse(
            "
endpoints:
- {name: a, url: 'redis://user:hunter2@h'}
- {name: b, url: 'http://h'}
- {name: c, url: 'redis://h', secretName: s}
- {name: d, url: 'redis://h'}
- {name: d, url: 'redis://h'}
",
        )
        .unwrap_err();
        assert_eq!(errors.len(), 4, "{errors:?}");
        assert!(!errors.join(" ").contains("hunter2"));
    }

    #[test]
    fn an_unknown_key_in_the_file_is_an_error() {
        let errors = parse("endpoints: [{name: a, url: 'redis://h', tls: true}]").unwrap_err();
        assert!(errors[0].contains("tls"), "{errors:?}");
    }

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("a*", "a", true),
            ("a*c", "abc", true),
            ("a*c", "abcd", false),
            ("*b*", "abc", true),
            ("a", "ab", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }
}
