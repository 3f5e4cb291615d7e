//! Watching a stream from outside: everything that is known of it and its groups, over one connection that is made
//! again after a failure.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::{Pin, pin};
use std::time::Duration;

use eventbus_core::facts::{ServerInfo, StreamFacts};
use eventbus_core::lag::Lag;
use eventbus_core::names::{GroupName, StreamKey};
use tokio::time::{Sleep, sleep};

use crate::config::RedisConfig;
use crate::error::Error;
use crate::observe::server_info_if_allowed;
use crate::observe::{LagReader, without_counting};
use crate::redis::Connection;
use crate::scripts::snapshot::{GroupRequest, snapshot};

/// Reads a stream and all its groups, again and again. Needs no right to write.
pub struct Monitor {
    redis: RedisConfig,
    stream: StreamKey,
    limit: Duration,
    conn: Option<Connection>,
    lags: LagReader,
    groups: BTreeSet<GroupName>,
}

/// A stream and its groups at one moment.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The server that answered; all empty where the user may not ask for it.
    pub server: ServerInfo,
    /// The stream and every group of it; dead letters are looked for where they are by default.
    pub stream: StreamFacts,
    /// The lag of every group.
    pub lags: BTreeMap<String, Lag>,
}

impl Monitor {
    /// A monitor that connects at the first [`Monitor::read`]; a read takes no longer than `limit`.
    #[must_use]
    pub fn new(redis: RedisConfig, stream: StreamKey, limit: Duration) -> Self {
        let (lags, groups) = (LagReader::default(), BTreeSet::new());
        Self { redis, stream, limit, conn: None, lags, groups }
    }

    /// Reads everything once. Where time runs out while entries are counted, lags that are not known without are
    /// passed on as the server reports them. Cancelled, it leaves nothing behind but a connection to make.
    ///
    /// # Errors
    /// [`Error::Connect`] and [`Error::File`] where there is no connection, [`Error::TimedOut`] where nothing came
    /// back within the limit, [`Error::Server`] and [`Error::Stream`] where the server answered with an error.
    pub async fn read(&mut self) -> Result<Observation, Error> {
        let mut alarm = pin!(sleep(self.limit));
        // Whatever goes wrong from here on, or cancels this, the next read makes a new connection.
        let old = self.conn.take();
        let (mut conn, server, stream) = self.look(old, alarm.as_mut()).await?;
        let lags = tokio::select! {
            lags = self.lags.read(&mut conn, &self.stream, &stream, &server) => lags?,
            () = alarm => without_counting(&stream, &server),
        };
        // Behind a name that moved there may be a primary again.
        self.conn = Some(conn).filter(|_| !server.is_replica());
        self.groups = names(&stream);
        Ok(Observation { server, stream, lags })
    }

    async fn look(
        &self,
        old: Option<Connection>,
        alarm: Pin<&mut Sleep>,
    ) -> Result<(Connection, ServerInfo, StreamFacts), Error> {
        let look = async {
            if let Some(mut conn) = old {
                match self.ask(&mut conn).await {
                    // The server may have closed an idle connection, or be another one by now.
                    Err(error) if error.is_transient() => {}
                    result => return result.map(|(server, stream)| (conn, server, stream)),
                }
            }
            // The alarm is the limit; the connection's own must not go off in the same moment.
            let mut conn = Connection::open(&self.redis, 2 * self.limit).await?;
            let (server, stream) = self.ask(&mut conn).await?;
            Ok((conn, server, stream))
        };
        tokio::select! {
            found = look => found,
            () = alarm => Err(Error::TimedOut {
                operation: "read the groups",
                stream: self.stream.clone(),
                limit: self.limit,
            }),
        }
    }

    async fn ask(&self, conn: &mut Connection) -> Result<(ServerInfo, StreamFacts), Error> {
        let server = server_info_if_allowed(conn, &self.redis.endpoint()).await?;
        let stream = snapshot(conn, &self.stream, &self.requests(&self.groups)).await?;
        let groups = names(&stream);
        if groups.is_subset(&self.groups) {
            return Ok((server, stream));
        }
        // Only now is it known which keys beside the stream belong to them.
        let stream = snapshot(conn, &self.stream, &self.requests(&groups)).await?;
        Ok((server, stream))
    }

    fn requests(&self, groups: &BTreeSet<GroupName>) -> Vec<GroupRequest> {
        let request = |group: &GroupName| GroupRequest {
            group: group.clone(),
            dead_letters: self.stream.dead_letters(group),
        };
        groups.iter().map(request).collect()
    }
}

/// The groups that have keys of their own; a name that is none of ours has none.
fn names(stream: &StreamFacts) -> BTreeSet<GroupName> {
    stream.groups.keys().filter_map(|name| GroupName::new(name).ok()).collect()
}
