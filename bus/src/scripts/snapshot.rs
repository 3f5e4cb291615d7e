//! A snapshot of a stream and its groups, read in one script at one moment.

use std::sync::LazyLock;
use std::time::Duration;

use eventbus_core::facts::{ConsumerFacts, DeadLetterFacts, GroupFacts, Heartbeat, StreamFacts};
use eventbus_core::names::{DELAYED, GroupName, SUSPECT, StreamKey};
use redis::Value;
use serde::Deserialize;

use crate::error::Error;
use crate::redis::Connection;
use crate::redis::reply::{Decoded, Record, entry_id, list, number, text};
use crate::redis::script::{Call, Script, Words, call};

/// A stream to read.
pub(super) struct Arguments<'a> {
    pub stream: &'a StreamKey,
    /// Groups of which consumers and dead letters are read too.
    pub groups: &'a [GroupRequest],
}

/// A group of which consumers and dead letters are wanted too.
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
        let groups = groups.map(|row| group_facts(&Record::row(names, row).ok_or("group")?));
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
/// A missing stream or group, and a group whose other keys cannot be read, are no errors but facts.
///
/// # Errors
/// [`Error::Stream`], with the code `WRONGTYPE` where the key holds something else than a stream.
pub async fn snapshot(
    conn: &mut Connection,
    stream: &StreamKey,
    groups: &[GroupRequest],
) -> Result<StreamFacts, Error> {
    let facts = call(conn, &Arguments { stream, groups }).await;
    facts.map_err(|failure| failure.on_stream(stream))
}

fn group_facts(group: &Record<'_>) -> Decoded<(String, GroupFacts)> {
    let (consumers, dead_letters) = (group.value("consumers")?, group.value("dead_letters")?);
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
        consumers: consumer_list(list(consumers).unwrap_or_default())?,
        dead_letters: list(dead_letters).map(dead_letter_facts).transpose()?,
        problem: (!problems.is_empty()).then(|| problems.join("; ")),
    };
    Ok((text(group.value("name")?).ok_or("name")?, facts))
}

fn consumer_list(replies: &[Value]) -> Decoded<Vec<ConsumerFacts>> {
    let mut consumers = Vec::with_capacity(replies.len());
    for reply in replies {
        let [name, pending, idle, heartbeat] = list(reply).ok_or("consumer")? else {
            return Err("consumer");
        };
        let name = text(name).ok_or("name of a consumer")?;
        if name == DELAYED || name == SUSPECT {
            continue;
        }
        consumers.push(ConsumerFacts {
            name,
            pending: number(pending).ok_or("pending of a consumer")?,
            idle: Duration::from_millis(number(idle).ok_or("idle time of a consumer")?),
            heartbeat: heartbeat_of(heartbeat),
        });
    }
    Ok(consumers)
}

fn dead_letter_facts(fields: &[Value]) -> Decoded<DeadLetterFacts> {
    let [length, last, replays] = fields else { return Err("dead letters") };
    Ok(DeadLetterFacts {
        length: number(length).ok_or("length of the dead letters")?,
        replays: number(replays).ok_or("replays")?,
        last_ms: entry_id(last).map(|id| id.ms),
    })
}

/// Returns a consumer's heartbeat. A field that cannot be read is another program's, so the consumer counts as foreign.
fn heartbeat_of(value: &Value) -> Option<Heartbeat> {
    #[derive(Deserialize)]
    struct Stored {
        at: u64,
        lease: u64,
    }
    let Value::BulkString(json) = value else { return None };
    let stored: Stored = serde_json::from_slice(json).ok()?;
    Some(Heartbeat { at_ms: stored.at, lease: Duration::from_millis(stored.lease) })
}
