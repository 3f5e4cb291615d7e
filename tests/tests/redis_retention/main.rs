//! How much of a stream is kept: what is trimmed, what is not, and what happens at the hard cap.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

mod cap;
mod missing;
mod permissions;
mod trim;

use std::collections::BTreeMap;
use std::time::Duration;

use eventbus::admin::{Connection, Trimmed};
use eventbus::config::{
    BusConfig, CredentialFiles, HardCap, Overflow, RedisConfig, Retention, TrimMode,
};
use eventbus::{Error, EventBus, StreamKey, admin};
use tests::event_bus::connect;
use tests::redis::RedisServer;
use tests::subscriber::LONG;
use tests::wait;

/// How long a missing group without owner holds trimming back.
const HOLD: Duration = Duration::from_secs(3600);

struct Fixture {
    server: RedisServer,
    conn: Connection,
    stream: StreamKey,
}

impl Fixture {
    async fn new() -> Self {
        let server = RedisServer::start();
        let conn = server.connection().await;
        Self { server, conn, stream: StreamKey::new("s").unwrap() }
    }

    async fn bus(&self, retention: &Retention) -> EventBus {
        self.bus_as(self.server.config(), retention).await
    }

    async fn bus_as(&self, redis: RedisConfig, retention: &Retention) -> EventBus {
        connect(self.bus_config(redis, retention)).await
    }

    fn bus_config(&self, redis: RedisConfig, retention: &Retention) -> BusConfig {
        BusConfig::new(redis, self.stream.clone()).with_retention(retention.clone())
    }

    /// The server for a user `u` with these rights beside connecting.
    async fn config_with(&mut self, permissions: &str) -> RedisConfig {
        self.run(&format!("ACL SETUSER u on >p resetchannels -@all +ping {permissions}")).await;
        let url = format!("redis://u:p@127.0.0.1:{}", self.server.port());
        RedisConfig::new("url", &url, CredentialFiles::default()).unwrap()
    }

    async fn run(&mut self, command: &str) -> redis::Value {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>()).query_async(&mut self.conn).await.unwrap()
    }

    /// Adds entries `first`-0 to `last`-0.
    async fn add(&mut self, first: u64, last: u64) {
        let mut batch = redis::pipe();
        for n in first..=last {
            batch.cmd("XADD").arg("s").arg(format!("{n}-0")).arg("f").arg("v").ignore();
        }
        batch.query_async::<()>(&mut self.conn).await.unwrap();
    }

    /// Adds so many entries with the server's time.
    async fn add_later(&mut self, count: usize) {
        let mut batch = redis::pipe();
        for _ in 0..count {
            batch.cmd("XADD").arg("s").arg("*").arg("f").arg("v").ignore();
        }
        batch.query_async::<()>(&mut self.conn).await.unwrap();
    }

    /// A group that has read up to entry `read`-0 and acknowledged that.
    async fn group(&mut self, group: &str, read: u64) {
        self.run(&format!("XGROUP CREATE s {group} {read}-0 MKSTREAM")).await;
    }

    async fn length(&mut self) -> u64 {
        redis::cmd("XLEN").arg("s").query_async(&mut self.conn).await.unwrap()
    }

    async fn trim(&mut self, keep: u64) -> Trimmed {
        admin::trim(&mut self.conn, &self.stream, keep, HOLD).await.unwrap()
    }

    async fn lost(&mut self) -> BTreeMap<String, u64> {
        redis::cmd("HGETALL").arg(self.stream.lost_key()).query_async(&mut self.conn).await.unwrap()
    }
}

fn keeping(mode: TrimMode, max_entries: u64) -> Retention {
    Retention::default().with_mode(mode).with_max_entries(max_entries)
}

fn capped(mode: TrimMode, entries: u64, overflow: Overflow) -> Retention {
    keeping(mode, 100).with_hard_cap(Some(HardCap { entries, overflow }))
}

/// Publishes so many events, and answers how often one had to be tried again, which may have put it there once more.
async fn publish(bus: &EventBus, count: u64) -> u64 {
    let mut again = 0;
    for n in 0..count {
        wait::until("a publish works", LONG, async || match bus.publish("t", &n, None).await {
            Err(error) if error.is_transient() && !matches!(error, Error::StreamFull { .. }) => {
                again += 1;
                None
            }
            result => Some(result.unwrap()),
        })
        .await;
    }
    again
}

/// Publishes until the stream has fewer than `length` entries: a round of trimming that is late is followed by another.
async fn trimmed_below(s: &mut Fixture, bus: &EventBus, length: u64) {
    wait::until("it trims", LONG, async || {
        let is_trimmed = s.length().await < length;
        if !is_trimmed {
            publish(bus, 1).await;
        }
        is_trimmed.then_some(())
    })
    .await;
}
