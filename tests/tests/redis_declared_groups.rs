//! Groups that consumers create are declared, and what others do with that.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::time::Duration;

use eventbus::admin::{
    Connection, Declaration, Declared, EnsureGroup, Owner, TrimHold, ensure_group,
};
use eventbus::config::{CredentialFiles, RedisConfig};
use eventbus::{Answer, ConsumerName, EntryId, GroupName, Start, StreamKey, TypeFilter, admin};
use tests::consumer::{Consumer, SOON};
use tests::event_bus::{bus_on, group};
use tests::handler::Handler;
use tests::redis::RedisServer;
use tests::subscriber::{LONG, Running, command, config, drained, xadd};
use tests::wait;

const OWNED: &str = r#"{"v":1,"namespace":"shop","name":"orders","uid":"u-1"}"#;
const REFUSED: &str = "cannot declare the group";

/// The declaration of group `g`.
async fn declared(conn: &mut Connection) -> Option<String> {
    redis::cmd("HGET").arg("{s}:eventbus:groups").arg("g").query_async(conn).await.unwrap()
}

async fn declare(conn: &mut Connection, field: &str) {
    let mut command = redis::cmd("HSET");
    command.arg("{s}:eventbus:groups").arg("g").arg(field).exec_async(conn).await.unwrap();
}

/// Waits until a program's consumer is ready and then ends it.
async fn run_once(server: &RedisServer, changes: &[(&str, &str)]) {
    let handler = Handler::start();
    let mut consumer = Consumer::start(server, &handler.url(), changes);
    consumer.ready().await;
    consumer.terminate();
    assert!(consumer.ended().await.success(), "{}", consumer.output());
}

/// Closes all connections of a user, and waits until the consumer of that user has read another event.
async fn reconnect(conn: &mut Connection, user: &str) {
    command(conn, &format!("CLIENT KILL USER {user}")).await;
    xadd(conn, "1").await;
    drained(conn).await;
}

