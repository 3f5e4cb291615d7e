//! Commands of one consumer, except reads. Each is one script.

use std::time::Duration;

use eventbus_core::delivery::{
    Claimed, Counts, DelayRequest, EntryRef, HeartbeatReport, Input, Moment, PendingEntry, Pool,
    Source, WriteResult,
};
use eventbus_core::names::{ConsumerName, EntryId, StreamKey};
use redis::Value;

use crate::error::Error;
use crate::redis::Connection;
use crate::redis::reply::{entry_id, list, number};
use crate::redis::script::{Call, call};
use crate::scripts::declare_group::RefusalLog;
use crate::scripts::{acknowledge, claim, delay, heartbeat, leave, next_in_order};

use super::SubscriberConfig;
use super::drop_count::DropCount;

/// Lease of a consumer that never reported its own.
const FOREIGN_LEASE: Duration = Duration::from_secs(600);

/// Name, settings and keys of one consumer.
#[derive(Debug)]
pub(super) struct Consumer {
    pub me: ConsumerName,
    pub config: SubscriberConfig,
    pub dead_letters: StreamKey,
    pub consumers: String,
    /// Shared with the other tasks of this process that create groups.
    pub refusals: RefusalLog,
    pub drops: DropCount,
}

impl Consumer {
    pub fn new(
        me: ConsumerName,
        config: SubscriberConfig,
        refusals: RefusalLog,
        drops: DropCount,
    ) -> Self {
        let usual = || config.stream.dead_letters(&config.group);
        let dead_letters = config.dead_letters.as_ref().map_or_else(usual, |d| d.stream.clone());
        let consumers = config.stream.consumers_key(&config.group);
        Self { me, config, dead_letters, consumers, refusals, drops }
    }

    pub fn key(&self, source: Source) -> &str {
        match source {
            Source::Stream => self.config.stream.as_str(),
            Source::DeadLetters => self.dead_letters.as_str(),
        }
    }

    /// Acknowledges the entries that this consumer still holds, all of one source. Returns their number.
    pub async fn acknowledge_checked(
        &self,
        conn: Connection,
        entries: &[EntryRef],
    ) -> Result<u64, Error> {
        let source = entries.first().map_or(Source::Stream, |entry| entry.source);
        let ids: Vec<EntryId> = entries.iter().map(|entry| entry.id).collect();
        let arguments = acknowledge::Arguments {
            source: self.key(source),
            group: &self.config.group,
            consumer: &self.me,
            delete: source == Source::DeadLetters,
            ids: &ids,
        };
        let acknowledged = self.call(conn, &arguments).await;
        Ok(unless_never_replayed(source, acknowledged)?.unwrap_or(0))
    }

    /// Claims entries of a pool that are due.
    pub async fn claim(
        &self,
        conn: Connection,
        source: Source,
        pool: Pool,
        max: usize,
    ) -> Result<Vec<Claimed>, Error> {
        let (key, group, consumer) = (self.key(source), &self.config.group, &self.me);
        let arguments = claim::Arguments { source: key, group, consumer, pool, max };
        let claimed = self.call(conn, &arguments).await;
        Ok(unless_never_replayed(source, claimed)?.unwrap_or_default())
    }

    /// Acknowledges `done` and gets the oldest entry that is not done. Returns the input that reports it.
    pub async fn next(
        &self,
        conn: Connection,
        sent: Moment,
        done: Option<EntryId>,
    ) -> Result<Input, Error> {
        let arguments = next_in_order::Arguments {
            stream: self.config.stream.as_str(),
            consumers: &self.consumers,
            group: &self.config.group,
            consumer: &self.me,
            lease: self.config.delivery.lease,
            foreign_lease: FOREIGN_LEASE,
            done,
        };
        let next = self.call(conn, &arguments).await?;
        Ok(Input::Next { sent, done: done.map(|id| (id, next.is_some())), next })
    }

