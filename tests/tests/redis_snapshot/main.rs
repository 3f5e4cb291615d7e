//! Looking at a stream and its groups, and their true lag, on a real server.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

mod consumers;
mod lag;
mod monitor;
mod random_walk;

use std::collections::BTreeMap;

use eventbus::admin::Connection;
use eventbus::observe::{
    DeadLetterFacts, GroupRequest, Lag, LagReader, LagSource, ServerInfo, StreamFacts, server_info,
    snapshot,
};
use eventbus::{EntryId, GroupName, StreamKey};
use redis::Value;
use tests::redis::RedisServer;

struct Fixture {
    server: RedisServer,
    conn: Connection,
    stream: StreamKey,
    lags: LagReader,
}

impl Fixture {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(options: &[&str]) -> Self {
        let server = RedisServer::start_with(options);
        let conn = server.connection().await;
        let stream = StreamKey::new("s").unwrap();
        Self { server, conn, stream, lags: LagReader::default() }
    }

    async fn run(&mut self, command: &str) -> Value {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>()).query_async(&mut self.conn).await.unwrap()
    }

    /// Adds entries `from`-0 to `to`-0.
    async fn add(&mut self, from: u64, to: u64) {
        let mut batch = redis::pipe();
        for n in from..=to {
            batch.cmd("XADD").arg("s").arg(format!("{n}-0")).arg("f").arg("v").ignore();
        }
        batch.query_async::<()>(&mut self.conn).await.unwrap();
    }

    fn request(&self, group: &str) -> GroupRequest {
        let group = GroupName::new(group).unwrap();
        GroupRequest { dead_letters: self.stream.dead_letters(&group), group }
    }

    async fn snapshot(&mut self, groups: &[&str]) -> StreamFacts {
        let requests: Vec<_> = groups.iter().map(|g| self.request(g)).collect();
        snapshot(&mut self.conn, &self.stream, &requests).await.unwrap()
    }

    async fn server_info(&mut self) -> ServerInfo {
        server_info(&mut self.conn, "here").await.unwrap()
    }

    /// The lags as they are now, by a reader that may remember earlier ones.
    async fn lags(&mut self) -> BTreeMap<String, Lag> {
        let facts = self.snapshot(&[]).await;
        let info = self.server_info().await;
        self.lags.read(&mut self.conn, &self.stream, &facts, &info).await.unwrap()
    }

    async fn lag(&mut self, group: &str) -> Lag {
        self.lags().await[group]
    }

    /// What is really left for `group`: every entry after its last delivered one.
    async fn truth(&mut self, facts: &StreamFacts, group: &str) -> u64 {
        let last = facts.groups[group].last_delivered;
        let count = "return #redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+')";
        let mut command = redis::cmd("EVAL");
        command.arg(count).arg(1).arg("s").arg(last.to_string());
        command.query_async(&mut self.conn).await.unwrap()
    }
}

fn id(ms: u64) -> EntryId {
    EntryId { ms, seq: 0 }
}

#[tokio::test]
async fn a_sweep_tells_positions_pending_entries_and_what_was_trimmed() {
    let mut s = Fixture::new().await;
    s.add(1, 10).await;
    s.run("XGROUP CREATE s g 0").await;
    s.run("XREADGROUP GROUP g c COUNT 6 STREAMS s >").await;
    s.run("XACK s g 1-0 2-0 3-0").await;
    s.run("XCLAIM s g eventbus:delayed 0 5-0 JUSTID").await;
    s.run("XCLAIM s g eventbus:suspect 0 6-0 JUSTID").await;
    s.run("XDEL s 8-0").await;
    s.run("XTRIM s MINID 4-0").await;
    let facts = s.snapshot(&["g"]).await;
    assert!(facts.exists);
    assert_eq!((facts.length, facts.entries_added), (6, 10));
    assert_eq!((facts.first_entry, facts.last_generated), (Some(id(4)), id(10)));
    assert_eq!(facts.max_deleted, id(8));
    let group = &facts.groups["g"];
    assert_eq!((group.pending, group.delayed, group.suspects), (3, 1, 1));
    assert_eq!(group.last_delivered, id(6));
    assert_eq!(group.oldest_pending, Some(id(4)));
    assert_eq!(group.oldest_undelivered, Some(id(7)));
    assert_eq!(group.registered_consumers, 3);
    let names: Vec<_> = group.consumers.iter().map(|c| (c.name.as_str(), c.pending)).collect();
    assert_eq!(names, [("c", 1)]);
    let none = DeadLetterFacts { dropped: Some(0), ..DeadLetterFacts::default() };
    assert_eq!(group.dead_letters, Some(none));
}

