//! The services of the example platform as processes of their own.

pub mod load;

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

use crate::consumer::{SOON, STREAM};
use crate::programs::Running;
use crate::wait;

/// A service that runs; it is killed when this is dropped.
pub struct Service {
    program: Running,
    client: reqwest::Client,
    address: String,
}

/// The file of events that services share, gone with the test.
pub struct EventsFile(TempDir);

/// Event in the file.
#[derive(Clone, Debug)]
pub struct FileEvent {
    /// Its ID.
    pub id: String,
    /// Its type.
    pub event_type: String,
    /// Content, by event type.
    pub payload: Value,
    /// The service.
    pub source: String,
}

impl Default for EventsFile {
    fn default() -> Self {
        Self::new()
    }
}

impl EventsFile {
    /// A file that is not there yet.
    #[must_use]
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory can be made"))
    }

    /// Returns the path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.0.path().join("events.jsonl")
    }

    /// A directory beside it for the outbox of service `name`.
    #[must_use]
    pub fn outbox(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("outbox-{name}"))
    }

    /// All events in it.
    ///
    /// # Panics
    /// If a line is none.
    #[must_use]
    pub fn events(&self) -> Vec<FileEvent> {
        let text = std::fs::read_to_string(self.path()).expect("the file can be read");
        text.lines().map(event).collect()
    }

    /// Those of this type.
    #[must_use]
    pub fn of_type(&self, event_type: &str) -> Vec<FileEvent> {
        let mut events = self.events();
        events.retain(|event| event.event_type == event_type);
        events
    }
}

fn event(line: &str) -> FileEvent {
    let value: Value = serde_json::from_str(line).expect("each line is JSON");
    let text = |name: &str| value[name].as_str().expect("the field is a text").to_owned();
    text("time").parse::<Timestamp>().expect("the time is one");
    let (id, event_type, source) = (text("id"), text("type"), text("source"));
    FileEvent { id, event_type, payload: value["payload"].clone(), source }
}

impl Service {
    /// Starts `name` on stream [`STREAM`] and waits until it serves; `changes` come on top.
    pub async fn start(name: &str, redis_url: &str, file: &Path, changes: &[(&str, &str)]) -> Self {
        let file = file.to_str().expect("the path is UTF-8");
        let mut settings = vec![
            ("REDIS_URL", redis_url),
            ("REDIS_STREAM_NAME", STREAM),
            ("SERAAJ_EVENTS_FILE", file),
            ("LISTEN", "127.0.0.1:0"),
        ];
        settings.extend(changes);
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = reqwest::Client::builder().no_proxy().timeout(SOON).build();
        let client = client.expect("a client can be made");
        let program = Running::start("seraaj", &[name], &settings);
        let address = wait::until("the service tells its address", SOON, async || {
            let output = program.output();
            let (_, rest) = output.split_once("serving HTTP address=")?;
            // The line may not be written to its end yet.
            rest.split_once(' ').map(|(address, _)| address.to_owned())
        })
        .await;
        Self { program, client, address }
    }

    /// The URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Status and JSON of an answer to `body`.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.try_post(path, body).await.expect("the service answers")
    }

    /// Sends a request as [`post`](Self::post) does.
    ///
    /// # Errors
    /// The client's error, if there is no answer.
    pub async fn try_post(&self, path: &str, body: &Value) -> Result<(u16, Value), String> {
        answer(self.client.post(self.url(path)).json(body)).await
    }

    /// Sends a PATCH, as [`post`](Self::post) sends a POST.
    pub async fn patch(&self, path: &str, body: &Value) -> (u16, Value) {
        self.try_patch(path, body).await.expect("the service answers")
    }

    /// Sends a PATCH, as [`try_post`](Self::try_post) sends a POST.
    ///
    /// # Errors
    /// The client's error, if there is no answer.
    pub async fn try_patch(&self, path: &str, body: &Value) -> Result<(u16, Value), String> {
        answer(self.client.patch(self.url(path)).json(body)).await
    }

    /// Sends a POST with a body that need not be JSON.
    pub async fn post_text(&self, path: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let answer = answer(self.client.post(self.url(path)).body(body)).await;
        answer.expect("the service answers")
    }

    /// Status and JSON of a page.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.client.get(self.url(path))).await.expect("the service answers")
    }

    /// The status that the handler answers to an event.
    pub async fn deliver(&self, id: &str, event_type: &str, payload: &str) -> u16 {
        let request = self.client.post(self.url("/events")).body(payload.to_owned());
        let request = request.header("ce-id", id).header("ce-type", event_type);
        request.send().await.expect("the service answers").status().as_u16()
    }

    /// The sum of a metric's values over all its labels; `None` where it is not told.
    pub async fn metric(&self, name: &str) -> Option<u64> {
        let page = self.client.get(self.url("/metrics")).send().await.expect("the service answers");
        let page = page.text().await.expect("the answer is whole");
        let values = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '{']))?;
            rest.rsplit_once(' ')?.1.parse::<u64>().ok()
        });
        values.reduce(|sum, value| sum + value)
    }

    /// Returns what it has printed and logged so far.
    #[must_use]
    pub fn output(&self) -> String {
        self.program.output()
    }

    /// Returns its address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks it to end, as Kubernetes does.
    pub fn terminate(&self) {
        self.program.terminate();
    }

    /// Waits for its end, and returns how it ended.
    pub async fn ended(&mut self) -> ExitStatus {
        self.program.ended(SOON).await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<(u16, Value), String> {
    let described = |error: reqwest::Error| eventbus::chain(&error);
    let response = request.send().await.map_err(described)?;
    let status = response.status().as_u16();
    Ok((status, response.json().await.map_err(described)?))
}
