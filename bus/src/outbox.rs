//! Outbox: events are written to disk before they are sent, so that an outage of Redis loses none of them.
//!
//! `REDIS_OUTBOX_DIR` is a directory of one process, on a disk that must survive whatever the events must survive.
//! Segments (`<number>.log`) hold the events in their order. The file `sent` records the position up to which they are
//! sent; a segment is removed once all its events are sent. A thread writes the events and answers its callers after the
//! sync: all events that arrive during one sync are written with the next. The first write of a segment needs a second
//! sync, for the directory. A task sends the events.

mod backlog;
mod commit;
mod directory;
mod frame;
mod header;
mod mark;
mod queue;
pub(crate) mod record;
mod sender;
mod writer;

use std::path::Path;
use std::sync::Arc;

use eventbus_core::names::{EntryId, StreamKey};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::config::OutboxConfig;
use crate::error::Error;
use crate::metrics::OutboxMetrics;
use crate::publish::OrderedSender;
use crate::redis::SharedConnection;

use commit::Appending;
use directory::Directory;
use queue::Queue;
use sender::Sender;
use writer::Writer;

pub(crate) use frame::MAX_BODY as MAX_RECORD;
pub(crate) use writer::Refused;

/// Open outbox. Dropping it ends its thread and its task; the next outbox in the directory sends the unsent events.
pub(crate) struct Outbox {
    config: OutboxConfig,
    queue: Arc<Queue>,
    appending: mpsc::Sender<Appending>,
    /// Connection on which events are sent.
    connection: SharedConnection,
    _sending: AbortOnDropHandle<()>,
}

impl Outbox {
    /// Opens the outbox for `stream` and starts to send its events.
    ///
    /// # Errors
    /// [`Error::OutboxTaken`], [`Error::OutboxForeign`], [`Error::OutboxFile`].
    pub async fn open(
        config: OutboxConfig,
        stream: &StreamKey,
        ordered: OrderedSender,
        metrics: OutboxMetrics,
    ) -> Result<Self, Error> {
        let (dir, stream) = (config.dir.clone(), stream.clone());
        let opening = tokio::task::spawn_blocking(move || {
            let directory = Directory::lock(&dir, &stream)?;
            let found = directory.recover()?;
            Ok::<_, Error>((directory, found))
        });
        let (directory, found) = match opening.await {
            Ok(opened) => opened?,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is ending, and this caller with it.
                Err(_) => std::future::pending().await,
            },
        };
        let queue = Arc::new(Queue::new(&found, metrics));
        if found.records > 0 {
            let (dir, events) = (config.dir.display(), found.records);
            tracing::info!(%dir, events, "the outbox has unsent events");
        }
        let directory = Arc::new(directory);
        let writer = Writer::new(directory.clone(), queue.clone(), &config, found.last);
        let (appending, incoming) = mpsc::channel(commit::MAX_RECORDS);
        let written = queue.clone();
        let writing = std::thread::Builder::new().name("eventbus-outbox".to_owned());
        // The thread ends when this value, which has the sending half of the channel, is dropped.
        let writing = writing.spawn(move || commit::run(writer, &written, incoming));
        writing.map_err(|source| {
            let path = config.dir.clone();
            Error::OutboxFile { operation: "start a thread for", path, source }
        })?;
        let connection = ordered.connection();
        let sender = Sender::new(directory, queue.clone(), ordered, found);
        let sending = AbortOnDropHandle::new(tokio::spawn(sender.run()));
        Ok(Self { config, queue, appending, connection, _sending: sending })
    }

    /// Writes a record to disk. The returned receiver gets the entry's ID once the record is sent; it is closed if sending
    /// will take long.
    ///
    /// # Errors
    /// [`Refused`] if the record is not on disk.
    pub async fn store(&self, record: Vec<u8>) -> Result<oneshot::Receiver<EntryId>, Refused> {
        let (stored, is_stored) = oneshot::channel();
        let (sent, is_sent) = oneshot::channel();
        let appending = Appending { body: record.into(), stored, sent };
        // If the thread has ended, the answer's channel is closed too.
        self.appending.send(appending).await.ok();
        match is_stored.await {
            Ok(stored) => stored.map(|()| is_sent),
            Err(_) => Err(Refused::Failed(Arc::new(std::io::Error::other("the outbox has ended")))),
        }
    }

    /// Returns the outbox's directory.
    pub fn directory(&self) -> &Path {
        &self.config.dir
    }

    /// Returns the maximum size, in bytes.
    pub fn cap(&self) -> u64 {
        self.config.max_bytes
    }

    /// Returns `true` if a caller should not wait for its event to be sent: the last attempt failed, or the circuit breaker
    /// is open.
    pub fn is_stuck(&self) -> bool {
        self.queue.is_failing() || self.connection.refuses()
    }

    /// Returns the number of unsent events.
    pub fn unsent(&self) -> u64 {
        self.queue.unsent()
    }

    /// Waits until all events are sent.
    pub async fn emptied(&self) {
        loop {
            let emptied = self.queue.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable();
            if self.unsent() == 0 {
                return;
            }
            emptied.await;
        }
    }
}
