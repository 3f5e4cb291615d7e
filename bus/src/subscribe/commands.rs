//! The commands of one consumer, each as one call with a decoded reply.

use std::sync::LazyLock;
use std::time::Duration;

use jiff::Timestamp;
use redis::Value;
use redis::aio::MultiplexedConnection;
use serde_json::json;

use crate::delivery::{BeatReport, Burial, Counts, Parking, Pool, Settled, Taken};
use crate::error::Error;
use crate::event::RawEntry;
use crate::names::{ConsumerName, EntryId, PARKED, SUSPECT};
use crate::script::Script;

use super::{SubscriberConfig, reply};

/// Entries of a consumer that never told its lease are taken over after this long.
const FOREIGN_LEASE: Duration = Duration::from_secs(600);

/// A script, and what it is for, as a verb and its object.
struct Operation {
    name: &'static str,
    script: Script,
}

impl Operation {
    fn new(name: &'static str, script: &'static str) -> Self {
        Self { name, script: Script::new(script) }
    }
}

static BEAT: LazyLock<Operation> =
    LazyLock::new(|| Operation::new("renew leases", include_str!("../scripts/beat.lua")));
static TAKE: LazyLock<Operation> =
    LazyLock::new(|| Operation::new("take waiting events", include_str!("../scripts/take.lua")));
static PARK: LazyLock<Operation> =
    LazyLock::new(|| Operation::new("park events", include_str!("../scripts/park.lua")));
static ACKNOWLEDGE: LazyLock<Operation> = LazyLock::new(|| {
    Operation::new("acknowledge late events", include_str!("../scripts/acknowledge.lua"))
});
static BURY: LazyLock<Operation> =
    LazyLock::new(|| Operation::new("store a dead letter", include_str!("../scripts/bury.lua")));
static LEAVE: LazyLock<Operation> =
    LazyLock::new(|| Operation::new("leave the group", include_str!("../scripts/leave.lua")));

/// One consumer's name and settings, for its commands.
#[derive(Debug)]
pub(super) struct Consumer {
    pub me: ConsumerName,
    pub config: SubscriberConfig,
    consumers: String,
}

impl Consumer {
    pub fn new(me: ConsumerName, config: SubscriberConfig) -> Self {
        let consumers = config.stream.consumers_key(&config.group);
        Self { me, config, consumers }
    }

    /// Waits up to `block` for new entries. On a connection of its own: everything behind it waits too.
    pub async fn read(
        &self,
        mut conn: MultiplexedConnection,
        count: usize,
        block: Duration,
    ) -> Result<Vec<RawEntry>, Error> {
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(self.config.group.as_str()).arg(self.me.as_str());
        command.arg("COUNT").arg(count).arg("BLOCK").arg(millis(block));
        command.arg("STREAMS").arg(self.config.stream.as_str()).arg(">");
        let answer = command.query_async(&mut conn).await;
        let answer = answer.map_err(|source| self.failed("read events", source))?;
        reply::entries(answer).ok_or_else(|| self.odd("read events", "entries"))
    }

    pub async fn acknowledge(
        &self,
        mut conn: MultiplexedConnection,
        ids: &[EntryId],
        checked: bool,
    ) -> Result<(), Error> {
        let ids: Vec<String> = ids.iter().map(EntryId::to_string).collect();
        let (stream, group) = (self.config.stream.as_str(), self.config.group.as_str());
        if checked {
            let mut args = vec![group, self.me.as_str()];
            args.extend(ids.iter().map(String::as_str));
            return self.call(&ACKNOWLEDGE, conn, &[], &args).await.map(|_| ());
        }
        let mut command = redis::cmd("XACK");
        command.arg(stream).arg(group).arg(&ids);
        let answer = command.exec_async(&mut conn).await;
        answer.map_err(|source| self.failed("acknowledge events", source))
    }

    pub async fn take(
        &self,
        conn: MultiplexedConnection,
        pool: Pool,
        count: usize,
    ) -> Result<Vec<Taken>, Error> {
        let from = match pool {
            Pool::Parked => PARKED,
            Pool::Suspect => SUSPECT,
        };
        let count = count.to_string();
        let args = [self.config.group.as_str(), self.me.as_str(), from, &count];
        let answer = self.call(&TAKE, conn, &[], &args).await?;
        reply::taken(answer).ok_or_else(|| self.odd(TAKE.name, "entries"))
    }

