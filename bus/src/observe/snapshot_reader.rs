//! Reader of snapshots, with a memory that makes the next one cheaper.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use eventbus_core::facts::{ServerInfo, StreamFacts};
use eventbus_core::lag::Lag;
use eventbus_core::names::{GroupName, StreamKey};
use tokio::time::Instant;

use crate::error::Error;
use crate::redis::Connection;
use crate::scripts::snapshot::{GroupRequest, snapshot};

use super::lag_reader::LagReader;
use super::server::server_info_if_allowed;

/// Reads snapshots of one stream over connections of its caller.
#[derive(Debug, Default)]
pub(crate) struct SnapshotReader {
    lags: LagReader,
    server: Option<(ServerInfo, Instant)>,
    /// Groups of the previous snapshot of all groups.
    known: BTreeSet<GroupName>,
}

impl SnapshotReader {
    /// Returns the server's info, read again if it is as old as `max_age`; empty fields without permission for INFO.
    pub(crate) async fn server(
        &mut self,
        conn: &mut Connection,
        endpoint: &str,
        max_age: Duration,
    ) -> Result<ServerInfo, Error> {
        let began = now();
        if let Some((server, read)) = &self.server
            && began.saturating_duration_since(*read) < max_age
        {
            return Ok(server.clone());
        }
        let server = server_info_if_allowed(conn, endpoint).await?;
        self.server = Some((server.clone(), began));
        Ok(server)
    }

    /// Discards the server's info: the next connection may lead to another server.
    pub(crate) fn forget_server(&mut self) {
        self.server = None;
    }

    /// Reads the stream and its groups, with consumers and dead letters of `groups`, or of all groups.
    pub(crate) async fn facts(
        &mut self,
        conn: &mut Connection,
        stream: &StreamKey,
        groups: Option<&[GroupRequest]>,
    ) -> Result<StreamFacts, Error> {
        if let Some(groups) = groups {
            return snapshot(conn, stream, groups).await;
        }
        let mut facts = snapshot(conn, stream, &requests(stream, &self.known)).await?;
        let names = names(&facts);
        if !names.is_subset(&self.known) {
            // The keys beside the stream are only known with the names of its groups.
            facts = snapshot(conn, stream, &requests(stream, &names)).await?;
        }
        self.known = names;
        Ok(facts)
    }

    /// Reads the lag of every group in `facts`, counting entries where needed.
    pub(crate) async fn lags(
        &mut self,
        conn: &mut Connection,
        stream: &StreamKey,
        facts: &StreamFacts,
        server: &ServerInfo,
    ) -> Result<BTreeMap<String, Lag>, Error> {
        self.lags.read(conn, stream, facts, server).await
    }
}

fn requests(stream: &StreamKey, groups: &BTreeSet<GroupName>) -> Vec<GroupRequest> {
    let request = |group: &GroupName| GroupRequest {
        group: group.clone(),
        dead_letters: stream.dead_letters(group),
    };
    groups.iter().map(request).collect()
}

/// Returns the groups that have keys of their own: those with a name that this library accepts.
fn names(stream: &StreamFacts) -> BTreeSet<GroupName> {
    stream.groups.keys().filter_map(|name| GroupName::new(name).ok()).collect()
}

#[expect(clippy::disallowed_methods, reason = "the edge that gives the server's info its age")]
fn now() -> Instant {
    Instant::now()
}
