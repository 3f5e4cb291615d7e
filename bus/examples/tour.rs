//! Publishes three events, handles them, and prints what happened to them.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use eventbus::config::BusConfig;
use eventbus::{Answer, Delivery, EventBus, TypeFilter};
use eventbus::{ConsumerName, EntryId, GroupName, Start};
use serde_json::json;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the example prints what it does")]
async fn main() -> Result<(), Box<dyn Error>> {
    // Reads REDIS_URL, REDIS_STREAM_NAME and the other settings.
    let config = BusConfig::from_env()?;
    let bus = EventBus::connect(config).await?;
    let group = GroupName::new("tour")?;
    let created = bus.create_consumer_group(&group, Start::default()).await?;
    println!("group {group}: {}", if created { "created" } else { "exists already" });

    let types = ["application.created", "application.submitted", "user.login"];
    for event_type in types {
        let payload = json!({"applicationId": "a-1", "volunteerId": "v-1"});
        let id = bus.publish(event_type, &payload, Some("tour")).await?;
        println!("published {event_type} as {id}");
    }

    // Processes of the same group share the events; every other group gets all of them.
    let consumer = ConsumerName::new("tour-1")?;
    let subscription = bus.subscribe(&group, &consumer, TypeFilter::parse(types)?, handle);
    tokio::time::timeout(Duration::from_secs(30), settled(&bus, &group)).await??;
    println!("stream: {}", serde_json::to_string(&bus.get_stream_info().await?)?);
    println!("group: {}", serde_json::to_string(&bus.get_consumer_group_info(&group).await?)?);
    // Finishes the events in flight; dropping the subscription instead would be a crash.
    subscription.stop().await?;

    // Reads without acknowledging: events stay in the stream until they are trimmed.
    let page = bus.get_events_since(&group, EntryId::ZERO).await?;
    for event in &page.events {
        println!("the stream keeps {} {}", event.event_type(), event.payload().as_str());
    }
    println!("more events follow: {}", page.more);
    Ok(())
}

/// Handles one event; up to 8 calls run at once. An event is acknowledged only after `Done`.
#[expect(clippy::print_stdout, reason = "the example prints what it does")]
async fn handle(delivery: Arc<Delivery>) -> Answer {
    let (event_type, attempt) = (delivery.event.event_type(), delivery.attempt);
    println!("handling {event_type}, attempt {attempt}");
    match event_type {
        "application.created" => Answer::Done,
        // As if a service that the handler needs were unavailable for a moment.
        "application.submitted" if attempt == 1 => Answer::retry("service unavailable"),
        "application.submitted" => Answer::Done,
        // Stored as a dead letter, with this reason.
        _ => Answer::dead("not for a tour"),
    }
}

/// Waits until the group has received and acknowledged every event.
async fn settled(bus: &EventBus, group: &GroupName) -> Result<(), eventbus::Error> {
    let mut interval = tokio::time::interval(Duration::from_millis(100));
    loop {
        interval.tick().await;
        let info = bus.get_consumer_group_info(group).await?;
        if info.is_some_and(|info| info.lag == Some(0) && info.pending == 0) {
            return Ok(());
        }
    }
}
