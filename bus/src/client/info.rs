//! What is known of the stream and its groups, for monitoring: numbers, names and entry IDs, no payload.

use std::time::Duration;

use eventbus_core::facts::{ConsumerFacts, GroupFacts, StreamFacts};
use eventbus_core::lag::{Lag, LagSource};
use eventbus_core::names::{EntryId, GroupName};
use serde::{Serialize, Serializer};

use crate::error::Error;
use crate::observe::server_info_if_allowed;
use crate::scripts::snapshot::{GroupRequest, snapshot};

use super::EventBus;

const LOOK: &str = "look at the stream";

/// A stream at one moment. In JSON its fields are in camel case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamInfo {
    /// The stream's key.
    pub name: String,
    /// `true` if the stream exists; otherwise everything else is empty.
    pub exists: bool,
    /// Entries.
    pub length: u64,
    /// Entries ever added.
    pub entries_added: u64,
    /// The ID of the last entry ever added; `0-0` where there was none.
    pub last_generated: EntryId,
    /// The oldest entry; `None`, in JSON `null`, in an empty stream.
    pub first_entry: Option<EntryId>,
    /// The names of its groups, sorted; bytes that are no text are escaped.
    pub groups: Vec<String>,
}

/// A group at one moment. In JSON its fields are in camel case, times are seconds, and what is not known is `null`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupInfo {
    /// The group's name.
    pub name: String,
    /// State of the group: able to read on, or ahead of the stream.
    pub status: GroupStatus,
    /// Entries not delivered yet; `None` where that is not known.
    pub lag: Option<u64>,
    /// Source of the lag; with `AtLeast` the lag is a lower bound.
    pub lag_source: LagSource,
    /// Entries delivered and not acknowledged.
    pub pending: u64,
    /// Of `pending`: waiting for their time, such as that of another attempt.
    pub delayed: u64,
    /// Of `pending`: their consumer vanished with them in flight.
    pub suspects: u64,
    /// The last entry that was delivered.
    pub last_delivered: EntryId,
    /// Age of the oldest entry that is pending or not delivered; `None` if there is none.
    #[serde(rename = "oldestAgeSeconds", serialize_with = "seconds_or_null")]
    pub oldest_age: Option<Duration>,
    /// Dead letters in the usual stream; `None` where they cannot be read.
    pub dead_letters: Option<u64>,
    /// By their names; empty also where they cannot be read.
    pub consumers: Vec<ConsumerInfo>,
    /// Reason why consumers or dead letters cannot be read, such as a key of another type.
    pub problem: Option<String>,
}

/// State of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum GroupStatus {
    /// It gets what comes.
    Ok,
    /// It stands past the stream's last entry, and gets nothing up to there: the stream was made anew.
    AheadOfStream,
}

/// A consumer of a group.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerInfo {
    /// Its name; bytes that are no text are escaped.
    pub name: String,
    /// Entries it holds.
    pub pending: u64,
    /// Since it last asked the server for anything.
    #[serde(rename = "idleSeconds", serialize_with = "seconds")]
    pub idle: Duration,
    /// `true` if it renewed its lease in time; always `false` for a consumer of another library.
    pub live: bool,
}

