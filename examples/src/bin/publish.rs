//! Publishes events with the library, as a service does: `publish --count 300 --rate 50`.
//!
//! `REDIS_URL`, `REDIS_STREAM_NAME` and the library's other settings select Redis and the stream. An event that Redis does
//! not confirm in time is published again with the same ID, so that handlers can recognise the repeat.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use eventbus::config::BusConfig;
use eventbus::{Error, EventBus, Metrics, NewEvent, Payload, chain};
use eventbus_program::{Program, environment};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, sleep};
use uuid::Uuid;

/// Maximum number of attempts for an event. With the waits between them they last at least 10 s, enough for a restart of
/// Redis.
const MAX_ATTEMPTS: u32 = 40;
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// Publish events, for trying out the event bus
#[derive(Parser)]
struct Settings {
    /// Number of events
    #[arg(long, default_value_t = 100)]
    count: u64,
    /// Type of the events
    #[arg(long = "type", default_value = "application.submitted")]
    event_type: String,
    /// Events per second [default: as fast as Redis accepts them]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Option<u32>,
    /// Name of the publishing service
    #[arg(long, default_value = "applications")]
    source: String,
}

fn main() -> ExitCode {
    let settings = Settings::parse();
    let start = Program { lookup: &environment::variable, check: false, log_filter: "warn" };
    start.run(BusConfig::from_lookup, async |config| {
        let stream = config.stream.clone();
        publish(config, &settings).await.map_err(|error| chain(&error))?;
        let (count, event_type) = (settings.count, &settings.event_type);
        writeln!(io::stdout(), "published {count} of {event_type} to {stream}").ok();
        Ok(())
    })
}

async fn publish(config: BusConfig, settings: &Settings) -> Result<(), Error> {
    // A program that ends by itself is not scraped.
    let metrics = Metrics::register(&mut Registry::default());
    let bus = EventBus::builder(config).metrics(&metrics).connect().await?;
    let mut pace = settings.rate.map(|rate| interval(Duration::from_secs(1) / rate));
    if let Some(pace) = &mut pace {
        // A burst to catch up after a slow moment would exceed the rate.
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    for number in 1..=settings.count {
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        let payload = json!({
            "applicationId": format!("application-{number}"),
            "volunteerId": format!("volunteer-{}", number % 17),
            "opportunityId": format!("opportunity-{}", number % 5),
        });
        let event_type = settings.event_type.clone();
        let payload =
            Payload::from_value(&payload).map_err(|source| Error::Encode { event_type, source })?;
        let event = NewEvent::new(settings.event_type.as_str(), payload)
            .with_source_service(settings.source.as_str())
            .with_id(new_id());
        publish_with_retries(&bus, event).await?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the edge that generates IDs")]
fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// Publishes an event, and retries it with the same ID while a retry may succeed.
async fn publish_with_retries(bus: &EventBus, event: NewEvent) -> Result<(), Error> {
    for _ in 1..MAX_ATTEMPTS {
        match bus.publish_event(event.clone()).await {
            Err(error) if error.is_transient() => tracing::debug!("{}", chain(&error)),
            outcome => return outcome.map(drop),
        }
        sleep(RETRY_AFTER).await;
    }
    bus.publish_event(event).await.map(drop)
}
