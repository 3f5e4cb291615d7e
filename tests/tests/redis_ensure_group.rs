//! `admin::ensure_group` on a real server: where a lost group is created, and whose it is.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use eventbus::admin::{
    Connection, Declaration, Declared, EnsureGroup, EnsuredGroup, GroupCreation, Owner,
    ResumeSource, ensure_group,
};
use eventbus::{EntryId, GroupName, Start, StreamKey, TypeFilter};
use jiff::Timestamp;
use tests::redis::RedisServer;
use tests::subscriber::command;

const OTHERS: &str = r#"{"v":1,"namespace":"shop","name":"other","uid":"u-2"}"#;

struct Fixture {
    server: RedisServer,
    conn: Connection,
}

impl Fixture {
    /// A stream with entries 1-0 to 10-0, without a group.
    async fn new() -> Self {
        let server = RedisServer::start();
        let mut conn = server.connection().await;
        for n in 1..=10 {
            command(&mut conn, &format!("XADD s {n}-0 type t payload 1")).await;
        }
        Self { server, conn }
    }

    /// Stores the resume point that consumers would have written.
    async fn resume(&mut self, point: &str) {
        command(&mut self.conn, &format!("HSET {{s}}:eventbus:consumers:g resume {point}")).await;
    }

    async fn declare(&mut self, field: &str) {
        command(&mut self.conn, &format!("HSET {{s}}:eventbus:groups g {field}")).await;
    }

    async fn declared(&mut self) -> Option<String> {
        let mut command = redis::cmd("HGET");
        let command = command.arg("{s}:eventbus:groups").arg("g");
        command.query_async(&mut self.conn).await.unwrap()
    }

    async fn ensure(&mut self, request: &EnsureGroup) -> EnsuredGroup {
        let mut conn = self.conn.clone();
        ensure_by(&mut conn, request).await
    }
}

async fn ensure_by(conn: &mut Connection, request: &EnsureGroup) -> EnsuredGroup {
    let (stream, group) = (StreamKey::new("s").unwrap(), GroupName::new("g").unwrap());
    ensure_group(conn, &stream, &group, request).await.unwrap()
}

fn id(ms: u64) -> EntryId {
    EntryId { ms, seq: 0 }
}

/// A group of the resource shop/orders that wants orders.
fn owned() -> EnsureGroup {
    let text = str::to_owned;
    let (cluster, namespace) = (String::new(), text("shop"));
    let owner = Some(Owner { cluster, namespace, name: text("orders"), uid: text("u-1") });
    let types = TypeFilter::parse(["order.*"]).unwrap();
    EnsureGroup::default().with_declaration(Declaration { owner, types })
}

fn known(ms: u64, at: i64) -> Option<(EntryId, Timestamp)> {
    Some((id(ms), Timestamp::from_millisecond(at).unwrap()))
}

fn position(ensured: &EnsuredGroup) -> EntryId {
    match ensured.creation {
        GroupCreation::Created { position, .. } => position,
        GroupCreation::Existed { .. } => panic!("{ensured:?}"),
    }
}

#[tokio::test]
async fn a_lost_group_resumes_at_the_fresher_of_the_consumers_point_and_the_callers() {
    for (at, expected, source) in
        [(20, id(7), ResumeSource::Caller), (5, id(3), ResumeSource::Consumers)]
    {
        let mut s = Fixture::new().await;
        s.resume(r#"{"v":1,"at":10,"after":"3-0"}"#).await;
        let request = owned().with_lost(true).with_known_position(known(7, at));
        let ensured = s.ensure(&request).await;
        assert_eq!((position(&ensured), ensured.resumed_from), (expected, Some(source)), "{at}");
    }
}

#[tokio::test]
async fn a_resume_point_beyond_the_streams_end_is_the_end() {
    let mut s = Fixture::new().await;
    let ensured = s.ensure(&owned().with_known_position(known(99, 1))).await;
    assert_eq!(position(&ensured), id(10));
}

#[tokio::test]
async fn without_a_resume_point_only_a_new_group_starts_at_the_end() {
    for (lost, expected) in [(false, id(10)), (true, EntryId::ZERO)] {
        let mut s = Fixture::new().await;
        let request = EnsureGroup::new(Start::Latest).with_lost(lost);
        let ensured = s.ensure(&request).await;
        assert_eq!((position(&ensured), ensured.resumed_from), (expected, None), "{lost}");
    }
}

#[tokio::test]
async fn a_group_that_exists_stays_where_it_is_and_is_declared() {
    let mut s = Fixture::new().await;
    command(&mut s.conn, "XGROUP CREATE s g 4-0").await;
    let ensured = s.ensure(&owned().with_known_position(known(7, 1))).await;
    assert_eq!(ensured.creation, GroupCreation::Existed { position: id(4) });
    assert_eq!(ensured.resumed_from, None);
    assert!(matches!(ensured.declared, Declared::Written), "{ensured:?}");
}

#[tokio::test]
async fn an_owner_declares_itself_over_nobody_and_over_itself() {
    let expected = r#"{"v":1,"namespace":"shop","name":"orders","uid":"u-1","types":["order.*"]}"#;
    for before in [r#"{"v":1,"types":["a"],"missingSince":7}"#, r#"{"v":1,"uid":"u-1"}"#] {
        let mut s = Fixture::new().await;
        s.declare(before).await;
        assert!(matches!(s.ensure(&owned()).await.declared, Declared::Written), "{before}");
        assert_eq!(s.declared().await.as_deref(), Some(expected));
        assert!(matches!(s.ensure(&owned()).await.declared, Declared::Unchanged), "{before}");
    }
}

#[tokio::test]
async fn the_declaration_of_another_owner_and_an_unreadable_one_are_left() {
    let mut s = Fixture::new().await;
    s.declare(OTHERS).await;
    let Declared::OwnedBy(owner) = s.ensure(&owned()).await.declared else { panic!("it is not") };
    assert_eq!((owner.to_string().as_str(), owner.uid.as_str()), ("shop/other", "u-2"));
    assert_eq!(s.declared().await.as_deref(), Some(OTHERS));
    s.declare("hunter2").await;
    assert!(matches!(s.ensure(&owned()).await.declared, Declared::Unreadable));
    assert_eq!(s.declared().await.as_deref(), Some("hunter2"));
}

#[tokio::test]
async fn where_the_declaration_is_refused_the_group_is_created_all_the_same() {
    let mut s = Fixture::new().await;
    command(&mut s.conn, "ACL SETUSER u on >p ~s ~{s}:eventbus:consumers:g +@all").await;
    let mut conn = s.server.connection_as("u", "p").await;
    let ensured = ensure_by(&mut conn, &owned()).await;
    assert_eq!(position(&ensured), EntryId::ZERO);
    let Declared::Refused(error) = ensured.declared else { panic!("{ensured:?}") };
    assert_eq!(error.code(), Some("NOPERM"), "{error:?}");
}

#[tokio::test]
async fn case_06_a_group_is_created_whatever_count_of_added_entries_another_program_set() {
    let mut fixture = Fixture::new().await;
    let count = "ENTRIESADDED 9223372036854775806 MAXDELETEDID 0-0";
    command(&mut fixture.conn, &format!("XSETID s 10-0 {count}")).await;
    let ensured = fixture.ensure(&EnsureGroup::new(Start::Latest)).await;
    assert!(matches!(ensured.creation, GroupCreation::Created { .. }), "{ensured:?}");
}
