//! Fixtures for the tests of pure modules: a resource, its state in Redis, and its Deployment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eventbus::observe::{
    ConsumerSource, GroupFacts, GroupView, Lag, LagSource, ServerInfo, Snapshot, StreamFacts,
};
use eventbus::{EntryId, GroupName, Start, StreamKey, TypeFilter};
use eventbus_api::{Format, ResourceId};
use eventbus_core::retry::backoff::Backoff;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};

use crate::reconcile::claim::Claim;
use crate::reconcile::desired::Desired;
use crate::reconcile::observed::Observed;
use crate::reconcile::outcome::{After, Applied};
use crate::redis::Target;
use crate::redis::state::{GroupSnapshot, RedisState};
use crate::workload::{self, DeliverySettings, DeploymentView, HandlerKind, PodRedis, PodSettings};

pub(crate) fn desired() -> Desired {
    Desired {
        resource: ResourceId {
            namespace: "ns".into(),
            name: "orders".into(),
            uid: "uid-1".into(),
            generation: 4,
        },
        target: Target { endpoint: "default".into(), stream: StreamKey::new("s").unwrap() },
        group: GroupName::new("g").unwrap(),
        start: Start::Id(EntryId::ZERO),
        types: TypeFilter::parse(["a.*", "b"]).unwrap(),
        pods: PodSettings {
            redis: PodRedis { url: "redis://r:6379".into(), secret: None },
            event_types: vec!["a.*".into(), "b".into()],
            handler: HandlerKind::Http { url: "http://h/x".into(), format: Format::Json },
            delivery: DeliverySettings {
                max_attempts: 5,
                timeout: Duration::from_secs(20),
                concurrency: 8,
                batch_size: 16,
                max_bytes: 67_108_864,
                lease: Duration::from_secs(30),
                backoff: Backoff::default(),
            },
            image: "img:1".into(),
        },
        replicas: 2,
        suspend: false,
    }
}

/// A stream of nine entries; the group exists if `lag` is given, with that lag and nothing pending.
pub(crate) fn read(lag: Option<u64>) -> RedisState {
    let id = |ms| EntryId { ms, seq: 0 };
    let group = lag.map(|lag| GroupFacts {
        last_delivered: id(9 - lag),
        consumer_source: ConsumerSource::Heartbeats,
        ..GroupFacts::default()
    });
    let stream = StreamFacts {
        exists: true,
        server_ms: 100_000,
        length: 9,
        entries_added: 9,
        last_generated: id(9),
        first_entry: Some(id(1)),
        max_deleted: EntryId::ZERO,
        groups: group.map(|group| ("g".to_owned(), group)).into_iter().collect(),
    };
    let lag = lag.map_or(Lag::UNKNOWN, |lag| Lag::new(lag, LagSource::Exact));
    let server = ServerInfo { version: "7.0.15".into(), ..ServerInfo::default() };
    state(Snapshot { server, stream, lags: BTreeMap::from([("g".to_owned(), lag)]) })
}

/// Changes the stream that was read, and the lag of its group `g`.
pub(crate) fn changed(
    state_before: RedisState,
    change: impl Fn(&mut StreamFacts, &mut Lag),
) -> RedisState {
    let RedisState::Read(before) = state_before else { panic!("nothing was read") };
    let mut snapshot = Snapshot::clone(before.view.snapshot());
    change(&mut snapshot.stream, snapshot.lags.entry("g".to_owned()).or_insert(Lag::UNKNOWN));
    state(snapshot)
}

fn state(snapshot: Snapshot) -> RedisState {
    let view = GroupView::new(Arc::new(snapshot), "g");
    RedisState::Read(Box::new(GroupSnapshot::new(view, Vec::new())))
}

pub(crate) fn observed(redis: RedisState) -> Observed {
    Observed {
        claim: Claim::Ours,
        claimed_at: None,
        redis,
        target_hash: "hash".into(),
        deployment: DeploymentView::Absent,
        pod_problem: None,
        is_declared: true,
    }
}

/// The state after a plan without steps.
pub(crate) fn after(observed: Observed) -> After {
    After::new(observed, &Applied::default(), None, None)
}

/// The Deployment of `desired` with `replicas` pods.
pub(crate) fn deployment(desired: &Desired, replicas: u32) -> Deployment {
    workload::deployment(&desired.workload(replicas))
}

/// The Deployment of `desired` as the API server returns it, with `ready` pods.
pub(crate) fn deployed(desired: &Desired, ready: i32) -> DeploymentView {
    let mut deployment = deployment(desired, desired.replicas);
    deployment.metadata.generation = Some(1);
    deployment.status = Some(DeploymentStatus {
        observed_generation: Some(1),
        replicas: Some(ready),
        ready_replicas: Some(ready),
        ..DeploymentStatus::default()
    });
    DeploymentView::Ours(Box::new(deployment))
}

/// Some point in time.
#[expect(clippy::disallowed_methods, reason = "no other function returns an Instant")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}
