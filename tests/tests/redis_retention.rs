//! How much of a stream is kept: what is trimmed, what is not, and what happens at the hard cap.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::collections::BTreeMap;
use std::time::Instant;

use eventbus::admin;
use eventbus::admin::Connection;
use eventbus::admin::{HeldBy, Trimmed};
use eventbus::config::{
    BusConfig, CredentialFiles, HardCap, Overflow, PUBLISH_TIMEOUT, RedisConfig, Retention,
    TrimMode,
};
use eventbus::{Error, EventBus, Metrics, StreamKey};
use prometheus_client::registry::Registry;
use tests::event_bus::{connect, connect_with_metrics, in_time, refusal};
use tests::programs::Running;
use tests::redis::RedisServer;
use tests::subscriber::LONG;
use tests::wait;

struct Fixture {
    server: RedisServer,
    conn: Connection,
    stream: StreamKey,
}

impl Fixture {
    async fn new() -> Self {
        let server = RedisServer::start();
        let conn = server.connection().await;
        Self { server, conn, stream: StreamKey::new("s").unwrap() }
    }

    async fn bus(&self, retention: &Retention) -> EventBus {
        self.bus_as(self.server.config(), retention).await
    }

    async fn bus_as(&self, redis: RedisConfig, retention: &Retention) -> EventBus {
        connect(self.bus_config(redis, retention)).await
    }

    fn bus_config(&self, redis: RedisConfig, retention: &Retention) -> BusConfig {
        BusConfig::new(redis, self.stream.clone()).with_retention(retention.clone())
    }

    /// The server for a user `u` with these rights beside connecting.
    async fn config_with(&mut self, rights: &str) -> RedisConfig {
        self.run(&format!("ACL SETUSER u on >p resetchannels -@all +ping {rights}")).await;
        let url = format!("redis://u:p@127.0.0.1:{}", self.server.port());
        RedisConfig::new("url", &url, CredentialFiles::default()).unwrap()
    }

    async fn run(&mut self, command: &str) -> redis::Value {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>()).query_async(&mut self.conn).await.unwrap()
    }

    /// Adds entries `first`-0 to `last`-0.
    async fn add(&mut self, first: u64, last: u64) {
        let mut batch = redis::pipe();
        for n in first..=last {
            batch.cmd("XADD").arg("s").arg(format!("{n}-0")).arg("f").arg("v").ignore();
        }
        batch.query_async::<()>(&mut self.conn).await.unwrap();
    }

    /// A group that has read up to entry `read`-0 and acknowledged that.
    async fn group(&mut self, group: &str, read: u64) {
        self.run(&format!("XGROUP CREATE s {group} {read}-0 MKSTREAM")).await;
    }

    async fn length(&mut self) -> u64 {
        redis::cmd("XLEN").arg("s").query_async(&mut self.conn).await.unwrap()
    }

    async fn trim(&mut self, keep: u64) -> Trimmed {
        admin::trim(&mut self.conn, &self.stream, keep).await.unwrap()
    }

    async fn lost(&mut self) -> BTreeMap<String, u64> {
        redis::cmd("HGETALL").arg(self.stream.lost_key()).query_async(&mut self.conn).await.unwrap()
    }
}

fn keeping(mode: TrimMode, max_entries: u64) -> Retention {
    Retention { mode, max_entries, hard_cap: None }
}

fn capped(mode: TrimMode, entries: u64, overflow: Overflow) -> Retention {
    Retention { mode, max_entries: 100, hard_cap: Some(HardCap { entries, overflow }) }
}

/// Publishes so many events, and answers how often one had to be tried again, which may have put it there once more.
async fn publish(bus: &EventBus, count: u64) -> u64 {
    let mut again = 0;
    for n in 0..count {
        wait::until("a publish works", LONG, async || match bus.publish("t", &n, None).await {
            Err(error) if error.is_transient() && !matches!(error, Error::StreamFull { .. }) => {
                again += 1;
                None
            }
            result => Some(result.unwrap()),
        })
        .await;
    }
    again
}

/// Publishes until the stream has fewer than `length` entries: a round of trimming that is late is followed by another.
async fn trimmed_below(s: &mut Fixture, bus: &EventBus, length: u64) {
    wait::until("it trims", LONG, async || {
        let is_trimmed = s.length().await < length;
        if !is_trimmed {
            publish(bus, 1).await;
        }
        is_trimmed.then_some(())
    })
    .await;
}

