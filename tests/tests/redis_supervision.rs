//! The connection that publishing shares: kept up without end, and nobody waits for a Redis that is known to be away.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use eventbus::admin::Connection;
use eventbus::config::{BusConfig, CredentialFiles, RedisConfig};
use eventbus::observe::Monitor;
use eventbus::observe::health::Report;
use eventbus::{EntryId, Error, EventBus, Metrics, StreamKey, chain};
use futures::FutureExt;
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use tests::event_bus::{in_time, is_late};
use tests::proxy::TcpProxy;
use tests::redis::RedisServer;
use tests::subscriber::{LONG, Running, command, config, done_when, pending, xadd};
use tests::wait;
use tokio::sync::Semaphore;

struct Watched {
    bus: EventBus,
    registry: Registry,
}

impl Watched {
    async fn open(redis: RedisConfig) -> Self {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let config = BusConfig::new(redis, StreamKey::new("s").unwrap());
        let bus = EventBus::builder(config).metrics(&metrics).connect_lazy().await.unwrap();
        Self { bus, registry }
    }

    /// Connected to `server` by way of a proxy, after a first event.
    async fn through_a_proxy(server: &RedisServer) -> (Self, TcpProxy) {
        let proxy = TcpProxy::start(SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
        let url = format!("redis://{}", proxy.address());
        let redis = RedisConfig::new("url", &url, CredentialFiles::default()).unwrap();
        let watched = Self::open(redis).await;
        watched.publishes().await;
        (watched, proxy)
    }

    async fn publish(&self) -> Result<EntryId, Error> {
        self.bus.publish("t", &1, None).await
    }

    async fn publishes(&self) {
        wait::until("a publish works", LONG, async || self.publish().await.ok()).await;
    }

    fn shows(&self, line: &str) -> bool {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text.lines().any(|shown| shown == line)
    }
}

/// A number of INFO.
async fn info(conn: &mut Connection, section: &str, field: &str) -> u64 {
    let text: String = redis::cmd("INFO").arg(section).query_async(conn).await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap().parse().unwrap()
}

const CLOSED: &str = r#"eventbus_redis_breaker_state{connection="publish"} 0"#;
const HALF_OPEN: &str = r#"eventbus_redis_breaker_state{connection="publish"} 1"#;
const OPEN: &str = r#"eventbus_redis_breaker_state{connection="publish"} 2"#;

#[expect(clippy::disallowed_methods, reason = "time is what is tested")]
fn now() -> Instant {
    Instant::now()
}

/// Checks that all of the publishes that failed were late.
fn assert_late(results: &[Result<EntryId, Error>]) {
    let failed: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert!(failed.iter().all(|error| is_late(error)), "{failed:?}");
}

#[tokio::test]
async fn a_bus_may_be_opened_before_its_redis_is_there() {
    let mut server = RedisServer::start();
    let redis = server.config();
    server.stop();
    let watched = Watched::open(redis).await;
    let error = watched.publish().await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }) && error.is_transient(), "{error:?}");
    server.restart();
    watched.publishes().await;
}

#[tokio::test]
async fn after_five_failures_a_publish_is_refused_at_once_until_redis_is_back() {
    let server = RedisServer::start();
    let watched = Watched::open(server.config()).await;
    watched.publishes().await;
    server.pause();
    let failures = wait::until("the breaker opens", LONG, async || {
        let error = watched.publish().await.unwrap_err();
        matches!(error, Error::BreakerOpen { .. }).then_some(error)
    });
    let refused = failures.await;
    assert_eq!(refused.label(), "breaker_open");
    assert!(watched.shows(OPEN));
    let (began, mut refused, mut probes) = (now(), 0, 0);
    while refused < 100 {
        tokio::task::yield_now().await;
        let mut publish = Box::pin(watched.publish());
        // At once: there is nothing that it waits for.
        let probe = match (&mut publish).now_or_never() {
            Some(Err(Error::BreakerOpen { .. })) => {
                refused += 1;
                continue;
            }
            Some(probe) => probe,
            None => wait::within("a probe fails", LONG, publish).await,
        };
        assert!(probe.is_err());
        probes += 1;
        let seconds = (now() - began).as_secs();
        assert!(probes <= seconds + 1, "{probes} probes in {seconds} s");
    }
    server.resume();
    watched.publishes().await;
    assert!(watched.shows(CLOSED));
}

