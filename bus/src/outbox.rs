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

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::config::{Lookup, SettingError};
use crate::connect::SharedConnection;
use crate::error::Error;
use crate::metrics::OutboxMetrics;
use crate::names::{EntryId, StreamKey};
use crate::publish::Batches;

use commit::Appending;
use directory::Directory;
use queue::Queue;
use sender::Sender;
use writer::Writer;

pub(crate) use frame::MOST as MAX_RECORD;
pub(crate) use writer::Refused;

/// `REDIS_OUTBOX_MAX_BYTES` where it is not set.
pub const DEFAULT_MAX_BYTES: u64 = 1024 * 1024 * 1024;
/// The least that `REDIS_OUTBOX_MAX_BYTES` may be.
pub const LEAST_MAX_BYTES: u64 = 1024 * 1024;
/// The most that `REDIS_OUTBOX_MAX_BYTES` may be.
pub const MOST_MAX_BYTES: u64 = 1024 * 1024 * 1024 * 1024;

/// Where events are kept until Redis has taken them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxConfig {
    /// `REDIS_OUTBOX_DIR`: a directory of this process alone; it is made where it is missing.
    pub dir: PathBuf,
    /// `REDIS_OUTBOX_MAX_BYTES`, 1 MiB to 1 TiB, default 1 GiB: what all segments together may take. Events beyond it
    /// are not kept, but published directly. Copies of damaged segments come on top.
    pub max_bytes: u64,
}

impl OutboxConfig {
    /// An outbox in `dir` with the default size.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), max_bytes: DEFAULT_MAX_BYTES }
    }

    /// Reads `REDIS_OUTBOX_DIR` and `REDIS_OUTBOX_MAX_BYTES`; `None` where the former is not set, or empty.
    ///
    /// # Errors
    /// [`SettingError`] with what is allowed.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Option<Self>, SettingError> {
        const MAX_BYTES: &str = "REDIS_OUTBOX_MAX_BYTES";
        let max_bytes = match lookup(MAX_BYTES) {
            None => DEFAULT_MAX_BYTES,
            Some(text) => {
                let digits = text.bytes().all(|byte| byte.is_ascii_digit());
                let bytes = text.parse().ok().filter(|_| digits);
                let allowed = LEAST_MAX_BYTES..=MOST_MAX_BYTES;
                bytes.filter(|bytes| allowed.contains(bytes)).ok_or_else(|| {
                    let allowed = format!(
                        "must be a number of bytes from {LEAST_MAX_BYTES} to {MOST_MAX_BYTES}"
                    );
                    SettingError::new(MAX_BYTES, &text, allowed)
                })?
            }
        };
        let dir = lookup("REDIS_OUTBOX_DIR").filter(|dir| !dir.is_empty());
        Ok(dir.map(|dir| Self { dir: dir.into(), max_bytes }))
    }
}

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
            Ok((directory, found))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<Option<OutboxConfig>, SettingError> {
        let find = |name: &str| settings.iter().find(|(n, _)| *n == name);
        OutboxConfig::from_lookup(&|name| find(name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn without_a_directory_there_is_no_outbox() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("REDIS_OUTBOX_DIR", "")]), Ok(None));
    }

    #[test]
    fn a_directory_is_enough_and_its_size_is_a_gibibyte() {
        let expected = OutboxConfig { dir: "/o".into(), max_bytes: 1_073_741_824 };
        assert_eq!(read(&[("REDIS_OUTBOX_DIR", "/o")]), Ok(Some(expected)));
    }

    #[test]
    fn a_size_out_of_its_range_is_refused() {
        for text in ["", "1048575", "1GiB", "-1", "+1048576", "1099511627777"] {
            let error = read(&[("REDIS_OUTBOX_MAX_BYTES", text)]).unwrap_err();
            let told = "must be a number of bytes from 1048576 to 1099511627776";
            assert_eq!((error.value.as_str(), error.allowed.as_str()), (text, told));
        }
    }
}
