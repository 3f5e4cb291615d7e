//! An [`EventBus`] on stream `s` of a test's own server, and calls that a busy machine may delay beyond their limits.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use eventbus::config::{BusConfig, CredentialFiles, RedisConfig};
use eventbus::{EntryId, Error, EventBus, GroupName, Metrics, NewEvent, Payload, StreamKey};
use prometheus_client::registry::Registry;
use serde_json::Value;

use crate::redis::RedisServer;
use crate::subscriber::LONG;
use crate::wait;

/// Returns `true` if Redis did not answer within the time limit of the call, as may happen on a busy machine.
#[must_use]
pub fn is_late(error: &Error) -> bool {
    // The client shares its causes.
    type Shared = Arc<dyn std::error::Error + Send + Sync>;
    let mut cause = error.source();
    while let Some(this) = cause {
        let shared = this.downcast_ref::<Shared>().and_then(|shared| shared.downcast_ref());
        let io: Option<&io::Error> = shared.or_else(|| this.downcast_ref());
        if io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut) {
            return true;
        }
        cause = this.source();
    }
    matches!(error, Error::TimedOut { .. })
}

/// Makes `call` until Redis answers it within its limit, and returns that answer.
///
/// # Errors
/// The error of the call, unless it [`is_late`].
///
/// # Panics
/// If Redis does not answer before a deadline.
pub async fn in_time<T>(mut call: impl AsyncFnMut() -> Result<T, Error>) -> Result<T, Error> {
    wait::until("Redis answers within the limit of the call", LONG, async || match call().await {
        Err(error) if is_late(&error) => None,
        result => Some(result),
    })
    .await
}

/// Publishes an event until Redis confirms it, each time under the same ID: the stream may have it more than once.
///
/// # Panics
/// If an error is not transient, or Redis does not confirm it before a deadline.
pub async fn published(bus: &EventBus, event: NewEvent) -> EntryId {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let new_id = || format!("event-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let id = event.id.clone().unwrap_or_else(new_id);
    let event = event.with_id(id);
    wait::until("Redis confirms the event", LONG, async || {
        match bus.publish_event(event.clone()).await {
            Err(error) if error.is_transient() => None,
            result => Some(result.expect("the event can be published")),
        }
    })
    .await
}

/// Publishes an event of this type and payload, as [`published`] does.
///
/// # Panics
/// As [`published`].
pub async fn publish(bus: &EventBus, event_type: &str, payload: impl Into<Value>) -> EntryId {
    let payload = Payload::from_value(&payload.into()).expect("it is JSON");
    published(bus, NewEvent::new(event_type, payload)).await
}

/// Connects, as often as it takes.
///
/// # Panics
/// If it does not connect before a deadline.
pub async fn connect(config: BusConfig) -> EventBus {
    connect_with_metrics(config, &Metrics::register(&mut Registry::default())).await
}

/// Connects as [`connect`] does, and counts in `metrics`.
///
/// # Panics
/// As [`connect`].
pub async fn connect_with_metrics(config: BusConfig, metrics: &Metrics) -> EventBus {
    let connect = async || EventBus::builder(config.clone()).metrics(metrics).connect().await;
    in_time(connect).await.expect("it connects")
}

/// Returns the error with which connecting fails.
///
/// # Panics
/// If it connects, or Redis does not answer before a deadline.
pub async fn refusal(config: BusConfig) -> Error {
    let refused = in_time(async || EventBus::connect(config.clone()).await).await;
    refused.expect_err("it does not connect")
}

/// A bus on `server`.
///
/// # Panics
/// If it does not connect.
pub async fn bus_on(server: &RedisServer) -> EventBus {
    connect(BusConfig::new(server.config(), StreamKey::new("s").expect("it is a key"))).await
}

/// A bus on `server` as a new user, who may do this with the stream and the keys beside it, and ping.
///
/// # Panics
/// If there is no such right, or it does not connect.
pub async fn bus_with_permissions(server: &RedisServer, permissions: &[&str]) -> EventBus {
    let mut command = ::redis::cmd("ACL");
    command.arg(&["SETUSER", "u", "reset", "on", ">p", "~s", "~{s}:*", "+ping"]).arg(permissions);
    let mut conn = server.connection().await;
    command.exec_async(&mut conn).await.expect("there are such rights");
    let url = format!("redis://u:p@127.0.0.1:{}", server.port());
    let redis = RedisConfig::new("REDIS_URL", &url, CredentialFiles::default());
    let stream = StreamKey::new("s").expect("it is a key");
    connect(BusConfig::new(redis.expect("the URL is right"), stream)).await
}

/// The group of this name.
///
/// # Panics
/// If it is no name of a group.
#[must_use]
pub fn group(name: &str) -> GroupName {
    GroupName::new(name).expect("it is a name")
}
