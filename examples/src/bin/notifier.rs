//! Handler for trying out the event bus: receives events over HTTP, prints them, and reports what it received.
//!
//! - `POST /events` accepts a CloudEvent in binary mode, prints its type and ID, and answers 200.
//! - `GET /received` answers JSON: `count` (deliveries answered with 200), `types` (their number by event type),
//!   `event_ids` (each once, the first 10,000), `refused` (deliveries with any other answer), and `begun` (all deliveries,
//!   unanswered ones included).
//! - `POST /delay/5000` delays each later answer by 5,000 ms; `POST /delay/0` ends that.
//! - `POST /fail/503` answers 503 to each later event; `POST /fail/200` ends that.
//! - `GET /livez` answers 200.
//!
//! `LISTEN` is the address, default `[::]:8080`.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Parser;
use eventbus_program::{Program, environment, http, signals};
use serde::Serialize;

/// Time limit of open requests, such as delayed ones, after the stop.
const LAST_REQUESTS: Duration = Duration::from_secs(20);
/// Maximum number of event IDs in memory.
const MAX_IDS: usize = 10_000;

/// Handler for trying out the event bus
#[derive(Parser)]
struct Settings {
    /// Address to listen on
    #[arg(long, env = "LISTEN", default_value = "[::]:8080")]
    listen: SocketAddr,
}

/// Deliveries so far.
#[derive(Clone, Default, Serialize)]
struct Received {
    count: u64,
    types: BTreeMap<String, u64>,
    event_ids: Vec<String>,
    refused: u64,
    begun: u64,
    #[serde(skip)]
    known: HashSet<String>,
}

struct Notifier {
    received: Mutex<Received>,
    answer: Mutex<StatusCode>,
    delay_ms: AtomicU64,
}

impl Notifier {
    fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self) -> MutexGuard<'_, StatusCode> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn main() -> ExitCode {
    let settings = Settings::parse();
    let start = Program { lookup: &environment::variable, check: false, log_filter: "warn" };
    start.run(|_| Ok::<_, Vec<String>>(settings.listen), serve)
}

async fn serve(address: SocketAddr) -> Result<(), String> {
    let notifier = Notifier {
        received: Mutex::new(Received::default()),
        answer: Mutex::new(StatusCode::OK),
        delay_ms: AtomicU64::new(0),
    };
    let router = Router::new()
        .route("/events", post(take))
        .route("/received", get(received))
        .route("/livez", get(http::ok))
        .route("/delay/{ms}", post(delay))
        .route("/fail/{status}", post(fail))
        .with_state(Arc::new(notifier));
    let stop = signals::stop_on_signals()?;
    let listener = http::listen(address).await?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    writeln!(io::stdout(), "listening on {address}").map_err(|error| error.to_string())?;
    http::serve(listener, router, LAST_REQUESTS, stop).await;
    Ok(())
}

async fn take(State(notifier): State<Arc<Notifier>>, headers: HeaderMap) -> StatusCode {
    notifier.received().begun += 1;
    let delay = Duration::from_millis(notifier.delay_ms.load(Ordering::Relaxed));
    tokio::time::sleep(delay).await;
    let answer = *notifier.answer();
    if answer != StatusCode::OK {
        notifier.received().refused += 1;
        return answer;
    }
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(event_type), Some(id)) = (header("ce-type"), header("ce-id")) else {
        notifier.received().refused += 1;
        return StatusCode::BAD_REQUEST;
    };
    // A closed standard output is no reason to retry the event.
    writeln!(io::stdout(), "{event_type} {id}").ok();
    notifier.received().add(event_type, id);
    answer
}

impl Received {
    fn add(&mut self, event_type: &str, id: &str) {
        self.count += 1;
        *self.types.entry(event_type.to_owned()).or_default() += 1;
        if self.event_ids.len() < MAX_IDS && self.known.insert(id.to_owned()) {
            self.event_ids.push(id.to_owned());
        }
    }
}

async fn received(State(notifier): State<Arc<Notifier>>) -> Json<Received> {
    Json(notifier.received().clone())
}

async fn delay(State(notifier): State<Arc<Notifier>>, Path(ms): Path<u64>) {
    notifier.delay_ms.store(ms, Ordering::Relaxed);
}

async fn fail(State(notifier): State<Arc<Notifier>>, Path(status): Path<u16>) -> StatusCode {
    let Ok(status) = StatusCode::from_u16(status) else {
        return StatusCode::BAD_REQUEST;
    };
    *notifier.answer() = status;
    StatusCode::OK
}
