//! Servers whose stream nodes are so large that approximate trimming finds no whole node to remove.

use std::time::Duration;

use eventbus::admin::{Connection, TrimHold};
use eventbus::config::{BusConfig, HardCap, Overflow, Retention, TrimMode};
use eventbus::{Error, EventBus, StreamKey, admin};
use tests::event_bus::connect;
use tests::programs::Running;
use tests::redis::RedisServer;
use tests::subscriber::LONG;
use tests::wait;

/// Options of the server with which some or all entries share a node, and the largest number of entries in it.
const NODES: [[&str; 4]; 3] = [
    ["--stream-node-max-entries", "0", "--stream-node-max-bytes", "0"],
    ["--stream-node-max-entries", "100000", "--stream-node-max-bytes", "1gb"],
    ["--stream-node-max-entries", "1500", "--stream-node-max-bytes", "0"],
];
const KEEP: u64 = 100;
/// The length from which entries are removed one by one.
const SLACK: u64 = 200;

struct Fixture {
    server: RedisServer,
    conn: Connection,
    stream: StreamKey,
}

impl Fixture {
    async fn new(options: &[&str]) -> Self {
        let server = RedisServer::start_with(options);
        let conn = server.connection().await;
        Self { server, conn, stream: StreamKey::new("s").unwrap() }
    }

    async fn run(&mut self, command: &str) -> redis::Value {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>()).query_async(&mut self.conn).await.unwrap()
    }

    async fn add(&mut self, count: usize) {
        let mut batch = redis::pipe();
        for _ in 0..count {
            batch.cmd("XADD").arg(&["s", "*", "type", "t", "payload", "1"]).ignore();
        }
        batch.query_async::<()>(&mut self.conn).await.unwrap();
    }

    /// Adds `count` entries, and sets group `g` behind the last of them, as if it had handled all.
    async fn add_finished(&mut self, count: usize) {
        self.add(count).await;
        let mut create = redis::cmd("XGROUP");
        create.arg(&["CREATE", "s", "g", "$"]);
        if create.exec_async(&mut self.conn).await.is_err() {
            self.run("XGROUP SETID s g $").await;
        }
    }

    async fn bus(&self, retention: Retention) -> EventBus {
        let config = BusConfig::new(self.server.config(), self.stream.clone());
        connect(config.with_retention(retention)).await
    }

    async fn length(&mut self) -> u64 {
        redis::cmd("XLEN").arg("s").query_async(&mut self.conn).await.unwrap()
    }

    /// Publishes until the stream has fewer than `length` entries. Trimming is due after every 100 events.
    async fn trimmed_below(&mut self, bus: &EventBus, length: u64) {
        for _ in 0..100 {
            publish(bus).await;
        }
        wait::until(&format!("fewer than {length} entries are left"), LONG, async || {
            let is_trimmed = self.length().await < length;
            if !is_trimmed {
                publish(bus).await;
            }
            is_trimmed.then_some(())
        })
        .await;
    }
}

fn keeping(mode: TrimMode) -> Retention {
    Retention::default().with_mode(mode).with_max_entries(KEEP)
}

fn capped(mode: TrimMode, entries: u64, overflow: Overflow) -> Retention {
    keeping(mode).with_hard_cap(Some(HardCap { entries, overflow }))
}

/// Publishes an event until Redis takes it in time.
///
/// # Panics
/// If the stream is full, or the error is no passing one.
async fn publish(bus: &EventBus) {
    wait::until("a publish works", LONG, async || match bus.publish("t", &1, None).await {
        Err(error) if error.is_transient() && !matches!(error, Error::StreamFull { .. }) => None,
        result => Some(result.unwrap()),
    })
    .await;
}

#[tokio::test]
async fn case_03_at_the_hard_cap_finished_events_make_room_whatever_the_size_of_nodes() {
    for options in NODES {
        let mut s = Fixture::new(&options).await;
        s.add_finished(2_001).await;
        let bus = s.bus(capped(TrimMode::Acked, 2_000, Overflow::Reject)).await;
        for _ in 0..3 {
            publish(&bus).await;
        }
        // One round removes as many as 1,000 one by one.
        assert!(s.length().await < 1_100, "{options:?}");
    }
}