#[tokio::test]
async fn a_consumer_with_a_start_declares_its_group_and_its_types() {
    for (types, expected) in
        [("", r#"{"v":1}"#), ("order.*,user.login", r#"{"v":1,"types":["order.*","user.login"]}"#)]
    {
        let server = RedisServer::start();
        run_once(&server, &[("EVENT_TYPES", types)]).await;
        assert_eq!(declared(&mut server.connection().await).await.as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn a_consumer_that_waits_for_its_group_declares_nothing() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    command(&mut conn, "XGROUP CREATE s g 0 MKSTREAM").await;
    run_once(&server, &[("EVENT_START", "")]).await;
    assert_eq!(declared(&mut conn).await, None);
}

#[tokio::test]
async fn trimming_waits_for_a_consumers_group_that_is_missing() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    run_once(&server, &[]).await;
    for _ in 0..1_000 {
        xadd(&mut conn, "1").await;
    }
    command(&mut conn, "XGROUP DESTROY s g").await;
    command(&mut conn, "XGROUP CREATE s another $").await;
    let stream = config().stream;
    let trimmed = admin::trim(&mut conn, &stream, 100, LONG).await.unwrap();
    let hold = Some(TrimHold::Missing { group: "g".to_owned() });
    assert_eq!((trimmed.removed, trimmed.hold), (0, hold));
    command(&mut conn, "XGROUP CREATE s g $").await;
    assert_eq!(admin::trim(&mut conn, &stream, 100, LONG).await.unwrap().removed, 900);
}

#[tokio::test]
async fn a_peek_shows_the_types_that_the_groups_consumer_has_declared() {
    let server = RedisServer::start();
    let (bus, mut conn) = (bus_on(&server).await, server.connection().await);
    run_once(&server, &[("EVENT_TYPES", "order.*")]).await;
    for event_type in ["order.paid", "user.login", "order.sent"] {
        tests::consumer::publish(&mut conn, event_type, "1").await;
    }
    let page = bus.get_events_since(&group("g"), EntryId::ZERO).await.unwrap();
    let types: Vec<&str> = page.events.iter().map(|event| event.event_type()).collect();
    assert_eq!(types, ["order.paid", "order.sent"]);
}

#[tokio::test]
async fn a_subscription_adds_its_types_to_the_declaration_of_its_bus() {
    let server = RedisServer::start();
    let (bus, mut conn) = (bus_on(&server).await, server.connection().await);
    bus.create_consumer_group(&group("g"), Start::default()).await.unwrap();
    assert_eq!(declared(&mut conn).await.as_deref(), Some(r#"{"v":1}"#));
    let types = TypeFilter::parse(["order.*"]).unwrap();
    let consumer = ConsumerName::new("c").unwrap();
    let subscription = bus.subscribe(&group("g"), &consumer, types, async |_| Answer::Done);
    let expected = r#"{"v":1,"types":["order.*"]}"#;
    wait::until("the types are declared", LONG, async || {
        (declared(&mut conn).await.as_deref() == Some(expected)).then_some(())
    })
    .await;
    subscription.stop().await.unwrap();
    // It knows nothing of types.
    bus.create_consumer_group(&group("g"), Start::default()).await.unwrap();
    assert_eq!(declared(&mut conn).await.as_deref(), Some(expected));
}

#[tokio::test]
async fn a_consumer_that_wants_all_types_again_replaces_its_own_declaration() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    declare(&mut conn, r#"{"v":1,"types":["order.*"]}"#).await;
    run_once(&server, &[]).await;
    assert_eq!(declared(&mut conn).await.as_deref(), Some(r#"{"v":1}"#));
}

#[tokio::test]
async fn a_consumer_leaves_what_a_resource_or_a_newer_program_declares() {
    let newer = r#"{"v":2,"types":[],"at":[]}"#;
    for declaration in [OWNED, newer, "hunter2"] {
        let server = RedisServer::start();
        let mut conn = server.connection().await;
        declare(&mut conn, declaration).await;
        run_once(&server, &[]).await;
        assert_eq!(declared(&mut conn).await.as_deref(), Some(declaration));
    }
}

#[tokio::test]
async fn a_resource_takes_over_the_declaration_of_its_earlier_self_and_of_no_other() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let (stream, group) = (StreamKey::new("s").unwrap(), GroupName::new("g").unwrap());
    let owned = |cluster: &str, name: &str, uid: &str| Declaration {
        owner: Some(Owner {
            cluster: cluster.to_owned(),
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
        }),
        types: TypeFilter::parse(["a"]).unwrap(),
    };
    let cases = [
        (owned("", "orders", "u-2"), true),
        (owned("", "another", "u-2"), false),
        (owned("another", "orders", "u-2"), false),
        (Declaration::default(), false),
    ];
    for (declaration, takes_over) in cases {
        declare(&mut conn, OWNED).await;
        let expected = if takes_over { declaration.field() } else { OWNED.to_owned() };
        let request = EnsureGroup::default().with_declaration(declaration);
        let ensured = ensure_group(&mut conn, &stream, &group, &request).await.unwrap();
        assert_eq!(matches!(ensured.declared, Declared::Written), takes_over, "{request:?}");
        assert_eq!(declared(&mut conn).await, Some(expected), "{request:?}");
    }
    // Without a name, only the UID tells whose it is.
    declare(&mut conn, r#"{"v":1,"uid":"u-1"}"#).await;
    let request = EnsureGroup::default().with_declaration(owned("", "", "u-2"));
    let ensured = ensure_group(&mut conn, &stream, &group, &request).await.unwrap();
    assert!(matches!(ensured.declared, Declared::OwnedBy(_)), "{ensured:?}");
}

#[tokio::test]
async fn a_group_that_is_declared_again_is_not_missing_any_more() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    for declaration in [r#"{"v":1,"missingSince":7}"#, r#"{"missingSince":7,"v":1}"#] {
        declare(&mut conn, declaration).await;
        run_once(&server, &[]).await;
        assert_eq!(declared(&mut conn).await.as_deref(), Some(r#"{"v":1}"#));
    }
}

#[tokio::test]
async fn a_refused_declaration_is_logged_once_and_events_are_still_delivered() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let user = "ACL SETUSER u on >p ~s ~{s}:dlq:g ~{s}:eventbus:consumers:g +@all";
    command(&mut conn, user).await;
    let url = format!("redis://u:p@127.0.0.1:{}", server.port());
    let handler = Handler::start();
    let consumer = Consumer::start(&server, &handler.url(), &[("REDIS_URL", &url)]);
    consumer.ready().await;
    for _ in 0..2 {
        reconnect(&mut conn, "u").await;
    }
    wait::until("all are handled", SOON, async || (handler.requests().len() >= 2).then_some(()))
        .await;
    let output = consumer.output();
    assert_eq!(output.matches(REFUSED).count(), 1, "{output}");
    assert_eq!(declared(&mut conn).await, None);
}

#[tokio::test]
async fn a_refused_write_of_a_declaration_that_may_be_read_stops_nothing() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    command(&mut conn, "ACL SETUSER u on >p ~s ~{s}:* +@all -hset").await;
    let url = format!("redis://u:p@127.0.0.1:{}", server.port());
    let redis = RedisConfig::new("url", &url, CredentialFiles::default()).unwrap();
    let running = Running::start(redis, config(), async |_| Answer::Done);
    xadd(&mut conn, "1").await;
    wait::until("the event is handled", LONG, async || running.seen.all().pop()).await;
    assert_eq!(declared(&mut conn).await, None);
    wait::within("it stops", 2 * LONG + Duration::from_secs(1), running.stop()).await.unwrap();
}