#[tokio::test]
async fn a_sweep_skips_deleted_entries_when_it_looks_for_the_oldest_undelivered_one() {
    let mut s = Fixture::new().await;
    s.add(1, 5).await;
    s.run("XGROUP CREATE s middle 2-0").await;
    s.run("XGROUP CREATE s end 5-0").await;
    s.run("XGROUP CREATE s ahead 9-0").await;
    s.run("XGROUP CREATE s last 18446744073709551615-18446744073709551615").await;
    s.run("XDEL s 3-0").await;
    let facts = s.snapshot(&[]).await;
    let oldest = |group: &str| facts.groups[group].oldest_undelivered;
    assert_eq!(oldest("middle"), Some(id(4)));
    assert_eq!([oldest("end"), oldest("ahead"), oldest("last")], [None; 3]);
    assert!(facts.groups["ahead"].is_ahead_of(&facts) && !facts.groups["end"].is_ahead_of(&facts));
}

#[tokio::test]
async fn a_missing_stream_and_a_missing_group_are_facts_not_errors() {
    let mut s = Fixture::new().await;
    let facts = s.snapshot(&["g"]).await;
    assert!(!facts.exists && facts.groups.is_empty() && facts.server_ms > 0);
    s.run("XGROUP CREATE s other $ MKSTREAM").await;
    let facts = s.snapshot(&["g"]).await;
    assert!(facts.exists && facts.length == 0 && facts.first_entry.is_none());
    assert_eq!(facts.groups.keys().collect::<Vec<_>>(), ["other"]);
}

#[tokio::test]
async fn a_key_of_another_type_is_an_error_that_names_the_stream() {
    let mut s = Fixture::new().await;
    s.run("SET s text").await;
    let error = snapshot(&mut s.conn, &s.stream, &[]).await.unwrap_err();
    assert!(error.is_wrong_type(), "{error:?}");
    assert_eq!(error.to_string(), "cannot read the groups on stream s");
}

#[tokio::test]
async fn dead_letters_and_their_replays_are_counted_for_the_group_that_asked() {
    let mut s = Fixture::new().await;
    s.run("XGROUP CREATE s g 0 MKSTREAM").await;
    for ms in [1_000, 2_000] {
        s.run(&format!("XADD {{s}}:dlq:g {ms}-0 dlq.group g")).await;
    }
    let facts = s.snapshot(&["g"]).await;
    let expected =
        DeadLetterFacts { length: 2, replays: 0, last_ms: Some(2_000), dropped: Some(0) };
    assert_eq!(facts.groups["g"].dead_letters, Some(expected));
    s.run("XGROUP CREATE {s}:dlq:g g $").await;
    s.run("XCLAIM {s}:dlq:g g eventbus:delayed 0 1000-0 FORCE JUSTID").await;
    let facts = s.snapshot(&["g"]).await;
    let expected = DeadLetterFacts { replays: 1, ..expected };
    assert_eq!(facts.groups["g"].dead_letters, Some(expected));
}