    /// Lists the entries of one source that are pending at this consumer, the oldest first.
    pub async fn pending(
        &self,
        mut conn: Connection,
        source: Source,
        max: usize,
    ) -> Result<Vec<PendingEntry>, Error> {
        const OPERATION: &str = "list pending events";
        let mut command = redis::cmd("XPENDING");
        command.arg(self.key(source)).arg(self.config.group.as_str()).arg("-").arg("+");
        command.arg(max).arg(self.me.as_str());
        let answer = command.query_async(&mut conn).await;
        let answer = answer.map_err(|error| self.failed(OPERATION, error));
        let Some(answer) = unless_never_replayed(source, answer)? else { return Ok(Vec::new()) };
        pending_entries(&answer).ok_or_else(|| self.malformed_reply(OPERATION, "entries"))
    }

    /// Delays entries of one source, all in one pool.
    pub async fn delay(
        &self,
        conn: Connection,
        source: Source,
        requests: &[DelayRequest],
    ) -> Result<Vec<(EntryRef, WriteResult)>, Error> {
        let arguments = delay::Arguments {
            source: self.key(source),
            group: &self.config.group,
            consumer: &self.me,
            pool: requests.first().map_or(Pool::Delayed, |request| request.pool),
            requests,
        };
        let results = self.call(conn, &arguments).await;
        let results = unless_never_replayed(source, results)?
            .unwrap_or_else(|| vec![WriteResult::NotMine; requests.len()]);
        let entries = requests.iter().map(|request| EntryRef { source, id: request.id });
        Ok(entries.zip(results).collect())
    }

    /// Renews the leases of `entries`, and searches the sources `search` for entries of vanished consumers.
    pub async fn heartbeat(
        &self,
        conn: Connection,
        entries: &[EntryRef],
        search: &[Source],
        counts: &Counts,
    ) -> Result<HeartbeatReport, Error> {
        let arguments = heartbeat::Arguments {
            stream: self.config.stream.as_str(),
            dead_letters: self.dead_letters.as_str(),
            consumers: &self.consumers,
            group: &self.config.group,
            consumer: &self.me,
            delivery: &self.config.delivery,
            foreign_lease: FOREIGN_LEASE,
            entries,
            search,
            counts,
            handler: &self.config.handler,
        };
        self.call(conn, &arguments).await
    }

    /// Removes this consumer from the group, unless an entry is pending under its name.
    pub async fn leave(&self, conn: Connection, counts: &Counts) -> Result<(), Error> {
        let arguments = leave::Arguments {
            stream: self.config.stream.as_str(),
            dead_letters: self.dead_letters.as_str(),
            consumers: &self.consumers,
            group: &self.config.group,
            consumer: &self.me,
            counts,
        };
        self.call(conn, &arguments).await.map(|_| ())
    }

    /// Runs a script; its error names this consumer's stream and group.
    pub async fn call<C: Call>(
        &self,
        mut conn: Connection,
        arguments: &C,
    ) -> Result<C::Reply, Error> {
        let reply = call(&mut conn, arguments).await;
        reply.map_err(|failure| failure.on_group(&self.config.stream, &self.config.group))
    }

    pub fn failed(&self, operation: &'static str, source: redis::RedisError) -> Error {
        let (stream, group) = (self.config.stream.clone(), self.config.group.clone());
        Error::Group { operation, stream, group, source: source.into() }
    }

    pub fn malformed_reply(&self, operation: &'static str, missing: &'static str) -> Error {
        Error::Reply { operation, stream: self.config.stream.clone(), missing }
    }
}

/// Decodes the extended form of the reply to `XPENDING`.
fn pending_entries(reply: &Value) -> Option<Vec<PendingEntry>> {
    let entry = |row| {
        let [id, _consumer, _idle, deliveries] = list(row)? else { return None };
        // Any client may set a delivery count to any number.
        let deliveries = u32::try_from(number(deliveries)?).unwrap_or(u32::MAX).max(1);
        Some(PendingEntry { id: entry_id(id)?, deliveries })
    };
    list(reply)?.iter().map(entry).collect()
}

/// Returns `None` if the group is missing among the dead letters, or the key has another type: no consumer holds a
/// replay.
fn unless_never_replayed<T>(source: Source, reply: Result<T, Error>) -> Result<Option<T>, Error> {
    match reply {
        Err(error)
            if source == Source::DeadLetters && (error.is_no_group() || error.is_wrong_type()) =>
        {
            Ok(None)
        }
        reply => reply.map(Some),
    }
}
