//! Batches of events that stand in the stream in their order: all of a batch, or none.

use std::sync::Arc;
use std::time::Duration;

use eventbus_core::names::{EntryId, StreamKey};
use redis::{Pipeline, RedisError, RedisResult, Value};

use crate::config::{BusConfig, Durability};
use crate::error::Error;
use crate::metrics::Metrics;
use crate::redis::Connection;
use crate::redis::SharedConnection;

use super::{Appended, OPERATION, Publisher, appended, now};

/// Events in one batch, at first.
const MOST: usize = 512;

/// Nobody waits for a batch, so that one on a slow line may take this long.
const LONGEST: Duration = Duration::from_secs(10);

/// The way of events that must not overtake each other.
pub(crate) struct Batches {
    stream: StreamKey,
    publisher: Arc<Publisher>,
    durability: Durability,
    /// Of its own: a batch that is late ends it, and whatever is written behind a wait waits too.
    connection: SharedConnection,
    pace: Pace,
    /// Whether the user may use transactions; `None`: to be asked.
    transactions: Option<bool>,
    /// Where the last batch was written, and what waits for its confirmation.
    written: Option<(u64, Connection)>,
}

impl Batches {
    /// Sends to the stream of `config`, on a connection of its own, beside the publisher's.
    pub fn new(config: &BusConfig, publisher: Arc<Publisher>, metrics: &Metrics) -> Self {
        let limit = publisher.timeout * 4 / 5;
        let counts = metrics.of_connection("outbox");
        let connection = publisher.connection.beside(limit, counts);
        Self {
            stream: config.stream.clone(),
            pace: Pace::new(publisher.timeout),
            publisher,
            durability: config.durability,
            connection,
            transactions: None,
            written: None,
        }
    }

    /// What they are sent on.
    pub fn connection(&self) -> SharedConnection {
        self.connection.clone()
    }

    /// How many events to send at once: one, where the user has no right to send more of them as one.
    pub fn most(&self) -> usize {
        if self.transactions == Some(false) { 1 } else { self.pace.most }
    }

    /// Appends entries with these fields, or the first alone where they may only be sent one by one, and answers their
    /// IDs. An error does not say that Redis has not taken them; but it took all of them, or none.
    ///
    /// # Errors
    /// [`Error::StreamFull`], [`Error::TimedOut`], else what Redis answered.
    pub async fn append(&mut self, entries: &[Vec<(&[u8], &[u8])>]) -> Result<Vec<EntryId>, Error> {
        let (began, limit) = (now(), self.pace.limit);
        // An answer that is late ends the connection, so that nothing is sent behind it before Redis answers again.
        let appended = tokio::time::timeout(limit * 5 / 4, self.try_append(entries)).await;
        let result = appended.unwrap_or_else(|_| {
            let stream = self.stream.clone();
            Err(Error::TimedOut { operation: OPERATION, stream, limit })
        });
        match &result {
            Ok(_) => self.pace.kept(now() - began),
            Err(error) if is_late(error) => self.pace.missed(),
            // Rights may have changed.
            Err(error) if error.code().is_some() => self.transactions = None,
            Err(_) => {}
        }
        result
    }

    async fn try_append(&mut self, entries: &[Vec<(&[u8], &[u8])>]) -> Result<Vec<EntryId>, Error> {
        self.publisher.check().await?;
        let asks = self.publisher.pass(now()).await?;
        let (number, mut conn) = self.connection.open().await?;
        conn.set_response_timeout(self.pace.limit);
        let mut sent = entries;
        if entries.len() > 1 && !self.may_use_transactions(number, &mut conn).await? {
            sent = &entries[..1];
        }
        let mut pipe = redis::pipe();
        // An event that is refused for want of memory must not be overtaken by the next.
        if sent.len() > 1 {
            pipe.atomic();
        }
        for fields in sent {
            let mut command = self.publisher.xadd();
            for (name, value) in fields {
                command.arg(*name).arg(*value);
            }
            pipe.add_command(command);
        }
        let answer = self.query(&pipe, &mut conn).await;
        let answers = self.connection.judge(number, answer)?;
        // Not in the same write: where it is refused, the events stand in the stream all the same.
        let length = if asks { Some(self.length(&mut conn).await) } else { None };
        self.written = Some((number, conn));
        self.settle(&answers, sent.len(), length.as_ref())
    }

    async fn query(&self, pipe: &Pipeline, conn: &mut Connection) -> Result<Vec<Value>, Error> {
        let answers: RedisResult<Vec<Value>> = pipe.query_async(conn).await;
        answers.map_err(|source| self.failed(source))
    }

    async fn length(&self, conn: &mut Connection) -> RedisResult<Value> {
        redis::cmd("XLEN").arg(self.stream.as_str()).query_async(conn).await
    }

    fn settle(
        &self,
        answers: &[Value],
        events: usize,
        length: Option<&RedisResult<Value>>,
    ) -> Result<Vec<EntryId>, Error> {
        let mut ids = Vec::with_capacity(events);
        for n in 0..events {
            let Appended { id, length, .. } =
                appended(answers.get(n).unwrap_or(&Value::Nil), length, &self.stream)?;
            ids.push(id);
            let length = length.filter(|_| n + 1 == events);
            self.publisher.appended(&Appended { id, length, doubt: None });
        }
        Ok(ids)
    }

