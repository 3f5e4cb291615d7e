//! `consumer run` as a process of its own, on a test's server and handler.

use std::collections::HashMap;
use std::process::ExitStatus;
use std::time::Duration;

use ::redis::{FromRedisValue, Value};
use eventbus::admin::Connection;

use crate::programs::Running;
use crate::redis::RedisServer;
use crate::wait;

/// The stream that tests use on their own server.
pub const STREAM: &str = "s";
/// The group that tests use.
pub const GROUP: &str = "g";
/// An entry's fields: names and values.
pub type Fields = Vec<(String, Vec<u8>)>;

/// The group's dead letters.
pub const DEAD_LETTERS: &str = "{s}:dlq:g";
/// A deadline far beyond what anything takes that a consumer does soon, on a busy machine too.
pub const SOON: Duration = Duration::from_secs(60);

/// A consumer that runs; it is killed when this is dropped.
pub struct Consumer {
    program: Running,
    client: reqwest::Client,
}

impl Consumer {
    /// Starts one for [`STREAM`] and [`GROUP`], which it creates; quick to try again. `changes` come on top.
    #[must_use]
    pub fn start(server: &RedisServer, handler: &str, changes: &[(&str, &str)]) -> Self {
        let url = server.url();
        let mut settings = vec![
            ("REDIS_URL", url.as_str()),
            ("REDIS_STREAM_NAME", STREAM),
            ("EVENT_GROUP", GROUP),
            ("EVENT_START", "0"),
            ("HANDLER_URL", handler),
            ("DELIVERY_BACKOFF_INITIAL", "50ms"),
            ("DELIVERY_BACKOFF_MAX", "100ms"),
            ("DELIVERY_LEASE", "5s"),
            ("LISTEN", "127.0.0.1:0"),
        ];
        settings.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        settings.extend(changes);
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = reqwest::Client::builder().no_proxy().timeout(SOON).build();
        let client = client.expect("a client can be made");
        Self { program: Running::start("consumer", &["run"], &settings), client }
    }

    /// Returns its log so far.
    #[must_use]
    pub fn output(&self) -> String {
        self.program.output()
    }

    /// Returns the most memory that it had at once so far, in bytes.
    #[must_use]
    pub fn peak_memory(&self) -> usize {
        self.program.peak_memory()
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.program.terminate();
    }

    /// Waits for its end and returns its exit status.
    pub async fn ended(&mut self) -> ExitStatus {
        self.program.ended(SOON).await
    }

    /// Status and body of one of its own pages, such as `/readyz`.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let response = self.response(path).await;
        (response.status().as_u16(), response.text().await.expect("the answer is whole"))
    }

    /// Its answer on one of its own pages.
    pub async fn response(&self, path: &str) -> reqwest::Response {
        let address = wait::until("the consumer tells its address", SOON, async || {
            let output = self.output();
            let (_, rest) = output.split_once("serving HTTP address=")?;
            // The line may not be written to its end yet.
            rest.split_once('\n').map(|(address, _)| address.trim().to_owned())
        })
        .await;
        let url = format!("http://{address}{path}");
        self.client.get(url).send().await.expect("the consumer answers")
    }

    /// Waits until `/readyz` answers 200.
    pub async fn ready(&self) {
        wait::until("the consumer is ready", SOON, async || {
            (self.get("/readyz").await.0 == 200).then_some(())
        })
        .await;
    }
}

/// Adds an event of this type with this payload to [`STREAM`], as a plain publisher does, and answers the entry's ID.
pub async fn publish(conn: &mut Connection, event_type: &str, payload: &str) -> String {
    let fields = [("type", event_type), ("payload", payload), ("source", "applications")];
    add(conn, &fields.map(|(name, value)| (name, value.as_bytes()))).await
}

/// Adds an entry with these fields to [`STREAM`], and answers its ID.
pub async fn add(conn: &mut Connection, fields: &[(&str, &[u8])]) -> String {
    run(conn, ::redis::cmd("XADD").arg(STREAM).arg("*").arg(fields)).await
}

/// Entries of [`GROUP`] that were delivered and not acknowledged; `None` without a group.
pub async fn pending(conn: &mut Connection) -> Option<u64> {
    match group(conn).await?["pending"] {
        Value::Int(number) => u64::try_from(number).ok(),
        _ => None,
    }
}

/// Waits until the group has read the stream to its end and all of it is acknowledged.
pub async fn settled(conn: &mut Connection) {
    wait::until("everything is acknowledged", SOON, async || {
        let info: HashMap<String, Value> =
            ::redis::cmd("XINFO").arg("STREAM").arg(STREAM).query_async(conn).await.ok()?;
        let group = group(conn).await?;
        let read_all = group["last-delivered-id"] == info["last-generated-id"];
        (read_all && group["pending"] == Value::Int(0)).then_some(())
    })
    .await;
}

async fn group(conn: &mut Connection) -> Option<HashMap<String, Value>> {
    let groups: Vec<HashMap<String, Value>> =
        ::redis::cmd("XINFO").arg("GROUPS").arg(STREAM).query_async(conn).await.ok()?;
    groups.into_iter().find(|group| group["name"] == Value::BulkString(GROUP.into()))
}

/// The dead letters, each with its fields, as soon as there are `number`.
pub async fn dead_letters(conn: &mut Connection, number: usize) -> Vec<Fields> {
    let what = format!("{number} dead letters are stored");
    wait::until(&what, SOON, async || {
        let entries: Vec<(String, Fields)> =
            run(conn, ::redis::cmd("XRANGE").arg(DEAD_LETTERS).arg("-").arg("+")).await;
        let letters: Vec<_> = entries.into_iter().map(|(_, fields)| fields).collect();
        Some(letters).filter(|letters| letters.len() >= number)
    })
    .await
}

/// Runs a command that cannot fail.
pub async fn run<T: FromRedisValue>(conn: &mut Connection, command: &::redis::Cmd) -> T {
    command.query_async(conn).await.expect("the server does as it is told")
}
