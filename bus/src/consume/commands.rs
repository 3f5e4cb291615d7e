//! The commands of one consumer but reading, each as one call with a decoded reply.

use std::sync::LazyLock;
use std::time::Duration;

use crate::redis::Connection;
use redis::Value;

use crate::error::Error;
use crate::redis::script::Script;
use eventbus_core::delivery::{
    Claimed, Counts, DelayRequest, EntryRef, Input, Moment, Pool, Source, WriteResult,
};
use eventbus_core::names::{ConsumerName, DELAYED, EntryId, SUSPECT, StreamKey};

use super::{SubscriberConfig, reply};

/// Entries of a consumer that never told its lease are taken over after this long.
pub(super) const FOREIGN_LEASE: Duration = Duration::from_secs(600);

/// A script, and what it is for, as a verb and its object.
pub(super) struct Operation {
    pub name: &'static str,
    script: Script,
}

impl Operation {
    pub fn new(name: &'static str, script: &'static str) -> Self {
        Self { name, script: Script::new(script) }
    }
}

static CLAIM: LazyLock<Operation> =
    LazyLock::new(|| Operation::new("claim waiting events", include_str!("../scripts/claim.lua")));
static NEXT_IN_ORDER: LazyLock<Operation> = LazyLock::new(|| {
    Operation::new("read the next event", include_str!("../scripts/next_in_order.lua"))
});
static DELAY: LazyLock<Operation> =
    LazyLock::new(|| Operation::new("delay events", include_str!("../scripts/delay.lua")));
static ACKNOWLEDGE: LazyLock<Operation> = LazyLock::new(|| {
    Operation::new("acknowledge late events", include_str!("../scripts/acknowledge.lua"))
});
static LEAVE: LazyLock<Operation> =
    LazyLock::new(|| Operation::new("leave the group", include_str!("../scripts/leave.lua")));

/// One consumer's name and settings, for its commands.
#[derive(Debug)]
pub(super) struct Consumer {
    pub me: ConsumerName,
    pub config: SubscriberConfig,
    pub dead_letters: StreamKey,
    pub consumers: String,
}

impl Consumer {
    pub fn new(me: ConsumerName, config: SubscriberConfig) -> Self {
        let usual = || config.stream.dead_letters(&config.group);
        let dead_letters = config.dead_letters.as_ref().map_or_else(usual, |d| d.stream.clone());
        let consumers = config.stream.consumers_key(&config.group);
        Self { me, config, dead_letters, consumers }
    }

    pub fn key(&self, source: Source) -> &str {
        match source {
            Source::Stream => self.config.stream.as_str(),
            Source::DeadLetters => self.dead_letters.as_str(),
        }
    }

    /// Acknowledges what still belongs to this consumer, and answers how many did.
    pub async fn acknowledge_checked(
        &self,
        conn: Connection,
        entries: &[EntryRef],
    ) -> Result<u64, Error> {
        let source = entries.first().map_or(Source::Stream, |entry| entry.source);
        let delete = if source == Source::DeadLetters { "1" } else { "0" };
        let ids: Vec<String> = entries.iter().map(|entry| entry.id.to_string()).collect();
        let mut args = vec![self.config.group.as_str(), self.me.as_str(), delete];
        args.extend(ids.iter().map(String::as_str));
        let answer = self.call(&ACKNOWLEDGE, conn, &[self.key(source)], &args).await;
        match unless_never_replayed(source, answer)? {
            None => Ok(0),
            Some(answer) => {
                reply::number(&answer).ok_or_else(|| self.odd(ACKNOWLEDGE.name, "number"))
            }
        }
    }

    pub async fn claim(
        &self,
        conn: Connection,
        source: Source,
        pool: Pool,
        count: usize,
    ) -> Result<Vec<Claimed>, Error> {
        let count = count.to_string();
        let args = [self.config.group.as_str(), self.me.as_str(), name_of(pool), &count];
        let answer = self.call(&CLAIM, conn, &[self.key(source)], &args).await;
        match unless_never_replayed(source, answer)? {
            None => Ok(Vec::new()),
            Some(answer) => reply::claimed(answer).ok_or_else(|| self.odd(CLAIM.name, "entries")),
        }
    }

