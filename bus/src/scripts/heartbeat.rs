//! Heartbeat: renews leases, reports what is delayed in the group, moves entries of vanished consumers to the suspects.

use std::sync::LazyLock;
use std::time::Duration;

use eventbus_core::delivery::{Counts, DeliveryConfig, EntryRef, HeartbeatReport, Source};
use eventbus_core::names::{ConsumerName, GroupName};
use eventbus_core::time::millis;
use redis::Value;
use serde_json::json;

use crate::redis::reply::{Decoded, Record, entry_id};
use crate::redis::script::{Call, Script, Words};

/// A consumer's heartbeat.
pub(crate) struct Arguments<'a> {
    pub stream: &'a str,
    pub dead_letters: &'a str,
    /// Key of the consumers' hash.
    pub consumers: &'a str,
    pub group: &'a GroupName,
    pub consumer: &'a ConsumerName,
    /// The consumer's lease, backoff and maximum of attempts; a suspect waits for the same backoff.
    pub delivery: &'a DeliveryConfig,
    /// Lease of consumers that never reported theirs.
    pub foreign_lease: Duration,
    /// Entries whose lease is renewed.
    pub entries: &'a [EntryRef],
    /// Sources to search for entries of vanished consumers.
    pub search: &'a [Source],
    /// Counts to store in the consumers' hash.
    pub counts: &'a Counts,
    /// Kind of the handler, to store there too.
    pub handler: &'a str,
}

impl Arguments<'_> {
    /// Returns the field of the consumers' hash; the server adds its time as `at`.
    fn state(&self) -> serde_json::Value {
        let mut state = json!({
            "v": 1,
            "lease": millis(self.delivery.lease),
            "received": self.counts.received,
            "acknowledged": self.counts.acknowledged,
            "retried": self.counts.retried,
            "dead": self.counts.dead,
            "skipped": self.counts.skipped,
            "inFlight": self.counts.in_flight,
            "handler": self.handler,
        });
        if let Some(id) = self.counts.oldest_unfetchable {
            state["unfetchable"] = id.to_string().into();
        }
        state
    }
}

impl Call for Arguments<'_> {
    type Reply = HeartbeatReport;
    const OPERATION: &'static str = "renew leases";

    fn script() -> &'static Script {
        static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(
                include_str!("common/reply.lua"),
                include_str!("common/id.lua"),
                include_str!("common/attempts.lua"),
                include_str!("common/lease.lua"),
                include_str!("heartbeat.lua")
            ))
        });
        &SCRIPT
    }

    fn write(&self, words: &mut Words) {
        let backoff = &self.delivery.backoff;
        let searches = |source| u8::from(self.search.contains(&source));
        let of = |source| self.entries.iter().filter(move |entry| entry.source == source);
        words.key("stream", self.stream).key("dead_letters", self.dead_letters);
        words.key("consumers", self.consumers);
        words.arg("group", self.group).arg("consumer", self.consumer);
        words.arg("lease", millis(self.delivery.lease));
        words.arg("foreign_lease", millis(self.foreign_lease));
        words.arg("initial_delay", millis(backoff.initial)).arg("multiplier", backoff.multiplier);
        words.arg("max_delay", millis(backoff.max)).arg("state", self.state());
        words.arg("search_stream", searches(Source::Stream));
        words.arg("search_dead_letters", searches(Source::DeadLetters));
        words.arg("max_attempts", self.delivery.max_attempts);
        words.arg("stream_ids", of(Source::Stream).count());
        for entry in of(Source::Stream).chain(of(Source::DeadLetters)) {
            words.arg("id", entry.id);
        }
    }

    fn read(&self, reply: Value) -> Decoded<HeartbeatReport> {
        report(&reply)
    }
}

fn report(reply: &Value) -> Decoded<HeartbeatReport> {
    let report = Record::new(reply).ok_or("report")?;
    let sources =
        [(Source::Stream, "lost", "due"), (Source::DeadLetters, "lost_replays", "due_replays")];
    let (mut lost, mut suspects) = (Vec::new(), Vec::new());
    for (source, lost_ids, due) in sources {
        for id in report.list(lost_ids)? {
            lost.push(EntryRef { source, id: entry_id(id).ok_or(lost_ids)? });
        }
        if report.number(due)? > 0 {
            suspects.push(source);
        }
    }
    Ok(HeartbeatReport {
        lost,
        moved: report.number("moved")?,
        trimmed: report.number("trimmed")?,
        suspects,
        delayed: report.number("delayed")?,
        replays: report.number("replays")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_without_one_of_its_values_is_refused_with_the_name() {
        let ids = || Value::Array(vec![]);
        let values = [
            ("lost", ids()),
            ("lost_replays", ids()),
            ("moved", Value::Int(1)),
            ("trimmed", Value::Int(2)),
            ("due", Value::Int(0)),
            ("due_replays", Value::Int(1)),
            ("delayed", Value::Int(3)),
            ("replays", Value::Int(4)),
        ];
        let without = |left_out: &str| {
            let kept = values.iter().filter(|(name, _)| *name != left_out);
            let pairs = kept.flat_map(|(name, value)| {
                [Value::BulkString(name.as_bytes().to_vec()), value.clone()]
            });
            report(&Value::Array(pairs.collect()))
        };
        let suspects = vec![Source::DeadLetters];
        let whole = HeartbeatReport {
            moved: 1,
            trimmed: 2,
            suspects,
            delayed: 3,
            replays: 4,
            lost: vec![],
        };
        assert_eq!(without("none"), Ok(whole));
        for (name, _) in &values {
            assert_eq!(without(name), Err(*name));
        }
        assert_eq!(report(&Value::Int(1)), Err("report"));
    }
}
