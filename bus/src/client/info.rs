//! Info about the stream and its groups, for monitoring: numbers, names and entry IDs, no payload.

use std::sync::Arc;
use std::time::Duration;

use eventbus_core::facts::ConsumerFacts;
use eventbus_core::lag::LagSource;
use eventbus_core::names::{EntryId, GroupName};
use serde::{Serialize, Serializer};

use crate::error::Error;
use crate::observe::{GroupView, Snapshot};
use crate::scripts::snapshot::{GroupRequest, snapshot};

use super::EventBus;

const READ: &str = "read the groups";

/// Info about a stream at one moment. In JSON its fields are in camel case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamInfo {
    /// The stream's key.
    pub name: String,
    /// `true` if the stream exists; otherwise everything else is empty.
    pub exists: bool,
    /// Number of entries.
    pub length: u64,
    /// Number of entries ever added.
    pub entries_added: u64,
    /// The ID of the last entry ever added; `0-0` if there was none.
    pub last_generated: EntryId,
    /// The oldest entry; `None`, in JSON `null`, in an empty stream.
    pub first_entry: Option<EntryId>,
    /// The names of its groups, sorted; backslashes, and names that are not UTF-8, are escaped.
    pub groups: Vec<String>,
}

/// Info about a group at one moment. In JSON its fields are in camel case, times are in seconds, and unknown values are
/// `null`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupInfo {
    /// The group's name.
    pub name: String,
    /// State of the group.
    pub status: GroupStatus,
    /// Entries not delivered yet; `None` if that is not known.
    pub lag: Option<u64>,
    /// Source of the lag; with `AtLeast` the lag is a lower bound.
    pub lag_source: LagSource,
    /// Entries delivered and not acknowledged.
    pub pending: u64,
    /// Of `pending`: delayed until another attempt.
    pub delayed: u64,
    /// Of `pending`: suspects, whose consumer vanished with them in flight.
    pub suspects: u64,
    /// The last entry that was delivered.
    pub last_delivered: EntryId,
    /// Age of the oldest entry that is pending or not delivered; `None` if there is none.
    #[serde(rename = "oldestAgeSeconds", serialize_with = "seconds_or_null")]
    pub oldest_age: Option<Duration>,
    /// Number of dead letters in the usual stream; `None` if they cannot be read.
    pub dead_letters: Option<u64>,
    /// Consumers by name, including those that crashed; also empty if they cannot be read.
    pub consumers: Vec<ConsumerInfo>,
    /// Reason why consumers or dead letters cannot be read, such as a key of another type.
    pub problem: Option<String>,
}

/// State of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum GroupStatus {
    /// It gets new entries.
    Ok,
    /// Its position is after the stream's last entry, and it gets no entries up to there: the stream was created again.
    AheadOfStream,
}

/// Info about a consumer of a group.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerInfo {
    /// Its name; backslashes, and a name that is not UTF-8, are escaped.
    pub name: String,
    /// Entries that are pending for it.
    pub pending: u64,
    /// Time since the server last saw it read or claim; since its heartbeat if the server does not list it.
    #[serde(rename = "idleSeconds", serialize_with = "seconds")]
    pub idle: Duration,
    /// `true` if its heartbeat is not older than its lease, however long it has been idle. Where no consumer of the
    /// group ever wrote a heartbeat, because all are of other libraries, `true` for each that the server lists.
    pub live: bool,
}

impl EventBus {
    /// Reads info about the stream. A missing stream is not an error. Needs no permission to write.
    ///
    /// # Errors
    /// [`Error::Stream`], with the code `WRONGTYPE` if the key holds something else and `NOPERM` without permission
    /// to read it; [`Error::File`], [`Error::Connect`] and [`Error::BreakerOpen`] without a connection; [`Error::TimedOut`].
    pub async fn get_stream_info(&self) -> Result<StreamInfo, Error> {
        let read = |mut conn| async move { snapshot(&mut conn, self.stream(), &[]).await };
        let facts = self.call(READ, read).await?;
        Ok(StreamInfo {
            name: self.stream().to_string(),
            exists: facts.exists,
            length: facts.length,
            entries_added: facts.entries_added,
            last_generated: facts.last_generated,
            first_entry: facts.first_entry,
            groups: facts.groups.into_keys().collect(),
        })
    }

