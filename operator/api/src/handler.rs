//! Handlers of events.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Handler of each event; exactly one of http and log must be set.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.http) != has(self.log)").message("set exactly one of http, log"))]
pub struct Handler {
    /// Sends each event to a URL or a Service by HTTP POST.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// Writes one log line for each event, for trying out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<Log>,
}

/// Handler that is called by HTTP; exactly one of url and service must be set.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.url) != has(self.service)").message("set exactly one of url, service"))]
#[serde(rename_all = "camelCase")]
pub struct Http {
    /// URL of the handler: http or https, at most 2048 characters, without user name and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https?://.+"))]
    pub url: Option<String>,
    /// Service of the resource's namespace that handles the events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceRef>,
    /// Format of the request: CloudEventBinary, CloudEventStructured or Json. Default: CloudEventBinary.
    #[serde(default)]
    pub format: Format,
}

/// Port and path of a Service.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceRef {
    /// Name of the Service; 1 to 63 characters.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Port of the Service; 1 to 65535. Default: 80.
    #[serde(default = "port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u32,
    /// Path of the request; at most 1024 characters. Default: /.
    #[serde(default = "root_path")]
    #[schemars(length(max = 1024))]
    pub path: String,
}

/// Format of a request to a handler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Format {
    /// CloudEvent in binary mode: the body is the payload, and `ce-` headers have the attributes.
    #[default]
    CloudEventBinary,
    /// CloudEvent in structured mode: the body is one JSON object with the attributes and the payload.
    CloudEventStructured,
    /// JSON object with the fields of the stream's event.
    Json,
}

/// Handler that writes one log line for each event.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Log {}

fn port() -> u32 {
    80
}

fn root_path() -> String {
    "/".to_owned()
}
