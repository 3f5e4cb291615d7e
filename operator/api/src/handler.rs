//! The ways to handle an event.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is done with each event: exactly one field is set.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.http) != has(self.log)").message("set exactly one of http, log"))]
pub struct Handler {
    /// POST each event to a URL or a Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// Write one log line for each event, for a first look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<Log>,
}

/// A handler that is called by HTTP.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.url) != has(self.service)").message("set exactly one of url, service"))]
#[serde(rename_all = "camelCase")]
pub struct Http {
    /// An http or https URL, without user name and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https?://.+"))]
    pub url: Option<String>,
    /// A Service of this namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceRef>,
    /// The form of the request. Default: CloudEventBinary.
    #[serde(default)]
    pub format: Format,
}

/// A port and path of a Service.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceRef {
    /// The Service's name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The Service's port, 1 to 65535. Default: 80.
    #[serde(default = "port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u32,
    /// The path of the request. Default: /.
    #[serde(default = "root_path")]
    #[schemars(length(max = 1024))]
    pub path: String,
}

/// The form of a request to a handler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Format {
    /// The body is the payload, the rest in `ce-` headers.
    #[default]
    CloudEventBinary,
    /// The body is a CloudEvent as JSON.
    CloudEventStructured,
    /// The body is the stream's event as one JSON object.
    Json,
}

/// A handler that writes log lines.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Log {}

fn port() -> u32 {
    80
}

fn root_path() -> String {
    "/".to_owned()
}
