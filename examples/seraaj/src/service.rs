//! What the services share: how they begin, answer, publish and end.

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

/// How long requests, then what they still have to publish, and then the outbox may go on after the end.
const LAST_REQUESTS: Duration = Duration::from_secs(2);
/// Bytes of a header that is kept.
const MAX_HEADER: usize = 256;

/// Which service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Takes applications of volunteers for opportunities.
    Applications,
    /// Suggests opportunities to volunteers.
    Matching,
    /// In front of the other two: who the volunteers are, and how the event bus is.
    Bff,
}

impl Service {
    /// As it is named in its events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Applications => "applications",
            Self::Matching => "matching",
            Self::Bff => "bff",
        }
    }
}

/// Runs `service` on `listener` until `stop`. Redis may be away at the start, and go away at any time.
///
/// # Errors
/// That of the listener, of the file where it cannot be written at the start, or of the outbox.
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
    tell_start(&publishing).await?;

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
    let served = tokio::select! {
        served = http::serve(listener, router, LAST_REQUESTS, stop) => served,
        never = reporter.run() => match never {},
    };
    publishing.tasks.close();
    if tokio::time::timeout(LAST_REQUESTS, publishing.tasks.wait()).await.is_err() {
        tracing::warn!("some events stand in the file alone: the bus did not take them in time");
    }
    let waiting = bus.flush_outbox(LAST_REQUESTS).await;
    if waiting > 0 {
        tracing::warn!(waiting, "the outbox is not empty: the next start sends what is in it");
    }
    served
}

async fn tell_start(publishing: &Publishing) -> io::Result<()> {
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
        // Ready at once: the service serves without Redis.
        .merge(http::probes(get(http::ok), http::metrics_of(registry)))
}

/// An event, as the consumer image brings it: a CloudEvent in binary mode. One that makes no sense is refused for good.
async fn take(
    State(received): State<Arc<Received>>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refusal> {
    // First, so that whoever sends it comes to read the answer.
    let payload = whole(body, MAX_PAYLOAD).await?;
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        let value = value.filter(|value| (1..=MAX_HEADER).contains(&value.len()));
        value.ok_or_else(|| {
            Refusal::bad(format!("the header {name} must have 1 to {MAX_HEADER} bytes"))
        })
    };
    let (id, event_type) = (header("ce-id")?, header("ce-type")?);
    let refused = |_| Refusal::bad(format!("the payload is none of an event {event_type}"));
    received.take(id, event_type, &payload).map_err(refused)?;
    Ok(StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use eventbus::StreamKey;
    use eventbus::config::{CredentialFiles, RedisConfig};
    use tokio::sync::oneshot;

    use super::*;

    /// A publisher on a Redis that is not there.
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
    async fn what_a_request_has_begun_is_finished_when_its_client_goes_away_and_the_end_waits_for_it()
     {
        let publishing = publishing(&mut Registry::default()).await;
        let ((go_on, told), (done, finished)) = (oneshot::channel(), oneshot::channel());
        let work = async move {
            told.await.unwrap();
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
