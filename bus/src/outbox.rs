//! The outbox: events that are on disk before they are sent, so that an outage of Redis loses none of them.
//!
//! `REDIS_OUTBOX_DIR` is a directory of one process, on a disk that survives what the events are to survive. In it,
//! segments (`<number>.log`) hold the events one behind the other, `sent` tells how far they are sent, and segments of
//! which all is sent are removed. A thread writes, and answers its callers once the disk has their events: all that came
//! during one sync go to disk with the next. A segment's first write costs one sync more, for its name. A task sends.

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
use crate::publish::Batches;
use crate::redis::SharedConnection;

use commit::Appending;
use directory::Directory;
use queue::Queue;
use sender::Sender;
use writer::Writer;

pub(crate) use frame::MOST as MAX_RECORD;
pub(crate) use writer::Refused;

/// An open outbox. It ends with this value; what is not sent then is sent by the next one.
pub(crate) struct Outbox {
    config: OutboxConfig,
    queue: Arc<Queue>,
    appending: mpsc::Sender<Appending>,
    /// What it is sent on.
    connection: SharedConnection,
    _sending: AbortOnDropHandle<()>,
}

impl Outbox {
    /// Opens the outbox for `stream`, and begins to send what is in it.
    ///
    /// # Errors
    /// [`Error::OutboxTaken`], [`Error::OutboxForeign`], [`Error::OutboxFile`].
    pub async fn open(
        config: OutboxConfig,
        stream: &StreamKey,
        batches: Batches,
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
            tracing::info!(%dir, events, "the outbox holds events that are not sent yet");
        }
        let directory = Arc::new(directory);
        let writer = Writer::new(directory.clone(), queue.clone(), &config, found.last);
        let (appending, incoming) = mpsc::channel(commit::MOST_RECORDS);
        let noted = queue.clone();
        let writing = std::thread::Builder::new().name("eventbus-outbox".to_owned());
        // It ends with this value, which has the other end of the channel.
        let writing = writing.spawn(move || commit::run(writer, &noted, incoming));
        writing.map_err(|source| {
            let path = config.dir.clone();
            Error::OutboxFile { operation: "start a thread for", path, source }
        })?;
        let connection = batches.connection();
        let sender = Sender::new(directory, queue.clone(), batches, found);
        let sending = AbortOnDropHandle::new(tokio::spawn(sender.run()));
        Ok(Self { config, queue, appending, connection, _sending: sending })
    }

    /// Puts a record on disk; what is answered then waits for it to be sent, and is closed where that will take long.
    ///
    /// # Errors
    /// Why it is not on disk.
    pub async fn keep(&self, record: Vec<u8>) -> Result<oneshot::Receiver<EntryId>, Refused> {
        let (kept, is_kept) = oneshot::channel();
        let (sent, is_sent) = oneshot::channel();
        let appending = Appending { body: record.into(), kept, sent };
        // What cannot be written is not answered either.
        self.appending.send(appending).await.ok();
        match is_kept.await {
            Ok(kept) => kept.map(|()| is_sent),
            Err(_) => Err(Refused::Failed(Arc::new(std::io::Error::other("the outbox has ended")))),
        }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.config.dir
    }

    /// Bytes that it may take.
    pub fn cap(&self) -> u64 {
        self.config.max_bytes
    }

    /// Whether nobody is to wait for an event to be sent: the last try failed, or the circuit breaker is open.
    pub fn is_stuck(&self) -> bool {
        self.queue.is_failing() || self.connection.refuses()
    }

    /// Events that are not sent yet.
    pub fn unsent(&self) -> u64 {
        self.queue.unsent()
    }

    /// Waits until all is sent.
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
