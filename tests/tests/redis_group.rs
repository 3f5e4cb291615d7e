//! Creating consumer groups on a real server.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use eventbus::admin;
use eventbus::admin::Connection;
use eventbus::admin::GroupCreation;
use eventbus::{EntryId, GroupName, Start, StreamKey};
use redis::streams::StreamInfoGroupsReply;
use tests::redis::RedisServer;

struct Fixture {
    server: RedisServer,
    conn: Connection,
    stream: StreamKey,
}

impl Fixture {
    /// A stream of its own that keeps entries 4-0 to 10-0 of ten.
    async fn trimmed() -> Self {
        let mut fixture = Self::empty().await;
        fixture.add(10).await;
        fixture.run("XTRIM s MINID 4-0").await;
        fixture
    }

    async fn empty() -> Self {
        let server = RedisServer::start();
        let conn = server.connection().await;
        Self { server, conn, stream: StreamKey::new("s").unwrap() }
    }

    /// Adds entries 1-0 to `last`-0.
    async fn add(&mut self, last: u64) {
        let mut batch = redis::pipe();
        for n in 1..=last {
            batch.cmd("XADD").arg("s").arg(format!("{n}-0")).arg("f").arg("v").ignore();
        }
        batch.query_async::<()>(&mut self.conn).await.unwrap();
    }

    async fn run(&mut self, command: &str) -> redis::Value {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>()).query_async(&mut self.conn).await.unwrap()
    }

    async fn create(&mut self, group: &str, start: &str) -> GroupCreation {
        let group = GroupName::new(group).unwrap();
        let start: Start = start.parse().unwrap();
        admin::create(&mut self.conn, &self.stream, &group, &start).await.unwrap()
    }

    /// What XINFO GROUPS tells of `group`: entries read and lag.
    async fn numbers(&mut self, group: &str) -> (Option<usize>, Option<usize>) {
        let mut command = redis::cmd("XINFO");
        command.arg("GROUPS").arg(self.stream.as_str());
        let reply: StreamInfoGroupsReply = command.query_async(&mut self.conn).await.unwrap();
        let group = reply.groups.into_iter().find(|g| g.name == group).unwrap();
        (group.entries_read, group.lag)
    }
}

fn id(ms: u64) -> EntryId {
    EntryId { ms, seq: 0 }
}

fn created(position: EntryId) -> GroupCreation {
    GroupCreation::Created { position, first_entry: Some(id(4)), stream_created: false }
}

#[tokio::test]
async fn a_group_from_the_start_of_a_trimmed_stream_lags_by_what_is_left() {
    let mut s = Fixture::trimmed().await;
    assert_eq!(s.create("g", "0").await, created(EntryId::ZERO));
    assert_eq!(s.numbers("g").await, (Some(3), Some(7)));
}

#[tokio::test]
async fn a_group_from_the_end_names_the_entry_it_stands_at_and_lags_by_nothing() {
    let mut s = Fixture::trimmed().await;
    assert_eq!(s.create("g", "$").await, created(id(10)));
    assert_eq!(s.numbers("g").await, (Some(10), Some(0)));
}

#[tokio::test]
async fn a_group_from_the_middle_knows_its_lag_from_the_first_second() {
    let mut s = Fixture::trimmed().await;
    assert_eq!(s.create("g", "6").await, created(id(6)));
    assert_eq!(s.numbers("g").await, (Some(6), Some(4)));
}

#[tokio::test]
async fn a_group_from_a_time_stands_just_before_its_first_millisecond() {
    let mut s = Fixture::trimmed().await;
    let before_7 = EntryId { ms: 6, seq: u64::MAX };
    assert_eq!(s.create("g", "1970-01-01T00:00:00.007Z").await, created(before_7));
    assert_eq!(s.numbers("g").await, (Some(6), Some(4)));
}

#[tokio::test]
async fn a_start_that_was_trimmed_away_tells_the_first_entry_that_is_left() {
    let mut s = Fixture::trimmed().await;
    assert_eq!(s.create("g", "2").await, created(id(2)));
    assert_eq!(s.numbers("g").await, (Some(3), Some(7)));
}

