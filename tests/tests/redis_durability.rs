//! Publishing that waits until replicas, or the disk, have the event.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::num::NonZeroU8;

use eventbus::admin::Connection;
use eventbus::config::{BusConfig, Durability, HardCap, Overflow, Retention, TrimMode};
use eventbus::{EntryId, Error, EventBus, StreamKey};
use tests::event_bus::{connect, in_time, publish, refusal};
use tests::redis::RedisServer;
use tests::subscriber::LONG;
use tests::wait;

fn config(server: &RedisServer, durability: Durability) -> BusConfig {
    BusConfig::new(server.config(), StreamKey::new("s").unwrap()).with_durability(durability)
}

fn replicated(replicas: u8) -> Durability {
    Durability::Replicated(NonZeroU8::new(replicas).unwrap())
}

/// A server with one replica that has caught up.
async fn pair() -> (RedisServer, RedisServer) {
    let primary = RedisServer::start_with(&["--repl-diskless-sync-delay", "0"]);
    let of = primary.port().to_string();
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &of]);
    let mut conn = primary.connection().await;
    wait::until("the replica confirms", LONG, async || {
        let mut pipe = redis::pipe();
        pipe.cmd("SET").arg("ready").arg(1).ignore().cmd("WAIT").arg(1).arg(100);
        let (confirmed,): (u32,) = pipe.query_async(&mut conn).await.unwrap();
        (confirmed == 1).then_some(())
    })
    .await;
    (primary, replica)
}

async fn ids(conn: &mut Connection) -> Vec<EntryId> {
    let mut range = redis::cmd("XRANGE");
    let reply: redis::streams::StreamRangeReply =
        range.arg("s").arg("-").arg("+").query_async(conn).await.unwrap();
    reply.ids.into_iter().map(|entry| entry.id.parse().unwrap()).collect()
}

/// Publishes until the replicas confirm in time, which takes more than one try where the machine is busy.
async fn published(bus: &EventBus) -> EntryId {
    publish(bus, "t", 1).await
}

async fn knows_waitaof(server: &RedisServer) -> bool {
    let mut command = redis::cmd("COMMAND");
    command.arg("INFO").arg("waitaof");
    let commands: Vec<redis::Value> =
        command.query_async(&mut server.connection().await).await.unwrap();
    commands.iter().any(|command| *command != redis::Value::Nil)
}