#[tokio::test]
async fn while_a_probe_waits_the_breaker_is_half_open() {
    let server = RedisServer::start();
    let watched = Watched::open(server.config()).await;
    watched.publishes().await;
    server.pause();
    // At once: as long as the connection is made anew, a probe has something to wait for.
    for _ in 0..2 {
        futures::future::join_all((0..5).map(|_| watched.publish())).await;
    }
    assert!(watched.shows(OPEN));
    let probes = async {
        loop {
            assert!(watched.publish().await.is_err());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let seen =
        wait::until("it is half-open", LONG, async || watched.shows(HALF_OPEN).then_some(()));
    tokio::select! {
        () = seen => {}
        () = probes => {}
    }
    server.resume();
    watched.publishes().await;
    assert!(watched.shows(CLOSED));
}

#[tokio::test]
async fn what_redis_refuses_does_not_open_the_breaker() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    command(&mut conn, "SET s x").await;
    let watched = Watched::open(server.config()).await;
    for _ in 0..20 {
        let error = in_time(async || watched.publish().await).await.unwrap_err();
        assert!(error.is_wrong_type(), "{error:?}");
    }
    assert!(watched.shows(CLOSED));
    command(&mut conn, "DEL s").await;
    watched.publishes().await;
}

#[tokio::test]
async fn a_connection_that_the_server_closed_while_idle_costs_no_publish() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let watched = Watched::open(server.config()).await;
    watched.publishes().await;
    command(&mut conn, "DEL s").await;
    let mut late = 0;
    for _ in 0..3 {
        command(&mut conn, "CLIENT KILL TYPE normal SKIPME yes").await;
        // A busy machine may be late, and may have published all the same.
        let publish = async || {
            let result = watched.publish().await;
            late += u64::from(result.is_err());
            result
        };
        in_time(publish).await.unwrap();
    }
    let length: u64 = redis::cmd("XLEN").arg("s").query_async(&mut conn).await.unwrap();
    assert!((3..=3 + late).contains(&length), "{length} entries, {late} were late");
}

#[tokio::test]
async fn a_password_that_changes_is_read_again_from_its_file() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    command(&mut conn, "ACL SETUSER writer on >first ~* +@all").await;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("user"), "writer\n").unwrap();
    std::fs::write(path("password"), "first\n").unwrap();
    let files = CredentialFiles {
        username: Some(path("user")),
        password: Some(path("password")),
        ..CredentialFiles::default()
    };
    let watched = Watched::open(RedisConfig::new("url", &server.url(), files).unwrap()).await;
    watched.publishes().await;
    command(&mut conn, "ACL SETUSER writer resetpass >second").await;
    command(&mut conn, "CLIENT KILL TYPE normal SKIPME yes").await;
    let error = wait::until("it is refused", LONG, async || watched.publish().await.err()).await;
    assert!(error.is_auth() || error.is_transient(), "{error:?}");
    std::fs::write(path("password"), "second\n").unwrap();
    watched.publishes().await;
}

#[tokio::test]
async fn a_connection_that_breaks_under_many_publishes_costs_none_of_them() {
    let server = RedisServer::start();
    let (watched, proxy) = Watched::through_a_proxy(&server).await;
    let mut conn = server.connection().await;
    // On a busy machine their time may be up before they can be sent again, but not each time.
    wait::until("a break costs no publish", LONG, async || {
        watched.publishes().await;
        let is_over = Cell::new(false);
        let before = length(&mut conn).await;
        proxy.hold_replies();
        let publishes = async {
            let publishes = futures::future::join_all((0..20).map(|_| watched.publish())).await;
            is_over.set(true);
            publishes
        };
        let cut = async {
            wait::until("the server has them", LONG, async || {
                (is_over.get() || length(&mut conn).await == before + 20).then_some(())
            })
            .await;
            proxy.cut();
            proxy.resume();
        };
        let (results, ()) = tokio::join!(publishes, cut);
        assert_late(&results);
        (results.iter().all(Result::is_ok) && watched.shows(CLOSED)).then_some(())
    })
    .await;
}

async fn length(conn: &mut Connection) -> u64 {
    redis::cmd("XLEN").arg("s").query_async(conn).await.unwrap()
}