#[tokio::test]
async fn a_start_in_the_future_leaves_the_number_of_entries_read_out() {
    let mut s = Fixture::trimmed().await;
    assert_eq!(s.create("g", "99").await, created(id(99)));
    assert_eq!(s.numbers("g").await, (None, None));
}

#[tokio::test]
async fn more_entries_than_can_be_counted_at_once_leave_the_number_out() {
    let mut s = Fixture::empty().await;
    s.add(10_003).await;
    s.create("near", "3").await;
    s.create("far", "2").await;
    assert_eq!(s.numbers("near").await, (Some(3), Some(10_000)));
    assert_eq!(s.numbers("far").await, (None, None));
}

#[tokio::test]
async fn a_group_from_the_start_of_a_long_stream_needs_no_counting() {
    let mut s = Fixture::empty().await;
    s.add(10_003).await;
    s.create("g", "0").await;
    assert_eq!(s.numbers("g").await, (Some(0), Some(10_003)));
}

#[tokio::test]
async fn entries_too_large_to_be_read_at_once_are_not_counted() {
    let mut s = Fixture::empty().await;
    let megabyte = "x".repeat(1 << 20);
    for n in 1..=20 {
        s.run(&format!("XADD s {n}-0 f {megabyte}")).await;
    }
    s.create("near", "15").await;
    s.create("far", "2").await;
    assert_eq!(s.numbers("near").await, (Some(15), Some(5)));
    assert_eq!(s.numbers("far").await, (None, None));
}

#[tokio::test]
async fn a_missing_stream_is_created_with_the_group_and_said_so() {
    let expected =
        GroupCreation::Created { position: EntryId::ZERO, first_entry: None, stream_created: true };
    for start in ["0", "$"] {
        let mut s = Fixture::empty().await;
        assert_eq!(s.create("g", start).await, expected);
        s.run("XADD s 5-0 f v").await;
        assert_eq!(s.numbers("g").await, (Some(0), Some(1)));
    }
}

#[tokio::test]
async fn a_group_that_exists_keeps_its_position_and_its_pending_entries() {
    let mut s = Fixture::trimmed().await;
    s.create("g", "0").await;
    s.run("XREADGROUP GROUP g c COUNT 2 STREAMS s >").await;
    let again = s.create("g", "$").await;
    assert_eq!(again, GroupCreation::Existed { position: id(5) });
    assert_eq!(s.numbers("g").await, (Some(5), Some(5)));
    assert_eq!(s.run("XACK s g 4-0 5-0").await, redis::Value::Int(2));
}

#[tokio::test]
async fn of_many_who_create_a_group_at_once_one_creates_it() {
    let s = Fixture::trimmed().await;
    let tries = (0..20).map(|_| {
        let (mut conn, stream) = (s.conn.clone(), s.stream.clone());
        async move {
            let group = GroupName::new("g").unwrap();
            admin::create(&mut conn, &stream, &group, &Start::Latest).await.unwrap()
        }
    });
    let outcomes = futures::future::join_all(tries).await;
    let creators = outcomes.iter().filter(|o| matches!(o, GroupCreation::Created { .. }));
    assert_eq!(creators.count(), 1);
}

#[tokio::test]
async fn a_key_of_another_type_is_an_error_that_names_the_stream_and_changes_nothing() {
    let mut s = Fixture::empty().await;
    s.run("SET s text").await;
    let group = GroupName::new("g").unwrap();
    let error = admin::create(&mut s.conn, &s.stream, &group, &Start::Latest).await.unwrap_err();
    assert!(error.is_wrong_type(), "{error:?}");
    assert_eq!(error.to_string(), "cannot set the start in group g on stream s");
    assert_eq!(s.run("GET s").await, redis::Value::BulkString(b"text".to_vec()));
}

#[tokio::test]
async fn a_user_without_the_right_to_create_a_group_is_told_so() {
    let mut s = Fixture::trimmed().await;
    s.run("ACL SETUSER u on >p ~s +@read +@scripting +@connection").await;
    let mut conn = s.server.connection_as("u", "p").await;
    let group = GroupName::new("g").unwrap();
    let error = admin::create(&mut conn, &s.stream, &group, &Start::Latest).await.unwrap_err();
    assert_eq!(error.code(), Some("NOPERM"), "{error:?}");
}
