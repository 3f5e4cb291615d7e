//! Common part of the services: start, routes, publishing and shutdown.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use eventbus::config::BusConfig;
use eventbus::observe::health::reports;
use eventbus::{EventBus, MAX_PAYLOAD, Metrics};
use eventbus_program::http;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::dual::DualPublisher;
use crate::event_types::SERVICE_STARTED;
use crate::file_publisher::FilePublisher;
use crate::input::{Refusal, drain, whole};
use crate::publishing::{Publishing, now};
use crate::received::Received;
use crate::{applications, bff, matching};

/// Time limit at the end, first for open requests, then for their publishes, then for the outbox.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum size of a header, in bytes.
const MAX_HEADER: usize = 256;

/// Service of the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Applications of volunteers for opportunities.
    Applications,
    /// Suggestions of opportunities for volunteers.
    Matching,
    /// Backend for the frontend: volunteers, and the health of the event bus.
    Bff,
}

impl Service {
    /// Returns the name in the service's events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Applications => "applications",
            Self::Matching => "matching",
            Self::Bff => "bff",
        }
    }
}

/// Runs `service` on `listener` until `stop`. Redis may be unreachable at any time, also at the start.
///
/// # Errors
/// The error of the outbox, or of the file if it cannot be written at the start.
pub async fn run(
    service: Service,
    config: BusConfig,
    file: FilePublisher,
    listener: TcpListener,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let groups = bff::groups();
    let (reports, reporter) = reports(config.redis.clone(), config.stream.clone(), groups);
    let bus = EventBus::builder(config)
        .metrics(&metrics)
        .connect_lazy()
        .await
        .map_err(io::Error::other)?;
    let publisher = DualPublisher::new(service.name(), file, bus.clone(), &mut registry);
    let publishing = Publishing { publisher, tasks: TaskTracker::new() };
    let received = Arc::new(Received::new(&mut registry));
    publish_start(&publishing).await?;

    let own = match service {
        Service::Applications => applications::router(publishing.clone()),
        Service::Matching => matching::router(publishing.clone()),
        Service::Bff => bff::router(publishing.clone(), reports),
    };
    let router = own
        .merge(shared(Arc::new(registry), received))
        .fallback(async |body: Body| {
            drain(body).await;
            Refusal::unknown("path")
        })
        .method_not_allowed_fallback(async |body: Body| {
            drain(body).await;
            Refusal::method()
        });
    tokio::select! {
        () = http::serve(listener, router, SHUTDOWN_TIMEOUT, stop) => {}
        never = reporter.run() => match never {},
    }
    publishing.tasks.close();
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, publishing.tasks.wait()).await.is_err() {
        tracing::warn!(
            "some events were not published to the bus in time; they are only in the file"
        );
    }
    let waiting = bus.flush_outbox(SHUTDOWN_TIMEOUT).await;
    if waiting > 0 {
        tracing::warn!(waiting, "the outbox has unsent events; the next start sends them");
    }
    Ok(())
}

async fn publish_start(publishing: &Publishing) -> io::Result<()> {
    let time = now();
    let payload = json!({"service": publishing.publisher.service(), "startedAt": time});
    let event = publishing.event(SERVICE_STARTED, payload, time);
    let recorded = publishing.publisher.record(vec![event]).await?;
    let this = publishing.clone();
    publishing.tasks.spawn(async move { this.send(recorded).await });
    Ok(())
}

fn shared(registry: Arc<Registry>, received: Arc<Received>) -> Router {
    Router::new()
        .route("/events", post(take))
        .with_state(received)
        .layer(DefaultBodyLimit::disable())
        // Ready at once, because the service works without Redis.
        .merge(http::probes(get(http::ok), http::metrics_of(registry)))
}

/// Handles an event that the consumer delivers: a CloudEvent in binary mode. A malformed one is refused, which makes it a
/// dead letter.
async fn take(
    State(received): State<Arc<Received>>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refusal> {
    // First, so that the sender reads the answer.
    let payload = whole(body, MAX_PAYLOAD).await?;
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        let value = value.filter(|value| (1..=MAX_HEADER).contains(&value.len()));
        value.ok_or_else(|| {
            Refusal::bad(format!("the header {name} must have 1 to {MAX_HEADER} bytes"))
        })
    };
    let (id, event_type) = (header("ce-id")?, header("ce-type")?);
    let refused = |_| Refusal::bad(format!("the payload does not fit the event type {event_type}"));
    received.take(id, event_type, &payload).map_err(refused)?;
    Ok(StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use eventbus::StreamKey;
    use eventbus::config::{CredentialFiles, RedisConfig};
    use tokio::sync::oneshot;

    use super::*;

    /// Returns a publisher with an unreachable Redis.
    async fn publishing(registry: &mut Registry) -> Publishing {
        let redis =
            RedisConfig::new("REDIS_URL", "redis://127.0.0.1:1", CredentialFiles::default());
        let config = BusConfig::new(redis.unwrap(), StreamKey::new("s").unwrap());
        let bus = EventBus::builder(config)
            .metrics(&Metrics::register(registry))
            .connect_lazy()
            .await
            .unwrap();
        let file = FilePublisher::open(std::path::Path::new("/dev/null")).unwrap();
        let publisher = DualPublisher::new("bff", file, bus, registry);
        Publishing { publisher, tasks: TaskTracker::new() }
    }

    #[tokio::test]
    async fn work_is_finished_after_its_client_disconnected_and_the_shutdown_waits_for_it() {
        let publishing = publishing(&mut Registry::default()).await;
        let ((go_on, may_go_on), (done, finished)) = (oneshot::channel(), oneshot::channel());
        let work = async move {
            may_go_on.await.unwrap();
            done.send("finished").unwrap();
        };
        let request = publishing.finish(work);
        assert!(tokio::time::timeout(Duration::from_millis(1), request).await.is_err());
        publishing.tasks.close();
        assert_eq!(publishing.tasks.len(), 1);
        go_on.send(()).unwrap();
        publishing.tasks.wait().await;
        assert_eq!(finished.await, Ok("finished"));
    }
}