#[tokio::test]
async fn case_03_without_a_cap_the_stream_stays_short_whatever_the_size_of_nodes() {
    for options in NODES {
        let mut s = Fixture::new(&options).await;
        s.add_finished(3_000).await;
        let bus = s.bus(keeping(TrimMode::Acked)).await;
        s.trimmed_below(&bus, KEEP + SLACK).await;
        assert!(s.length().await >= KEEP, "{options:?}");
    }
}

#[tokio::test]
async fn case_03_with_maxlen_the_stream_stays_short_and_below_its_cap() {
    for options in NODES {
        let mut s = Fixture::new(&options).await;
        s.add_finished(3_000).await;
        // The least distance of a cap: one that the server's own nodes exceed.
        let cap = KEEP + SLACK;
        let bus = s.bus(capped(TrimMode::MaxLen, cap, Overflow::Reject)).await;
        publish(&bus).await;
        assert!(s.length().await < cap, "{options:?}");
        s.trimmed_below(&bus, cap).await;
        s.add(3_000).await;
        let uncapped = s.bus(keeping(TrimMode::MaxLen)).await;
        s.trimmed_below(&uncapped, KEEP + SLACK).await;
        assert!(s.length().await >= KEEP, "{options:?}");
    }
}

#[tokio::test]
async fn case_03_the_oldest_are_dropped_at_the_cap_whatever_the_size_of_nodes() {
    for options in NODES {
        let mut s = Fixture::new(&options).await;
        s.run("XGROUP CREATE s g 0 MKSTREAM").await;
        s.add(2_000).await;
        let bus = s.bus(capped(TrimMode::None, 500, Overflow::DropOldest)).await;
        wait::until("it drops", LONG, async || {
            publish(&bus).await;
            (s.length().await < 600).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn case_03_a_group_is_accused_only_if_it_needs_what_is_beyond_the_maximum() {
    for options in NODES {
        let mut s = Fixture::new(&options).await;
        s.add_finished(1_000).await;
        // The last of the entries that are kept anyway is the only one that the group needs.
        s.run("XADD s * type t payload 1").await;
        let hold = Duration::from_secs(3600);
        let mut trim = async || admin::trim(&mut s.conn, &s.stream, KEEP, hold).await.unwrap();
        assert_eq!(trim().await.removed, 901, "{options:?}");
        let nothing = trim().await;
        assert_eq!((nothing.removed, nothing.length, nothing.hold), (0, KEEP, None));
        s.run("XGROUP CREATE s slow 0").await;
        s.add_finished(500).await;
        let mut trim = async || admin::trim(&mut s.conn, &s.stream, KEEP, hold).await.unwrap();
        let behind = TrimHold::Behind { group: "slow".to_owned(), entries: 500 };
        assert_eq!(trim().await.hold, Some(behind), "{options:?}");
    }
}

#[tokio::test]
async fn case_03_the_size_of_nodes_is_named_where_single_entries_may_not_be_removed() {
    let mut s = Fixture::new(&NODES[0]).await;
    s.add_finished(1_000).await;
    let permissions =
        "+xadd +xlen +xtrim +xinfo|stream +xinfo|groups +xpending +hgetall +eval +evalsha";
    s.run(&format!(
        "ACL SETUSER u on >p resetchannels -@all +ping {permissions} ~s ~{{s}}:eventbus:groups"
    ))
    .await;
    let url = format!("redis://u:p@127.0.0.1:{}", s.server.port());
    let settings =
        [("REDIS_URL", url.as_str()), ("REDIS_STREAM_NAME", "s"), ("REDIS_MAX_ENTRIES", "100")];
    let mut program = Running::start("publish", &["--count", "450", "--rate", "2000"], &settings);
    assert!(program.ended(LONG).await.success(), "{}", program.output());
    let output = program.output();
    let lines: Vec<&str> = output.lines().filter(|line| line.contains("cannot trim")).collect();
    assert_eq!(lines.len(), 1, "{output}");
    assert!(lines[0].contains("share a node") && lines[0].contains("XRANGE"), "{output}");
    assert!(!output.contains("group="), "no group is accused: {output}");
}