    pub async fn park(
        &self,
        conn: MultiplexedConnection,
        parkings: &[Parking],
    ) -> Result<Vec<(EntryId, Settled)>, Error> {
        let mut args = vec![self.config.group.to_string(), self.me.to_string()];
        for parking in parkings {
            args.push(parking.id.to_string());
            args.push(parking.attempts.to_string());
            args.push(millis(parking.delay).to_string());
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let answer = self.call(&PARK, conn, &[], &args).await?;
        let settled: Option<Vec<Settled>> =
            reply::array(answer).and_then(|a| a.iter().map(reply::settled).collect());
        let settled = settled.filter(|settled| settled.len() == parkings.len());
        let settled = settled.ok_or_else(|| self.odd(PARK.name, "answer for each"))?;
        Ok(parkings.iter().map(|parking| parking.id).zip(settled).collect())
    }

    /// [`Settled::Refused`] where the server would not write the dead letter; the entry is pending as before.
    pub async fn bury(
        &self,
        conn: MultiplexedConnection,
        burial: &Burial,
        now: Timestamp,
    ) -> Result<Settled, Error> {
        let args = self.burial_args(burial, now);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let keys = [self.config.dead_letters.as_str()];
        match self.call(&BURY, conn, &keys, &args).await {
            Ok(answer) => reply::settled(&answer).ok_or_else(|| self.odd(BURY.name, "answer")),
            Err(error) if matches!(error.code(), Some("OOM" | "WRONGTYPE" | "NOPERM" | "ERR")) => {
                tracing::error!(stream = %self.config.stream, group = %self.config.group,
                    entry = %burial.id, dead_letters = %self.config.dead_letters,
                    error = %crate::error::chain(&error), "a dead letter was refused; it waits");
                Ok(Settled::Refused)
            }
            Err(error) => Err(error),
        }
    }

    fn burial_args(&self, burial: &Burial, now: Timestamp) -> Vec<String> {
        let first = crate::event::time_of(burial.id);
        let mut args = vec![self.config.group.to_string(), self.me.to_string()];
        args.push(burial.id.to_string());
        args.push(self.config.dead_letter_max_length.to_string());
        let why = [
            ("dlq.id", burial.id.to_string()),
            ("dlq.group", self.config.group.to_string()),
            ("dlq.reason", burial.reason.to_owned()),
            ("dlq.error", burial.error.clone()),
            ("dlq.attempts", burial.attempts.to_string()),
            ("dlq.first", first.to_string()),
            ("dlq.last", now.to_string()),
            ("dlq.consumer", self.me.to_string()),
        ];
        args.extend(why.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
        args
    }

    pub async fn beat(
        &self,
        conn: MultiplexedConnection,
        ids: &[EntryId],
        look: bool,
        counts: &Counts,
    ) -> Result<BeatReport, Error> {
        let delivery = &self.config.delivery;
        let mut args = vec![
            self.config.group.to_string(),
            self.me.to_string(),
            millis(delivery.lease).to_string(),
            u8::from(look).to_string(),
            millis(FOREIGN_LEASE).to_string(),
            millis(delivery.backoff.initial).to_string(),
            delivery.backoff.multiplier.to_string(),
            millis(delivery.backoff.max).to_string(),
            self.state(counts).to_string(),
        ];
        args.extend(ids.iter().map(EntryId::to_string));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let keys = [self.consumers.as_str()];
        let answer = self.call(&BEAT, conn, &keys, &args).await?;
        reply::beat(answer).ok_or_else(|| self.odd(BEAT.name, "report"))
    }

    /// What stands in the consumers' hash; the server adds its time as `at`.
    fn state(&self, counts: &Counts) -> serde_json::Value {
        json!({
            "v": 1,
            "lease": millis(self.config.delivery.lease),
            "received": counts.received,
            "acknowledged": counts.acknowledged,
            "retried": counts.retried,
            "dead": counts.dead,
            "skipped": counts.skipped,
            "inFlight": counts.in_flight,
            "handler": self.config.handler,
        })
    }

    pub async fn leave(&self, conn: MultiplexedConnection, counts: &Counts) -> Result<(), Error> {
        let mut args = vec![self.config.group.to_string(), self.me.to_string()];
        let sums = [
            ("received", counts.received),
            ("acknowledged", counts.acknowledged),
            ("retried", counts.retried),
            ("dead", counts.dead),
            ("skipped", counts.skipped),
        ];
        args.extend(sums.into_iter().flat_map(|(name, sum)| [name.to_owned(), sum.to_string()]));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let keys = [self.consumers.as_str()];
        self.call(&LEAVE, conn, &keys, &args).await.map(|_| ())
    }

    /// Runs a script on the stream and, behind it, `keys`.
    async fn call(
        &self,
        operation: &Operation,
        mut conn: MultiplexedConnection,
        keys: &[&str],
        args: &[&str],
    ) -> Result<Value, Error> {
        let mut all = vec![self.config.stream.as_str()];
        all.extend(keys);
        let answer = operation.script.call(&mut conn, &all, args).await;
        answer.map_err(|source| self.failed(operation.name, source))
    }

    fn failed(&self, operation: &'static str, source: redis::RedisError) -> Error {
        let (stream, group) = (self.config.stream.clone(), self.config.group.clone());
        Error::Group { operation, stream, group, source }
    }

    fn odd(&self, operation: &'static str, missing: &'static str) -> Error {
        Error::Reply { operation, stream: self.config.stream.clone(), missing }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