#[tokio::test]
async fn publishing_trims_what_is_finished_down_to_what_is_to_be_kept() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("g", 1_000).await;
    let bus = s.bus(&keeping(TrimMode::Acked, 300)).await;
    publish(&bus, 100).await;
    // What was published is not read yet; of the rest, nodes of 100 are left.
    trimmed_below(&mut s, &bus, 500).await;
    assert!(s.length().await >= 300);
}

#[tokio::test]
async fn what_a_slow_group_has_not_read_is_kept_however_much_it_is() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("fast", 1_000).await;
    s.group("slow", 400).await;
    assert_eq!(s.trim(100).await.removed, 300);
    let held = HeldBy::Behind { group: "slow".to_owned(), entries: 600 };
    assert_eq!(s.trim(100).await, Trimmed { removed: 0, length: 700, held_by: Some(held) });
}

#[tokio::test]
async fn what_is_pending_is_kept_though_it_was_delivered() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("g", 200).await;
    s.run("XREADGROUP GROUP g c COUNT 800 STREAMS s >").await;
    assert_eq!(s.trim(100).await.removed, 200);
    let mut acknowledge = redis::cmd("XACK");
    acknowledge.arg("s").arg("g").arg((201..=1_000).map(|n| format!("{n}-0")).collect::<Vec<_>>());
    acknowledge.exec_async(&mut s.conn).await.unwrap();
    assert_eq!(s.trim(100).await, Trimmed { removed: 700, length: 100, held_by: None });
}

#[tokio::test]
async fn a_position_that_was_set_back_keeps_what_is_to_be_read_again() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("g", 1_000).await;
    s.run("XGROUP SETID s g 300-0").await;
    assert_eq!(s.trim(100).await.removed, 200);
}

#[tokio::test]
async fn a_position_that_was_set_back_counts_though_something_younger_is_pending() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("g", 900).await;
    s.run("XREADGROUP GROUP g c COUNT 1 STREAMS s >").await;
    s.run("XGROUP SETID s g 300-0").await;
    assert_eq!(s.trim(100).await.removed, 200);
}

#[tokio::test]
async fn nothing_is_trimmed_without_a_group() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    let held_by = Some(HeldBy::NoGroup);
    assert_eq!(s.trim(100).await, Trimmed { removed: 0, length: 1_000, held_by });
}

#[tokio::test]
async fn nothing_is_trimmed_while_a_declared_group_is_missing() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("g", 1_000).await;
    let declaration = r#"HSET {s}:eventbus:groups h {"v":1,"of":"tomorrow"}"#;
    s.run(declaration).await;
    s.run("HSET {s}:eventbus:groups g not-json").await;
    assert_eq!(s.trim(100).await.held_by, Some(HeldBy::Missing { group: "h".to_owned() }));
    s.group("h", 1_000).await;
    assert_eq!(s.trim(100).await.removed, 900);
}

#[tokio::test]
async fn nothing_is_trimmed_while_a_group_is_ahead_of_the_stream() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("g", 1_000).await;
    s.group("h", 1_001).await;
    assert_eq!(s.trim(100).await.held_by, Some(HeldBy::Ahead { group: "h".to_owned() }));
    assert_eq!(s.length().await, 1_000);
}

#[tokio::test]
async fn a_stream_that_is_missing_or_short_is_left_as_it_is() {
    let mut s = Fixture::new().await;
    assert_eq!(s.trim(100).await, Trimmed { removed: 0, length: 0, held_by: None });
    assert_eq!(s.run("EXISTS s").await, redis::Value::Int(0));
    s.add(1, 100).await;
    s.group("g", 100).await;
    assert_eq!(s.trim(100).await, Trimmed { removed: 0, length: 100, held_by: None });
}

#[tokio::test]
async fn a_key_of_another_type_is_an_error_that_names_the_stream() {
    let mut s = Fixture::new().await;
    s.run("SET s x").await;
    let error = admin::trim(&mut s.conn, &s.stream, 1).await.unwrap_err();
    assert!(error.is_wrong_type() && error.to_string() == "cannot trim on stream s", "{error:?}");
    let error = admin::drop_oldest(&mut s.conn, &s.stream, 1, 0).await.unwrap_err();
    assert!(error.is_wrong_type(), "{error:?}");
}

