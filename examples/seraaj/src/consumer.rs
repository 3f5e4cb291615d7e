//! Consumer of the platform's events with the library, in a process of its own. It prints the same lines as the services.

use std::sync::Arc;

use eventbus::config::BusConfig;
use eventbus::{Answer, Delivery, Error, EventBus, TypeFilter};
use eventbus::{ConsumerName, GroupName, Metrics, Start};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::event_types::{APPLICATION_STATE_CHANGED, APPLICATION_SUBMITTED};
use crate::received::Received;

/// Name of the consumer in the group.
pub const CONSUMER: &str = "app-consumer-1";

/// Creates `group` at the start of the stream if it is missing, and consumes it until `stop`. Redis may be unreachable at
/// any time.
///
/// # Errors
/// An error that needs a manual fix, or [`Error::ShutdownTimedOut`] if Redis is unreachable at the end.
///
/// # Panics
/// Never: its name and its types are valid.
pub async fn run(
    config: BusConfig,
    group: GroupName,
    stop: CancellationToken,
) -> Result<(), Error> {
    let mut registry = Registry::default();
    let bus =
        EventBus::builder(config).metrics(&Metrics::register(&mut registry)).connect_lazy().await?;
    tokio::select! {
        created = bus.ensure_consumer_group(&group, Start::default()) => created.map(drop)?,
        () = stop.cancelled() => return Ok(()),
    }
    let received = Arc::new(Received::new(&mut registry));
    let types = TypeFilter::parse([APPLICATION_SUBMITTED, APPLICATION_STATE_CHANGED]);
    let types = types.expect("known types are patterns");
    let consumer = ConsumerName::new(CONSUMER).expect("it is a valid name of a consumer");
    let handle = move |delivery: Arc<Delivery>| std::future::ready(take(&received, &delivery));
    let subscription = bus.subscribe(&group, &consumer, types, handle);
    tracing::info!(%group, consumer = CONSUMER, "reading events");
    stop.cancelled().await;
    subscription.stop().await
}

fn take(received: &Received, delivery: &Delivery) -> Answer {
    let event = &delivery.event;
    let payload = event.payload().as_str().as_bytes();
    match received.take(event.event_id(), event.event_type(), payload) {
        Ok(()) => Answer::Done,
        Err(_) => {
            Answer::dead(format!("the payload does not fit the event type {}", event.event_type()))
        }
    }
}
