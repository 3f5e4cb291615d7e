//! Batches of events that stand in the stream in their order: all of a batch, or none.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisError, RedisResult, Value};

use super::{Appended, Durability, OPERATION, Publisher, appended, now};
use crate::config::BusConfig;
use crate::connect::SharedConnection;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::names::{EntryId, StreamKey};

/// Events in one batch, at first.
const MOST: usize = 512;

/// The way of events that must not overtake each other.
pub(crate) struct Batches {
    stream: StreamKey,
    publisher: Arc<Publisher>,
    durability: Durability,
    connection: SharedConnection,
    /// Events in the next batch: fewer after each try that was not answered in time, as large ones may not be.
    most: usize,
    /// Whether the user may use transactions; `None`: to be asked.
    transactions: Option<bool>,
    /// Where the last batch was written, and what waits for its confirmation.
    written: Option<(u64, MultiplexedConnection)>,
}

impl Batches {
    /// Sends to the stream of `config`, on `shared` where nothing is waited for.
    pub fn new(
        config: &BusConfig,
        shared: &SharedConnection,
        publisher: Arc<Publisher>,
        metrics: &Metrics,
    ) -> Self {
        let durability = config.durability;
        let connection = match durability {
            Durability::Async => shared.clone(),
            // Whatever is written behind a wait waits too.
            _ => {
                let limit = publisher.timeout * 4 / 5;
                let counts = metrics.of_connection("outbox");
                SharedConnection::start(config.redis.clone(), limit, counts)
            }
        };
        let stream = config.stream.clone();
        Self {
            stream,
            publisher,
            durability,
            connection,
            most: MOST,
            transactions: None,
            written: None,
        }
    }

    /// How many events to send at once: one, where the user has no right to send more of them as one.
    pub fn most(&self) -> usize {
        if self.transactions == Some(false) { 1 } else { self.most }
    }

    /// Appends entries with these fields, or the first alone where they may only be sent one by one, and answers their
    /// IDs. An error does not say that Redis has not taken them; but it took all of them, or none.
    ///
    /// # Errors
    /// [`Error::StreamFull`], [`Error::TimedOut`], else what Redis answered.
    pub async fn append(&mut self, entries: &[Vec<(&[u8], &[u8])>]) -> Result<Vec<EntryId>, Error> {
        let limit = self.publisher.timeout;
        let appended = tokio::time::timeout(limit, self.try_append(entries)).await;
        let result = appended.unwrap_or_else(|_| {
            let stream = self.stream.clone();
            Err(Error::TimedOut { operation: OPERATION, stream, limit })
        });
        match &result {
            Ok(_) => self.most = more(self.most),
            Err(error) => {
                if is_late(error) {
                    self.most = fewer(self.most);
                }
                // Rights may have changed.
                self.transactions = None;
            }
        }
        result
    }

    async fn try_append(&mut self, entries: &[Vec<(&[u8], &[u8])>]) -> Result<Vec<EntryId>, Error> {
        let asks = self.publisher.pass(&self.stream, now()).await?;
        let (number, mut conn) = self.connection.open().await?;
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
            let mut command = self.publisher.xadd(&self.stream);
            for (name, value) in fields {
                command.arg(*name).arg(*value);
            }
            pipe.add_command(command);
        }
        if asks {
            pipe.cmd("XLEN").arg(self.stream.as_str());
        }
        let answer = self.query(&pipe, &mut conn).await;
        let answers = self.connection.judge(number, answer)?;
        self.written = Some((number, conn));
        self.settle(&answers, sent.len())
    }

    async fn query(
        &self,
        pipe: &Pipeline,
        conn: &mut MultiplexedConnection,
    ) -> Result<Vec<Value>, Error> {
        let answers: RedisResult<Vec<Value>> = pipe.query_async(conn).await;
        answers.map_err(|source| self.failed(source))
    }

    fn settle(&self, answers: &[Value], events: usize) -> Result<Vec<EntryId>, Error> {
        let length = answers.get(events).cloned().map(Ok);
        let mut ids = Vec::with_capacity(events);
        for n in 0..events {
            let Appended { id, length, .. } =
                appended(answers.get(n).unwrap_or(&Value::Nil), length.as_ref(), &self.stream)?;
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
        conn: &mut MultiplexedConnection,
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
    /// [`Error::NotDurable`] with too few confirmations: it may be waited for once more; else the connection failed, and
    /// the batch is to be sent again.
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

/// How many events to send after a batch of at most `most` that was taken.
fn more(most: usize) -> usize {
    (most * 2).min(MOST)
}

/// How many events to send after a batch of at most `most` that was not answered.
fn fewer(most: usize) -> usize {
    (most / 2).max(1)
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

    #[test]
    fn a_slow_line_gets_ever_smaller_batches_down_to_one_event_and_a_fast_one_full_batches_again() {
        let mut most = MOST;
        for _ in 0..20 {
            most = fewer(most);
        }
        assert_eq!(most, 1);
        for _ in 0..20 {
            most = more(most);
        }
        assert_eq!(most, 512);
    }
}
