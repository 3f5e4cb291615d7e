//! How often a handler is called for an event, and what becomes of the event afterwards, on a real server.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use eventbus::admin::Connection;
use eventbus::config::{CredentialFiles, RedisConfig};
use eventbus::consume::{DeadLetters, Subscriber};
use eventbus::{Answer, Delivery, Error, Metrics};
use prometheus_client::registry::Registry;
use tests::letters;
use tests::proxy::TcpProxy;
use tests::redis::RedisServer;
use tests::subscriber::{LONG, Running, command, config, done_when, drained, pending, xadd};
use tests::wait;
use tokio_util::sync::CancellationToken;

async fn fails(_: Arc<Delivery>) -> Answer {
    Answer::retry("no luck")
}

/// A field of the consumers' hash, as JSON.
async fn stored(conn: &mut Connection, field: &str) -> Option<serde_json::Value> {
    let mut get = redis::cmd("HGET");
    let get = get.arg("{s}:eventbus:consumers:g").arg(field);
    let text: Option<String> = get.query_async(conn).await.unwrap();
    text.map(|text| serde_json::from_str(&text).unwrap())
}

#[tokio::test]
async fn an_event_that_always_fails_is_a_dead_letter_after_its_last_attempt() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let id = xadd(&mut conn, "1").await;
    let mut config = config();
    config.delivery.max_attempts = 3;
    let running = Running::start(server.config(), config, fails);
    drained(&mut conn).await;
    let attempts: Vec<u32> = running.seen.all().into_iter().map(|(_, attempt)| attempt).collect();
    assert_eq!(attempts, [1, 2, 3]);
    let dead = letters::fields(&mut conn).await;
    assert_eq!(dead[0]["dlq.id"], id.as_bytes());
    assert_eq!(dead[0]["dlq.reason"], b"exhausted");
    assert_eq!(dead[0]["dlq.error"], b"no luck");
    assert_eq!(dead[0]["dlq.attempts"], b"3");
    assert_eq!(dead[0]["payload"], b"1");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn an_event_that_kills_its_consumers_is_a_dead_letter_and_its_neighbours_are_handled() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    for n in 0..5 {
        xadd(&mut conn, &n.to_string()).await;
    }
    let mut config = config();
    config.delivery.lease = Duration::from_secs(1);
    config.delivery.max_attempts = 2;
    let (crash, mut crashes) = tokio::sync::mpsc::unbounded_channel();
    let start = || {
        let crash = crash.clone();
        Running::start(server.config(), config.clone(), move |delivery: Arc<Delivery>| {
            let crash = crash.clone();
            async move {
                if delivery.event.payload().as_str() == "2" {
                    crash.send(delivery.attempt).unwrap();
                    std::future::pending::<()>().await;
                }
                Answer::Done
            }
        })
    };
    let mut attempts = Vec::new();
    let mut running = start();
    wait::within("the event that crashes its consumers is settled", 2 * LONG, async {
        loop {
            tokio::select! {
                Some(attempt) = crashes.recv() => {
                    attempts.push(attempt);
                    drop(std::mem::replace(&mut running, start()));
                }
                () = drained(&mut conn) => break,
            }
        }
    })
    .await;
    // The first time it was read beside others; a suspect is begun once more than the limit.
    assert_eq!(attempts, [1, 2, 3]);
    let dead = letters::fields(&mut conn).await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0]["payload"], b"2");
    assert_eq!(dead[0]["dlq.reason"], b"crashed");
    assert_eq!(dead[0]["dlq.attempts"], b"3");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_group_without_dead_letters_acknowledges_what_cannot_be_handled() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    for payload in ["1", "2"] {
        xadd(&mut conn, payload).await;
    }
    let running = Running::start(
        server.config(),
        {
            let mut config = config();
            config.dead_letters = None;
            config
        },
        async |delivery| match delivery.event.payload().as_str() {
            "1" => Answer::dead("422"),
            _ => Answer::Done,
        },
    );
    drained(&mut conn).await;
    assert_eq!(letters::all(&mut conn).await, []);
    running.stop().await.unwrap();
    let gone = stored(&mut conn, "gone").await.unwrap();
    assert_eq!((&gone["acknowledged"], &gone["dead"]), (&1.into(), &1.into()));
}

#[tokio::test]
async fn each_beat_keeps_the_point_from_which_a_lost_group_would_resume() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let first = xadd(&mut conn, "1").await;
    let last = xadd(&mut conn, "2").await;
    let mut config = config();
    config.delivery.lease = Duration::from_secs(1);
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let running = Running::start(server.config(), config, done_when(&gate));
    for (expected, permits) in [(("before", first), 2), (("after", last), 0)] {
        let (word, id) = expected;
        wait::until("a heartbeat tells the resume point", LONG, async || {
            let resume = stored(&mut conn.clone(), "resume").await?;
            (resume[word] == id.as_str() && resume["at"].is_u64()).then_some(())
        })
        .await;
        gate.add_permits(permits);
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn an_acknowledgement_that_changes_nothing_is_counted_as_unconfirmed() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let id = xadd(&mut conn, "1").await;
    let (mut registry, stop) = (Registry::default(), CancellationToken::new());
    let metrics = Metrics::register(&mut registry);
    let subscriber = Subscriber::new(server.config(), config(), metrics);
    let other = conn.clone();
    let handler = move |_| {
        let (mut other, id) = (other.clone(), id.clone());
        async move {
            command(&mut other, &format!("XACK s g {id}")).await;
            Answer::Done
        }
    };
    let task = tokio::spawn(subscriber.run(handler, stop.clone()));
    drained(&mut conn).await;
    wait::until("it is counted", LONG, async || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let counted = r#"eventbus_unconfirmed_acknowledgements_total{stream="s",group="g"} 1"#;
        text.lines().any(|line| line == counted).then_some(())
    })
    .await;
    stop.cancel();
    wait::within("the subscriber ends", 2 * LONG, task).await.unwrap().unwrap();
}

