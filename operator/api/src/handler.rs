//! The ways to handle an event.

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{DurationText, Resources};

/// What is done with each event: exactly one field is set.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new(
    "[has(self.http), has(self.sidecar), has(self.exec), has(self.log), has(self.custom), has(self.external)].filter(x, x).size() == 1"
).message("set exactly one of http, sidecar, exec, log, custom, external"))]
pub struct Handler {
    /// POST each event to a URL or a Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// POST each event to a container of your own in the consumer pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<Sidecar>,
    /// Start a program of the consumer's image for each event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<Exec>,
    /// Write one log line for each event, for a first look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<Log>,
    /// Run your own image, built on the library.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom: Option<Custom>,
    /// You run the consumers; the operator manages group, lag, loss and conflicts, and where asked the replicas of scaleTargetRef.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
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
    /// Headers that are added to each request, at most 32. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub headers: Vec<Header>,
    /// The authorities that may have signed the handler's certificate, PEM. Default: the image's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKey>,
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

/// A header with a fixed value, or one from a Secret.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.value) != has(self.secretRef)").message("set exactly one of value, secretRef"))]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The header's name.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// The header's value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub value: Option<String>,
    /// Where the header's value stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKey>,
}

/// One key of a Secret of this namespace.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SecretKey {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A container of the user's in the consumer pod.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sidecar {
    /// The container's image.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// The port on which it answers at 127.0.0.1, 1024 to 65535.
    #[schemars(range(min = 1024, max = 65535))]
    pub port: u32,
    /// The path of the request. Default: /events.
    #[serde(default = "events_path")]
    #[schemars(length(max = 1024))]
    pub path: String,
    /// A path that answers 2xx once the container can take events. Default: none, an open port is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub ready_path: Option<String>,
    /// The form of the request. Default: CloudEventBinary.
    #[serde(default)]
    pub format: Format,
    /// The program that is started, at most 64 words. Default: the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub command: Vec<String>,
    /// The program's arguments, at most 64. Default: the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub args: Vec<String>,
    /// Environment variables, at most 128. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub env: Vec<EnvVar>,
    /// ConfigMaps and Secrets whose keys become environment variables, at most 32. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub env_from: Vec<EnvFromSource>,
    /// CPU and memory. Default: none asked, none limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// A program of the consumer's image.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exec {
    /// The program and its arguments, 1 to 64 words; no shell is involved.
    #[schemars(length(min = 1, max = 64), inner(length(max = 4096)))]
    pub command: Vec<String>,
    /// The time between SIGTERM and SIGKILL when the program takes too long. Default: 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kill_grace_period: Option<DurationText>,
}

/// A handler that writes log lines.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Log {
    /// Whether the payload is written too; it may hold personal data. Default: false.
    #[serde(default)]
    pub payload: bool,
}

/// An image of the user's, built on the library.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Custom {
    /// The image.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// The program that is started, at most 64 words. Default: the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub command: Vec<String>,
    /// The program's arguments, at most 64. Default: the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub args: Vec<String>,
}

/// Consumers that the user runs.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct External {
    /// The workload whose replicas the operator may set. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_target_ref: Option<ScaleTarget>,
}

/// A Deployment or StatefulSet of this namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaleTarget {
    /// The workload's API version. Default: apps/v1.
    #[serde(default = "apps_v1")]
    #[schemars(length(max = 63))]
    pub api_version: String,
    /// The workload's kind. Default: Deployment.
    #[serde(default = "deployment")]
    #[schemars(length(max = 63))]
    pub kind: String,
    /// The workload's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

fn port() -> u32 {
    80
}

fn root_path() -> String {
    "/".to_owned()
}

fn events_path() -> String {
    "/events".to_owned()
}

fn apps_v1() -> String {
    "apps/v1".to_owned()
}

fn deployment() -> String {
    "Deployment".to_owned()
}
