//! Publishes three events, subscribes to them, and looks at what became of them.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use eventbus::config::BusConfig;
use eventbus::{Answer, Delivery, EventBus, TypeFilter};
use eventbus::{ConsumerName, EntryId, GroupName, Start};
use serde_json::json;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "what it shows is for whoever runs it")]
async fn main() -> Result<(), Box<dyn Error>> {
    // REDIS_URL says where, REDIS_STREAM_NAME which stream.
    let config = BusConfig::from_env()?;
    let bus = EventBus::connect(config).await?;
    let group = GroupName::new("tour")?;
    let created = bus.create_consumer_group(&group, Start::default()).await?;
    println!("group {group}: {}", if created { "created" } else { "it stood already" });

    let types = ["application.created", "application.submitted", "user.login"];
    for event_type in types {
        let payload = json!({"applicationId": "a-1", "volunteerId": "v-1"});
        let id = bus.publish(event_type, &payload, Some("tour")).await?;
        println!("published {event_type} as {id}");
    }

    // Other processes with the same group share the work; other groups get every event, too.
    let consumer = ConsumerName::new("tour-1")?;
    let subscription = bus.subscribe(&group, &consumer, TypeFilter::parse(types)?, handle);
    tokio::time::timeout(Duration::from_secs(30), settled(&bus, &group)).await??;
    println!("stream: {}", serde_json::to_string(&bus.get_stream_info().await?)?);
    println!("group: {}", serde_json::to_string(&bus.get_consumer_group_info(&group).await?)?);
    // What is in hand is finished first; dropping the subscription would be a crash.
    subscription.stop().await?;

    // A look that moves nothing: the events are there as long as the stream keeps them.
    let page = bus.get_events_since(&group, EntryId::ZERO).await?;
    for event in &page.events {
        println!("the stream keeps {} {}", event.event_type(), event.payload().as_str());
    }
    println!("more of them: {}", page.more);
    Ok(())
}

/// Called for every event, some of them at once; an answer other than `Done` keeps the event from being lost.
#[expect(clippy::print_stdout, reason = "what it shows is for whoever runs it")]
async fn handle(delivery: Arc<Delivery>) -> Answer {
    let (event_type, attempt) = (delivery.event.event_type(), delivery.attempt);
    println!("handling {event_type}, attempt {attempt}");
    match event_type {
        "application.created" => Answer::Done,
        // As if something that it needs were away for a moment.
        "application.submitted" if attempt == 1 => Answer::retry("try me again"),
        "application.submitted" => Answer::Done,
        // A dead letter, with the reason.
        _ => Answer::dead("not for a tour"),
    }
}

/// Waits until the group has got every event and settled it.
async fn settled(bus: &EventBus, group: &GroupName) -> Result<(), eventbus::Error> {
    let mut look = tokio::time::interval(Duration::from_millis(100));
    loop {
        look.tick().await;
        let info = bus.get_consumer_group_info(group).await?;
        if info.is_some_and(|info| info.lag == Some(0) && info.pending == 0) {
            return Ok(());
        }
    }
}