#[tokio::test]
async fn with_maxlen_the_oldest_go_whether_they_were_read_or_not() {
    let mut s = Fixture::new().await;
    s.group("g", 0).await;
    let bus = s.bus(&keeping(TrimMode::MaxLen, 100)).await;
    publish(&bus, 500).await;
    assert!((100..200).contains(&s.length().await));
}

#[tokio::test]
async fn with_none_nothing_is_trimmed() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("g", 1_000).await;
    let bus = s.bus(&keeping(TrimMode::None, 100)).await;
    let again = publish(&bus, 250).await;
    // A bus that trims would have been at it by now: it answers after what is sent later on the same connection.
    let other = s.bus(&keeping(TrimMode::Acked, 100)).await;
    assert!((1_250..=1_250 + again).contains(&s.length().await));
    publish(&other, 100).await;
    trimmed_below(&mut s, &other, 700).await;
}

#[tokio::test]
async fn a_publisher_that_may_not_trim_goes_on() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("g", 1_000).await;
    let redis = s.config_with("+xadd ~s").await;
    let bus = s.bus_as(redis, &keeping(TrimMode::Acked, 100)).await;
    let again = publish(&bus, 350).await;
    assert!((1_350..=1_350 + again).contains(&s.length().await));
}

#[tokio::test]
async fn a_right_that_trimming_needs_inside_its_script_is_told_as_missing() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("g", 1_000).await;
    s.config_with("+eval +evalsha +xlen +xinfo ~s ~{s}:eventbus:groups").await;
    let mut conn = s.server.connection_as("u", "p").await;
    let error = admin::trim(&mut conn, &s.stream, 100).await.unwrap_err();
    assert_eq!(error.code(), Some("NOPERM"), "{error:?}");
}

/// Publishes until the stream is full, and answers what a publish is told then. A busy machine may let some time out.
async fn filled(bus: &EventBus) -> Error {
    wait::until("it is full", LONG, async || {
        let error = bus.publish("t", &1, None).await.err()?;
        matches!(error, Error::StreamFull { .. }).then_some(error)
    })
    .await
}