/// How often the server ran `command`.
async fn calls(server: &RedisServer, command: &str) -> u32 {
    let mut info = redis::cmd("INFO");
    info.arg("commandstats");
    let stats: String = info.query_async(&mut server.connection().await).await.unwrap();
    let line = stats.lines().find_map(|l| l.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.and_then(|l| l.split(',').next()).map_or(0, |number| number.parse().unwrap())
}

#[tokio::test]
async fn a_publish_that_is_to_be_replicated_is_answered_when_the_replica_has_it() {
    let (primary, replica) = pair().await;
    let bus = connect(config(&primary, replicated(1))).await;
    let id = published(&bus).await;
    assert_eq!(ids(&mut replica.connection().await).await.last(), Some(&id));
}

#[tokio::test]
async fn with_too_few_replicas_the_error_tells_how_many_and_which_entry_stands_in_the_stream() {
    let (primary, _replica) = pair().await;
    let bus = connect(config(&primary, replicated(2))).await;
    let one_of_two = async || {
        let error = bus.publish("t", &1, None).await.unwrap_err();
        matches!(error, Error::NotDurable { required: 2, got: 1, .. }).then_some(error)
    };
    let error = wait::until("one replica confirms in time", LONG, one_of_two).await;
    let id = *ids(&mut primary.connection().await).await.last().unwrap();
    assert_eq!(
        error.to_string(),
        format!("entry {id} is in stream s, but got only 1 of 2 confirmations")
    );
    assert!(error.is_transient());
}

#[tokio::test]
async fn each_of_two_publishes_in_a_row_is_told_of_missing_replicas_before_its_time_is_up() {
    let server = RedisServer::start();
    let bus = connect(config(&server, replicated(1))).await;
    // On a busy machine the time may be up for another reason, but not each time.
    wait::until("both are told of missing replicas", LONG, async || {
        let before = calls(&server, "xadd").await;
        let is_over = Cell::new(false);
        let first = async {
            let result = bus.publish("t", &1, None).await;
            is_over.set(true);
            result
        };
        // Sent while the first one's batch waits: it is the next batch.
        let second = async {
            wait::until("the first one is sent", LONG, async || {
                (is_over.get() || calls(&server, "xadd").await > before).then_some(())
            })
            .await;
            bus.publish("t", &2, None).await
        };
        let (first, second) = tokio::join!(first, second);
        let errors = [first, second].map(Result::unwrap_err);
        let is_reported =
            |error: &Error| matches!(error, Error::NotDurable { required: 1, got: 0, .. });
        assert!(errors.iter().all(Error::is_transient), "{errors:?}");
        errors.iter().all(is_reported).then_some(())
    })
    .await;
}

#[tokio::test]
async fn many_callers_share_a_wait() {
    let (primary, _replica) = pair().await;
    let bus = connect(config(&primary, replicated(1))).await;
    let before = calls(&primary, "wait").await;
    let publish = (0..200).map(|n| {
        let bus = bus.clone();
        async move {
            match bus.publish("t", &n, None).await {
                // The machine is busy: the replica was late, or the primary was.
                Ok(id) | Err(Error::NotDurable { id, .. }) => Some(id),
                Err(error) if error.is_transient() => None,
                Err(error) => panic!("{error:?}"),
            }
        }
    });
    let answered = futures::future::join_all(publish).await;
    let in_stream: BTreeSet<_> = ids(&mut primary.connection().await).await.into_iter().collect();
    let returned: BTreeSet<_> = answered.iter().flatten().copied().collect();
    assert_eq!(returned.len(), answered.iter().flatten().count(), "each has an entry of its own");
    assert!(returned.is_subset(&in_stream), "{returned:?} {in_stream:?}");
    let waits = calls(&primary, "wait").await - before;
    assert!(waits < 100, "{waits} waits for 200 events");
}

#[tokio::test]
async fn an_event_that_redis_refuses_is_told_as_such_and_the_next_one_goes_through() {
    let (primary, _replica) = pair().await;
    let bus = connect(config(&primary, replicated(1))).await;
    let mut conn = primary.connection().await;
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1").exec_async(&mut conn).await.unwrap();
    let error = in_time(async || bus.publish("t", &1, None).await).await.unwrap_err();
    assert_eq!(error.code(), Some("OOM"));
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("0").exec_async(&mut conn).await.unwrap();
    published(&bus).await;
}

#[tokio::test]
async fn a_hard_cap_holds_above_async_too() {
    let (primary, _replica) = pair().await;
    let cap = HardCap { entries: 300, overflow: Overflow::Reject };
    let retention = Retention::default()
        .with_mode(TrimMode::None)
        .with_max_entries(100)
        .with_hard_cap(Some(cap));
    let config = config(&primary, replicated(1)).with_retention(retention);
    let bus = connect(config).await;
    let error = wait::until("it is full", LONG, async || {
        let publish = (0..50).map(|_| bus.publish("t", &1, None));
        let full = |error: &Error| matches!(error, Error::StreamFull { .. });
        futures::future::join_all(publish).await.into_iter().find_map(|r| r.err().filter(full))
    });
    assert!(matches!(error.await, Error::StreamFull { cap: 300, .. }));
}

#[tokio::test]
async fn a_hard_cap_holds_though_no_replica_confirms_anything() {
    let alone = RedisServer::start();
    let cap = HardCap { entries: 300, overflow: Overflow::Reject };
    let retention = Retention::default()
        .with_mode(TrimMode::None)
        .with_max_entries(100)
        .with_hard_cap(Some(cap));
    let config = config(&alone, replicated(1)).with_retention(retention);
    let bus = connect(config).await;
    let error = wait::until("it is full", LONG, async || {
        let publish = (0..50).map(|_| bus.publish("t", &1, None));
        let full = |error: &Error| matches!(error, Error::StreamFull { .. });
        futures::future::join_all(publish).await.into_iter().find_map(|r| r.err().filter(full))
    });
    error.await;
    // A round or two beyond it where the machine is busy.
    assert!(ids(&mut alone.connection().await).await.len() < 600, "it stops near its cap");
}

#[tokio::test]
async fn while_redis_hangs_a_publish_above_async_fails_in_time_and_works_again_afterwards() {
    let (primary, _replica) = pair().await;
    let bus = connect(config(&primary, replicated(1))).await;
    primary.pause();
    // Without a limit of its own it would wait as long as Redis hangs.
    let publish = wait::within("the publish fails", LONG, bus.publish("t", &1, None)).await;
    let error = publish.unwrap_err();
    assert!(error.is_transient(), "{error}");
    primary.resume();
    published(&bus).await;
}

#[tokio::test]
async fn a_user_who_may_not_wait_is_told_so_at_connect() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let user = ["SETUSER", "u", "on", ">p", "-@all", "+ping", "+xadd", "~s"];
    redis::cmd("ACL").arg(&user).exec_async(&mut conn).await.unwrap();
    let url = format!("redis://u:p@127.0.0.1:{}", server.port());
    let redis = eventbus::config::RedisConfig::new("url", &url, Default::default()).unwrap();
    let config = {
        let mut config = config(&server, replicated(1));
        config.redis = redis;
        config
    };
    let error = refusal(config).await;
    assert!(error.is_auth(), "{error:?}");
}

