//! Random walks against a model: trimming never removes what a group has not acknowledged, and dropping counts each
//! loss.
//!
//! A failure prints its seed. `SEEDS` sets how many walks there are.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use eventbus::admin;
use eventbus::admin::Connection;
use eventbus::admin::TrimHold;
use eventbus::{EntryId, StreamKey};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use redis::streams::{StreamPendingReply, StreamRangeReply, StreamReadReply};
use tests::redis::RedisServer;

const GROUPS: [&str; 4] = ["a", "b", "c", "d"];
const STEPS: usize = 500;
const DEFAULT_SEEDS: u64 = 6;
/// What a node of a stream may hold: entries and bytes, 0 for no limit.
const NODE_ENTRIES: [u64; 6] = [0, 1, 7, 10, 100, 1_000];
const NODE_BYTES: [u64; 4] = [0, 64, 512, 4_096];
/// Finished entries beyond those to be kept from which trimming removes some.
const SLACK: usize = 200;
/// A missing group holds for longer than a walk takes.
const HOLD: Duration = Duration::from_secs(3600);

/// A group as Redis ought to keep it.
#[derive(Debug, Default)]
struct Group {
    position: EntryId,
    pending: BTreeSet<EntryId>,
}

impl Group {
    /// Whether `id` is still to be delivered, or to be acknowledged.
    fn needs(&self, id: EntryId) -> bool {
        id > self.position || self.pending.contains(&id)
    }
}

/// The stream as Redis ought to keep it.
#[derive(Debug, Default)]
struct Model {
    entries: BTreeSet<EntryId>,
    last_generated: EntryId,
    groups: BTreeMap<&'static str, Group>,
    declared: BTreeSet<&'static str>,
    lost: BTreeMap<String, u64>,
}

impl Model {
    /// Why nothing at all may be trimmed.
    fn forbids_trimming(&self) -> bool {
        let missing = |name: &&'static str| !self.groups.contains_key(name);
        let ahead = |group: &Group| group.position > self.last_generated;
        self.groups.is_empty()
            || self.declared.iter().any(missing)
            || self.groups.values().any(ahead)
    }

    fn is_needed(&self, id: EntryId) -> bool {
        self.groups.values().any(|group| group.needs(id))
    }
}

struct Walk {
    _server: RedisServer,
    conn: Connection,
    stream: StreamKey,
    rng: SmallRng,
    model: Model,
    trimmed: usize,
    dropped: usize,
}

impl Walk {
    async fn new(seed: u64) -> Self {
        let server = RedisServer::start();
        let stream = StreamKey::new("s").unwrap();
        let mut walk = Self {
            conn: server.connection().await,
            _server: server,
            stream,
            rng: SmallRng::seed_from_u64(seed),
            model: Model::default(),
            trimmed: 0,
            dropped: 0,
        };
        walk.resize_nodes().await;
        if seed % 2 == 1 {
            // Beyond what a Lua number holds, and soon at the end of a millisecond.
            let id = EntryId { ms: (1 << 53) + 1, seq: u64::MAX - 40 };
            walk.run(&["XADD", "s", &id.to_string(), "type", "t", "payload", "1"]).await;
            walk.model.entries.insert(id);
            walk.model.last_generated = id;
        }
        walk
    }

    async fn run(&mut self, words: &[&str]) -> redis::Value {
        redis::cmd(words[0]).arg(&words[1..]).query_async(&mut self.conn).await.unwrap()
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.rng.random_range(0..sides)
    }

    /// A number up to `usual`, and now and then one that is far larger.
    fn count(&mut self, usual: usize) -> usize {
        let max = if self.roll(8) == 0 { 300 } else { usual };
        1 + self.roll(max)
    }

