//! A real API server: a namespace of a test's own, resources in it, and an operator that looks after them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use eventbus_api::{EventConsumerGroup, EventConsumerGroupStatus};
use eventbus_operator::redis::endpoints::Endpoints;
use eventbus_operator::runtime::Operator;
use eventbus_operator::settings::{LeaseTimes, Settings};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace as KubeNamespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Config, ResourceExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::redis::RedisServer;
use crate::rules;
use crate::wait;

/// A deadline far beyond what anything takes, on a busy machine too.
pub const SOON: Duration = Duration::from_secs(60);
/// The image of consumers; nothing runs it where there are no nodes.
pub const IMAGE: &str = "consumer:test";

/// The resource's definition is installed once in a process.
static INSTALLED: OnceCell<()> = OnceCell::const_new();

/// A namespace of a test's own; it is deleted when this is dropped.
pub struct Namespace {
    /// Its name.
    pub name: String,
    config: Config,
    client: Client,
}

impl Namespace {
    /// A new namespace on the API server of `KUBECONFIG`, which knows the resource.
    pub async fn create() -> Self {
        let config = Config::infer().await.expect("KUBECONFIG names an API server");
        let client = Client::try_from(config.clone()).expect("KUBECONFIG can be used");
        INSTALLED.get_or_init(async || install(&client).await).await;
        let namespaces = Api::<KubeNamespace>::all(client.clone());
        let desired = json!({"metadata": {"generateName": "test-"}});
        let desired = serde_json::from_value(desired).expect("a namespace");
        let created = namespaces.create(&PostParams::default(), &desired).await;
        Self { name: created.expect("namespaces can be created").name_any(), config, client }
    }

    /// The API of a kind in this namespace.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// A client of the API server.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The API server, with this namespace as the default one.
    #[must_use]
    pub fn config(&self) -> Config {
        let mut config = self.config.clone();
        config.default_namespace.clone_from(&self.name);
        config
    }

    /// Creates or changes a resource: the smallest one with these fields besides.
    pub async fn apply(&self, name: &str, fields: Value) -> EventConsumerGroup {
        self.try_apply(name, &rules::spec(fields)).await.expect("the resource is accepted")
    }

    /// Creates or changes a resource.
    ///
    /// # Errors
    /// The API server's refusal.
    pub async fn try_apply(&self, name: &str, spec: &Value) -> kube::Result<EventConsumerGroup> {
        let resource = json!({
            "apiVersion": "eventbus.seraaj.dev/v1alpha1",
            "kind": "EventConsumerGroup",
            "metadata": {"name": name},
            "spec": spec,
        });
        let params = PatchParams::apply("test").force();
        self.api().patch(name, &params, &Patch::Apply(resource)).await
    }

    /// Runs kubectl in this namespace, with `input` as its standard input.
    #[must_use]
    pub fn kubectl(&self, args: &[&str], input: &str) -> Output {
        use std::io::Write;
        let mut child = Command::new("timeout")
            .args(["60", "kubectl", "--namespace", &self.name])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl is installed");
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        stdin.write_all(input.as_bytes()).expect("kubectl reads");
        drop(stdin);
        child.wait_with_output().expect("kubectl ends")
    }

    /// The resource, once it is as `is` says.
    pub async fn until(
        &self,
        name: &str,
        what: &str,
        limit: Duration,
        is: impl Fn(&EventConsumerGroupStatus) -> bool,
    ) -> EventConsumerGroup {
        let api = self.api::<EventConsumerGroup>();
        wait::until(what, limit, async || {
            let resource = api.get(name).await.expect("the resource is there");
            resource.status.as_ref().is_some_and(&is).then_some(resource)
        })
        .await
    }

    /// The resource, once its STATE is `state`.
    pub async fn until_state(&self, name: &str, state: &str) -> EventConsumerGroup {
        let what = format!("{name} is {state}");
        self.until(name, &what, SOON, |status| state_of(status) == state).await
    }

    /// The resource's Deployment, once it is as `is` says.
    pub async fn until_deployment(
        &self,
        name: &str,
        what: &str,
        is: impl Fn(&Deployment) -> bool,
    ) -> Deployment {
        let api = self.api::<Deployment>();
        let name = format!("ecg-{name}");
        wait::until(what, SOON, async || {
            api.get_opt(&name).await.expect("Deployments can be read").filter(|found| is(found))
        })
        .await
    }

    /// Says of the resource's Deployment what its controller would: `ready` pods run.
    pub async fn run_pods(&self, name: &str, ready: i32) {
        let deployment = self.until_deployment(name, "there is a Deployment", |_| true).await;
        let status = json!({"status": {
            "observedGeneration": deployment.metadata.generation,
            "replicas": ready, "readyReplicas": ready, "availableReplicas": ready, "updatedReplicas": ready,
        }});
        let params = PatchParams::default();
        let api = self.api::<Deployment>();
        let patched =
            api.patch_status(&format!("ecg-{name}"), &params, &Patch::Merge(status)).await;
        patched.expect("the Deployment's status can be written");
    }