#[tokio::test]
async fn f34_a_full_stream_refuses_events_with_its_length_and_its_cap_until_there_is_room() {
    let mut s = Fixture::new().await;
    s.group("g", 0).await;
    let bus = s.bus(&capped(TrimMode::Acked, 500, Overflow::Reject)).await;
    let error = filled(&bus).await;
    let length = s.length().await;
    assert_eq!(
        error.to_string(),
        format!("stream s is full: it has {length} entries, the hard cap is 500")
    );
    assert!(error.is_transient());
    // The group finishes with all of it.
    s.run(&format!("XREADGROUP GROUP g c COUNT {length} NOACK STREAMS s >")).await;
    wait::until("there is room", LONG, async || bus.publish("t", &1, None).await.ok()).await;
    assert!(s.length().await < 300, "what was finished is trimmed");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a stalled machine shows in the time that passes")]
async fn a_stream_that_the_first_publish_fills_takes_no_second_one() {
    let mut s = Fixture::new().await;
    // Where a busy machine lets a look at the length time out, more may pass until the next one.
    let taken = wait::until("a round without a stall", LONG, async || {
        s.run("DEL s").await;
        s.add(1, 499).await;
        let bus = s.bus(&capped(TrimMode::None, 500, Overflow::Reject)).await;
        let (began, mut taken) = (Instant::now(), 0);
        while bus.publish("t", &1, None).await.is_ok() {
            taken += 1;
        }
        (began.elapsed() < PUBLISH_TIMEOUT / 2).then_some(taken)
    })
    .await;
    assert_eq!((taken, s.length().await), (1, 500));
    // It stays so for every other bus from its first event on.
    let other = s.bus(&capped(TrimMode::None, 500, Overflow::Reject)).await;
    let error = in_time(async || other.publish("t", &1, None).await).await.unwrap_err();
    assert!(matches!(error, Error::StreamFull { cap: 500, .. }), "{error:?}");
}

#[tokio::test]
async fn the_cap_holds_though_the_stream_cannot_be_trimmed() {
    let mut s = Fixture::new().await;
    s.add(1, 499).await;
    s.run("SET {s}:eventbus:groups x").await;
    let bus = s.bus(&capped(TrimMode::Acked, 500, Overflow::Reject)).await;
    let error = filled(&bus).await;
    assert!(matches!(error, Error::StreamFull { cap: 500, .. }), "{error:?}");
    for _ in 0..50 {
        assert!(bus.publish("t", &1, None).await.is_err(), "it stays full");
    }
}

#[tokio::test]
async fn what_another_publisher_dropped_meanwhile_is_not_dropped_twice() {
    let mut s = Fixture::new().await;
    s.add(1, 500).await;
    let dropped = admin::drop_oldest(&mut s.conn, &s.stream, 100, 501).await.unwrap();
    assert_eq!((dropped.removed, dropped.length), (0, 500));
    let dropped = admin::drop_oldest(&mut s.conn, &s.stream, 100, 500).await.unwrap();
    assert_eq!((dropped.removed, dropped.length), (100, 400));
}

#[tokio::test]
async fn of_large_entries_few_are_dropped_by_one_script() {
    let mut s = Fixture::new().await;
    let large = "x".repeat(1024 * 1024);
    for _ in 0..40 {
        let mut add = redis::cmd("XADD");
        add.arg("s").arg("*").arg("f").arg(&large).exec_async(&mut s.conn).await.unwrap();
    }
    let dropped = admin::drop_oldest(&mut s.conn, &s.stream, 30, 0).await.unwrap();
    assert!((1..=16).contains(&dropped.removed), "{dropped:?}");
}

#[tokio::test]
async fn at_the_cap_finished_events_make_room_before_anything_is_refused() {
    let mut s = Fixture::new().await;
    s.add(1, 600).await;
    s.group("g", 600).await;
    let bus = s.bus(&capped(TrimMode::Acked, 500, Overflow::Reject)).await;
    let again = publish(&bus, 1).await;
    assert!((101..=101 + again).contains(&s.length().await));
}

#[tokio::test]
async fn where_the_oldest_are_dropped_each_loss_is_counted_by_group() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("done", 1_000).await;
    s.group("half", 150).await;
    s.group("none", 0).await;
    // Of what is dropped, 50 are pending with it and 50 acknowledged.
    s.run("XREADGROUP GROUP none c COUNT 100 STREAMS s >").await;
    for n in 1..=50 {
        s.run(&format!("XACK s none {n}-0")).await;
    }
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let config = BusConfig::new(s.server.config(), s.stream.clone()).with_retention(capped(
        TrimMode::None,
        800,
        Overflow::DropOldest,
    ));
    // It is over the cap when the bus connects.
    let bus = connect_with_metrics(config, &metrics).await;
    wait::until("it drops", LONG, async || (s.length().await < 900).then_some(())).await;
    assert_eq!(s.length().await, 800);
    let expected = [("half".to_owned(), 50), ("none".to_owned(), 150)];
    wait::until("it counts", LONG, async || (s.lost().await.len() == 2).then_some(())).await;
    assert_eq!(s.lost().await, BTreeMap::from(expected));
    let told = r#"eventbus_dropped_entries_total{stream="s",group="none"} 150"#;
    wait::until("the metrics tell", LONG, async || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text.contains(told).then_some(())
    })
    .await;
    let pending: redis::streams::StreamPendingReply =
        redis::cmd("XPENDING").arg("s").arg("none").query_async(&mut s.conn).await.unwrap();
    assert_eq!(pending.count(), 0, "nothing pending is left of what was dropped");
    drop(bus);
}

#[tokio::test]
async fn while_events_flow_in_the_stream_stays_near_its_cap() {
    let mut s = Fixture::new().await;
    s.group("g", 0).await;
    let bus = s.bus(&capped(TrimMode::Acked, 1_000, Overflow::DropOldest)).await;
    publish(&bus, 3_000).await;
    wait::until("it drops", LONG, async || {
        publish(&bus, 1).await;
        (s.length().await < 1_100).then_some(())
    })
    .await;
    let (length, lost) = (s.length().await, s.lost().await);
    let read = bus_published(&mut s).await;
    assert_eq!(
        lost["g"],
        read - length,
        "whatever is gone was lost to the group that read nothing"
    );
}

/// What the program `publish` says while it publishes 450 events with these settings, in several rounds of trimming.
async fn said(redis: &str, settings: &[(&str, &str)]) -> String {
    let mut all = vec![("REDIS_URL", redis), ("REDIS_STREAM_NAME", "s")];
    all.extend(settings);
    let args = ["--count", "450", "--rate", "1000"];
    let mut program = Running::start("publish", &args, &all);
    assert!(program.ended(LONG).await.success(), "{}", program.output());
    program.output()
}

