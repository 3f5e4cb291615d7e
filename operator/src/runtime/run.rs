//! One replica, which waits for the lease and leads in turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use eventbus_api::EventConsumerGroup;
use eventbus_program::http;
use futures::future::join_all;
use kube::api::{Api, ListParams};
use kube::{Client, Config};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::kubernetes::calls::within;
use crate::kubernetes::client::client as new_client;
use crate::kubernetes::election::Elector;
use crate::metrics::Metrics;
use crate::reconcile::context::{Context, Parts};
use crate::redis::endpoints::Endpoints;
use crate::redis::observers::Observers;
use crate::settings::Settings;

use super::controller::{run, watches};

/// Time between two requests for the definition of the resource.
const DEFINITION: Duration = Duration::from_secs(2);
/// Time limit of running HTTP requests after the end.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// Input of a run of the operator.
pub struct Operator {
    /// Settings of the operator.
    pub settings: Settings,
    /// Redis endpoints.
    pub endpoints: Endpoints,
    /// Configuration of the Kubernetes client, whose default namespace has the Lease.
    pub kubernetes: Config,
    /// Identity of this replica, unique among all replicas and all their starts.
    pub identity: String,
}

/// One replica, which waits for the lease and leads in turns.
struct Replica {
    settings: Settings,
    endpoints: Arc<Endpoints>,
    identity: String,
    client: Client,
    elector: Arc<Elector>,
    metrics: Metrics,
    /// True while this replica waits for the lease, or leads with synchronized caches.
    is_ready: Arc<AtomicBool>,
}

impl Operator {
    /// Runs until `stop`, then finishes the running reconciles and releases the lease. A replica that loses the lease
    /// stops writing and waits for the lease again.
    ///
    /// # Errors
    /// [`Error::Configuration`]. While the API server is unreachable, calls are retried.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) -> Result<(), Error> {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let watch = self.settings.watch;
        let client = new_client(self.kubernetes.clone(), watch, &metrics)?;
        // With its one connection: several frozen ones would outlast the deadline of a renewal.
        let leases = new_client(self.kubernetes, watch, &metrics)?;
        let leases = Api::namespaced(leases.clone(), leases.default_namespace());
        let (lease, times) = (&self.settings.lease_name, self.settings.lease);
        let replica = Replica {
            elector: Arc::new(Elector::new(leases, lease, &self.identity, times)),
            metrics,
            is_ready: Arc::default(),
            endpoints: Arc::new(self.endpoints),
            settings: self.settings,
            identity: self.identity,
            client,
        };
        let probes_stop = CancellationToken::new();
        let is_ready = Arc::clone(&replica.is_ready);
        let ready = http::ready_while(move || is_ready.load(Ordering::Relaxed), "the API server");
        let router = http::probes(ready, http::metrics_of(Arc::new(registry)));
        let probes = http::serve(listener, router, LAST_REQUESTS, probes_stop.clone());
        let work = async {
            replica.wait_and_lead(&stop).await;
            probes_stop.cancel();
        };
        tokio::join!(probes, work);
        Ok(())
    }
}

impl Replica {
    async fn wait_and_lead(&self, stop: &CancellationToken) {
        if !self.wait_for_definition(stop).await {
            return;
        }
        loop {
            // A replica that waits for the lease is ready.
            self.is_ready.store(true, Ordering::Relaxed);
            if !self.elector.acquire(stop).await {
                break;
            }
            tracing::info!(identity = %self.identity, "this replica is the leader");
            self.is_ready.store(false, Ordering::Relaxed);
            self.metrics.set_leader(true);
            let (lost, done) = (CancellationToken::new(), CancellationToken::new());
            let lead = async {
                self.lead(stop, &lost).await;
                // From here on nothing is written, and the next replica may lead.
                done.cancel();
            };
            tokio::join!(lead, self.elector.keep(&lost, &done));
        }
        self.is_ready.store(false, Ordering::Relaxed);
    }

    /// Reconciles until `stop`, then finishes the running reconciles; or until the lease is `lost`, then cancels them.
    async fn lead(&self, stop: &CancellationToken, lost: &CancellationToken) {
        let leading = stop.child_token();
        let (watches, caches, requeue) = watches(&self.settings.watch_namespaces);
        let (endpoints, metrics) = (Arc::clone(&self.endpoints), self.metrics.clone());
        let observers = Observers::new(endpoints, metrics, requeue.clone(), leading.child_token());
        let context = Arc::new(Context::new(Parts {
            client: self.client.clone(),
            settings: self.settings.clone(),
            endpoints: Arc::clone(&self.endpoints),
            caches,
            observers,
            elector: Arc::clone(&self.elector),
            metrics: self.metrics.clone(),
            identity: self.identity.clone(),
        }));
        let run = |watch| run(watch, Arc::clone(&context), requeue.clone(), leading.clone());
        let synced = async {
            let synced = tokio::select! {
                () = context.caches.wait_for_sync() => true,
                () = leading.cancelled() => false,
            };
            self.is_ready.store(synced, Ordering::Relaxed);
        };
        tokio::select! {
            _ = async { tokio::join!(join_all(watches.into_iter().map(run)), synced) } => {}
            () = lost.cancelled() => leading.cancel(),
        }
        self.metrics.set_leader(false);
        self.metrics.forget_watches();
        context.observers.close().await;
    }

    /// Waits until the definition of the resource is installed; returns false if `stop` was cancelled first.
    async fn wait_for_definition(&self, stop: &CancellationToken) -> bool {
        let api: Api<EventConsumerGroup> = match self.settings.watch_namespaces.first() {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let mut logged = None;
        loop {
            let params = ListParams::default().limit(1);
            let listed = tokio::select! {
                () = stop.cancelled() => return false,
                listed = within("list", "EventConsumerGroups", api.list_metadata(&params)) => listed,
            };
            let why = match listed {
                Ok(_) => return true,
                Err(error) if error.code() == Some(404) => {
                    "the definition of EventConsumerGroup is not installed; apply the output of `operator crd`".to_owned()
                }
                Err(error) => error.report(),
            };
            if logged.as_ref() != Some(&why) {
                tracing::warn!(why, "waiting for the API server");
                logged = Some(why);
            }
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(DEFINITION) => {}
            }
        }
    }
}
