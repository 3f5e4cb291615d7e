//! A resource and its surroundings for the tests of pure modules.

use std::time::{Duration, Instant};

use eventbus::observe::{GroupFacts, Lag, LagSource, ServerInfo};
use eventbus::{EntryId, GroupName, Start, StreamKey};
use eventbus_api::Format;
use eventbus_core::retry::backoff::Backoff;
use k8s_openapi::api::apps::v1::DeploymentStatus;

use crate::observed::{Claim, DeploymentView, GroupView, Observed, RedisView, StreamView};
use crate::wanted::{DeliverySettings, HandlerKind, PodRedis, ResourceId, Target, Wanted};
use crate::workload;

pub(crate) fn wanted() -> Wanted {
    Wanted {
        resource: ResourceId {
            namespace: "ns".into(),
            name: "orders".into(),
            uid: "uid-1".into(),
            generation: 4,
        },
        target: Target { endpoint: "default".into(), stream: StreamKey::new("s").unwrap() },
        group: GroupName::new("g").unwrap(),
        start: Start::Id(EntryId::ZERO),
        redis: PodRedis { url: "redis://r:6379".into(), secret: None },
        event_types: vec!["a.*".into(), "b".into()],
        handler: HandlerKind::Http { url: "http://h/x".into(), format: Format::Json },
        delivery: DeliverySettings {
            max_attempts: 5,
            timeout: Duration::from_secs(20),
            concurrency: 8,
            batch_size: 16,
            lease: Duration::from_secs(30),
            backoff: Backoff::default(),
        },
        replicas: 2,
        suspend: false,
        image: "img:1".into(),
    }
}

/// A stream of nine entries; the group, where there is one, has `lag` of them before it and nothing pending.
pub(crate) fn seen(lag: Option<u64>) -> RedisView {
    let id = |ms| EntryId { ms, seq: 0 };
    let group = lag.map(|lag| GroupFacts { last_delivered: id(9 - lag), ..GroupFacts::default() });
    RedisView::Seen(Box::new(GroupView {
        stream_exists: true,
        stream: StreamView {
            server_ms: 100_000,
            length: 9,
            entries_added: 9,
            last_generated: id(9),
            first_entry: Some(id(1)),
            max_deleted: EntryId::ZERO,
        },
        group,
        lag: lag.map_or(Lag::UNKNOWN, |lag| Lag::new(lag, LagSource::Exact)),
        server: ServerInfo { version: "7.0.15".into(), ..ServerInfo::default() },
        unmanaged: Vec::new(),
        is_moving: false,
        is_stalled: false,
    }))
}

pub(crate) fn observed(redis: RedisView) -> Observed {
    Observed { claim: Claim::Ours, redis, deployment: DeploymentView::Absent, pod_problem: None }
}

/// The Deployment of `wanted` as the API server holds it, with `ready` pods.
pub(crate) fn deployed(wanted: &Wanted, ready: i32) -> DeploymentView {
    let mut deployment = workload::deployment(wanted, wanted.desired_replicas());
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
#[expect(clippy::disallowed_methods, reason = "an Instant can be had in no other way")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}
