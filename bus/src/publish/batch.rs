//! Ordered publishing in batches: Redis stores all events of a batch in their order, or none.

use std::sync::Arc;
use std::time::Duration;

use eventbus_core::names::{EntryId, StreamKey};
use eventbus_core::retry::pace::{Pace, PaceRange};
use redis::{Pipeline, RedisError, RedisResult, Value};

use crate::config::{BusConfig, Durability};
use crate::error::{Class, Error};
use crate::metrics::Metrics;
use crate::redis::Connection;
use crate::redis::SharedConnection;

use super::{Appended, OPERATION, Publisher, appended, now};

/// Maximum number of events in a batch, and the initial one.
const MAX_BATCH: usize = 512;

/// Maximum time limit of a batch: no caller waits for it, so it may take long on a slow connection.
const MAX_LIMIT: Duration = Duration::from_secs(10);

/// Sender of events whose order must be kept.
pub(crate) struct OrderedSender {
    stream: StreamKey,
    publisher: Arc<Publisher>,
    durability: Durability,
    /// Not shared: a late batch closes the connection, and a wait for confirmations blocks later commands.
    connection: SharedConnection,
    pace: Pace,
    /// `true` if the user has permission for MULTI and EXEC; `None` if not checked yet.
    transactions: Option<bool>,
    /// Connection on which the last batch was written and is confirmed, with its number.
    written: Option<(u64, Connection)>,
}

impl OrderedSender {
    /// Creates a sender to the stream of `config`, with a connection of its own to the publisher's server.
    pub fn new(config: &BusConfig, publisher: Arc<Publisher>, metrics: &Metrics) -> Self {
        let limit = publisher.timeout * 4 / 5;
        let counts = metrics.of_connection("outbox");
        let connection = publisher.connection.beside(limit, counts);
        Self {
            stream: config.stream.clone(),
            pace: Pace::new(PaceRange {
                max_batch: MAX_BATCH,
                min_limit: publisher.timeout,
                max_limit: MAX_LIMIT,
            }),
            publisher,
            durability: config.durability,
            connection,
            transactions: None,
            written: None,
        }
    }

    /// Returns the connection.
    pub fn connection(&self) -> SharedConnection {
        self.connection.clone()
    }

    /// Returns the current maximum size of a batch; 1 without permission for transactions.
    pub fn max_batch(&self) -> usize {
        if self.transactions == Some(false) { 1 } else { self.pace.batch() }
    }

    /// Appends entries with these fields and returns their IDs. Without permission for transactions it appends only the
    /// first. After an error Redis may have stored all of them, or none.
    ///
    /// # Errors
    /// [`Error::StreamFull`], [`Error::TimedOut`], else Redis' error.
    pub async fn append(&mut self, entries: &[Vec<(&[u8], &[u8])>]) -> Result<Vec<EntryId>, Error> {
        let (began, limit) = (now(), self.pace.limit());
        // A late answer closes the connection, so that no later batch overtakes this one.
        let appended = tokio::time::timeout(limit * 5 / 4, self.try_append(entries)).await;
        let result = appended.unwrap_or_else(|_| {
            let stream = self.stream.clone();
            Err(Error::TimedOut { operation: OPERATION, stream, limit })
        });
        match &result {
            Ok(ids) => self.pace.answered(ids.len(), now() - began),
            Err(error) if is_late(error) => self.pace.failed(entries.len(), true),
            // Permissions may have changed.
            Err(error) if error.code().is_some() => self.transactions = None,
            Err(_) => {}
        }
        result
    }

    /// Returns the class of a failure of [`append`](Self::append), if a command that appends events failed.
    pub fn class(error: &Error) -> Option<Class> {
        match error {
            // Trimming at the hard cap fails with another operation.
            Error::Stream { operation, source, .. } if *operation == OPERATION => {
                Some(source.class())
            }
            _ => None,
        }
    }

