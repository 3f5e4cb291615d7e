//! Publishing above `async`: a connection of its own, on which each write is a batch of events and one wait for all of
//! them. What gathers during one wait is the next batch.

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

/// Events in one batch.
const BATCH: usize = 512;

/// The way of events that are to be confirmed; clones share it. It ends with the last of them.
#[derive(Clone)]
pub(super) struct Confirmed {
    connection: SharedConnection,
    queue: mpsc::Sender<Waiting>,
    durability: Durability,
    _task: Arc<AbortOnDropHandle<()>>,
}

/// An event that is not sent yet.
struct Waiting {
    conn: Connection,
    command: Cmd,
    asks: bool,
    answer: oneshot::Sender<Result<Appended, Error>>,
}

impl Confirmed {
    /// Begins to connect, beside `shared`.
    pub fn start(
        shared: &SharedConnection,
        stream: StreamKey,
        durability: Durability,
        metrics: &Metrics,
    ) -> Self {
        let limit = durability.publish_timeout() * 4 / 5;
        let connection = shared.beside(limit, metrics.of_connection("confirm"));
        let (queue, waiting) = mpsc::channel(BATCH);
        let batches = Batches { stream, durability };
        let task = tokio::spawn(async move { batches.run(waiting).await });
        Self { connection, queue, durability, _task: Arc::new(AbortOnDropHandle::new(task)) }
    }

    /// Has the server tell that it can confirm.
    ///
    /// # Errors
    /// As connecting; [`Error::CannotFsync`]; [`Error::Server`] where the user may not wait.
    pub async fn check(&self) -> Result<(), Error> {
        self.durability.check(&self.connection).await
    }

    /// Takes note that a caller gave up waiting for an answer.
    pub fn timed_out(&self) {
        self.connection.timed_out();
    }

    /// Sends an XADD with the next batch; `asks`: for the length too.
    ///
    /// # Errors
    /// What Redis answered. Too few confirmations are told beside the entry.
    pub async fn append(&self, command: Cmd, asks: bool) -> Result<Appended, Error> {
        let (number, conn) = self.connection.open().await?;
        let (answer, settled) = oneshot::channel();
        let waiting = Waiting { conn, command, asks, answer };
        // What cannot be sent is not answered either.
        self.queue.send(waiting).await.ok();
        match settled.await {
            Ok(result) => self.connection.judge(number, result),
            // The runtime is ending, and this caller with it.
            Err(_) => std::future::pending().await,
        }
    }
}

struct Batches {
    stream: StreamKey,
    durability: Durability,
}

impl Batches {
    async fn run(&self, mut queue: mpsc::Receiver<Waiting>) {
        let mut batch = Vec::new();
        while queue.recv_many(&mut batch, BATCH).await > 0 {
            // Who gave up before the event was sent shall not find it in the stream.
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
        let asks = batch.iter().any(|waiting| waiting.asks);
        if asks {
            pipe.cmd("XLEN").arg(self.stream.as_str());
        }
        pipe.add_command(self.durability.confirmation().unwrap_or_default());
        let answers: RedisResult<Vec<RedisResult<Value>>> =
            pipe.ignore_errors().query_async(conn).await;
        match answers {
            Ok(answers) => self.settle(answers, asks, batch),
            Err(source) => {
                for waiting in batch.drain(..) {
                    // A caller that gave up needs no answer.
                    waiting.answer.send(Err(self.failed(source.clone()))).ok();
                }
            }
        }
    }

    fn settle(&self, answers: Vec<RedisResult<Value>>, asks: bool, batch: &mut Vec<Waiting>) {
        let mut answers = answers.into_iter();
        let ids: Vec<_> = answers.by_ref().take(batch.len()).collect();
        let length = if asks { answers.next() } else { None };
        let confirmation = answers.next();
        for (waiting, id) in batch.drain(..).zip(ids) {
            let appended = id
                .map_err(|source| self.failed(source))
                .and_then(|id| appended(&id, length.as_ref(), &self.stream))
                .map(|appended| self.confirmed(appended, confirmation.as_ref()));
            // A caller that gave up needs no answer.
            waiting.answer.send(appended).ok();
        }
    }

    /// The event, and whether it was confirmed by as many as it takes.
    fn confirmed(&self, appended: Appended, confirmation: Option<&RedisResult<Value>>) -> Appended {
        let (got, source) = match confirmation {
            Some(Ok(answer)) => (self.durability.confirmed(answer), None),
            Some(Err(source)) => (0, Some(source.clone())),
            None => (0, None),
        };
        let wanted = self.durability.wanted();
        if got >= wanted {
            return appended;
        }
        let (stream, id) = (self.stream.clone(), appended.id);
        let source = source.map(Into::into);
        Appended { doubt: Some(Error::NotDurable { stream, id, wanted, got, source }), ..appended }
    }

    fn failed(&self, source: RedisError) -> Error {
        Error::Stream { operation: OPERATION, stream: self.stream.clone(), source: source.into() }
    }
}
