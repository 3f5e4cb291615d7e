//! Publishes events by the library, as a service would: `publish --count 300 --rate 50`.
//!
//! `REDIS_URL`, `REDIS_STREAM_NAME` and the other settings of the library say where to. An event that Redis does not
//! confirm in time is published again under the same ID, so that handlers can tell a repeat.

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

/// How often an event is tried, and how long is waited in between: 10 s and the tries' own time, in which a restart of
/// Redis fits.
const TRIES: u32 = 40;
const BETWEEN_TRIES: Duration = Duration::from_millis(250);

/// Publish events to try the event bus with.
#[derive(Parser)]
struct Settings {
    /// How many events.
    #[arg(long, default_value_t = 100)]
    count: u64,
    /// The events' type.
    #[arg(long = "type", default_value = "application.submitted")]
    event_type: String,
    /// Events a second; as fast as they are taken where it is not given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Option<u32>,
    /// Who publishes.
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
    // Nobody asks a program that ends by itself for its metrics.
    let metrics = Metrics::register(&mut Registry::default());
    let bus = EventBus::builder(config).metrics(&metrics).connect().await?;
    let mut pace = settings.rate.map(|rate| interval(Duration::from_secs(1) / rate));
    if let Some(pace) = &mut pace {
        // Where the bus is slower than the pace, a burst afterwards would not be that pace either.
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
        publish_patiently(&bus, event).await?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the edge that names events")]
fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// Publishes an event, again and again under its one ID while another try may help.
async fn publish_patiently(bus: &EventBus, event: NewEvent) -> Result<(), Error> {
    for _ in 1..TRIES {
        match bus.publish_event(event.clone()).await {
            Err(error) if error.is_transient() => tracing::debug!("{}", chain(&error)),
            outcome => return outcome.map(drop),
        }
        sleep(BETWEEN_TRIES).await;
    }
    bus.publish_event(event).await.map(drop)
}
