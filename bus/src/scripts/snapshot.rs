//! A snapshot of a stream and its groups, read in one script at one moment.

use std::sync::LazyLock;
use std::time::Duration;

use eventbus_core::facts::{
    ConsumerFacts, ConsumerSource, DeadLetterFacts, GroupFacts, Heartbeat, StreamFacts,
};
use eventbus_core::names::{DELAYED, EntryId, GroupName, SUSPECT, StreamKey};
use redis::Value;
use serde::Deserialize;

use crate::error::Error;
use crate::redis::Connection;
use crate::redis::reply::{Decoded, Record, entry_id, list, number, text};
use crate::redis::script::{Call, Script, Words, call};

/// Longest lease that a consumer is believed to have, as in the scripts.
const MAX_LEASE: Duration = Duration::from_secs(3600);

/// A stream to read.
pub(super) struct Arguments<'a> {
    pub stream: &'a StreamKey,
    /// Groups of which consumers and dead letters are read too.
    pub groups: &'a [GroupRequest],
}

/// A group of which consumers and dead letters are to be read too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRequest {
    /// The group; it need not exist.
    pub group: GroupName,
    /// Stream of its dead letters, in the stream's hash slot.
    pub dead_letters: StreamKey,
}

impl Call for Arguments<'_> {
    type Reply = StreamFacts;
    const OPERATION: &'static str = "read the groups";

    fn script() -> &'static Script {
        static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
            let text = concat!(include_str!("common/reply.lua"), include_str!("snapshot.lua"));
            Script::read_only(text)
        });
        &SCRIPT
    }

    fn write(&self, words: &mut Words) {
        words.key("stream", self.stream);
        for request in self.groups {
            words.key("dead_letters", &request.dead_letters);
            words.key("consumers", self.stream.consumers_key(&request.group));
            words.arg("group", &request.group);
        }
    }

    fn read(&self, reply: Value) -> Decoded<StreamFacts> {
        let stream = Record::new(&reply).ok_or("stream")?;
        let server_ms = stream.number("server_ms")?;
        if stream.value("length").is_err() {
            return Ok(StreamFacts { server_ms, ..StreamFacts::default() });
        }
        let names = stream.list("group_fields")?;
        let groups = stream.list("groups")?.iter();
        let groups =
            groups.map(|row| group_facts(&Record::row(names, row).ok_or("group")?, server_ms));
        Ok(StreamFacts {
            exists: true,
            server_ms,
            length: stream.number("length")?,
            entries_added: stream.number("entries_added")?,
            last_generated: stream.id("last_generated")?,
            first_entry: entry_id(stream.value("first_entry")?),
            max_deleted: stream.id("max_deleted")?,
            groups: groups.collect::<Decoded<_>>()?,
        })
    }
}

/// Reads `stream` and all its groups, with consumers and dead letters of `groups`. Needs no permission to write.
///
/// Consumers are those that the server lists and those with a heartbeat; of a consumers' hash with more than about
/// 1,000 fields, of which most are of consumers that crashed, only so many that the server does not list.
///
/// A missing stream or group, and a group whose other keys cannot be read, are facts and not errors.
///
/// # Errors
/// [`Error::Stream`], with the code `WRONGTYPE` if the key holds something other than a stream.
pub async fn snapshot(
    conn: &mut Connection,
    stream: &StreamKey,
    groups: &[GroupRequest],
) -> Result<StreamFacts, Error> {
    let facts = call(conn, &Arguments { stream, groups }).await;
    facts.map_err(|failure| failure.on_stream(stream))
}

fn group_facts(group: &Record<'_>, server_ms: u64) -> Decoded<(String, GroupFacts)> {
    let (consumers, dead_letters) = (group.value("consumers")?, group.value("dead_letters")?);
    let (listed, consumer_source) = consumer_list(consumers, server_ms)?;
    let unfetchable = oldest_unfetchable(consumers, server_ms);
    let problems: Vec<String> = [consumers, dead_letters].into_iter().filter_map(text).collect();
    let facts = GroupFacts {
        pending: group.number("pending")?,
        delayed: group.number("delayed")?,
        suspects: group.number("suspects")?,
        last_delivered: group.id("last_delivered")?,
        entries_read: number(group.value("entries_read")?),
        reported_lag: number(group.value("lag")?),
        oldest_pending: entry_id(group.value("oldest_pending")?),
        oldest_undelivered: entry_id(group.value("oldest_undelivered")?),
        registered_consumers: group.number("registered_consumers")?,
        consumers: listed,
        unfetchable,
        consumer_source,
        dead_letters: list(dead_letters)
            .map(|fields| dead_letter_facts(fields, dropped_of(consumers)))
            .transpose()?,
        problem: (!problems.is_empty()).then(|| problems.join("; ")),
    };
    Ok((text(group.value("name")?).ok_or("name")?, facts))
}

