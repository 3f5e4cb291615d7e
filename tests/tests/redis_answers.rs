//! What is made of Redis' errors as they come over the wire: each is told by its name, with what helps against it.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::time::{Duration, Instant};

use eventbus::config::{BusConfig, CredentialFiles, RedisConfig};
use eventbus::{Error, EventBus, Metrics, Remedy, StreamKey, chain};
use prometheus_client::registry::Registry;
use tests::event_bus::in_time;
use tests::fake::{Answers, FakeRedis};
use tests::programs::Running;
use tests::redis::RedisServer;
use tests::subscriber::{LONG, command};
use tests::wait;

async fn open(redis: RedisConfig) -> EventBus {
    let config = BusConfig::new(redis, StreamKey::new("s").unwrap());
    EventBus::builder(config)
        .metrics(&Metrics::register(&mut Registry::default()))
        .connect_lazy()
        .await
        .unwrap()
}

async fn refusal(bus: &EventBus) -> Error {
    in_time(async || bus.publish("t", &1, None).await).await.unwrap_err()
}

#[expect(clippy::disallowed_methods, reason = "time is what is tested")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test]
async fn every_code_has_its_remedy_as_it_comes_over_the_wire() {
    let cases = [
        ("LOADING Redis is loading the dataset in memory", Remedy::Retry),
        ("BUSY Redis is busy running a script", Remedy::Retry),
        ("TRYAGAIN Multiple keys request during rehashing of slot", Remedy::Retry),
        ("CLUSTERDOWN The cluster is down", Remedy::Retry),
        ("MASTERDOWN Link with MASTER is down", Remedy::Retry),
        ("NOREPLICAS Not enough good replicas to write.", Remedy::Retry),
        ("OOM command not allowed when used memory > 'maxmemory'.", Remedy::Retry),
        ("ERR max number of clients reached", Remedy::Retry),
        ("ERR max request size exceeded", Remedy::ManualFix),
        ("ERR Protocol error: invalid bulk length", Remedy::ManualFix),
        ("ERR an answer that nobody knows", Remedy::ManualFix),
        ("READONLY You can't write against a read only replica.", Remedy::Reconnect),
        ("UNBLOCKED force unblock from blocking operation", Remedy::Reconnect),
        ("MOVED 3999 127.0.0.1:6381", Remedy::Reconnect),
        ("ASK 3999 127.0.0.1:6381", Remedy::Reconnect),
        ("NOGROUP No such key 's' or consumer group 'g'", Remedy::CreateGroup),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", Remedy::ManualFix),
        ("NOAUTH Authentication required.", Remedy::ManualFix),
        ("WRONGPASS invalid username-password pair or user is disabled.", Remedy::ManualFix),
        ("NOPERM this user has no permissions to run the 'xadd' command", Remedy::ManualFix),
        ("CROSSSLOT Keys in request don't hash to the same slot", Remedy::ManualFix),
    ];
    for (line, remedy) in cases {
        let server = FakeRedis::start(Answers::ErrorAfterLogin(line.to_owned())).await;
        let error = refusal(&open(server.config()).await).await;
        assert_eq!(error.remedy(), remedy, "{line}: {error:?}");
        assert_eq!(error.code(), line.split(' ').next(), "{error:?}");
    }
    let server = FakeRedis::start(Answers::Nothing).await;
    let error = refusal(&open(server.config()).await).await;
    assert_eq!((error.remedy(), error.code()), (Remedy::Retry, None), "{error:?}");
}

#[tokio::test]
async fn a_server_that_refuses_the_login_is_told_as_what_it_is_by_every_publish() {
    let cases = [
        ("LOADING Redis is loading the dataset in memory", "is loading the dataset"),
        ("ERR max number of clients reached", "max number of clients"),
        ("NOAUTH HELLO must be called with the client authenticated", "client authenticated"),
    ];
    for (line, expected) in cases {
        let server = FakeRedis::start(Answers::Error(line.to_owned())).await;
        let bus = open(server.config()).await;
        for _ in 0..20 {
            let error = refusal(&bus).await;
            assert!(chain(&error).contains(expected), "{expected}: {error:?}");
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_by_every_publish_and_no_breaker_hides_it() {
    let server = RedisServer::start();
    command(&mut server.connection().await, "CONFIG SET requirepass right").await;
    let url = format!("redis://:hunter2@127.0.0.1:{}", server.port());
    let bus = open(RedisConfig::new("url", &url, CredentialFiles::default()).unwrap()).await;
    for _ in 0..20 {
        let error = refusal(&bus).await;
        assert_eq!(error.code(), Some("WRONGPASS"), "{error:?}");
        assert!(error.is_auth() && !chain(&error).contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn a_redis_that_is_away_is_tried_ever_more_slowly() {
    let server = FakeRedis::start(Answers::Nothing).await;
    let began = now();
    let _bus = open(server.config()).await;
    wait::until("it is tried again and again", LONG, async || {
        (server.accepted() >= 8).then_some(())
    })
    .await;
    // 2.6 s on the average, and hardly ever so short by chance; without waits it takes milliseconds.
    let took = now() - began;
    assert!(took > Duration::from_millis(150), "eight tries within {took:?}");
}

#[tokio::test]
async fn an_open_breaker_lets_one_publish_a_second_find_out_whether_redis_is_back() {
    let server = FakeRedis::start(Answers::Nothing).await;
    let bus = open(server.config()).await;
    let is_refused = async || matches!(refusal(&bus).await, Error::BreakerOpen { .. });
    wait::until("the breaker opens", LONG, async || is_refused().await.then_some(())).await;
    let mut probes: Vec<(Instant, Instant)> = Vec::new();
    wait::until("probes are let through", LONG, async || {
        let began = now();
        if !is_refused().await {
            probes.push((began, now()));
        }
        (probes.len() == 4).then_some(())
    })
    .await;
    for pair in probes.windows(2) {
        // From before the one was let through until after the next was.
        let between = pair[1].1 - pair[0].0;
        assert!(between >= Duration::from_secs(1), "{between:?} between two probes");
    }
}

#[tokio::test]
async fn the_programs_refuse_addresses_of_sentinel_and_cluster_and_say_so() {
    for url in ["redis-sentinel://a,b/m", "redis-cluster://a,b"] {
        for (program, group) in [("run", "EVENT_GROUP"), ("health", "HEALTH_GROUPS")] {
            let settings = [
                ("REDIS_URL", url),
                (group, "g"),
                ("HANDLER_URL", "http://127.0.0.1:1/"),
                ("LISTEN", "127.0.0.1:0"),
            ];
            let mut running = Running::start("consumer", &[program], &settings);
            let status = running.ended(LONG).await;
            let output = running.output();
            assert_eq!(status.code(), Some(2), "{program} {url}: {output}");
            let expected = "REDIS_URL=";
            let lines: Vec<_> = output.lines().collect();
            assert!(
                matches!(lines[..], [line] if line.starts_with(expected)
                    && line.contains("Sentinel and Cluster addresses are not supported yet")),
                "{output}"
            );
        }
    }
}
