//! A server with one group, its dead letters and its consumers' hash, on which the scripts run.

use std::collections::BTreeMap;

use eventbus::admin::Connection;
use redis::{RedisResult, Value};
use serde_json::json;
use tests::redis::RedisServer;

use super::call::{Call, HEARTBEAT};

pub const DAY: u64 = 86_400_000;
pub const LEASE: u64 = 30_000;
pub const FOREIGN_LEASE: u64 = 600_000;
pub const DELAYED: &str = "eventbus:delayed";
pub const SUSPECT: &str = "eventbus:suspect";

/// What a busy machine may take between two commands, in milliseconds.
pub const SLACK: u64 = 10_000;

/// A group and the keys beside its stream.
pub struct World {
    pub server: RedisServer,
    pub conn: Connection,
    pub stream: String,
    pub dead_letters: String,
    pub hash: String,
    pub group: String,
}

/// A pending entry: its ID, its owner, and how often it was delivered.
pub type EntryState = (String, String, u64);

pub fn state(id: &str, owner: &str, attempts: u64) -> EntryState {
    (id.to_owned(), owner.to_owned(), attempts)
}

/// Arguments of a heartbeat.
#[derive(Clone, Copy)]
pub struct Heartbeat<'a> {
    pub me: &'a str,
    /// Searches the stream, the dead letters.
    pub search: (bool, bool),
    pub of_stream: &'a [&'a str],
    pub replays: &'a [&'a str],
    pub state: &'a str,
}

impl Default for Heartbeat<'_> {
    fn default() -> Self {
        let state = r#"{"v":1,"lease":30000}"#;
        Self { me: "me", search: (false, false), of_stream: &[], replays: &[], state }
    }
}

/// Reply to a heartbeat.
#[derive(Debug, Default, PartialEq)]
pub struct Report {
    pub lost: Vec<String>,
    pub lost_replays: Vec<String>,
    pub moved: u64,
    pub due: u64,
    pub due_replays: u64,
    pub delayed: u64,
    pub replays: u64,
    pub trimmed: u64,
}

impl World {
    /// Stream `s`, empty, with group `g` at its start.
    pub async fn start() -> Self {
        Self::on(RedisServer::start(), "s", "{s}", "g").await
    }

    /// With a server of its own settings, and names of its own; `prefix` begins the keys beside the stream.
    pub async fn on(server: RedisServer, stream: &str, prefix: &str, group: &str) -> Self {
        let conn = server.connection().await;
        let mut world = Self {
            server,
            conn,
            stream: stream.to_owned(),
            dead_letters: format!("{prefix}:dlq:{group}"),
            hash: format!("{prefix}:eventbus:consumers:{group}"),
            group: group.to_owned(),
        };
        world.run(&["XGROUP", "CREATE", stream, group, "0", "MKSTREAM"]).await;
        world
    }

