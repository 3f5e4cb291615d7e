//! Shared consumer, which reads a consumer group and delivers each event to a handler, and the health service.
//!
//! The library `eventbus` delivers, retries and dead-letters events; this crate adds settings, handlers and probes.

pub mod handler;
pub mod health;
pub mod settings;

use std::sync::Arc;
use std::time::Duration;

use eventbus::consume::{Subscriber, SubscriberConfig};
use eventbus::{Delivery, Metrics};
use eventbus_program::http;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::handler::Handler;
use crate::settings::Settings;

/// Time limit of open HTTP requests after the stop.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// Failure of the consumer: it ended before it was stopped, or did not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client of the HTTP handler cannot be created.
    #[error("cannot create the client of the HTTP handler")]
    Client(#[source] reqwest::Error),
    /// The subscriber failed, or could not leave the group cleanly.
    #[error("the consumer failed")]
    Subscriber(#[source] eventbus::Error),
}

/// Consumes until `stop` is cancelled and every entry in flight is settled. Serves probes and metrics on `listener`.
///
/// # Errors
/// [`Error`] for a failure that needs a manual fix, or if the grace period ended while Redis was unreachable.
pub async fn run(
    settings: Settings,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), Error> {
    let mut registry = Registry::default();
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("eventbus_build", "Version of this program", version);
    let metrics = Metrics::register(&mut registry);
    let omitted_fields = omitted_fields(&mut registry, &settings.subscriber);
    let handler = Handler::new(settings.handler, omitted_fields).map_err(Error::Client)?;
    let subscriber = Subscriber::new(settings.redis, settings.subscriber, metrics);
    let readiness = subscriber.readiness();
    // Readiness starts once the group was found and lasts through outages of Redis.
    let ready = http::ready_while(move || readiness.has_connected(), "group");
    let router = http::probes(ready, http::metrics_of(Arc::new(registry)));

    let drained = CancellationToken::new();
    // The probes answer until everything is settled: a pod that is stopping is still alive.
    let probes = tokio::spawn(http::serve(listener, router, LAST_REQUESTS, drained.clone()));
    let handle = move |delivery: Arc<Delivery>| {
        let handler = handler.clone();
        async move { handler.handle(&delivery).await }
    };
    let result = subscriber.run(handle, stop).await.map_err(Error::Subscriber);
    drained.cancel();
    probes.await.expect("the server of the probes does not panic");
    result
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GroupLabels {
    stream: String,
    group: String,
}

fn omitted_fields(registry: &mut Registry, config: &SubscriberConfig) -> Counter {
    let family = Family::<GroupLabels, Counter>::default();
    let help = "Fields of entries that requests to the handler left out, at each attempt: names that are no CloudEvents attribute, values that are not UTF-8, repeated fields, or too many or too large ones";
    registry.register("eventbus_handler_omitted_fields", help, family.clone());
    let (stream, group) = (config.stream.to_string(), config.group.to_string());
    family.get_or_create_owned(&GroupLabels { stream, group })
}
