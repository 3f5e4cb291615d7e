//! What every reconcile needs: clients, caches, and what is remembered.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use eventbus_api::EventConsumerGroup;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, ResourceExt};
use tokio::sync::watch;

use crate::claim::{Contender, GroupKey};
use crate::elector::Elector;
use crate::endpoints::Endpoints;
use crate::error::Error;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::observed::RedisView;
use crate::pacing::{Budget, Change};
use crate::settings::Settings;
use crate::sweeps::Sweeps;
use crate::validate::validate;
use crate::wake::Guarded;
use crate::wanted::Wanted;

/// The name under which the operator writes events.
const REPORTER: &str = "eventbus-operator";

/// The parts that a context is made of.
pub struct Parts {
    /// The API server.
    pub client: Client,
    /// How the operator runs.
    pub settings: Settings,
    /// The Redis endpoints.
    pub endpoints: Arc<Endpoints>,
    /// One cache for each watched namespace.
    pub caches: Vec<Cache>,
    /// What Redis tells.
    pub sweeps: Sweeps,
    /// Whether we may write.
    pub elector: Arc<Elector>,
    /// Counters.
    pub metrics: Metrics,
    /// The name of this replica.
    pub identity: String,
}

/// What every reconcile needs.
pub struct Context {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) sweeps: Sweeps,
    pub(crate) metrics: Metrics,
    pub(crate) memory: Memory,
    pub(crate) recorder: Recorder,
    caches: Vec<Cache>,
    elector: Arc<Elector>,
    budget: Mutex<Budget>,
}

/// The objects of one namespace, or of all, as the watches bring them.
#[derive(Clone)]
pub struct Cache {
    /// The namespace; `None`: all.
    pub namespace: Option<String>,
    /// The resources.
    pub groups: Store<Guarded>,
    /// The operator's Deployments.
    pub deployments: Store<Deployment>,
    /// Which of the two hold all that there is. The stores' own wait wakes only one of several waiters.
    pub synced: Arc<Synced>,
}

/// Whether the watches have brought what there was when they began.
#[derive(Debug, Default)]
pub struct Synced {
    groups: watch::Sender<bool>,
    deployments: watch::Sender<bool>,
}

impl Synced {
    /// All resources are known.
    pub fn set_groups(&self) {
        self.groups.send_replace(true);
    }

    /// All Deployments are known.
    pub fn set_deployments(&self) {
        self.deployments.send_replace(true);
    }

    /// Waits for both.
    pub async fn wait(&self) {
        for sender in [&self.groups, &self.deployments] {
            // The sender lives as long as we do.
            sender.subscribe().wait_for(|synced| *synced).await.ok();
        }
    }
}

impl Context {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let reporter = Reporter { controller: REPORTER.to_owned(), instance: Some(parts.identity) };
        Self {
            recorder: Recorder::new(parts.client.clone(), reporter),
            client: parts.client,
            budget: Mutex::new(Budget::new(parts.settings.status_writes_per_second, now())),
            settings: parts.settings,
            endpoints: parts.endpoints,
            sweeps: parts.sweeps,
            metrics: parts.metrics,
            memory: Memory::default(),
            caches: parts.caches,
            elector: parts.elector,
        }
    }

    /// Fails where another replica may be the leader: nothing is written then.
    pub(crate) fn may_write(&self, operation: &'static str, subject: &str) -> Result<(), Error> {
        if self.elector.is_leading() {
            return Ok(());
        }
        Err(Error::NotLeading { operation, subject: subject.to_owned() })
    }

    /// Takes one status write of all that the operator may do now, or tells when to ask again.
    pub(crate) fn take_write(&self, change: Change) -> Result<(), Duration> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).take(change, now())
    }

    /// The Deployment `name`, if it is one of ours and was seen by the watch.
    pub(crate) fn deployment(&self, namespace: &str, name: &str) -> Option<Arc<Deployment>> {
        let key = ObjectRef::new(name).within(namespace);
        self.cache(namespace)?.deployments.get(&key)
    }

    /// Waits until the watches brought what there is.
    pub(crate) async fn until_synced(&self) {
        for cache in &self.caches {
            cache.synced.wait().await;
        }
    }

    /// The resources that want the same group as `wanted`, `wanted` included. One that is refused wants nothing, unless
    /// it has the group: what runs for it goes on.
    pub(crate) fn contenders(&self, wanted: &Wanted) -> Vec<Contender> {
        let key = GroupKey {
            address: self.endpoints.address(&wanted.target.endpoint),
            stream: wanted.target.stream.to_string(),
            group: wanted.group.to_string(),
        };
        let counts = |other: &EventConsumerGroup| {
            let has_it = other.status.as_ref().is_some_and(|status| status.group_origin.is_some());
            has_it || validate(other, &self.endpoints, &self.settings.consumer_image).is_ok()
        };
        let resources = self.resources();
        let others = resources.iter().filter_map(|guarded| guarded.0.as_ref().ok());
        others
            .filter(|other| GroupKey::of(other, &self.endpoints) == key)
            .filter(|other| counts(other))
            .map(contender)
            .collect()
    }

    /// Every resource, also those that cannot be read.
    pub(crate) fn resources(&self) -> Vec<Arc<Guarded>> {
        self.caches.iter().flat_map(|cache| cache.groups.state()).collect()
    }

    /// Forgets resources that are no longer there.
    pub(crate) fn forget_deleted(&self) {
        let resources = self.resources();
        let uids: std::collections::HashSet<String> =
            resources.iter().filter_map(|guarded| guarded.uid()).collect();
        self.sweeps.retain(|uid| uids.contains(uid));
        self.memory.retain(|uid| uids.contains(uid));
    }

    /// What Redis told about the group, asking for it from now on; `None` while it was not asked yet.
    pub(crate) fn redis_view(&self, wanted: &Wanted, at_work: bool) -> Option<RedisView> {
        self.sweeps.join(wanted, at_work);
        self.sweeps.view(wanted)
    }

    fn cache(&self, namespace: &str) -> Option<&Cache> {
        let fits = |cache: &&Cache| cache.namespace.as_deref().is_none_or(|n| n == namespace);
        self.caches.iter().find(fits)
    }
}

fn contender(resource: &EventConsumerGroup) -> Contender {
    Contender {
        namespace: resource.namespace().unwrap_or_default(),
        name: resource.name_any(),
        uid: resource.uid().unwrap_or_default(),
        created: resource.metadata.creation_timestamp.as_ref().map(|time| time.0),
    }
}

/// Monotonic time.
#[expect(clippy::disallowed_methods, reason = "the edge where time enters the decisions")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The time that people see.
#[expect(clippy::disallowed_methods, reason = "the edge where time enters the decisions")]
pub(crate) fn wall_clock() -> Timestamp {
    Timestamp::now()
}