    pub async fn try_run(&mut self, words: &[&str]) -> RedisResult<serde_json::Value> {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]).query_async(&mut self.conn).await.map(read)
    }

    pub async fn run(&mut self, words: &[&str]) -> serde_json::Value {
        self.try_run(words).await.unwrap()
    }

    /// Runs a script for this group and these arguments; `source` is the stream.
    pub async fn try_call(&mut self, call: Call<'_>) -> RedisResult<serde_json::Value> {
        let keys = [
            ("source", self.stream.as_str()),
            ("stream", &self.stream),
            ("dead_letters", &self.dead_letters),
            ("consumers", &self.hash),
        ];
        let command = call.command(&keys, &[("group", self.group.as_str())]);
        command.query_async(&mut self.conn).await.map(read)
    }

    pub async fn call(&mut self, call: Call<'_>) -> serde_json::Value {
        self.try_call(call).await.unwrap()
    }

    /// As [`World::call`], among the dead letters.
    pub async fn call_replays(&mut self, call: Call<'_>) -> serde_json::Value {
        let dead_letters = self.dead_letters.clone();
        self.call(call.with("source", &dead_letters)).await
    }

    pub async fn try_heartbeat(&mut self, heartbeat: Heartbeat<'_>) -> RedisResult<Report> {
        let flag = |flag| if flag { "1" } else { "0" };
        let (lease, foreign_lease) = (LEASE.to_string(), FOREIGN_LEASE.to_string());
        let stream_ids = heartbeat.of_stream.len().to_string();
        let (search_stream, search_dead_letters) = heartbeat.search;
        let mut call = HEARTBEAT.by(heartbeat.me);
        call = call.with("lease", &lease).with("foreign_lease", &foreign_lease);
        call = call.with("initial_delay", "60000").with("multiplier", "2");
        call = call.with("max_delay", "3600000").with("state", heartbeat.state);
        call = call.with("search_stream", flag(search_stream));
        call = call.with("search_dead_letters", flag(search_dead_letters));
        call = call.with("max_attempts", "5").with("stream_ids", &stream_ids);
        for id in heartbeat.of_stream.iter().chain(heartbeat.replays) {
            call = call.and_all(&[*id]);
        }
        let reply = self.try_call(call).await?;
        let mut values: BTreeMap<&str, &serde_json::Value> = BTreeMap::new();
        for pair in reply.as_array().unwrap().chunks(2) {
            values.insert(pair[0].as_str().unwrap(), &pair[1]);
        }
        let number = |name| values[name].as_u64().unwrap();
        let ids = |name| serde_json::from_value(values[name].clone()).unwrap();
        assert_eq!(values.len(), 8, "{reply}");
        Ok(Report {
            lost: ids("lost"),
            lost_replays: ids("lost_replays"),
            moved: number("moved"),
            trimmed: number("trimmed"),
            due: number("due"),
            due_replays: number("due_replays"),
            delayed: number("delayed"),
            replays: number("replays"),
        })
    }

    pub async fn heartbeat(&mut self, heartbeat: Heartbeat<'_>) -> Report {
        self.try_heartbeat(heartbeat).await.unwrap()
    }

    /// Adds an event to the stream.
    pub async fn add(&mut self, id: &str) {
        let stream = self.stream.clone();
        self.run(&["XADD", &stream, id, "type", "t", "payload", "{}"]).await;
    }

    /// Adds an event to the stream and makes it pending at `owner`, for `idle` ms, after so many attempts.
    pub async fn give(&mut self, id: &str, owner: &str, idle: u64, attempts: u64) {
        self.add(id).await;
        let stream = self.stream.clone();
        self.claim(&stream, id, owner, (idle, attempts)).await;
    }

    /// As [`World::give`], among the dead letters.
    pub async fn give_replay(&mut self, id: &str, owner: &str, idle: u64, attempts: u64) {
        let (dead_letters, group) = (self.dead_letters.clone(), self.group.clone());
        self.run(&["XADD", &dead_letters, id, "type", "t", "dlq.id", "7-0"]).await;
        // It may be there from the time before.
        let _ = self.try_run(&["XGROUP", "CREATE", &dead_letters, &group, "$"]).await;
        self.claim(&dead_letters, id, owner, (idle, attempts)).await;
    }

    /// Has the group come to this entry, as after reading it.
    pub async fn come_to(&mut self, id: &str) {
        let (stream, group) = (self.stream.clone(), self.group.clone());
        self.run(&["XGROUP", "SETID", &stream, &group, id]).await;
    }

    async fn claim(&mut self, key: &str, id: &str, owner: &str, (idle, attempts): (u64, u64)) {
        let (idle, attempts) = (idle.to_string(), attempts.to_string());
        let group = self.group.clone();
        let claim = ["XCLAIM", key, &group, owner, "0", id, "IDLE", &idle];
        let options = ["RETRYCOUNT", &attempts, "FORCE", "JUSTID"];
        assert_eq!(self.run(&[claim.as_slice(), &options].concat()).await, json!([id]));
    }

    /// What is pending in the stream, the oldest first.
    pub async fn pending(&mut self) -> Vec<EntryState> {
        let stream = self.stream.clone();
        self.pending_at(&stream).await.into_iter().map(|(id, owner, _, n)| (id, owner, n)).collect()
    }

    /// What is pending among the dead letters, the oldest first.
    pub async fn replays(&mut self) -> Vec<EntryState> {
        let key = self.dead_letters.clone();
        self.pending_at(&key).await.into_iter().map(|(id, owner, _, n)| (id, owner, n)).collect()
    }

    async fn pending_at(&mut self, key: &str) -> Vec<(String, String, u64, u64)> {
        let group = self.group.clone();
        let reply = self.run(&["XPENDING", key, &group, "-", "+", "20000"]).await;
        serde_json::from_value(reply).unwrap()
    }

    /// For how long an entry of the stream has been idle, in ms.
    pub async fn idle(&mut self, id: &str) -> u64 {
        let stream = self.stream.clone();
        let all = self.pending_at(&stream).await;
        all.into_iter().find(|entry| entry.0 == id).unwrap().2
    }

    /// For how long a dead letter has been idle, in ms.
    pub async fn replay_idle(&mut self, id: &str) -> u64 {
        let key = self.dead_letters.clone();
        let all = self.pending_at(&key).await;
        all.into_iter().find(|entry| entry.0 == id).unwrap().2
    }

    /// A field of the consumers' hash; `null` where it is missing.
    pub async fn field(&mut self, name: &str) -> serde_json::Value {
        let hash = self.hash.clone();
        self.run(&["HGET", &hash, name]).await
    }

    /// A field of the consumers' hash, which holds JSON.
    pub async fn json(&mut self, name: &str) -> serde_json::Value {
        serde_json::from_str(self.field(name).await.as_str().unwrap()).unwrap()
    }

    /// The resume point that the last heartbeat stored, without the time, which is that of the server.
    pub async fn resume_point(&mut self) -> serde_json::Value {
        let (mut point, now) = (self.json("resume").await, self.now().await);
        let at = point.as_object_mut().unwrap().remove("at").unwrap().as_u64().unwrap();
        assert!(at <= now && is_about(now - at, 0), "written at {at}, it is {now}");
        point
    }

    pub async fn set_field(&mut self, name: &str, value: &str) {
        let hash = self.hash.clone();
        self.run(&["HSET", &hash, name, value]).await;
    }

    /// The server's clock, in ms.
    pub async fn now(&mut self) -> u64 {
        let (seconds, micros): (String, String) =
            serde_json::from_value(self.run(&["TIME"]).await).unwrap();
        seconds.parse::<u64>().unwrap() * 1000 + micros.parse::<u64>().unwrap() / 1000
    }

    /// The names of the group's consumers at `key`.
    pub async fn consumers(&mut self, key: &str) -> Vec<String> {
        let group = self.group.clone();
        let list = self.run(&["XINFO", "CONSUMERS", key, &group]).await;
        let all = list.as_array().unwrap().iter();
        all.map(|consumer| consumer[1].as_str().unwrap().to_owned()).collect()
    }
}

/// Whether `idle` is `expected`, or a little more: time goes on.
pub fn is_about(idle: u64, expected: u64) -> bool {
    (expected..expected + SLACK).contains(&idle)
}

/// A reply as JSON; bytes that are no text become question marks.
fn read(value: Value) -> serde_json::Value {
    match value {
        Value::Int(number) => json!(number),
        Value::BulkString(bytes) => json!(String::from_utf8_lossy(&bytes)),
        Value::SimpleString(text) => json!(text),
        Value::Okay => json!("OK"),
        Value::Array(values) => values.into_iter().map(read).collect(),
        Value::Nil => serde_json::Value::Null,
        other => panic!("{other:?}"),
    }
}
