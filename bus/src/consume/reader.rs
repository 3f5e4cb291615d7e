//! Connection for blocking reads, and for acknowledgements in one write with them.

use std::time::Duration;

use eventbus_core::delivery::EntryRef;
use eventbus_core::event::RawEntry;
use eventbus_core::names::EntryId;
use eventbus_core::time::millis;
use redis::Value;

use crate::config::RedisConfig;
use crate::error::Error;
use crate::redis::Connection;
use crate::redis::reply::read_entries;

use super::commands::Consumer;

const MAX_BLOCK: Duration = Duration::from_secs(2);
/// Minimum time beyond its BLOCK after which the connection of a blocking read counts as dead.
const MARGIN: Duration = Duration::from_secs(3);

/// Reads the group's new entries. Commands go out in the order of the calls: one behind a read waits with it.
#[derive(Clone)]
pub(super) struct Reader {
    conn: Connection,
    block: Duration,
}

impl Reader {
    /// Connects. A read blocks for a third of `lease`, at most 2 s.
    pub async fn connect(redis: &RedisConfig, lease: Duration) -> Result<Self, Error> {
        let block = (lease / 3).min(MAX_BLOCK);
        let conn = Connection::open(redis, block + MARGIN).await?;
        Ok(Self { conn, block })
    }

    /// Returns a reader whose reads may take `limit` beyond the time that they block.
    pub fn within(&self, limit: Duration) -> Self {
        let mut reader = self.clone();
        reader.conn.set_response_timeout(self.block + limit.max(MARGIN));
        reader
    }

    /// Waits for new entries, at most `count`. Dropping the future leaves them pending without any consumer
    /// knowing them.
    pub async fn read(mut self, consumer: &Consumer, count: usize) -> Result<Vec<RawEntry>, Error> {
        const OPERATION: &str = "read events";
        let config = &consumer.config;
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(config.group.as_str()).arg(consumer.me.as_str());
        command.arg("COUNT").arg(count).arg("BLOCK").arg(millis(self.block));
        command.arg("STREAMS").arg(config.stream.as_str()).arg(">");
        let answer = command.query_async(&mut self.conn).await;
        let answer = answer.map_err(|source| consumer.failed(OPERATION, source))?;
        read_entries(answer).ok_or_else(|| consumer.malformed_reply(OPERATION, "entries"))
    }

    /// Waits until the stream has an entry after `after`, at most as long as a read blocks. Delivers nothing.
    pub async fn wait(mut self, consumer: &Consumer, after: EntryId) -> Result<(), Error> {
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(1).arg("BLOCK").arg(millis(self.block));
        command.arg("STREAMS").arg(consumer.config.stream.as_str()).arg(after.to_string());
        let answer = command.query_async::<Value>(&mut self.conn).await;
        answer.map(|_| ()).map_err(|source| consumer.failed("wait for events", source))
    }

    /// Acknowledges entries of the stream. Returns the number that were pending.
    pub async fn acknowledge(
        mut self,
        consumer: &Consumer,
        entries: &[EntryRef],
    ) -> Result<u64, Error> {
        acknowledge(&mut self.conn, consumer, entries).await
    }
}

/// Acknowledges as [`Reader::acknowledge`] does, on a connection that does not block.
pub(super) async fn acknowledge(
    conn: &mut Connection,
    consumer: &Consumer,
    entries: &[EntryRef],
) -> Result<u64, Error> {
    let config = &consumer.config;
    let mut command = redis::cmd("XACK");
    command.arg(config.stream.as_str()).arg(config.group.as_str());
    for entry in entries {
        command.arg(entry.id.to_string());
    }
    let answer = command.query_async(conn).await;
    answer.map_err(|source| consumer.failed("acknowledge events", source))
}