#[tokio::test]
async fn case_12_dropped_dead_letters_are_a_fact_of_their_group_while_none_is_left_too() {
    let mut s = Fixture::new().await;
    s.run("XGROUP CREATE s g 0 MKSTREAM").await;
    let counts = [
        (r#"{"v":1,"stored":9,"dropped":7}"#, Some(7)),
        (r#"{"dropped":-1}"#, None),
        (r#"{"dropped":"many"}"#, None),
        ("[7]", None),
        ("", None),
    ];
    for (counted, dropped) in counts {
        let mut set = redis::cmd("HSET");
        let set = set.arg("{s}:eventbus:consumers:g").arg("dead").arg(counted);
        set.exec_async(&mut s.conn).await.unwrap();
        let facts = s.snapshot(&["g"]).await;
        assert_eq!(facts.groups["g"].dead_letters.unwrap().dropped, dropped, "{counted}");
    }
    s.run("DEL {s}:eventbus:consumers:g").await;
    s.run("SET {s}:eventbus:consumers:g x").await;
    let facts = s.snapshot(&["g"]).await;
    assert_eq!(facts.groups["g"].dead_letters, Some(DeadLetterFacts::default()));
}

#[tokio::test]
async fn groups_that_share_their_dead_letters_each_see_their_own_replays() {
    let mut s = Fixture::new().await;
    s.run("XADD {s}:dlq:all 1-0 dlq.group a").await;
    let shared = StreamKey::new("{s}:dlq:all").unwrap();
    let mut requests = Vec::new();
    for group in ["a", "b"] {
        s.run(&format!("XGROUP CREATE s {group} 0 MKSTREAM")).await;
        s.run(&format!("XGROUP CREATE {{s}}:dlq:all {group} $")).await;
        requests.push(GroupRequest { dead_letters: shared.clone(), ..s.request(group) });
    }
    s.run("XCLAIM {s}:dlq:all b eventbus:delayed 0 1-0 FORCE JUSTID").await;
    let facts = snapshot(&mut s.conn, &s.stream, &requests).await.unwrap();
    let replays = ["a", "b"].map(|group| facts.groups[group].dead_letters.unwrap().replays);
    assert_eq!(replays, [0, 1]);
}

#[tokio::test]
async fn a_key_of_another_type_beside_the_stream_is_a_problem_of_its_group_alone() {
    let mut s = Fixture::new().await;
    s.add(1, 3).await;
    s.run("XGROUP CREATE s bad 0").await;
    s.run("XGROUP CREATE s good 0").await;
    s.run("SET {s}:dlq:bad text").await;
    let facts = s.snapshot(&["bad", "good"]).await;
    let bad = &facts.groups["bad"];
    let problem = bad.problem.as_deref().unwrap();
    assert!(problem.starts_with("WRONGTYPE") && problem.contains("{s}:dlq:bad"), "{problem}");
    assert_eq!((bad.dead_letters, bad.oldest_undelivered), (None, Some(id(1))));
    assert_eq!(facts.groups["good"].problem, None);
    let none = DeadLetterFacts { dropped: Some(0), ..DeadLetterFacts::default() };
    assert_eq!(facts.groups["good"].dead_letters, Some(none));
}

#[tokio::test]
async fn a_group_whose_name_is_no_text_is_shown_escaped() {
    let mut s = Fixture::new().await;
    let mut command = redis::cmd("XGROUP");
    command.arg("CREATE").arg("s").arg(b"\xff g").arg("0").arg("MKSTREAM");
    command.exec_async(&mut s.conn).await.unwrap();
    assert_eq!(s.snapshot(&["g"]).await.groups.keys().collect::<Vec<_>>(), [r"\xff g"]);
}

#[tokio::test]
async fn five_hundred_groups_take_one_script() {
    let mut s = Fixture::new().await;
    s.add(1, 600).await;
    let names: Vec<String> = (0..500).map(|n| format!("group-{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        s.run(&format!("XGROUP CREATE s {name} {n}-0")).await;
        s.run(&format!("XREADGROUP GROUP {name} c COUNT 1 STREAMS s >")).await;
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    s.snapshot(&[]).await;
    s.run("CONFIG RESETSTAT").await;
    let facts = s.snapshot(&names).await;
    let stats: String =
        redis::cmd("INFO").arg("commandstats").query_async(&mut s.conn).await.unwrap();
    assert!(stats.contains("cmdstat_evalsha_ro:calls=1,"), "{stats}");
    let heartbeats = stats.contains("cmdstat_hscan:calls=500,") && !stats.contains("cmdstat_hget:");
    assert!(heartbeats, "one command reads the heartbeats of a group: {stats}");
    assert_eq!(facts.groups.len(), 500);
    for (n, name) in names.iter().enumerate() {
        let group = &facts.groups[*name];
        assert_eq!((group.pending, group.last_delivered), (1, id(n as u64 + 1)), "{name}");
        assert_eq!(group.consumers.len(), 1, "{name}");
    }
}

#[tokio::test]
async fn read_rights_are_enough_to_sweep_and_to_count() {
    let mut s = Fixture::new().await;
    s.add(1, 10).await;
    s.run("XGROUP CREATE s g 4-0").await;
    let permissions = "+info +eval_ro +evalsha_ro +time +exists +xinfo|stream +xinfo|groups +xinfo|consumers \
        +xpending +xrange +xrevrange +xlen +hscan +hget +memory|usage";
    let permissions = permissions.split_whitespace().collect::<Vec<_>>().join(" ");
    s.run(&format!("ACL SETUSER health on >p %R~s %R~{{s}}:* {permissions}")).await;
    s.conn = s.server.connection_as("health", "p").await;
    let facts = s.snapshot(&["g"]).await;
    assert_eq!(facts.groups["g"].problem, None);
    assert_eq!(s.lag("g").await, Lag::new(6, LagSource::Counted));
}

#[tokio::test]
async fn without_the_right_to_read_entries_the_reported_lag_is_passed_on() {
    let mut s = Fixture::new().await;
    s.add(1, 10).await;
    s.run("XGROUP CREATE s unknown 4-0").await;
    s.run("XGROUP CREATE s reported 4-0 ENTRIESREAD 4").await;
    let (facts, info) = (s.snapshot(&[]).await, s.server_info().await);
    s.run("ACL SETUSER health on >p %R~s +eval_ro +evalsha_ro").await;
    let mut conn = s.server.connection_as("health", "p").await;
    let lags = s.lags.read(&mut conn, &s.stream, &facts, &info).await.unwrap();
    assert_eq!(lags["unknown"], Lag::UNKNOWN);
    // The number of a server that is believed is exact.
    let source = if info.reports_true_lag() { LagSource::Exact } else { LagSource::Reported };
    assert_eq!(lags["reported"], Lag::new(6, source));
}

#[tokio::test]
async fn a_sweep_without_the_rights_for_it_is_an_error_of_rights() {
    let mut s = Fixture::new().await;
    s.add(1, 1).await;
    s.run("ACL SETUSER health on >p %R~s +eval_ro +evalsha_ro +time +exists").await;
    let mut conn = s.server.connection_as("health", "p").await;
    let error = snapshot(&mut conn, &s.stream, &[]).await.unwrap_err();
    assert_eq!(error.code(), Some("NOPERM"), "{error:?}");
}

#[tokio::test]
async fn a_server_tells_its_version_mode_and_role() {
    let mut s = Fixture::new().await;
    let info = s.server_info().await;
    assert!(info.is_supported(), "{info:?}");
    assert_eq!((info.mode.as_str(), info.role.as_str()), ("standalone", "master"));
    assert_eq!(info.run_id.len(), 40);
}
