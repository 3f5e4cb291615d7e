//! Publishes by way of the outbox, and writes a line for each event once it is kept: what tests kill, and measure.
//!
//! `outbox-publisher NAME CALLERS RATE`: as many callers, each with ids `<name>.<caller>.<n>`, n from 1 on; together
//! RATE events a second, or 0: as fast as they are kept. It runs until it is killed. A line is `<id> <outcome>`: `published`,
//! `spooled`, or `refused` with the reason.

use std::io::{self, Write};
use std::time::Duration;

use eventbus::config::BusConfig;
use eventbus::{EventBus, NewEvent, Payload, PublishOutcome, chain};
use tokio::time::{MissedTickBehavior, interval};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, callers, rate] = arguments.as_slice() else { return Err("three arguments".into()) };
    let (callers, rate): (u32, u32) = (callers.parse()?, rate.parse()?);
    let bus = EventBus::connect(BusConfig::from_env()?).await?;
    let pause = (rate > 0).then(|| Duration::from_secs(1) * callers / rate);
    let all = (0..callers).map(|caller| call(bus.clone(), format!("{name}.{caller}"), pause));
    let calls: Vec<_> = all.map(tokio::spawn).collect();
    for call in calls {
        call.await?;
    }
    Ok(())
}

async fn call(bus: EventBus, name: String, pause: Option<Duration>) {
    let mut pace = interval(pause.unwrap_or(Duration::from_secs(1)));
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for n in 1_u64.. {
        if pause.is_some() {
            pace.tick().await;
        }
        let text = format!("\"{}\"", "x".repeat(300));
        let payload = Payload::from_text(text).expect("it is JSON");
        let id = format!("{name}.{n}");
        let event = NewEvent::new("t", payload).with_id(id.clone());
        let outcome = match bus.publish_or_spool(event).await {
            Ok(PublishOutcome::Published(_)) => "published".to_owned(),
            Ok(PublishOutcome::Spooled) => "spooled".to_owned(),
            Err(error) => format!("refused {}", chain(&error)),
        };
        // Whoever reads the lines may be gone.
        writeln!(io::stdout(), "{id} {outcome}").ok();
    }
}
