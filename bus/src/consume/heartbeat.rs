//! The heartbeat: leases renewed, and what waits in the group.

use std::sync::LazyLock;

use crate::redis::Connection;
use serde_json::json;

use crate::error::Error;
use eventbus_core::delivery::{Counts, EntryRef, HeartbeatReport, Source};

use super::commands::{Consumer, FOREIGN_LEASE, Operation, millis};
use super::reply;

static HEARTBEAT: LazyLock<Operation> =
    LazyLock::new(|| Operation::new("renew leases", include_str!("../scripts/heartbeat.lua")));

impl Consumer {
    pub async fn heartbeat(
        &self,
        conn: Connection,
        entries: &[EntryRef],
        look: &[Source],
        counts: &Counts,
    ) -> Result<HeartbeatReport, Error> {
        let delivery = &self.config.delivery;
        let looks = |source| u8::from(look.contains(&source)).to_string();
        let ids = |source| entries.iter().filter(move |entry| entry.source == source);
        let mut args = vec![
            self.config.group.to_string(),
            self.me.to_string(),
            millis(delivery.lease).to_string(),
            millis(FOREIGN_LEASE).to_string(),
            millis(delivery.backoff.initial).to_string(),
            delivery.backoff.multiplier.to_string(),
            millis(delivery.backoff.max).to_string(),
            self.state(counts).to_string(),
            looks(Source::Stream),
            looks(Source::DeadLetters),
            delivery.max_attempts.to_string(),
            ids(Source::Stream).count().to_string(),
        ];
        let all = ids(Source::Stream).chain(ids(Source::DeadLetters));
        args.extend(all.map(|entry| entry.id.to_string()));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let keys = [self.config.stream.as_str(), self.dead_letters.as_str(), &self.consumers];
        let answer = self.call(&HEARTBEAT, conn, &keys, &args).await?;
        reply::heartbeat(answer).ok_or_else(|| self.odd(HEARTBEAT.name, "report"))
    }

    /// What stands in the consumers' hash; the server adds its time as `at`.
    fn state(&self, counts: &Counts) -> serde_json::Value {
        json!({
            "v": 1,
            "lease": millis(self.config.delivery.lease),
            "received": counts.received,
            "acknowledged": counts.acknowledged,
            "retried": counts.retried,
            "dead": counts.dead,
            "skipped": counts.skipped,
            "inFlight": counts.in_flight,
            "handler": self.config.handler,
        })
    }
}