#[tokio::test]
async fn settings_that_make_no_sense_end_a_subscriber_before_it_connects() {
    let server = RedisServer::start();
    let mut wrong = config();
    wrong.delivery.concurrency = 0;
    wrong.delivery.lease = Duration::ZERO;
    let stream = eventbus::StreamKey::new("elsewhere").unwrap();
    wrong.dead_letters = Some(
        DeadLetters::of(&config().stream, &config().group).with_stream(stream).with_max_length(0),
    );
    let metrics = Metrics::register(&mut Registry::default());
    let subscriber = Subscriber::new(server.config(), wrong, metrics);
    let run = subscriber.run(fails, CancellationToken::new());
    let error = wait::within("the subscriber ends", LONG, run).await.unwrap_err();
    let Error::Settings(errors) = &error else {
        panic!("{error}");
    };
    let names: Vec<&str> = errors.0.iter().map(|error| error.name.as_str()).collect();
    let all = ["concurrency", "lease", "dead_letters.stream", "dead_letters.max_length"];
    assert_eq!(names, all);
    assert!(error.to_string().starts_with("invalid settings: concurrency=\"0\": must"), "{error}");
}

#[tokio::test]
async fn the_failure_of_another_command_loses_nothing_that_a_read_brings() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let proxy = TcpProxy::start(SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
    let url = format!("redis://{}", proxy.address());
    let redis = RedisConfig::new("url", &url, CredentialFiles::default()).unwrap();
    let mut config = config();
    config.delivery.lease = Duration::from_secs(3600);
    let running = Running::start(redis, config, async |_| Answer::Done);
    // The event is delivered, and its reply is on its way while another command fails. A read that ended before the
    // event was added brings nothing, and the next one is tried.
    let mut events = 0;
    wait::until("an event is delivered", LONG, async || {
        proxy.resume();
        let blocked = stat(&mut conn.clone(), "clients", "blocked_clients").await;
        if !running.readiness.has_connected()
            || blocked != 1
            || pending(&mut conn.clone()).await > 0
        {
            return None;
        }
        proxy.hold_replies();
        xadd(&mut conn.clone(), &events.to_string()).await;
        events += 1;
        (pending(&mut conn.clone()).await == 1).then_some(())
    })
    .await;
    let before = stat(&mut conn, "stats", "total_connections_received").await;
    let other = commands_of(&mut conn).await;
    command(&mut conn, &format!("CLIENT KILL ID {other}")).await;
    wait::until("it connects again", LONG, async || {
        let now = stat(&mut conn.clone(), "stats", "total_connections_received").await;
        (now > before).then_some(())
    })
    .await;
    proxy.resume();
    drained(&mut conn).await;
    let each_once: Vec<_> = (0..events).map(|n: u32| (n.to_string(), 1)).collect();
    let mut seen = running.seen.all();
    seen.sort_by_key(|(payload, _)| payload.parse::<u32>().unwrap());
    assert_eq!(seen, each_once);
    running.stop().await.unwrap();
}

/// A number of the server's account of itself.
async fn stat(conn: &mut Connection, section: &str, name: &str) -> u64 {
    let info: String = redis::cmd("INFO").arg(section).query_async(conn).await.unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap().parse().unwrap()
}

/// The ID of the subscriber's connection that does not read.
async fn commands_of(conn: &mut Connection) -> String {
    let list: String = redis::cmd("CLIENT").arg("LIST").query_async(conn).await.unwrap();
    let others = |line: &&str| !line.contains("cmd=xreadgroup") && !line.contains("cmd=client");
    let line = list.lines().find(others).unwrap();
    line.split(' ').next().unwrap().strip_prefix("id=").unwrap().to_owned()
}

#[tokio::test]
async fn a_call_that_the_end_of_its_lease_cut_off_at_the_last_attempt_is_not_the_events_fault() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let id = xadd(&mut conn, "1").await;
    let mut config = config();
    config.delivery.lease = Duration::from_secs(1);
    config.delivery.max_attempts = 3;
    let running = Running::start(server.config(), config, async |_| Answer::Done);
    drained(&mut conn).await;
    // As the server remembers such a call: it is this consumer's, of which the consumer knows nothing.
    let me = stored_name(&mut conn).await;
    let claim = format!("XCLAIM s g {me} 0 {id} IDLE 2000 RETRYCOUNT 4 FORCE JUSTID");
    command(&mut conn, &claim).await;
    drained(&mut conn).await;
    assert_eq!(running.seen.all(), [("1".to_owned(), 1), ("1".to_owned(), 4)]);
    assert_eq!(letters::all(&mut conn).await, []);
    running.stop().await.unwrap();
}

/// The one consumer's name.
async fn stored_name(conn: &mut Connection) -> String {
    let mut keys = redis::cmd("HKEYS");
    let keys: Vec<String> = keys.arg("{s}:eventbus:consumers:g").query_async(conn).await.unwrap();
    keys.iter().find_map(|field| field.strip_prefix("c:")).unwrap().to_owned()
}
