//! Report: the wire form of a snapshot, or of the failure to read one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use eventbus_core::lag::LagSource;
use eventbus_core::names::{GroupName, StreamKey};
use jiff::Timestamp;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::error::Error;
use crate::observe::monitor_error::MonitorError;
use crate::observe::view::{GroupView, Snapshot};

/// Health of Redis, a stream and its groups. In JSON, `redis_connected` is `true` if `seen` is `Ok`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The stream, or the reason why Redis counts as unreachable.
    pub seen: Result<StreamReport, String>,
    /// Time of the check.
    pub last_check: Timestamp,
}

/// Health of a stream and its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamReport {
    /// Number of entries; `None` if the key cannot be read as a stream.
    pub length: Option<u64>,
    /// Groups by name: those that were requested and those that exist.
    pub groups: BTreeMap<String, GroupReport>,
}

/// Health of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum GroupReport {
    /// The group exists and can be read.
    Ok(GroupNumbers),
    /// The group or the stream is missing.
    NotCreated,
    /// Anything else.
    Error {
        /// Description for people.
        error: String,
    },
}

/// Numbers of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupNumbers {
    /// Entries not delivered yet; `null` where that is not known, with `at_least` a lower bound.
    pub lag: Option<u64>,
    /// Source of the lag: `exact`, `counted`, `reported`, `at_least`, `unknown`.
    pub lag_source: &'static str,
    /// Entries delivered and not acknowledged.
    pub pending: u64,
    /// Consumers whose heartbeat is not older than their lease; in a group without any heartbeat, those that the server
    /// lists.
    pub consumers: u64,
    /// The last entry that was delivered.
    pub last_delivered_id: String,
    /// Age of the oldest entry that is pending or not delivered; `null` if there is none.
    pub oldest_age_seconds: Option<u64>,
    /// Dead letters; `null` for a group whose name this library does not use.
    pub dead_letters: Option<u64>,
}

impl Report {
    /// Makes the report of a snapshot, with `groups` even where they are missing.
    #[must_use]
    pub fn of(snapshot: &Arc<Snapshot>, groups: &BTreeSet<GroupName>, now: Timestamp) -> Self {
        let existing = snapshot.stream.groups.keys().cloned();
        let names = existing.chain(groups.iter().map(ToString::to_string));
        let groups = names.map(|name| {
            let report = group(&GroupView::new(snapshot.clone(), name.as_str()));
            (name, report)
        });
        let stream =
            StreamReport { length: Some(snapshot.stream.length), groups: groups.collect() };
        Self { seen: Ok(stream), last_check: now }
    }

    /// Makes the report of a failure. An error about the stream's key is one of every group in `groups`: Redis itself
    /// answers.
    #[must_use]
    pub fn of_failure(
        error: &MonitorError,
        stream: &StreamKey,
        groups: &BTreeSet<GroupName>,
        now: Timestamp,
    ) -> Self {
        let error = match error.operation() {
            Some(error @ Error::Stream { .. }) if error.is_wrong_type() => {
                format!("{stream} is not a stream")
            }
            Some(error @ Error::Stream { .. }) if error.code() == Some("NOPERM") => {
                format!("the Redis user may not read {stream} and the keys beside it")
            }
            _ => return Self { seen: Err(unavailable(error)), last_check: now },
        };
        let failed =
            |name: &GroupName| (name.to_string(), GroupReport::Error { error: error.clone() });
        let stream = StreamReport { length: None, groups: groups.iter().map(failed).collect() };
        Self { seen: Ok(stream), last_check: now }
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("redis_connected", &self.seen.is_ok())?;
        match &self.seen {
            Ok(stream) => {
                map.serialize_entry("stream_length", &stream.length)?;
                map.serialize_entry("consumer_groups", &stream.groups)?;
            }
            Err(error) => map.serialize_entry("error", error)?,
        }
        map.serialize_entry("last_check", &self.last_check)?;
        map.end()
    }
}

