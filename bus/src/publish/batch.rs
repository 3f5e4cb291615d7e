//! Batches of events that stand in the stream in their order: all of a batch, or none.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisResult, Value};

use super::{Appended, OPERATION, Publisher, appended, now};
use crate::config::BusConfig;
use crate::connect::SharedConnection;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::names::{EntryId, StreamKey};

/// Events in one batch.
const MOST: usize = 512;

/// The way of events that must not overtake each other.
pub(crate) struct Batches {
    stream: StreamKey,
    publisher: Arc<Publisher>,
    durability: super::Durability,
    connection: SharedConnection,
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
            super::Durability::Async => shared.clone(),
            // Whatever is written behind a wait waits too.
            _ => {
                let limit = publisher.timeout * 4 / 5;
                let counts = metrics.of_connection("outbox");
                SharedConnection::start(config.redis.clone(), limit, counts)
            }
        };
        let stream = config.stream.clone();
        Self { stream, publisher, durability, connection, transactions: None, written: None }
    }

    /// How many events to send at once: one, where the user has no right to send more of them as one.
    pub fn most(&self) -> usize {
        if self.transactions == Some(false) { 1 } else { MOST }
    }

    /// Appends entries with these fields, and answers their IDs. An error does not say that Redis has not taken them;
    /// but it took all of them, or none.
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
        if result.is_err() {
            // Rights may have changed.
            self.transactions = None;
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

    fn failed(&self, source: redis::RedisError) -> Error {
        Error::Stream { operation: OPERATION, stream: self.stream.clone(), source: source.into() }
    }
}
