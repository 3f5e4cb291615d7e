//! The shared consumer: reads a consumer group and hands each event to a handler; and the health service beside it.
//!
//! What becomes of an event is decided by the library `bus`; this crate brings settings, handlers and probes.

pub mod handler;
pub mod health;
pub mod settings;

use std::sync::Arc;
use std::time::Duration;

use eventbus::consume::Subscriber;
use eventbus::{Delivery, Metrics};
use eventbus_program::http;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::handler::Handler;
use crate::settings::Settings;

/// How long a request for a probe may go on after the end.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// Why the consumer ended before it was told to, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The HTTP handler's client cannot be made.
    #[error("cannot make the client of the HTTP handler")]
    Client(#[source] reqwest::Error),
    /// The probes and metrics cannot be served.
    #[error("cannot serve the probes")]
    Serve(#[source] std::io::Error),
    /// The subscriber gave up, or could not leave cleanly.
    #[error("the consumer did not end well")]
    Subscriber(#[source] eventbus::Error),
}

/// Consumes until `stop` is cancelled and all that was in hand is settled; serves the probes on `listener` meanwhile.
///
/// # Errors
/// [`Error`], where something failed that only a person can mend, or where the grace ended with Redis away.
pub async fn run(
    settings: Settings,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), Error> {
    let mut registry = Registry::default();
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("eventbus_build", "The version of this program", version);
    let metrics = Metrics::register(&mut registry);
    let handler = Handler::new(settings.handler).map_err(Error::Client)?;
    let subscriber = Subscriber::new(settings.redis, settings.subscriber, metrics);
    let readiness = subscriber.readiness();
    // Ready once the group was found, also in a later outage of Redis.
    let ready = http::ready_while(move || readiness.has_connected(), "group");
    let router = http::probes(ready, http::metrics_of(Arc::new(registry)));

    let drained = CancellationToken::new();
    // The probes answer until the drain has ended: a pod that stops is still alive.
    let probes = tokio::spawn(http::serve(listener, router, LAST_REQUESTS, drained.clone()));
    let handle = move |delivery: Arc<Delivery>| {
        let handler = handler.clone();
        async move { handler.handle(&delivery).await }
    };
    let result = subscriber.run(handle, stop).await.map_err(Error::Subscriber);
    drained.cancel();
    let served = probes.await.expect("the server of the probes does not panic");
    result.and(served.map_err(Error::Serve))
}
