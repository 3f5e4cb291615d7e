//! Monitor of a stream: snapshots again and again, over one connection that reconnects after a failure.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eventbus_core::facts::{ServerInfo, StreamFacts};
use eventbus_core::names::StreamKey;
use tokio::time::{Sleep, sleep};

use crate::config::RedisConfig;
use crate::error::Error;
use crate::redis::Connection;
use crate::scripts::snapshot::GroupRequest;

use super::lag_reader::without_counting;
use super::monitor_error::MonitorError;
use super::snapshot_reader::SnapshotReader;
use super::view::Snapshot;

/// Maximum age of the server's info: a primary that became a replica on the same connection is detected after this
/// time.
const SERVER_INFO_AGE: Duration = Duration::from_secs(15);

/// Reads snapshots of one stream. Needs no permission to write.
///
/// Connects with the first read, and again after a failure. Reads wait for each other.
pub struct Monitor {
    redis: RedisConfig,
    stream: StreamKey,
    limit: Duration,
    server_info_age: Duration,
    connection: Mutex<Option<Connection>>,
    reader: tokio::sync::Mutex<SnapshotReader>,
}

impl Monitor {
    /// Creates a monitor. Each of its calls takes at most `limit`, connecting included.
    #[must_use]
    pub fn new(redis: RedisConfig, stream: StreamKey, limit: Duration) -> Self {
        let (connection, reader) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { redis, stream, limit, server_info_age: SERVER_INFO_AGE, connection, reader }
    }

    /// Sets the maximum age of the server's info. Default: 15 s; it is also read on each new connection.
    pub(super) fn with_server_info_age(self, server_info_age: Duration) -> Self {
        Self { server_info_age, ..self }
    }

    /// Reads the stream and all its groups, with consumers and dead letters of `groups`.
    ///
    /// If the limit is reached while entries are counted, a lag that has to be counted is the one that the server
    /// reports. Cancelling it leaves nothing behind.
    ///
    /// # Errors
    /// [`MonitorError`].
    pub async fn read(&self, groups: &[GroupRequest]) -> Result<Arc<Snapshot>, MonitorError> {
        self.snapshot(Some(groups)).await
    }

    /// Reads the stream and all its groups, with consumers and dead letters of each, the latter from the usual streams.
    /// Otherwise as [`read`](Self::read).
    ///
    /// # Errors
    /// [`MonitorError`].
    pub async fn read_all(&self) -> Result<Arc<Snapshot>, MonitorError> {
        self.snapshot(None).await
    }

    /// Returns the connection of the last read, or a new one, for single operations beside the reads.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Connect`]; [`Error::TimedOut`].
    pub async fn connection(&self) -> Result<Connection, Error> {
        let present = self.present().clone();
        if let Some(conn) = present {
            return Ok(conn);
        }
        let connecting = tokio::time::timeout(self.limit, self.connect());
        connecting.await.unwrap_or_else(|_| Err(self.timed_out("connect")))
    }

    async fn snapshot(
        &self,
        groups: Option<&[GroupRequest]>,
    ) -> Result<Arc<Snapshot>, MonitorError> {
        let mut alarm = pin!(sleep(self.limit));
        let mut reader = tokio::select! {
            reader = self.reader.lock() => reader,
            () = alarm.as_mut() => return Err(MonitorError::of(self.timed_out("read the groups"))),
        };
        let snapshot = self.read_with(&mut reader, groups, alarm).await;
        if snapshot.as_ref().is_err_and(MonitorError::needs_connection) {
            *self.present() = None;
            reader.forget_server();
        }
        snapshot.map(Arc::new)
    }

    async fn read_with(
        &self,
        reader: &mut SnapshotReader,
        groups: Option<&[GroupRequest]>,
        mut alarm: Pin<&mut Sleep>,
    ) -> Result<Snapshot, MonitorError> {
        let (mut conn, server, stream) = tokio::select! {
            found = self.facts(reader, groups) => found?,
            () = alarm.as_mut() => return Err(MonitorError::of(self.timed_out("read the groups"))),
        };
        let lags = tokio::select! {
            lags = reader.lags(&mut conn, &self.stream, &stream, &server) => lags.map_err(MonitorError::of)?,
            () = alarm => without_counting(&stream, &server),
        };
        Ok(Snapshot { server, stream, lags })
    }

    async fn facts(
        &self,
        reader: &mut SnapshotReader,
        groups: Option<&[GroupRequest]>,
    ) -> Result<(Connection, ServerInfo, StreamFacts), MonitorError> {
        let present = self.present().clone();
        if let Some(mut conn) = present {
            match self.ask(reader, &mut conn, groups).await {
                // The server may have closed an idle connection, or be another one by now.
                Err(MonitorError::Unreachable(error)) if error.is_transient() => {}
                found => return found.map(|(server, stream)| (conn, server, stream)),
            }
        }
        let mut conn = self.connect().await.map_err(MonitorError::of)?;
        reader.forget_server();
        let (server, stream) = self.ask(reader, &mut conn, groups).await?;
        Ok((conn, server, stream))
    }

    async fn ask(
        &self,
        reader: &mut SnapshotReader,
        conn: &mut Connection,
        groups: Option<&[GroupRequest]>,
    ) -> Result<(ServerInfo, StreamFacts), MonitorError> {
        let endpoint = self.redis.endpoint();
        let server = reader.server(conn, &endpoint, self.server_info_age).await;
        let server = server.map_err(MonitorError::of)?;
        MonitorError::check(&server, endpoint)?;
        let stream = reader.facts(conn, &self.stream, groups).await;
        Ok((server, stream.map_err(MonitorError::of)?))
    }

    async fn connect(&self) -> Result<Connection, Error> {
        // The limit of the call must not end in the same moment as that of the connection.
        let conn = Connection::open(&self.redis, 2 * self.limit).await?;
        *self.present() = Some(conn.clone());
        Ok(conn)
    }

    fn present(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn timed_out(&self, operation: &'static str) -> Error {
        Error::TimedOut { operation, stream: self.stream.clone(), limit: self.limit }
    }
}