fn group(group: &GroupView) -> GroupReport {
    let Some(facts) = group.facts() else { return GroupReport::NotCreated };
    if group.is_ahead() {
        let (at, end) = (facts.last_delivered, group.snapshot().stream.last_generated);
        let error = format!(
            "the group's position {at} is ahead of the stream's last entry {end}: it gets no events up to that position"
        );
        return GroupReport::Error { error };
    }
    if let Some(problem) = &facts.problem {
        return GroupReport::Error { error: problem.clone() };
    }
    let lag = group.lag();
    GroupReport::Ok(GroupNumbers {
        lag: lag.value,
        lag_source: source(lag.source),
        pending: facts.pending,
        consumers: group.consumers().map_or(facts.registered_consumers, |counts| counts.live),
        last_delivered_id: facts.last_delivered.to_string(),
        oldest_age_seconds: group.oldest_age().map(|age| age.as_secs()),
        dead_letters: facts.dead_letters.map(|letters| letters.length),
    })
}

fn source(source: LagSource) -> &'static str {
    match source {
        LagSource::Exact => "exact",
        LagSource::Counted => "counted",
        LagSource::Reported => "reported",
        LagSource::AtLeast => "at_least",
        LagSource::Unknown => "unknown",
    }
}

/// Returns a cause without the client's own text, which may have hosts or parts of a URL.
fn unavailable(error: &MonitorError) -> String {
    match error {
        MonitorError::Replica { .. } => "connected to a replica".to_owned(),
        MonitorError::UnsupportedServer { name, version, .. } => {
            format!("{name} {version} is too old: Redis 7.0 or Valkey 7.2 is needed")
        }
        MonitorError::Unreachable(error)
        | MonitorError::AuthFailed(error)
        | MonitorError::WrongType(error) => unanswered(error),
    }
}