    fn group(&mut self) -> &'static str {
        let at = self.roll(GROUPS.len());
        GROUPS[at]
    }

    async fn step(&mut self) {
        match self.roll(42) {
            0..=7 => self.publish().await,
            8..=15 => self.read().await,
            16..=23 => self.acknowledge().await,
            24..=32 => self.trim().await,
            33 => self.drop_oldest().await,
            34..=35 => self.set_position().await,
            36..=37 => self.create().await,
            38 => self.destroy().await,
            39 => self.resize_nodes().await,
            40 => self.finish().await,
            _ => self.declare().await,
        }
    }

    /// Changes the nodes that are made from now on. Every other time one node may have them all.
    async fn resize_nodes(&mut self) {
        let (mut entries, mut bytes) = (0, 0);
        if self.roll(2) == 0 {
            entries = NODE_ENTRIES[self.roll(NODE_ENTRIES.len())];
            bytes = NODE_BYTES[self.roll(NODE_BYTES.len())];
        }
        self.run(&["CONFIG", "SET", "stream-node-max-entries", &entries.to_string()]).await;
        self.run(&["CONFIG", "SET", "stream-node-max-bytes", &bytes.to_string()]).await;
    }

    async fn publish(&mut self) {
        let mut batch = redis::pipe();
        for _ in 0..self.count(20) {
            batch.cmd("XADD").arg(&["s", "*", "type", "t", "payload", "1"]);
        }
        let ids: Vec<String> = batch.query_async(&mut self.conn).await.unwrap();
        self.model.entries.extend(ids.iter().map(|id| id.parse::<EntryId>().unwrap()));
        self.model.last_generated = self.model.entries.last().copied().unwrap();
    }

    async fn read(&mut self) {
        let (group, count) = (self.group(), self.count(30));
        let Some(position) = self.model.groups.get(group).map(|g| g.position) else { return };
        let consumer = format!("c{}", self.roll(2));
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(group).arg(&consumer).arg("COUNT").arg(count);
        let reply: Option<StreamReadReply> =
            command.arg("STREAMS").arg("s").arg(">").query_async(&mut self.conn).await.unwrap();
        let read: Vec<EntryId> = reply
            .into_iter()
            .flat_map(|reply| reply.keys)
            .flat_map(|key| key.ids)
            .map(|entry| entry.id.parse().unwrap())
            .collect();
        let due = self.model.entries.iter().copied().filter(|id| *id > position);
        assert_eq!(read, due.take(count).collect::<Vec<_>>(), "what {group} reads");
        let group = self.model.groups.get_mut(group).unwrap();
        group.position = read.last().copied().unwrap_or(position);
        group.pending.extend(read);
    }

    async fn acknowledge(&mut self) {
        let name = self.group();
        let Some(group) = self.model.groups.get(name) else { return };
        // As a rule the oldest, and now and then any.
        let all: Vec<EntryId> = group.pending.iter().copied().collect();
        let (odds, max) = (1 + self.roll(4) / 2, self.count(80));
        let chosen: Vec<EntryId> =
            all.into_iter().filter(|_| self.rng.random_range(0..odds) == 0).take(max).collect();
        if chosen.is_empty() {
            return;
        }
        let ids: Vec<String> = chosen.iter().map(ToString::to_string).collect();
        let mut command = redis::cmd("XACK");
        command.arg("s").arg(name).arg(ids).exec_async(&mut self.conn).await.unwrap();
        let group = self.model.groups.get_mut(name).unwrap();
        group.pending.retain(|id| !chosen.contains(id));
    }

    /// Every group reads and acknowledges all.
    async fn finish(&mut self) {
        let last = self.model.last_generated.to_string();
        for (name, group) in &mut self.model.groups {
            let mut batch = redis::pipe();
            batch.cmd("XGROUP").arg(&["SETID", "s", name, &last]).ignore();
            for id in &group.pending {
                batch.cmd("XACK").arg(&["s", name, &id.to_string()]).ignore();
            }
            batch.query_async::<()>(&mut self.conn).await.unwrap();
            (group.position, group.pending) = (self.model.last_generated, BTreeSet::new());
        }
    }

    async fn trim(&mut self) {
        let keep = self.roll(20);
        let before = self.model.entries.clone();
        let trimmed = admin::trim(&mut self.conn, &self.stream, keep as u64, HOLD).await.unwrap();
        let after = self.entries().await;
        assert!(after.is_subset(&before));
        let removed: Vec<EntryId> = before.difference(&after).copied().collect();
        assert_eq!((trimmed.removed, trimmed.length), (removed.len() as u64, after.len() as u64));
        assert!(after.len() >= keep.min(before.len()), "{keep} are to be kept of {before:?}");
        for id in &removed {
            assert!(!self.model.is_needed(*id), "{id} was trimmed, and needed: {:?}", self.model);
        }
        if self.model.forbids_trimming() {
            assert!(removed.is_empty(), "{removed:?} were trimmed: {:?}", self.model);
            let reported = !matches!(trimmed.hold, None | Some(TrimHold::Behind { .. }));
            assert!(reported || before.len() <= keep, "{trimmed:?}: {:?}", self.model);
        } else if removed.is_empty() {
            self.check_hold(trimmed.hold.as_ref(), before.len().saturating_sub(keep));
        }
        self.trimmed += removed.len();
        self.model.entries = after;
    }

    /// Nothing was removed of the `beyond` oldest entries: few of them are finished, and a group is named only if it needs
    /// one of them.
    fn check_hold(&self, hold: Option<&TrimHold>, beyond: usize) {
        let finished = self.model.entries.iter().take_while(|id| !self.model.is_needed(**id));
        let finished = finished.count().min(beyond);
        // The last finished one may be where a group is, and stays.
        assert!(finished <= SLACK, "{finished} of {beyond} are finished: {:?}", self.model);
        match hold {
            None => assert!(beyond < SLACK || finished + 1 >= beyond, "{beyond}: {:?}", self.model),
            Some(TrimHold::Behind { group, entries }) => {
                assert_eq!(*entries, beyond as u64);
                let needs = |id: &EntryId| self.model.groups[group.as_str()].needs(*id);
                let is_true = self.model.entries.iter().take(beyond).any(needs);
                assert!(is_true, "{group} needs none of {beyond}: {:?}", self.model);
            }
            Some(other) => panic!("{other:?}: {:?}", self.model),
        }
    }

    async fn drop_oldest(&mut self) {
        let count = 1 + self.roll(25);
        let before = self.model.entries.clone();
        let dropped =
            admin::drop_oldest(&mut self.conn, &self.stream, count as u64, 0).await.unwrap();
        let after = self.entries().await;
        let removed: Vec<EntryId> = before.difference(&after).copied().collect();
        let oldest: Vec<EntryId> = before.iter().copied().take(removed.len()).collect();
        assert_eq!(removed, oldest);
        assert_eq!((dropped.removed, dropped.length), (removed.len() as u64, after.len() as u64));
        assert!(removed.len() <= count && (removed.is_empty() == (before.len() <= count)));
        let mut expected = BTreeMap::new();
        for (name, group) in &mut self.model.groups {
            let lost = removed.iter().filter(|id| group.needs(**id)).count() as u64;
            if lost > 0 {
                expected.insert((*name).to_owned(), lost);
                *self.model.lost.entry((*name).to_owned()).or_default() += lost;
            }
            group.pending.retain(|id| !removed.contains(id));
        }
        assert_eq!(dropped.lost.into_iter().collect::<BTreeMap<_, _>>(), expected);
        assert_eq!(dropped.problem, None);
        self.dropped += removed.len();
        self.model.entries = after;
        self.check_losses().await;
    }

    /// The hash of losses is the model's, and nothing is pending that is not in the stream.
    async fn check_losses(&mut self) {
        let key = self.stream.lost_key();
        let lost: BTreeMap<String, u64> =
            redis::cmd("HGETALL").arg(key).query_async(&mut self.conn).await.unwrap();
        assert_eq!(lost, self.model.lost);
        for (name, group) in &self.model.groups {
            let mut command = redis::cmd("XPENDING");
            let pending: StreamPendingReply =
                command.arg("s").arg(name).query_async(&mut self.conn).await.unwrap();
            assert_eq!(pending.count(), group.pending.len(), "pending of {name}");
        }
    }

    async fn set_position(&mut self) {
        let (name, position) = (self.group(), self.position());
        if let Some(group) = self.model.groups.get_mut(name) {
            group.position = position;
            self.run(&["XGROUP", "SETID", "s", name, &position.to_string()]).await;
        }
    }

    async fn create(&mut self) {
        let (name, position) = (self.group(), self.position());
        if !self.model.groups.contains_key(name) {
            let group = Group { position, ..Group::default() };
            self.model.groups.insert(name, group);
            self.run(&["XGROUP", "CREATE", "s", name, &position.to_string(), "MKSTREAM"]).await;
        }
    }

    async fn destroy(&mut self) {
        let name = self.group();
        if self.model.groups.remove(name).is_some() {
            self.run(&["XGROUP", "DESTROY", "s", name]).await;
        }
    }

    async fn declare(&mut self) {
        let (name, key) = (self.group(), self.stream.groups_key());
        // A declaration is taken back more often than made: a missing group stops all trimming.
        if self.roll(3) == 0 {
            self.model.declared.insert(name);
            self.run(&["HSET", &key, name, r#"{"v":1,"types":[]}"#]).await;
        } else {
            self.model.declared.remove(name);
            self.run(&["HDEL", &key, name]).await;
        }
    }

    /// The start, the end, somewhere in between, or a little past the end.
    fn position(&mut self) -> EntryId {
        let EntryId { ms, seq } = self.model.last_generated;
        match self.roll(8) {
            0 => EntryId::ZERO,
            1..=3 => EntryId { ms, seq },
            4 => EntryId { ms, seq: seq.saturating_add(3) },
            _ => {
                let at = self.roll(self.model.entries.len() + 1);
                self.model.entries.iter().nth(at).copied().unwrap_or_default()
            }
        }
    }

    async fn entries(&mut self) -> BTreeSet<EntryId> {
        let mut command = redis::cmd("XRANGE");
        let reply: StreamRangeReply =
            command.arg("s").arg("-").arg("+").query_async(&mut self.conn).await.unwrap();
        reply.ids.into_iter().map(|entry| entry.id.parse().unwrap()).collect()
    }
}

/// Prints the seed of a walk that does not come to its end.
struct SeedReport(u64);

impl Drop for SeedReport {
    #[expect(clippy::print_stderr, reason = "how to walk the same way again")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the walk of seed {} failed", self.0);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "how long the test is, is set from outside")]
fn seeds() -> u64 {
    std::env::var("SEEDS").map_or(DEFAULT_SEEDS, |text| text.parse().expect("SEEDS is a number"))
}

#[tokio::test]
async fn whatever_happens_to_the_groups_nothing_they_need_is_trimmed_and_every_loss_is_counted() {
    let (mut trimmed, mut dropped) = (0, 0);
    for seed in 0..seeds() {
        let reported = SeedReport(seed);
        let mut walk = Walk::new(seed).await;
        for _ in 0..STEPS {
            walk.step().await;
        }
        (trimmed, dropped) = (trimmed + walk.trimmed, dropped + walk.dropped);
        drop(reported);
    }
    assert!(trimmed > 300 && dropped > 300, "{trimmed} and {dropped} are too few to show anything");
}
