//! Dead letters that are handled again, on a real server.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use eventbus::admin::Connection;
use eventbus::admin::replay;
use eventbus::consume::SubscriberConfig;
use eventbus::{Answer, Delivery, EntryId, GroupName, TypeFilter};
use tests::letters;
use tests::redis::RedisServer;
use tests::subscriber::{LONG, Running, command, config, drained, xadd};
use tests::wait;

/// Beats often, so that a replay is seen soon.
fn quick() -> SubscriberConfig {
    let mut config = config();
    config.delivery.lease = Duration::from_secs(1);
    config
}

/// Refuses events until `is_fixed`.
fn mended(
    is_fixed: &Arc<AtomicBool>,
) -> impl Fn(Arc<Delivery>) -> std::future::Ready<Answer> + Send + Sync + 'static + use<> {
    let is_fixed = is_fixed.clone();
    move |_| {
        let is_fixed = is_fixed.load(Ordering::Relaxed);
        std::future::ready(if is_fixed { Answer::Done } else { Answer::dead("broken") })
    }
}

async fn press(conn: &mut Connection, id: EntryId) -> bool {
    replay(conn, &letters::stream(), &GroupName::new("g").unwrap(), id).await.unwrap()
}

async fn no_letter_left(conn: &Connection) {
    wait::until("the dead letters are gone", LONG, async || {
        letters::all(&mut conn.clone()).await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_replay_pressed_twice_is_handled_once_and_is_a_dead_letter_no_more() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    xadd(&mut conn, "1").await;
    let is_fixed = Arc::new(AtomicBool::new(false));
    let running = Running::start(server.config(), quick(), mended(&is_fixed));
    drained(&mut conn).await;
    is_fixed.store(true, Ordering::Relaxed);
    let (id, _) = letters::all(&mut conn).await.remove(0);
    assert!(press(&mut conn, id).await);
    assert!(!press(&mut conn, id).await, "it is being replayed, or was");
    no_letter_left(&conn).await;
    assert!(!press(&mut conn, id).await, "it is gone");
    assert_eq!(running.seen.all(), [("1".to_owned(), 1), ("1".to_owned(), 1)]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_replay_is_known_by_its_first_name_and_seen_by_its_group_alone() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let id = xadd(&mut conn, "1").await;
    let (sender, mut ids) = tokio::sync::mpsc::unbounded_channel();
    let running = Running::start(server.config(), quick(), move |delivery: Arc<Delivery>| {
        let event = &delivery.event;
        sender.send((event.id(), event.event_id().to_owned(), delivery.replay)).unwrap();
        std::future::ready(if delivery.replay { Answer::Done } else { Answer::dead("broken") })
    });
    let other_group = {
        let mut config = quick();
        config.group = GroupName::new("other").unwrap();
        config
    };
    let dead_letters =
        Some(eventbus::consume::DeadLetters::of(&other_group.stream, &other_group.group));
    let other_group = {
        let mut config = other_group;
        config.dead_letters = dead_letters;
        config
    };
    let other = Running::start(server.config(), other_group, async |_| Answer::Done);
    drained(&mut conn).await;
    let (letter, _) = letters::all(&mut conn).await.remove(0);
    press(&mut conn, letter).await;
    no_letter_left(&conn).await;
    let name = (id.parse().unwrap(), format!("s/{id}"));
    let mut next = async || wait::within("it is told", LONG, ids.recv()).await;
    assert_eq!(next().await, Some((name.0, name.1.clone(), false)));
    assert_eq!(next().await, Some((name.0, name.1, true)));
    assert_eq!(other.seen.all().len(), 1);
    running.stop().await.unwrap();
    other.stop().await.unwrap();
}

#[tokio::test]
async fn a_replay_that_fails_is_a_new_dead_letter_in_place_of_the_old() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let id = xadd(&mut conn, "1").await;
    let mut config = quick();
    config.delivery.max_attempts = 2;
    let running = Running::start(server.config(), config, async |_| Answer::retry("still broken"));
    drained(&mut conn).await;
    let (old, before) = letters::all(&mut conn).await.remove(0);
    press(&mut conn, old).await;
    let (_, after) = wait::until("there is another dead letter", LONG, async || {
        let letter = letters::all(&mut conn.clone()).await.pop()?;
        (letter.0 != old).then_some(letter)
    })
    .await;
    assert_eq!(letters::all(&mut conn).await.len(), 1);
    assert_eq!(after["dlq.id"], id.as_bytes());
    assert_eq!(after["dlq.first"], before["dlq.first"]);
    assert_eq!(after["dlq.attempts"], b"2");
    assert_eq!(after["dlq.error"], b"still broken");
    assert_eq!(after["payload"], b"1");
    assert_eq!(running.seen.all().len(), 4);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_replay_whose_consumer_crashes_is_taken_over() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    xadd(&mut conn, "1").await;
    let never = Running::start(server.config(), quick(), |delivery: Arc<Delivery>| async move {
        if delivery.replay {
            std::future::pending::<()>().await;
        }
        Answer::dead("broken")
    });
    drained(&mut conn).await;
    let (id, _) = letters::all(&mut conn).await.remove(0);
    press(&mut conn, id).await;
    wait::until("its handler has it", LONG, async || (never.seen.all().len() == 2).then_some(()))
        .await;
    drop(never);
    let running = Running::start(server.config(), quick(), async |_| Answer::Done);
    no_letter_left(&conn).await;
    assert_eq!(running.seen.all(), [("1".to_owned(), 2)]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_replay_runs_whatever_types_are_wanted_by_now() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    xadd(&mut conn, "1").await;
    let is_fixed = Arc::new(AtomicBool::new(false));
    let running = Running::start(server.config(), quick(), mended(&is_fixed));
    drained(&mut conn).await;
    running.stop().await.unwrap();
    is_fixed.store(true, Ordering::Relaxed);
    let types = TypeFilter::parse(["other"]).unwrap();
    let other = {
        let mut config = quick();
        config.types = types;
        config
    };
    let running = Running::start(server.config(), other, mended(&is_fixed));
    let (id, _) = letters::all(&mut conn).await.remove(0);
    press(&mut conn, id).await;
    no_letter_left(&conn).await;
    assert_eq!(running.seen.all().len(), 1);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_dead_letter_of_ten_thousand_fields_is_replayed_as_it_was() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let mut fields = vec![("type".to_owned(), "t".to_owned()), ("payload".into(), "7".into())];
    fields.extend((0..10_000).map(|n| (format!("f{n}"), n.to_string())));
    redis::cmd("XADD").arg("s").arg("*").arg(&fields).exec_async(&mut conn).await.unwrap();
    let (sender, mut extra) = tokio::sync::mpsc::unbounded_channel();
    // With a longer lease: its commands are large, and may take a third of the lease.
    let running = Running::start(server.config(), config(), move |delivery: Arc<Delivery>| {
        let owned = |(name, value): (&[u8], &[u8])| (name.to_vec(), value.to_vec());
        sender.send(delivery.event.extra().map(owned).collect::<Vec<_>>()).unwrap();
        std::future::ready(if delivery.replay { Answer::Done } else { Answer::dead("broken") })
    });
    drained(&mut conn).await;
    let (id, letter) = letters::all(&mut conn).await.remove(0);
    assert!(letter.contains_key("dlq.raw"));
    press(&mut conn, id).await;
    no_letter_left(&conn).await;
    let mut next = async || wait::within("it is told", LONG, extra.recv()).await.unwrap();
    let (first, second) = (next().await, next().await);
    assert_eq!(first.len(), 10_000);
    assert!(first == second, "the fields differ");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_no_dead_letter_cannot_be_replayed() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    assert!(!press(&mut conn, EntryId { ms: 1, seq: 0 }).await);
    command(&mut conn, "SET {s}:dlq:g x").await;
    let group = GroupName::new("g").unwrap();
    let error = replay(&mut conn, &letters::stream(), &group, EntryId::ZERO).await.unwrap_err();
    assert!(error.is_wrong_type(), "{error}");
    let text = "cannot replay a dead letter in group g on stream {s}:dlq:g";
    assert_eq!(error.to_string(), text);
}