fn unanswered(error: &Error) -> String {
    match (error, error.code()) {
        (Error::File { .. }, _) => error.to_string(),
        (Error::TimedOut { limit, .. }, _) => format!("Redis does not answer within {limit:?}"),
        (_, Some("LOADING")) => "Redis is loading its data".to_owned(),
        (_, Some("NOPERM")) => "the Redis user has too few permissions".to_owned(),
        _ if error.is_full() => "Redis has no connection left".to_owned(),
        _ if error.is_auth() => "Redis refuses the user name or the password".to_owned(),
        (_, Some(code)) => format!("Redis answers {code}"),
        (_, None) => "cannot reach Redis".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbus_core::facts::{
        ConsumerFacts, ConsumerSource, DeadLetterFacts, GroupFacts, Heartbeat, ServerInfo,
        StreamFacts,
    };
    use eventbus_core::lag::Lag;
    use eventbus_core::names::EntryId;
    use serde_json::json;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn id(ms: u64) -> EntryId {
        EntryId { ms, seq: 0 }
    }

    fn configured() -> BTreeSet<GroupName> {
        BTreeSet::from([GroupName::new("a").unwrap()])
    }

    /// Group `a` on a stream that ends at 9-0, seen by the server at 9.5 s.
    fn seen(group: GroupFacts) -> Arc<Snapshot> {
        let stream = StreamFacts {
            exists: true,
            server_ms: 9_500,
            length: 4,
            last_generated: id(9_000),
            first_entry: Some(id(6_000)),
            groups: BTreeMap::from([("a".to_owned(), group)]),
            ..StreamFacts::default()
        };
        let lags = BTreeMap::from([("a".to_owned(), Lag::new(2, LagSource::Counted))]);
        Arc::new(Snapshot { server: ServerInfo::default(), stream, lags })
    }

    fn json(report: &Report) -> serde_json::Value {
        serde_json::to_value(report).unwrap()
    }

    #[test]
    fn a_group_is_reported_with_its_numbers_under_the_documented_names() {
        let consumer = |heartbeat_ms| ConsumerFacts {
            name: "c".into(),
            pending: 0,
            idle: Duration::from_secs(3_600),
            heartbeat: Some(Heartbeat { at_ms: heartbeat_ms, lease: Duration::from_secs(5) }),
        };
        let group = GroupFacts {
            pending: 1,
            last_delivered: id(7_000),
            oldest_pending: Some(id(7_000)),
            oldest_undelivered: Some(id(8_000)),
            registered_consumers: 3,
            consumers: vec![consumer(4_000), consumer(9_000), consumer(9_500)],
            consumer_source: ConsumerSource::Heartbeats,
            dead_letters: Some(DeadLetterFacts { length: 5, ..DeadLetterFacts::default() }),
            ..GroupFacts::default()
        };
        let expected = json!({
            "redis_connected": true,
            "stream_length": 4,
            "consumer_groups": {"a": {
                "status": "ok", "lag": 2, "lag_source": "counted", "pending": 1, "consumers": 2,
                "last_delivered_id": "7000-0", "oldest_age_seconds": 2, "dead_letters": 5,
            }},
            "last_check": "1970-01-01T00:00:00Z",
        });
        assert_eq!(json(&Report::of(&seen(group), &configured(), NOW)), expected);
    }

    #[test]
    fn a_missing_group_is_not_created_and_others_are_reported_beside_it() {
        let mut seen = Arc::unwrap_or_clone(seen(GroupFacts::default()));
        let facts = seen.stream.groups.remove("a").unwrap();
        seen.stream.groups.insert("other one".to_owned(), facts);
        let report = json(&Report::of(&Arc::new(seen), &configured(), NOW));
        let groups = &report["consumer_groups"];
        assert_eq!(groups["a"], json!({"status": "not_created"}));
        assert_eq!(groups["other one"]["status"], "ok");
        assert_eq!(groups["other one"]["lag"], json!(null));
        assert_eq!(groups["other one"]["dead_letters"], json!(null));
    }

    #[test]
    fn a_group_ahead_of_the_stream_is_an_error_not_an_idle_group() {
        let ahead = seen(GroupFacts { last_delivered: id(9_001), ..GroupFacts::default() });
        let report = json(&Report::of(&ahead, &configured(), NOW));
        let group = &report["consumer_groups"]["a"];
        assert_eq!(group["status"], "error");
        assert!(group["error"].as_str().unwrap().contains("ahead of the stream"), "{group}");
    }

    /// The report of a failed snapshot, as JSON.
    fn failed(error: &MonitorError) -> serde_json::Value {
        let stream = StreamKey::new("s").unwrap();
        json(&Report::of_failure(error, &stream, &configured(), NOW))
    }

    #[test]
    fn a_replica_counts_as_not_connected() {
        let expected = json!({
            "redis_connected": false,
            "error": "connected to a replica",
            "last_check": "1970-01-01T00:00:00Z",
        });
        assert_eq!(failed(&MonitorError::Replica { endpoint: "h:1/0".into() }), expected);
    }

    #[test]
    fn a_server_that_is_too_old_is_reported_without_its_address() {
        let (endpoint, name, version) = ("h:1/0".into(), "redis".into(), "6.2.14".into());
        let report = failed(&MonitorError::UnsupportedServer { endpoint, name, version });
        let expected = "redis 6.2.14 is too old: Redis 7.0 or Valkey 7.2 is needed";
        assert_eq!(report["error"], expected);
    }

    #[test]
    fn a_redis_that_does_not_answer_is_reported_without_its_address() {
        let (operation, stream) = ("read the groups", StreamKey::new("s").unwrap());
        let limit = Duration::from_millis(1_500);
        let error = MonitorError::Unreachable(Error::TimedOut { operation, stream, limit });
        assert_eq!(failed(&error)["error"], "Redis does not answer within 1.5s");
    }
}