/// Returns the consumers by name, and the basis on which they are counted; none for a reply that is not a list.
fn consumer_list(reply: &Value, server_ms: u64) -> Decoded<(Vec<ConsumerFacts>, ConsumerSource)> {
    let Some(parts) = list(reply) else { return Ok((Vec::new(), ConsumerSource::NotRead)) };
    let [has_heartbeats, rows, _] = parts else { return Err("consumers") };
    let source = match number(has_heartbeats).ok_or("heartbeats")? {
        0 => ConsumerSource::ServerList,
        _ => ConsumerSource::Heartbeats,
    };
    let rows = list(rows).ok_or("consumers")?;
    let mut consumers = Vec::with_capacity(rows.len());
    for row in rows {
        let [name, pending, idle, heartbeat] = list(row).ok_or("consumer")? else {
            return Err("consumer");
        };
        let name = text(name).ok_or("name of a consumer")?;
        let heartbeat = heartbeat_of(heartbeat);
        let idle = match (number(idle), heartbeat) {
            (Some(ms), _) => ms,
            (None, Some(heartbeat)) => server_ms.saturating_sub(heartbeat.at_ms),
            // A field of another program, not of a consumer that the server lists.
            (None, None) => continue,
        };
        if name == DELAYED || name == SUSPECT {
            continue;
        }
        let pending = number(pending).ok_or("pending of a consumer")?;
        consumers.push(ConsumerFacts {
            name,
            pending,
            idle: Duration::from_millis(idle),
            heartbeat,
        });
    }
    consumers.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((consumers, source))
}

/// Returns the oldest entry that a live consumer cannot fetch.
fn oldest_unfetchable(consumers: &Value, server_ms: u64) -> Option<EntryId> {
    let rows = list(consumers)?.get(1).and_then(list)?;
    let stored = rows.iter().filter_map(|row| stored(list(row)?.get(3)?));
    let live = stored.filter(|stored| stored.heartbeat().is_live(server_ms));
    live.filter_map(|stored| stored.unfetchable?.parse().ok()).min()
}

fn dead_letter_facts(fields: &[Value], dropped: Option<u64>) -> Decoded<DeadLetterFacts> {
    let [length, last, replays] = fields else { return Err("dead letters") };
    Ok(DeadLetterFacts {
        length: number(length).ok_or("length of the dead letters")?,
        replays: number(replays).ok_or("replays")?,
        last_ms: entry_id(last).map(|id| id.ms),
        dropped,
    })
}

/// Returns the number of dropped dead letters, which the consumers' hash has; 0 if none were ever counted, `None` if it is
/// unknown.
fn dropped_of(consumers: &Value) -> Option<u64> {
    match list(consumers)?.get(2)? {
        Value::Nil => Some(0),
        Value::BulkString(json) => {
            serde_json::from_slice::<serde_json::Value>(json).ok()?.get("dropped")?.as_u64()
        }
        _ => None,
    }
}

/// The part of a consumer's field that is read.
#[derive(Deserialize)]
struct Stored {
    at: u64,
    lease: u64,
    unfetchable: Option<String>,
}

impl Stored {
    fn heartbeat(&self) -> Heartbeat {
        let lease = Duration::from_millis(self.lease).min(MAX_LEASE);
        Heartbeat { at_ms: self.at, lease }
    }
}

fn stored(value: &Value) -> Option<Stored> {
    let Value::BulkString(json) = value else { return None };
    serde_json::from_slice(json).ok()
}

/// Returns a consumer's heartbeat. A field that cannot be read is another program's, so the consumer counts as foreign.
fn heartbeat_of(value: &Value) -> Option<Heartbeat> {
    stored(value).map(|stored| stored.heartbeat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeat(json: &str) -> Option<Heartbeat> {
        heartbeat_of(&Value::BulkString(json.as_bytes().to_vec()))
    }

    #[test]
    fn case_06_a_lease_that_others_wrote_is_at_most_an_hour() {
        let lease = |json| heartbeat(json).map(|heartbeat| heartbeat.lease.as_secs());
        assert_eq!(lease(r#"{"at":1,"lease":30000}"#), Some(30));
        assert_eq!(lease(r#"{"at":1,"lease":18446744073709551615}"#), Some(3_600));
        for none in [r#"{"at":1,"lease":-1}"#, r#"{"at":"1","lease":1}"#, "[1,2,3]", "{", ""] {
            assert_eq!(lease(none), None, "{none}");
        }
    }
}