#[tokio::test]
async fn a_group_that_holds_entries_back_is_named_once_with_their_number() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("fast", 1_000).await;
    s.group("slow", 0).await;
    let output = said(&s.server.url(), &[("REDIS_MAX_ENTRIES", "100")]).await;
    let lines: Vec<&str> = output.lines().filter(|line| line.contains("holds entries")).collect();
    assert_eq!(lines.len(), 1, "{output}");
    assert!(lines[0].contains(r#"group="slow""#), "{output}");
    let entries = lines[0].split("entries=").nth(1).and_then(|rest| rest.split(' ').next());
    let entries: u64 = entries.expect("their number is told").parse().unwrap();
    // It is said in one of the first rounds, which come after every 100 publishes.
    assert!((1_000..=s.length().await).contains(&entries), "{output}");
}

#[tokio::test]
async fn a_missing_right_to_trim_is_said_once() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("g", 1_000).await;
    s.config_with("+xadd ~s").await;
    let url = format!("redis://u:p@127.0.0.1:{}", s.server.port());
    let output = said(&url, &[("REDIS_MAX_ENTRIES", "100")]).await;
    assert_eq!(output.matches("leaves trimming to others").count(), 1, "{output}");
    // An event that was late is published again.
    assert!(s.length().await >= 1_450);
}

/// Entries ever added.
async fn bus_published(s: &mut Fixture) -> u64 {
    let mut command = redis::cmd("XINFO");
    command.arg("STREAM").arg("s");
    let info: redis::Value = command.query_async(&mut s.conn).await.unwrap();
    let info: BTreeMap<String, redis::Value> = redis::from_redis_value(info).unwrap();
    redis::from_redis_value(info["entries-added"].clone()).unwrap()
}

#[tokio::test]
async fn a_cap_that_the_user_may_not_keep_is_an_error_at_connect_that_names_what_is_missing() {
    let mut s = Fixture::new().await;
    let redis = s.config_with("+xadd ~s").await;
    let reject = capped(TrimMode::Acked, 500, Overflow::Reject);
    let error = refusal(s.bus_config(redis.clone(), &reject)).await;
    assert_eq!(error.to_string(), "the user may not keep the hard cap on stream s: it lacks XLEN");
    assert!(error.is_auth() && !error.is_transient());
    s.run("ACL SETUSER u +xlen +xrange +xinfo +xpending +xtrim +eval").await;
    s.bus_as(redis.clone(), &reject).await;
    let drop_oldest = capped(TrimMode::Acked, 500, Overflow::DropOldest);
    let error = refusal(s.bus_config(redis, &drop_oldest)).await;
    assert_eq!(
        error.to_string(),
        "the user may not keep the hard cap on stream s: it lacks XACK, HINCRBY on the hash of losses, EVAL, EVALSHA"
    );
}

#[tokio::test]
async fn exactly_these_rights_are_enough_to_publish_and_to_drop_the_oldest() {
    let mut s = Fixture::new().await;
    let rights = "+xadd +xlen +xrange +xtrim +xinfo|groups +xpending +xack +hincrby +eval +evalsha ~s ~{s}:eventbus:lost";
    let redis = s.config_with(rights).await;
    let bus = s.bus_as(redis, &capped(TrimMode::None, 500, Overflow::DropOldest)).await;
    let keys: u32 = redis::cmd("DBSIZE").query_async(&mut s.conn).await.unwrap();
    assert_eq!(keys, 0, "trying the rights changes nothing");
    s.group("g", 0).await;
    wait::until("it drops", LONG, async || {
        publish(&bus, 50).await;
        s.lost().await.contains_key("g").then_some(())
    })
    .await;
}

#[tokio::test]
async fn exactly_these_rights_are_enough_to_publish_and_to_trim() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("g", 900).await;
    s.run("XREADGROUP GROUP g c COUNT 10 STREAMS s >").await;
    let rights = "+xadd +xlen +xtrim +xinfo|stream +xinfo|groups +xpending +hkeys +eval +evalsha ~s ~{s}:eventbus:groups";
    let redis = s.config_with(rights).await;
    let bus = s.bus_as(redis, &keeping(TrimMode::Acked, 100)).await;
    publish(&bus, 100).await;
    trimmed_below(&mut s, &bus, 500).await;
}
