//! Publishing with confirmations, on a connection of its own: each write is a batch of events and one wait for all of
//! them. Events that arrive during a wait form the next batch.

use std::sync::Arc;

use eventbus_core::names::StreamKey;
use redis::{Cmd, RedisError, RedisResult, Value};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::config::Durability;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::redis::Connection;
use crate::redis::SharedConnection;

use super::{Appended, OPERATION, appended};

/// Maximum number of events in a batch.
const MAX_BATCH: usize = 512;

/// Sender of events that need confirmations. Clones share it; dropping the last clone ends its task.
#[derive(Clone)]
pub(super) struct ConfirmedSender {
    connection: SharedConnection,
    queue: mpsc::Sender<Waiting>,
    durability: Durability,
    _task: Arc<AbortOnDropHandle<()>>,
}

/// Event that waits to be sent.
struct Waiting {
    conn: Connection,
    command: Cmd,
    with_length: bool,
    answer: oneshot::Sender<Result<Appended, Error>>,
}

impl ConfirmedSender {
    /// Starts the sender's task, with a connection of its own to the server of `shared`.
    pub fn start(
        shared: &SharedConnection,
        stream: StreamKey,
        durability: Durability,
        metrics: &Metrics,
    ) -> Self {
        let limit = durability.publish_timeout() * 4 / 5;
        let connection = shared.beside(limit, metrics.of_connection("confirm"));
        let (queue, waiting) = mpsc::channel(MAX_BATCH);
        let batcher = Batcher { stream, durability };
        let task = tokio::spawn(async move { batcher.run(waiting).await });
        Self { connection, queue, durability, _task: Arc::new(AbortOnDropHandle::new(task)) }
    }

    /// Checks that the server can confirm events.
    ///
    /// # Errors
    /// The error of connecting; [`Error::CannotFsync`]; [`Error::Server`] without permission to wait.
    pub async fn check(&self) -> Result<(), Error> {
        self.durability.check(&self.connection).await
    }

    /// Records in the breaker that a caller timed out.
    pub fn timed_out(&self) {
        self.connection.timed_out();
    }

    /// Sends an XADD with the next batch. `with_length` also reads the stream's length. Too few confirmations are not an
    /// error here; they are reported in [`Appended::not_durable`].
    ///
    /// # Errors
    /// Redis' error, or that of connecting.
    pub async fn append(&self, command: Cmd, with_length: bool) -> Result<Appended, Error> {
        let (number, conn) = self.connection.open().await?;
        let (answer, settled) = oneshot::channel();
        let waiting = Waiting { conn, command, with_length, answer };
        // If the task has ended, the answer's channel is closed too.
        self.queue.send(waiting).await.ok();
        match settled.await {
            Ok(result) => self.connection.judge(number, result),
            // The runtime is ending, and this caller with it.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Task that sends the batches.
struct Batcher {
    stream: StreamKey,
    durability: Durability,
}

impl Batcher {
    async fn run(&self, mut queue: mpsc::Receiver<Waiting>) {
        let mut batch = Vec::new();
        while queue.recv_many(&mut batch, MAX_BATCH).await > 0 {
            // An event whose caller timed out before it was sent must not be in the stream.
            batch.retain(|waiting| !waiting.answer.is_closed());
            if let Some(last) = batch.last() {
                let mut conn = last.conn.clone();
                self.send(&mut conn, &mut batch).await;
            }
        }
    }

    async fn send(&self, conn: &mut Connection, batch: &mut Vec<Waiting>) {
        let mut pipe = redis::pipe();
        for waiting in &mut *batch {
            pipe.add_command(std::mem::take(&mut waiting.command));
        }
        let with_length = batch.iter().any(|waiting| waiting.with_length);
        if with_length {
            pipe.cmd("XLEN").arg(self.stream.as_str());
        }
        pipe.add_command(self.durability.confirmation().unwrap_or_default());
        let answers: RedisResult<Vec<RedisResult<Value>>> =
            pipe.ignore_errors().query_async(conn).await;
        match answers {
            Ok(answers) => self.settle(answers, with_length, batch),
            Err(source) => {
                for waiting in batch.drain(..) {
                    // The caller may have timed out.
                    waiting.answer.send(Err(self.failed(source.clone()))).ok();
                }
            }
        }
    }

    fn settle(
        &self,
        answers: Vec<RedisResult<Value>>,
        with_length: bool,
        batch: &mut Vec<Waiting>,
    ) {
        let mut answers = answers.into_iter();
        let ids: Vec<_> = answers.by_ref().take(batch.len()).collect();
        let length = if with_length { answers.next() } else { None };
        let confirmation = answers.next();
        for (waiting, id) in batch.drain(..).zip(ids) {
            let appended = id
                .map_err(|source| self.failed(source))
                .and_then(|id| appended(&id, length.as_ref(), &self.stream))
                .map(|appended| self.confirmed(appended, confirmation.as_ref()));
            // The caller may have timed out.
            waiting.answer.send(appended).ok();
        }
    }

    /// Adds [`Error::NotDurable`] to an event with too few confirmations.
    fn confirmed(&self, appended: Appended, confirmation: Option<&RedisResult<Value>>) -> Appended {
        let (got, source) = match confirmation {
            Some(Ok(answer)) => (self.durability.confirmed(answer), None),
            Some(Err(source)) => (0, Some(source.clone())),
            None => (0, None),
        };
        let required = self.durability.required();
        if got >= required {
            return appended;
        }
        let (stream, id) = (self.stream.clone(), appended.id);
        let source = source.map(Into::into);
        let error = Error::NotDurable { stream, id, required, got, source };
        Appended { not_durable: Some(error), ..appended }
    }

    fn failed(&self, source: RedisError) -> Error {
        Error::Stream { operation: OPERATION, stream: self.stream.clone(), source: source.into() }
    }
}