#[tokio::test]
async fn a_publish_that_is_given_up_harms_no_other() {
    let server = RedisServer::start();
    let (watched, proxy) = Watched::through_a_proxy(&server).await;
    let mut conn = server.connection().await;
    // On a busy machine their time may be up before they are answered, but not each time.
    wait::until("publishes that are given up harm no other", LONG, async || {
        watched.publishes().await;
        let before = length(&mut conn).await;
        proxy.hold_replies();
        let mut given_up = Box::pin(futures::future::join_all((0..10).map(|_| watched.publish())));
        let others = futures::future::join_all((0..10).map(|_| watched.publish()));
        let give_up = async {
            let sent = wait::until("the server has them", LONG, async || {
                (length(&mut conn).await == before + 20).then_some(())
            });
            let late = tokio::select! {
                results = &mut given_up => results,
                () = sent => Vec::new(),
            };
            drop(given_up);
            proxy.resume();
            late
        };
        let (mut results, late) = tokio::join!(others, give_up);
        results.extend(late);
        assert_late(&results);
        (results.iter().all(Result::is_ok) && watched.shows(CLOSED)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_acknowledgement_does_not_wait_behind_a_read() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let gate = Arc::new(Semaphore::new(0));
    let mut config = config();
    // A read blocks for 2 s then.
    config.delivery.lease = LONG;
    let subscriber = Running::start(server.config(), config, done_when(&gate));
    // A read may end by itself meanwhile, but not each time.
    let mut events = 0;
    wait::until("an acknowledgement arrives while a read blocks", LONG, async || {
        events += 1;
        xadd(&mut conn, &events.to_string()).await;
        wait::until("the handler has it and the next read blocks", LONG, async || {
            let blocked = info(&mut conn, "clients", "blocked_clients").await == 1;
            (blocked && subscriber.seen.times().len() == events).then_some(())
        })
        .await;
        let reads = reads(&mut conn).await;
        gate.add_permits(1);
        wait::until("it is acknowledged", LONG, async || {
            (pending(&mut conn).await == 0).then_some(())
        })
        .await;
        (reads == self::reads(&mut conn).await).then_some(())
    })
    .await;
    subscriber.stop().await.unwrap();
}

/// How many reads of groups have ended.
async fn reads(conn: &mut Connection) -> String {
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(conn).await.unwrap();
    let reads = stats.lines().find_map(|line| line.strip_prefix("cmdstat_xreadgroup:calls="));
    reads.unwrap().split(',').next().unwrap().to_owned()
}

#[tokio::test]
async fn f28_with_a_password_too_the_cause_is_named() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    command(&mut conn, "CONFIG SET requirepass first").await;
    let url = format!("redis://:first@127.0.0.1:{}", server.port());
    let redis = RedisConfig::new("url", &url, CredentialFiles::default()).unwrap();
    let watched = Watched::open(redis.clone()).await;
    watched.publishes().await;
    command(&mut conn, "CONFIG SET maxclients 1").await;
    let began = now();
    command(&mut conn, "CLIENT KILL TYPE normal SKIPME yes").await;
    let error = wait::until("the cause is told", LONG, async || {
        let error = watched.publish().await.err()?;
        chain(&error).contains("max number of clients").then_some(error)
    });
    let error = error.await;
    wait::until("it tries again and again", LONG, async || {
        (info(&mut conn, "stats", "rejected_connections").await >= 8).then_some(())
    })
    .await;
    // 2.6 s on the average, and hardly ever so short by chance; without waits it takes milliseconds.
    let took = now() - began;
    assert!(took > Duration::from_millis(150), "eight tries within {took:?}");
    assert!(error.is_transient() && !error.is_auth(), "{error:?}");
    let stream = StreamKey::new("s").unwrap();
    let seen = Monitor::new(redis, stream.clone(), LONG).read_all().await.unwrap_err();
    let report = Report::of_failure(&seen, &stream, &BTreeSet::new(), Timestamp::UNIX_EPOCH);
    assert_eq!(report.seen, Err("Redis has no connection left".to_owned()));
}

#[test]
fn a_caller_that_tries_again_at_once_leaves_its_thread_to_others() {
    let mut server = RedisServer::start();
    let redis = server.config();
    server.stop();
    let ended = Arc::new(AtomicBool::new(false));
    let (seen, (sender, turns)) = (ended.clone(), std::sync::mpsc::channel());
    // On a thread of its own: where the others get no turn, no deadline on that thread would either.
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let bus = Watched::open(redis).await.bus;
            let again = bus.clone();
            let caller = tokio::spawn(async move {
                while !seen.load(Ordering::Relaxed) {
                    again.publish("t", &1, None).await.unwrap_err();
                }
            });
            wait::until("the breaker opens", LONG, async || {
                let refused = bus.publish("t", &1, None).await;
                matches!(refused, Err(Error::BreakerOpen { .. })).then_some(())
            })
            .await;
            for turn in 0..10 {
                tokio::time::sleep(Duration::from_millis(1)).await;
                sender.send(turn).unwrap();
            }
            caller.await.unwrap();
        });
    });
    let came = (0..10).all(|_| turns.recv_timeout(LONG).is_ok());
    ended.store(true, Ordering::Relaxed);
    assert!(came, "the others get no turn");
    thread.join().unwrap();
}
