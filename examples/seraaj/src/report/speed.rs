//! Measurement of the latency of publishing and of the rate of handling.

use std::sync::Arc;
use std::time::Duration;

use eventbus::config::BusConfig;
use eventbus::{Answer, ConsumerName, Delivery, EventBus, GroupName, Start, StreamKey, TypeFilter};
use futures::stream::{FuturesUnordered, StreamExt};
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::event_types::SERVICE_HEALTH_CHECK;

/// Events published per second.
const RATE: u32 = 1_000;
/// Time limit of handling all of them.
const HANDLING_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(5);

/// Measured speed. `None` means that the measurement failed.
#[derive(Debug, Serialize)]
pub struct Speed {
    /// 99th percentile of the latency of a publish in milliseconds, at 1,000 events per second.
    pub publish_p99_ms: Option<f64>,
    /// Events per second that one consumer handled and acknowledged, with a handler that does nothing.
    pub handled_per_second: Option<f64>,
}

impl Speed {
    /// Publishes for `seconds` to a stream beside that of `config`, and then consumes it.
    pub(super) async fn measure(mut config: BusConfig, seconds: u32) -> Self {
        let stream = StreamKey::new(format!("{}:latency", config.stream));
        let measured = async {
            config.stream = stream.ok()?;
            let bus = EventBus::connect(config).await.ok()?;
            let publish_p99_ms = publish(&bus, seconds).await;
            let handled_per_second = handle(&bus, RATE * seconds).await;
            Some(Self { publish_p99_ms, handled_per_second })
        };
        measured.await.unwrap_or(Self { publish_p99_ms: None, handled_per_second: None })
    }

    /// Returns `true` if every event was published and handled. The speed itself depends on the machine and fails no report.
    pub(super) fn is_complete(&self) -> bool {
        self.publish_p99_ms.is_some() && self.handled_per_second.is_some()
    }
}

/// Returns the 99th percentile of the latency in milliseconds; `None` if an event was not published.
async fn publish(bus: &EventBus, seconds: u32) -> Option<f64> {
    let mut pace = interval(Duration::from_secs(1) / RATE);
    // Missed ticks are caught up, so that the delay of events behind a slow one is measured too.
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut publishes, mut took) = (FuturesUnordered::new(), Vec::new());
    for number in 0..RATE * seconds {
        let due = pace.tick().await;
        let bus = bus.clone();
        publishes.push(tokio::spawn(async move {
            let payload = json!({"number": number});
            bus.publish(SERVICE_HEALTH_CHECK, &payload, Some("report")).await.ok()?;
            Some(now() - due)
        }));
    }
    while let Some(ended) = publishes.next().await {
        took.push(ended.ok().flatten()?);
    }
    took.sort_unstable();
    let p99 = took.get(took.len() * 99 / 100)?;
    Some(rounded(p99.as_secs_f64() * 1_000.0))
}

/// Returns the number of events per second that a consumer of a new group handles, of the `events` in the stream.
async fn handle(bus: &EventBus, events: u32) -> Option<f64> {
    let (group, consumer) = (GroupName::new("report").ok()?, ConsumerName::new("report").ok()?);
    let types = TypeFilter::parse([SERVICE_HEALTH_CHECK]).ok()?;
    bus.create_consumer_group(&group, Start::default()).await.ok()?;
    let handle = |_: Arc<Delivery>| std::future::ready(Answer::Done);
    let began = now();
    let subscription = bus.subscribe(&group, &consumer, types, handle);
    let acknowledged = async {
        loop {
            let info = bus.get_consumer_group_info(&group).await.ok()??;
            if info.lag == Some(0) && info.pending == 0 {
                return Some(now() - began);
            }
            sleep(POLL_EVERY).await;
        }
    };
    let took = timeout(HANDLING_TIMEOUT, acknowledged).await.ok().flatten();
    subscription.stop().await.ok()?;
    bus.forget_consumer_group(&group).await.ok()?;
    Some(rounded(f64::from(events) / took?.as_secs_f64()))
}

/// Rounds to two decimal places.
fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[expect(clippy::disallowed_methods, reason = "the edge that measures the speed")]
fn now() -> Instant {
    Instant::now()
}