impl EventBus {
    /// Reads the stream at one moment. A missing stream is not an error. Needs no permission to write.
    ///
    /// # Errors
    /// [`Error::Stream`], with the code `WRONGTYPE` where the key holds something else and `NOPERM` without the right
    /// to read it; [`Error::File`], [`Error::Connect`] and [`Error::BreakerOpen`] without a connection; [`Error::TimedOut`].
    pub async fn get_stream_info(&self) -> Result<StreamInfo, Error> {
        let look = |mut conn| async move { snapshot(&mut conn, self.stream(), &[]).await };
        let facts = self.call(LOOK, look).await?;
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

    /// Reads `group` and computes its true lag, for which entries may be counted on the server: 2,000 at most, now
    /// and then 11,000. `None` if the group or the stream is missing. Needs no right to write.
    ///
    /// # Errors
    /// As [`get_stream_info`](Self::get_stream_info), and [`Error::Server`].
    pub async fn get_consumer_group_info(
        &self,
        group: &GroupName,
    ) -> Result<Option<GroupInfo>, Error> {
        let stream = self.stream();
        let request =
            GroupRequest { group: group.clone(), dead_letters: stream.dead_letters(group) };
        let look = |mut conn| async move {
            // From before the look, so that one who looked earlier does not tell the reader later.
            let mut reader = self.lags.lock().await;
            let server = server_info_if_allowed(&mut conn, &self.calls.endpoint()).await?;
            let facts = snapshot(&mut conn, stream, &[request]).await?;
            if !facts.groups.contains_key(group.as_str()) {
                return Ok(None);
            }
            let lags = reader.read(&mut conn, stream, &facts, &server).await?;
            let lag = lags.get(group.as_str()).copied().unwrap_or(Lag::UNKNOWN);
            Ok(facts.groups.get(group.as_str()).map(|seen| group_info(group, seen, &facts, lag)))
        };
        self.call(LOOK, look).await
    }
}

fn group_info(name: &GroupName, seen: &GroupFacts, stream: &StreamFacts, lag: Lag) -> GroupInfo {
    let consumer = |consumer: &ConsumerFacts| ConsumerInfo {
        name: consumer.name.clone(),
        pending: consumer.pending,
        idle: consumer.idle,
        live: consumer.is_live(stream.server_ms),
    };
    let is_ahead = seen.is_ahead_of(stream);
    GroupInfo {
        name: name.to_string(),
        status: if is_ahead { GroupStatus::AheadOfStream } else { GroupStatus::Ok },
        lag: lag.value,
        lag_source: lag.source,
        pending: seen.pending,
        delayed: seen.delayed,
        suspects: seen.suspects,
        last_delivered: seen.last_delivered,
        oldest_age: seen.oldest_unprocessed().map(|id| stream.age(id)),
        dead_letters: seen.dead_letters.map(|letters| letters.length),
        consumers: seen.consumers.iter().map(consumer).collect(),
        problem: seen.problem.clone(),
    }
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
    use serde_json::json;

    fn id(ms: u64) -> EntryId {
        EntryId { ms, seq: 0 }
    }

    /// Group `g` of a stream that ends at 9-0, seen by the server at 9.5 s.
    fn info(seen: &GroupFacts, lag: Lag) -> serde_json::Value {
        let stream =
            StreamFacts { server_ms: 9_500, last_generated: id(9_000), ..StreamFacts::default() };
        let group = GroupName::new("g").unwrap();
        serde_json::to_value(group_info(&group, seen, &stream, lag)).unwrap()
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
            ..GroupFacts::default()
        };
        let expected = json!({
            "name": "g", "status": "ok", "lag": 3, "lagSource": "AtLeast", "pending": 2,
            "delayed": 1, "suspects": 0, "lastDelivered": "7000-0", "oldestAgeSeconds": 2.5,
            "deadLetters": null, "problem": null,
            "consumers": [{"name": "c", "pending": 1, "idleSeconds": 0.25, "live": false}],
        });
        assert_eq!(info(&seen, Lag::new(3, LagSource::AtLeast)), expected);
    }

    #[test]
    fn what_is_not_known_is_null_and_not_zero() {
        let seen = GroupFacts { last_delivered: id(9_001), ..GroupFacts::default() };
        let info = info(&seen, Lag::UNKNOWN);
        assert_eq!((&info["lag"], &info["lagSource"]), (&json!(null), &json!("Unknown")));
        assert_eq!(
            (&info["status"], &info["oldestAgeSeconds"]),
            (&json!("aheadOfStream"), &json!(null))
        );
    }
}