    /// Checks that Redis answers an XADD to the stream: sends one with an ID that every server refuses, so that nothing is
    /// stored.
    ///
    /// # Errors
    /// [`Error::TimedOut`], else any other answer of Redis than that refusal, or the error of the connection.
    pub async fn probe(&self) -> Result<(), Error> {
        let mut command = redis::cmd("XADD");
        command.arg(self.stream.as_str()).arg("NOMKSTREAM").arg("0-0").arg("type").arg("probe");
        let probe = async {
            let (number, mut conn) = self.connection.open().await?;
            conn.set_response_timeout(self.pace.limit());
            let answer: RedisResult<Value> = command.query_async(&mut conn).await;
            self.connection.judge(number, answer.map_err(|source| self.failed(source)))
        };
        let limit = self.pace.limit();
        match tokio::time::timeout(limit * 5 / 4, probe).await {
            Ok(Err(error)) if !error.is_refused_id() => Err(error),
            Ok(_) => Ok(()),
            Err(_) => {
                let stream = self.stream.clone();
                Err(Error::TimedOut { operation: OPERATION, stream, limit })
            }
        }
    }

    async fn try_append(&mut self, entries: &[Vec<(&[u8], &[u8])>]) -> Result<Vec<EntryId>, Error> {
        self.publisher.check().await?;
        let with_length = self.publisher.admit(now()).await?;
        let (number, mut conn) = self.connection.open().await?;
        conn.set_response_timeout(self.pace.limit());
        let mut sent = entries;
        if entries.len() > 1 && !self.may_use_transactions(number, &mut conn).await? {
            sent = &entries[..1];
        }
        let mut pipe = redis::pipe();
        // If Redis refuses an event for lack of memory, it must refuse the following ones too.
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
        // Not in the transaction, so that a refused XLEN does not fail events that are in the stream.
        let length = if with_length { Some(self.length(&mut conn).await) } else { None };
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
            self.publisher.appended(&Appended { id, length, not_durable: None });
        }
        Ok(ids)
    }

    /// Checks the permission for transactions with an empty one: after a refused `MULTI` the commands would run one by one.
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
                tracing::warn!(%stream, "the Redis user has no permission for MULTI and EXEC; the outbox is sent one event at a time");
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

    /// Waits until the last batch has the required confirmations, on the connection that it was sent on.
    ///
    /// # Errors
    /// [`Error::NotDurable`] with too few confirmations: the wait may be repeated. Any other error means that the batch must
    /// be sent again: the connection failed, or its server is no longer the primary and will discard entries that the new
    /// primary does not have.
    pub async fn confirm(&self, ids: &[EntryId]) -> Result<(), Error> {
        let (Some(confirmation), Some((number, conn)), Some(id)) =
            (self.durability.confirmation(), &self.written, ids.last())
        else {
            return Ok(());
        };
        let answer: RedisResult<Value> = confirmation.query_async(&mut conn.clone()).await;
        let required = self.durability.required();
        let not_durable = |got, source| {
            let (stream, id) = (self.stream.clone(), *id);
            Err(Error::NotDurable { stream, id, required, got, source })
        };
        match answer {
            Ok(answer) => match self.durability.confirmed(&answer) {
                got if got >= required => Ok(()),
                got => not_durable(got, None),
            },
            Err(source) if is_demoted(&source) => {
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

/// Returns `true` if a batch was not answered in time.
fn is_late(error: &Error) -> bool {
    match error {
        Error::TimedOut { .. } => true,
        Error::Stream { source, .. } => source.is_timeout(),
        _ => false,
    }
}

/// Returns `true` if the server is no longer the primary. WAIT's error for this has no code.
fn is_demoted(source: &RedisError) -> bool {
    matches!(source.code(), Some("UNBLOCKED" | "READONLY"))
        || source.detail().is_some_and(|detail| detail.contains("with replica instances"))
}

/// Returns the first error of a refused batch, which has one error for each event: it has the code, and fits one line.
fn first(source: RedisError) -> RedisError {
    let errors = source.clone().into_server_errors();
    let first = errors.and_then(|errors| errors.first().map(|(_, error)| error.clone()));
    first.map_or(source, RedisError::from)
}