    /// Asks by a transaction with nothing in it: commands behind a `MULTI` that is refused would run one by one.
    async fn may_use_transactions(
        &mut self,
        number: u64,
        conn: &mut Connection,
    ) -> Result<bool, Error> {
        if let Some(may) = self.transactions {
            return Ok(may);
        }
        let mut pipe = redis::pipe();
        pipe.cmd("MULTI").cmd("EXEC");
        let may = match self.query(&pipe, conn).await {
            Err(error) if error.code() == Some("NOPERM") => {
                let stream = &self.stream;
                tracing::warn!(%stream, "the user may not use MULTI and EXEC: the outbox is sent one event at a time");
                false
            }
            answer => {
                self.connection.judge(number, answer)?;
                true
            }
        };
        self.transactions = Some(may);
        Ok(may)
    }

    /// Waits until the last batch is as safe as the setting asks for, on the connection that it was sent on.
    ///
    /// # Errors
    /// [`Error::NotDurable`] with too few confirmations: it may be waited for once more; else the connection failed, or
    /// leads to what is no primary any more and drops what the new one does not have, and the batch is to be sent again.
    pub async fn confirm(&self, ids: &[EntryId]) -> Result<(), Error> {
        let (Some(confirmation), Some((number, conn)), Some(id)) =
            (self.durability.confirmation(), &self.written, ids.last())
        else {
            return Ok(());
        };
        let answer: RedisResult<Value> = confirmation.query_async(&mut conn.clone()).await;
        let wanted = self.durability.wanted();
        let not_durable = |got, source| {
            let (stream, id) = (self.stream.clone(), *id);
            Err(Error::NotDurable { stream, id, wanted, got, source })
        };
        match answer {
            Ok(answer) => match self.durability.confirmed(&answer) {
                got if got >= wanted => Ok(()),
                got => not_durable(got, None),
            },
            Err(source) if is_of_replica(&source) => {
                self.connection.replace(*number);
                Err(self.failed(source))
            }
            Err(source) if source.code().is_some() => not_durable(0, Some(source.into())),
            Err(source) => self.connection.judge(*number, Err(self.failed(source))),
        }
    }

    fn failed(&self, source: RedisError) -> Error {
        Error::Stream {
            operation: OPERATION,
            stream: self.stream.clone(),
            source: first(source).into(),
        }
    }
}

/// Whether a batch was not answered in time.
fn is_late(error: &Error) -> bool {
    match error {
        Error::TimedOut { .. } => true,
        Error::Stream { source, .. } => source.is_timeout(),
        _ => false,
    }
}

/// Whether a server says that it is no primary any more. For WAIT it has no code of its own.
fn is_of_replica(source: &RedisError) -> bool {
    matches!(source.code(), Some("UNBLOCKED" | "READONLY"))
        || source.detail().is_some_and(|detail| detail.contains("with replica instances"))
}

/// How much to send at once, and how long to wait for it: what a line of any speed carries.
#[derive(Debug, PartialEq, Eq)]
struct Pace {
    /// The limit of a fast line.
    shortest: Duration,
    limit: Duration,
    most: usize,
}

impl Pace {
    fn new(shortest: Duration) -> Self {
        Self { shortest, limit: shortest, most: MOST }
    }

    /// Notes that a batch was taken within `took`.
    fn kept(&mut self, took: Duration) {
        self.limit = (took * 4).clamp(self.shortest, self.limit.max(self.shortest));
        if took < self.shortest / 2 {
            self.most = (self.most * 2).min(MOST);
        }
    }

    /// Notes that a batch was not answered in time.
    fn missed(&mut self) {
        self.limit = (self.limit * 2).min(LONGEST);
        self.most = (self.most / 2).max(1);
    }
}

/// Of a batch that was refused as often as it has events, the first refusal: it has the code, and fits a line.
fn first(source: RedisError) -> RedisError {
    let errors = source.clone().into_server_errors();
    let first = errors.and_then(|errors| errors.first().map(|(_, error)| error.clone()));
    first.map_or(source, RedisError::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn a_line_that_carries_no_batch_gets_ever_smaller_ones_and_more_time_down_to_one_event() {
        let mut pace = Pace::new(MS(250));
        for _ in 0..20 {
            pace.missed();
        }
        assert_eq!(pace, Pace { shortest: MS(250), limit: LONGEST, most: 1 });
    }

    #[test]
    fn a_slow_line_keeps_a_size_and_a_limit_that_it_holds() {
        let mut pace = Pace::new(MS(250));
        pace.missed();
        pace.missed();
        for _ in 0..20 {
            pace.kept(MS(200));
        }
        assert_eq!(pace, Pace { shortest: MS(250), limit: MS(800), most: 128 });
    }

    #[test]
    fn a_line_that_is_fast_again_gets_full_batches_and_the_short_limit() {
        let mut pace = Pace { shortest: MS(250), limit: LONGEST, most: 1 };
        for _ in 0..9 {
            pace.kept(MS(5));
        }
        assert_eq!(pace, Pace::new(MS(250)));
    }
}