    /// Acknowledges `done` and gets the oldest entry that is not, as the input that tells of it.
    pub async fn next(
        &self,
        conn: Connection,
        sent: Moment,
        done: Option<EntryId>,
    ) -> Result<Input, Error> {
        let lease = millis(self.config.delivery.lease).to_string();
        let foreign_lease = millis(FOREIGN_LEASE).to_string();
        let id = done.map(|id| id.to_string()).unwrap_or_default();
        let args = [self.config.group.as_str(), self.me.as_str(), &lease, &foreign_lease, &id];
        let keys = [self.config.stream.as_str(), &self.consumers];
        let answer = self.call(&NEXT_IN_ORDER, conn, &keys, &args).await?;
        let (mine, next) =
            reply::next(answer).ok_or_else(|| self.odd(NEXT_IN_ORDER.name, "entry"))?;
        Ok(Input::Next { sent, done: done.map(|id| (id, mine)), next })
    }

    pub async fn delay(
        &self,
        conn: Connection,
        source: Source,
        requests: &[DelayRequest],
    ) -> Result<Vec<(EntryRef, WriteResult)>, Error> {
        let pool = requests.first().map_or(Pool::Delayed, |request| request.pool);
        let mut args =
            vec![self.config.group.to_string(), self.me.to_string(), name_of(pool).to_owned()];
        for request in requests {
            args.push(request.id.to_string());
            args.push(request.attempts.to_string());
            args.push(millis(request.delay).to_string());
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let answer = self.call(&DELAY, conn, &[self.key(source)], &args).await;
        let settled = match unless_never_replayed(source, answer)? {
            None => Some(vec![WriteResult::NotMine; requests.len()]),
            Some(answer) => {
                reply::array(answer).and_then(|a| a.iter().map(reply::settled).collect())
            }
        };
        let settled = settled.filter(|settled| settled.len() == requests.len());
        let settled = settled.ok_or_else(|| self.odd(DELAY.name, "answer for each"))?;
        let entries = requests.iter().map(|request| EntryRef { source, id: request.id });
        Ok(entries.zip(settled).collect())
    }

    pub async fn leave(&self, conn: Connection, counts: &Counts) -> Result<(), Error> {
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
        let keys = [self.config.stream.as_str(), self.dead_letters.as_str(), &self.consumers];
        self.call(&LEAVE, conn, &keys, &args).await.map(|_| ())
    }

    pub async fn call(
        &self,
        operation: &Operation,
        mut conn: Connection,
        keys: &[&str],
        args: &[&str],
    ) -> Result<Value, Error> {
        let answer = operation.script.call(&mut conn, keys, args).await;
        answer.map_err(|source| self.failed(operation.name, source))
    }

    pub fn failed(&self, operation: &'static str, source: redis::RedisError) -> Error {
        let (stream, group) = (self.config.stream.clone(), self.config.group.clone());
        Error::Group { operation, stream, group, source: source.into() }
    }

    pub fn odd(&self, operation: &'static str, missing: &'static str) -> Error {
        Error::Reply { operation, stream: self.config.stream.clone(), missing }
    }
}

/// `None` where the group is missing among the dead letters, or these are none: nothing there is anybody's.
fn unless_never_replayed(
    source: Source,
    answer: Result<Value, Error>,
) -> Result<Option<Value>, Error> {
    match answer {
        Err(error)
            if source == Source::DeadLetters && (error.is_no_group() || error.is_wrong_type()) =>
        {
            Ok(None)
        }
        answer => answer.map(Some),
    }
}

/// The consumer that the entries of a pool belong to.
fn name_of(pool: Pool) -> &'static str {
    match pool {
        Pool::Delayed => DELAYED,
        Pool::Suspect => SUSPECT,
    }
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
