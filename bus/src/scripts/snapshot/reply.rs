//! The reply of the sweep's script, decoded field by field. An error is the name of what was looked for in vain.

use std::time::Duration;

use redis::Value;
use serde::Deserialize;

use crate::redis::reply::entry_id;
use eventbus_core::facts::{ConsumerFacts, DeadLetterFacts, GroupFacts, Heartbeat, StreamFacts};
use eventbus_core::names::{DELAYED, SUSPECT};

type Decoded<T> = Result<T, &'static str>;

pub(super) fn stream_facts(reply: &Value) -> Decoded<StreamFacts> {
    match array(reply).ok_or("stream")? {
        [server_ms] => Ok(StreamFacts {
            server_ms: number(server_ms).ok_or("time")?,
            ..StreamFacts::default()
        }),
        [server_ms, length, added, last, first, max_deleted, groups] => Ok(StreamFacts {
            exists: true,
            server_ms: number(server_ms).ok_or("time")?,
            length: number(length).ok_or("length")?,
            entries_added: number(added).ok_or("entries-added")?,
            last_generated: entry_id(last).ok_or("last-generated-id")?,
            first_entry: entry_id(first),
            max_deleted: entry_id(max_deleted).ok_or("max-deleted-entry-id")?,
            groups: array(groups)
                .ok_or("groups")?
                .iter()
                .map(group_facts)
                .collect::<Decoded<_>>()?,
        }),
        _ => Err("stream"),
    }
}

fn group_facts(reply: &Value) -> Decoded<(String, GroupFacts)> {
    let [
        name,
        pending,
        last,
        entries_read,
        lag,
        registered,
        oldest_pending,
        delayed,
        suspects,
        undelivered,
        consumers,
        dead_letters,
    ] = array(reply).ok_or("group")?
    else {
        return Err("group");
    };
    let problems: Vec<String> = [consumers, dead_letters].into_iter().filter_map(text).collect();
    let facts = GroupFacts {
        pending: number(pending).ok_or("pending")?,
        delayed: number(delayed).ok_or("delayed entries")?,
        suspects: number(suspects).ok_or("suspects")?,
        last_delivered: entry_id(last).ok_or("last-delivered-id")?,
        entries_read: number(entries_read),
        reported_lag: number(lag),
        oldest_pending: entry_id(oldest_pending),
        oldest_undelivered: entry_id(undelivered),
        registered_consumers: number(registered).ok_or("consumers")?,
        consumers: consumer_list(array(consumers).unwrap_or_default())?,
        dead_letters: array(dead_letters).map(dead_letter_facts).transpose()?,
        problem: (!problems.is_empty()).then(|| problems.join("; ")),
    };
    Ok((text(name).ok_or("name of a group")?, facts))
}

fn consumer_list(replies: &[Value]) -> Decoded<Vec<ConsumerFacts>> {
    let mut list = Vec::with_capacity(replies.len());
    for reply in replies {
        let [name, pending, idle, heartbeat] = array(reply).ok_or("consumer")? else {
            return Err("consumer");
        };
        let name = text(name).ok_or("name of a consumer")?;
        if name == DELAYED || name == SUSPECT {
            continue;
        }
        list.push(ConsumerFacts {
            name,
            pending: number(pending).ok_or("pending of a consumer")?,
            idle: Duration::from_millis(number(idle).ok_or("idle time of a consumer")?),
            heartbeat: heartbeat_of(heartbeat),
        });
    }
    Ok(list)
}

fn dead_letter_facts(fields: &[Value]) -> Decoded<DeadLetterFacts> {
    let [length, last, replays] = fields else { return Err("dead letters") };
    Ok(DeadLetterFacts {
        length: number(length).ok_or("length of the dead letters")?,
        replays: number(replays).ok_or("replays")?,
        last_ms: entry_id(last).map(|id| id.ms),
    })
}

/// A field that is no heartbeat is one of a program that we do not know, so the consumer counts as foreign.
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

fn array(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(text_of(bytes)),
        _ => None,
    }
}

fn text_of(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| bytes.escape_ascii().to_string(), ToOwned::to_owned)
}