#[tokio::test]
async fn on_a_server_that_knows_waitaof_a_publish_waits_for_the_disk_and_on_others_connecting_fails()
 {
    let server = RedisServer::start_with(&["--appendonly", "yes"]);
    let fsynced = config(&server, Durability::Fsynced);
    let result = in_time(async || EventBus::connect(fsynced.clone()).await).await;
    if knows_waitaof(&server).await {
        let bus = result.unwrap();
        let before = calls(&server, "waitaof").await;
        assert!(before > 0, "it is tried at connect");
        let id = publish(&bus, "t", 1).await;
        assert_eq!(ids(&mut server.connection().await).await.last(), Some(&id));
        assert!(calls(&server, "waitaof").await > before, "one for the event");
    } else {
        let error = result.err().unwrap();
        assert!(matches!(error, Error::CannotFsync { source: None, .. }), "{error:?}");
        assert!(!error.is_transient() && error.to_string().contains("needs WAITAOF"), "{error}");
    }
}

#[tokio::test]
async fn without_an_append_only_file_connecting_fails_where_events_are_to_be_on_disk() {
    let server = RedisServer::start();
    let error = refusal(config(&server, Durability::Fsynced)).await;
    assert!(matches!(error, Error::CannotFsync { .. }), "{error:?}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn an_append_only_file_that_is_switched_off_later_is_an_error_with_the_entry() {
    let server = RedisServer::start_with(&["--appendonly", "yes"]);
    if !knows_waitaof(&server).await {
        let error = refusal(config(&server, Durability::Fsynced)).await;
        assert!(matches!(error, Error::CannotFsync { .. }), "{error:?}");
        return;
    }
    let bus = connect(config(&server, Durability::Fsynced)).await;
    let mut conn = server.connection().await;
    redis::cmd("CONFIG")
        .arg("SET")
        .arg("appendonly")
        .arg("no")
        .exec_async(&mut conn)
        .await
        .unwrap();
    let error = in_time(async || bus.publish("t", &1, None).await).await.unwrap_err();
    let newest = *ids(&mut conn).await.last().unwrap();
    let Error::NotDurable { id, got: 0, source: Some(_), .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(id, newest);
}