    /// Reads info about `group` and computes its true lag, for which entries may be counted on the server: at most
    /// 2,000, once in 30 s 11,000. Returns `None` if the group or the stream is missing. Needs no permission to write.
    ///
    /// # Errors
    /// Those of [`get_stream_info`](Self::get_stream_info), and [`Error::Server`].
    pub async fn get_consumer_group_info(
        &self,
        group: &GroupName,
    ) -> Result<Option<GroupInfo>, Error> {
        let stream = self.stream();
        let request =
            GroupRequest { group: group.clone(), dead_letters: stream.dead_letters(group) };
        let read = |mut conn| async move {
            // Locked before the snapshot: an older one must not reach the reader later.
            let mut reader = self.snapshots.lock().await;
            let endpoint = self.calls.endpoint();
            let server = reader.server(&mut conn, &endpoint, Duration::ZERO).await?;
            let facts = reader.facts(&mut conn, stream, Some(&[request])).await?;
            if !facts.groups.contains_key(group.as_str()) {
                return Ok(None);
            }
            let lags = reader.lags(&mut conn, stream, &facts, &server).await?;
            let snapshot = Snapshot { server, stream: facts, lags };
            Ok(group_info(&GroupView::new(Arc::new(snapshot), group.as_str())))
        };
        self.call(READ, read).await
    }
}

fn group_info(group: &GroupView) -> Option<GroupInfo> {
    let facts = group.facts()?;
    let consumer = |consumer: &ConsumerFacts| ConsumerInfo {
        name: consumer.name.clone(),
        pending: consumer.pending,
        idle: consumer.idle,
        live: group.is_live(consumer),
    };
    let lag = group.lag();
    Some(GroupInfo {
        name: group.name().to_owned(),
        status: if group.is_ahead() { GroupStatus::AheadOfStream } else { GroupStatus::Ok },
        lag: lag.value,
        lag_source: lag.source,
        pending: facts.pending,
        delayed: facts.delayed,
        suspects: facts.suspects,
        last_delivered: facts.last_delivered,
        oldest_age: group.oldest_age(),
        dead_letters: facts.dead_letters.map(|letters| letters.length),
        consumers: facts.consumers.iter().map(consumer).collect(),
        problem: facts.problem.clone(),
    })
}

fn seconds<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(span.as_secs_f64())
}

fn seconds_or_null<S: Serializer>(
    span: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    span.map(|span| span.as_secs_f64()).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbus_core::facts::{ConsumerSource, GroupFacts, StreamFacts};
    use eventbus_core::lag::Lag;
    use serde_json::json;

    fn id(ms: u64) -> EntryId {
        EntryId { ms, seq: 0 }
    }

    /// Group `g` of a stream that ends at 9-0, seen by the server at 9.5 s.
    fn info(facts: GroupFacts, lag: Lag) -> serde_json::Value {
        let mut snapshot = Snapshot {
            stream: StreamFacts {
                server_ms: 9_500,
                last_generated: id(9_000),
                ..StreamFacts::default()
            },
            ..Snapshot::default()
        };
        snapshot.stream.groups.insert("g".into(), facts);
        snapshot.lags.insert("g".into(), lag);
        serde_json::to_value(group_info(&GroupView::new(Arc::new(snapshot), "g"))).unwrap()
    }

    #[test]
    fn a_group_is_printed_with_units_in_its_names() {
        let consumer = ConsumerFacts {
            name: "c".into(),
            pending: 1,
            idle: Duration::from_millis(250),
            heartbeat: None,
        };
        let seen = GroupFacts {
            pending: 2,
            delayed: 1,
            last_delivered: id(7_000),
            oldest_pending: Some(id(7_000)),
            consumers: vec![consumer],
            consumer_source: ConsumerSource::Heartbeats,
            ..GroupFacts::default()
        };
        let expected = json!({
            "name": "g", "status": "ok", "lag": 3, "lagSource": "AtLeast", "pending": 2,
            "delayed": 1, "suspects": 0, "lastDelivered": "7000-0", "oldestAgeSeconds": 2.5,
            "deadLetters": null, "problem": null,
            "consumers": [{"name": "c", "pending": 1, "idleSeconds": 0.25, "live": false}],
        });
        assert_eq!(info(seen, Lag::new(3, LagSource::AtLeast)), expected);
    }

    #[test]
    fn what_is_not_known_is_null_and_not_zero() {
        let seen = GroupFacts { last_delivered: id(9_001), ..GroupFacts::default() };
        let info = info(seen, Lag::UNKNOWN);
        assert_eq!((&info["lag"], &info["lagSource"]), (&json!(null), &json!("Unknown")));
        assert_eq!(
            (&info["status"], &info["oldestAgeSeconds"]),
            (&json!("aheadOfStream"), &json!(null))
        );
    }
}