    /// The notes of all events about the resource, with their types and reasons.
    pub async fn events(&self, name: &str) -> Vec<(String, String, String)> {
        use k8s_openapi::api::events::v1::Event;
        let events = self.api::<Event>().list(&kube::api::ListParams::default()).await;
        let events = events.expect("events can be listed");
        let about = |event: &Event| {
            event.regarding.as_ref().and_then(|regarding| regarding.name.as_deref()) == Some(name)
        };
        let text = |text: Option<String>| text.unwrap_or_default();
        let found = events.items.into_iter().filter(about);
        found.map(|event| (text(event.type_), text(event.reason), text(event.note))).collect()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Where no controller empties it, it goes with the server.
        let args = ["delete", "namespace", &self.name, "--wait=false", "--ignore-not-found"];
        Command::new("kubectl").args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok();
    }
}

async fn install(client: &Client) {
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    let desired = eventbus_api::definition();
    let (name, params) = (desired.name_any(), PatchParams::apply("test").force());
    let applied = definitions.patch(&name, &params, &Patch::Apply(&desired)).await;
    applied.expect("the definition is accepted");
    // Established comes a moment before the server serves it. Metadata alone: what other tests left behind may not be
    // readable.
    wait::until("the resource is served", SOON, async || {
        let api = Api::<EventConsumerGroup>::all(client.clone());
        api.list_metadata(&kube::api::ListParams::default()).await.ok()
    })
    .await;
}

/// The reason of the condition Ready, empty without one.
#[must_use]
pub fn state_of(status: &EventConsumerGroupStatus) -> &str {
    condition(status, "Ready").map_or("", |ready| &ready.reason)
}

/// The condition of a type.
#[must_use]
pub fn condition<'a>(status: &'a EventConsumerGroupStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == kind)
}

/// An operator inside the test, for one namespace; it ends when this is dropped.
pub struct RunningOperator {
    /// Address of its probes and metrics.
    pub address: SocketAddr,
    stop: CancellationToken,
    task: Option<JoinHandle<Result<(), eventbus_operator::error::Error>>>,
}

/// Setup of an operator that runs inside the test.
pub struct Setup {
    /// The endpoints file.
    pub endpoints: Value,
    /// The namespaces that it acts in.
    pub namespaces: Vec<String>,
    /// The times of its election.
    pub lease: LeaseTimes,
    /// The time limit of its watches; `None`: the default.
    pub watch: Option<Duration>,
    /// Connection to the API server.
    pub kubernetes: Config,
}

impl Setup {
    /// For one namespace, with `redis` as the endpoint `default`.
    #[must_use]
    pub fn new(namespace: &Namespace, redis: &RedisServer) -> Self {
        Self {
            endpoints: json!({"endpoints": [{"name": "default", "url": redis.url()}]}),
            namespaces: vec![namespace.name.clone()],
            lease: LeaseTimes::default(),
            watch: None,
            kubernetes: namespace.config(),
        }
    }
}

impl RunningOperator {
    /// Starts an operator that knows `redis` as the endpoint `default`.
    pub async fn start(namespace: &Namespace, redis: &RedisServer) -> Self {
        Self::start_as(Setup::new(namespace, redis)).await
    }

    /// Starts an operator.
    pub async fn start_as(setup: Setup) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let operator = Operator {
            settings: settings(&setup),
            endpoints: Endpoints::parse(&setup.endpoints.to_string(), &Path::exists)
                .expect("the endpoints are right"),
            kubernetes: setup.kubernetes,
            identity: format!("test-{address}"),
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(operator.run(listener, stop.clone()));
        Self { address, stop, task: Some(task) }
    }

    /// Ends it as SIGTERM does, and waits for it.
    pub async fn end(mut self) {
        self.stop.cancel();
        let task = self.task.take().expect("it was not ended before");
        let ended = wait::within("the operator ends", SOON, task).await;
        ended.expect("the operator does not panic").expect("the operator ends well");
    }

    /// Returns status and text of its answer at `path`.
    pub async fn get(&self, path: &str) -> (u16, String) {
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = reqwest::Client::builder().no_proxy().timeout(SOON).build();
        let client = client.expect("a client can be made");
        let answer = client.get(format!("http://{}{path}", self.address)).send().await;
        let answer = answer.expect("the operator serves HTTP");
        (answer.status().as_u16(), answer.text().await.expect("the answer is text"))
    }
}

impl Drop for RunningOperator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn settings(setup: &Setup) -> Settings {
    let lookup = |name: &str| match name {
        "ENDPOINTS_FILE" => Some("unused".to_owned()),
        "CONSUMER_IMAGE" => Some(IMAGE.to_owned()),
        "WATCH_NAMESPACES" => Some(setup.namespaces.join(",")),
        "LISTEN" => Some("127.0.0.1:0".to_owned()),
        _ => None,
    };
    let settings = Settings::from_lookup(&lookup).expect("the settings are right");
    let watch = setup.watch.unwrap_or(settings.watch);
    Settings { lease: setup.lease, watch, ..settings }
}
