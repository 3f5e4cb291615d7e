//! Outbox: events are written to disk before they are sent, so that an outage of Redis loses none of them.
//!
//! `REDIS_OUTBOX_DIR` is a directory of one process, on a disk that must survive whatever the events must survive.
//! Segments (`<number>.log`) hold the events in their order. The file `sent` records the position up to which they are
//! sent; a segment is removed once all its events are sent. A thread writes the events and answers its callers after the
//! sync: all events that arrive during one sync are written with the next. The first write of a segment needs a second
//! sync, for the directory. A task sends the events. An event that Redis refuses for its own sake is set aside, in a file
//! `<segment>-<end>.aside`.

mod aside;
mod backlog;
mod commit;
mod directory;
mod frame;
mod header;
mod isolation;
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

pub use aside::SetAsideEvent;
pub(crate) use frame::MAX_BODY as MAX_RECORD;
pub(crate) use mark::Position;
pub(crate) use writer::Refused;

/// Open outbox. Dropping it ends its thread and its task; the next outbox in the directory sends the unsent events.
pub(crate) struct Outbox {
    config: OutboxConfig,
    directory: Arc<Directory>,
    queue: Arc<Queue>,
    /// Locked while events that were set aside are sent again, so that each is sent once.
    pub sending_again: tokio::sync::Mutex<()>,
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
        let opening = blocking(move || {
            let directory = Directory::lock(&dir, &stream)?;
            let (found, aside) = (directory.recover()?, aside::recover(&directory)?);
            Ok::<_, Error>((directory, found, aside))
        });
        let (directory, found, aside) = opening.await?;
        let queue = Arc::new(Queue::new(&found, &aside, metrics));
        if found.records > 0 {
            let (dir, events) = (config.dir.display(), found.records);
            tracing::info!(%dir, events, "the outbox has unsent events");
        }
        if aside.events > 0 {
            let (dir, events) = (config.dir.display(), aside.events);
            tracing::warn!(%dir, events, "the outbox has events that were set aside: list them with EventBus::set_aside_events, and send them again with EventBus::send_set_aside");
        }
        let directory = Arc::new(directory);
        // In a segment of the same number other events would be set aside under the same name.
        let last = found.last.max(aside.last);
        let writer = Writer::new(directory.clone(), queue.clone(), &config, last);
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
        let sender = Sender::new(directory.clone(), queue.clone(), ordered, found);
        let _sending = AbortOnDropHandle::new(tokio::spawn(sender.run()));
        let sending_again = tokio::sync::Mutex::default();
        Ok(Self { config, directory, queue, sending_again, appending, connection, _sending })
    }

    /// Lists the events that were set aside, the oldest first, each with its place.
    ///
    /// # Errors
    /// [`Error::OutboxFile`].
    pub async fn list_set_aside(&self) -> Result<Vec<(Position, SetAsideEvent)>, Error> {
        let directory = self.directory.clone();
        let listed = blocking(move || {
            let mut events = Vec::new();
            for at in aside::list(&directory)? {
                events.extend(read_aside(&directory, at)?.map(|(event, _)| (at, event)));
            }
            Ok(events)
        });
        listed.await.map_err(|source| self.failed("list what was set aside in", source))
    }

    /// Reads the record of an event that was set aside; `None` if it is gone or damaged.
    ///
    /// # Errors
    /// [`Error::OutboxFile`].
    pub async fn read_set_aside(&self, at: Position) -> Result<Option<Vec<u8>>, Error> {
        let directory = self.directory.clone();
        let read = blocking(move || read_aside(&directory, at)).await;
        let read = read.map_err(|source| self.failed("read what was set aside in", source))?;
        Ok(read.map(|(_, body)| body))
    }

    /// Removes an event that was set aside.
    ///
    /// # Errors
    /// [`Error::OutboxFile`].
    pub async fn remove_set_aside(&self, at: Position) -> Result<(), Error> {
        let directory = self.directory.clone();
        let removed = blocking(move || aside::remove(&directory, at)).await;
        let bytes = removed.map_err(|source| self.failed("remove what was sent from", source))?;
        self.queue.sent_again(bytes);
        Ok(())
    }

    fn failed(&self, operation: &'static str, source: std::io::Error) -> Error {
        Error::OutboxFile { operation, path: self.config.dir.clone(), source }
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

/// Reads an event that was set aside; `None` if it is damaged, or was sent and removed meanwhile.
fn read_aside(
    directory: &Directory,
    at: Position,
) -> std::io::Result<Option<(SetAsideEvent, Vec<u8>)>> {
    match aside::read(directory, at) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        read => read,
    }
}

/// Runs work that may block on a thread for that.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is ending, and this caller with it.
            Err(_) => std::future::pending().await,
        },
    }
}
