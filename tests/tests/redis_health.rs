//! `consumer health` as a process of its own, asked over HTTP, against a real server.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::time::Duration;

use eventbus::admin::Connection;
use eventbus::{GroupInfo, GroupName};
use futures::future::join_all;
use serde_json::{Value, json};
use tests::consumer::Consumer;
use tests::event_bus::{bus_on, in_time};
use tests::programs::Running;
use tests::redis::RedisServer;
use tests::wait;

const SOON: Duration = Duration::from_secs(60);
/// The service answers within 2 s whatever Redis does; the rest is for a busy machine.
const ANSWERED: Duration = Duration::from_secs(10);

/// All that the service needs, except for INFO, which tells a replica and a version.
const PERMISSIONS: &str = "%R~s %R~{s}:* +eval_ro +evalsha_ro +time +exists +xinfo|stream +xinfo|groups \
    +xinfo|consumers +xpending +xrange +xrevrange +xlen +hscan +hget +memory|usage";

struct Health {
    program: Running,
    client: reqwest::Client,
    address: String,
}

impl Health {
    /// Starts the service for stream `s` and groups `a` and `b`; `changes` come on top.
    async fn start(redis_url: &str, changes: &[(&str, &str)]) -> Self {
        let mut settings = vec![
            ("REDIS_URL", redis_url),
            ("REDIS_STREAM_NAME", "s"),
            ("HEALTH_GROUPS", "a,b"),
            ("LISTEN", "127.0.0.1:0"),
        ];
        settings.extend(changes);
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let program = Running::start("consumer", &["health"], &settings);
        let address = wait::until("the service tells its address", SOON, async || {
            let output = program.output();
            let (_, rest) = output.split_once("serving HTTP address=")?;
            // The line may not be written to its end yet.
            rest.split_once('\n').map(|(address, _)| address.trim().to_owned())
        })
        .await;
        Self { program, client, address }
    }

    /// Status and body of a page.
    async fn get(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.address);
        let answer = async {
            let response = self.client.get(url).send().await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        };
        wait::within("the service answers", ANSWERED, answer).await
    }

    /// Waits until a page answers this; on a busy machine Redis may have been late at first.
    async fn answers(&self, path: &str, status: u16, text: &str) {
        let what = format!("{path} answers {status} with {text}");
        wait::until(&what, SOON, async || {
            let (got, body) = self.get(path).await;
            (got == status && body.contains(text)).then_some(())
        })
        .await;
    }

    /// The answer, without its time of day, which is checked to be one.
    async fn events(&self) -> Value {
        let (status, body) = self.get("/api/health/events").await;
        assert_eq!(status, 200, "{body}");
        let mut answer: Value = serde_json::from_str(&body).unwrap();
        let last_check = answer.as_object_mut().unwrap().remove("last_check").unwrap();
        last_check.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        answer
    }

    /// Waits until the answer says that Redis is connected, and returns that answer.
    async fn connected(&self) -> Value {
        wait::until("redis_connected is true", SOON, async || {
            Some(self.events().await).filter(|answer| answer["redis_connected"] == true)
        })
        .await
    }

    /// Waits until the answer says that Redis is not connected, for this reason.
    async fn unreachable(&self, error: &str) {
        let expected = unreachable(error);
        wait::until(&format!("it answers {expected}"), SOON, async || {
            (self.events().await == expected).then_some(())
        })
        .await;
    }
}

async fn run(conn: &mut Connection, command: &str) {
    let mut words = command.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    command.arg(words.collect::<Vec<_>>()).exec_async(conn).await.unwrap();
}

/// A number from INFO, such as `total_connections_received`.
async fn stat(conn: &mut Connection, name: &str) -> u64 {
    let info: String = redis::cmd("INFO").query_async(conn).await.unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap().parse().unwrap()
}

fn unreachable(error: &str) -> Value {
    json!({"redis_connected": false, "error": error})
}

#[tokio::test]
async fn both_paths_tell_the_numbers_of_every_group() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    for n in 1..=6 {
        run(&mut conn, &format!("XADD s {n}-0 f v")).await;
    }
    // After a deletion no server knows the lag by itself.
    run(&mut conn, "XDEL s 5-0").await;
    run(&mut conn, "XGROUP CREATE s a 0").await;
    run(&mut conn, "XREADGROUP GROUP a c COUNT 3 STREAMS s >").await;
    run(&mut conn, "XACK s a 1-0").await;
    run(&mut conn, "XCLAIM s a eventbus:delayed 0 2-0 JUSTID").await;
    run(&mut conn, "XADD {s}:dlq:a 1-0 dlq.group a").await;
    run(&mut conn, "XGROUP CREATE s unlisted $").await;
    run(&mut conn, "XADD {s}:dlq:unlisted 1-0 dlq.group unlisted").await;
    let health = Health::start(&server.url(), &[]).await;
    for path in ["/api/health/events", "/health/events"] {
        health.connected().await;
        let (status, body) = health.get(path).await;
        assert_eq!(status, 200);
        let mut answer: Value = serde_json::from_str(&body).unwrap();
        let group = &mut answer["consumer_groups"]["a"];
        // The entries are from 1970.
        let age = group["oldest_age_seconds"].take().as_u64().unwrap();
        assert!(age > 1_700_000_000, "{age}");
        let expected = json!({
            "a": {
                "status": "ok", "lag": 2, "lag_source": "counted", "pending": 2, "consumers": 1,
                "last_delivered_id": "3-0", "oldest_age_seconds": null, "dead_letters": 1,
            },
            "b": {"status": "not_created"},
            "unlisted": {
                "status": "ok", "lag": 0, "lag_source": "exact", "pending": 0, "consumers": 0,
                "last_delivered_id": "6-0", "oldest_age_seconds": null, "dead_letters": 1,
            },
        });
        assert_eq!(answer["consumer_groups"], expected, "{path}");
        let keys: Vec<_> = answer.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["consumer_groups", "last_check", "redis_connected", "stream_length"]);
        assert_eq!(
            (&answer["redis_connected"], &answer["stream_length"]),
            (&json!(true), &json!(5))
        );
    }
}

/// Waits until the answer counts so many consumers of group `g`.
async fn counts(health: &Health, consumers: u64) {
    wait::until(&format!("{consumers} consumers count"), SOON, async || {
        let answer = health.connected().await;
        (answer["consumer_groups"]["g"]["consumers"] == json!(consumers)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn three_idle_consumers_of_one_group_count_three() {
    let server = RedisServer::start();
    let start = || Consumer::start(&server, "http://127.0.0.1:9/", &[]);
    let consumers = [start(), start(), start()];
    for consumer in &consumers {
        consumer.ready().await;
    }
    let health = Health::start(&server.url(), &[]).await;
    counts(&health, 3).await;
    let info = group_info(&server).await;
    assert_eq!(info.consumers.iter().filter(|consumer| consumer.live).count(), 3, "{info:?}");
}

#[tokio::test]
async fn a_killed_consumer_is_not_counted_after_its_lease() {
    let server = RedisServer::start();
    let start = || Consumer::start(&server, "http://127.0.0.1:9/", &[]);
    let (kept, killed) = (start(), start());
    kept.ready().await;
    killed.ready().await;
    let health = Health::start(&server.url(), &[]).await;
    counts(&health, 2).await;
    drop(killed);
    counts(&health, 1).await;
    let info = group_info(&server).await;
    assert_eq!(info.consumers.len(), 2, "the name of the other is still there: {info:?}");
    assert_eq!(info.consumers.iter().filter(|consumer| consumer.live).count(), 1, "{info:?}");
}

#[tokio::test]
async fn of_a_group_of_foreign_clients_the_servers_list_counts() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    run(&mut conn, "XGROUP CREATE s g $ MKSTREAM").await;
    for name in ["x", "y", "eventbus:delayed"] {
        run(&mut conn, &format!("XGROUP CREATECONSUMER s g {name}")).await;
    }
    let health = Health::start(&server.url(), &[]).await;
    counts(&health, 2).await;
    let info = group_info(&server).await;
    let consumers: Vec<_> = info.consumers.iter().map(|c| (c.name.as_str(), c.live)).collect();
    assert_eq!(consumers, [("x", true), ("y", true)]);
}

/// What the library says of group `g`.
async fn group_info(server: &RedisServer) -> GroupInfo {
    let (bus, group) = (bus_on(server).await, GroupName::new("g").unwrap());
    in_time(async || bus.get_consumer_group_info(&group).await).await.unwrap().unwrap()
}

#[tokio::test]
async fn without_a_stream_every_configured_group_is_not_created() {
    let server = RedisServer::start();
    let health = Health::start(&server.url(), &[]).await;
    let expected = json!({
        "redis_connected": true,
        "stream_length": 0,
        "consumer_groups": {"a": {"status": "not_created"}, "b": {"status": "not_created"}},
    });
    assert_eq!(health.connected().await, expected);
}

#[tokio::test]
async fn a_key_of_another_type_is_an_error_of_every_group_not_a_missing_group() {
    let server = RedisServer::start();
    run(&mut server.connection().await, "SET s text").await;
    let health = Health::start(&server.url(), &[]).await;
    let error = json!({"status": "error", "error": "s is not a stream"});
    let expected = json!({
        "redis_connected": true,
        "stream_length": null,
        "consumer_groups": {"a": error, "b": error},
    });
    assert_eq!(health.connected().await, expected);
}

#[tokio::test]
async fn dead_letters_that_cannot_be_read_are_an_error_of_their_group_alone() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    for group in ["a", "b"] {
        run(&mut conn, &format!("XGROUP CREATE s {group} 0 MKSTREAM")).await;
    }
    run(&mut conn, "SET {s}:dlq:a text").await;
    let health = Health::start(&server.url(), &[]).await;
    let answer = health.connected().await;
    let groups = &answer["consumer_groups"];
    assert_eq!(groups["a"]["status"], "error");
    assert!(groups["a"]["error"].as_str().unwrap().starts_with("WRONGTYPE"), "{groups}");
    assert_eq!(groups["b"]["status"], "ok");
}

#[tokio::test]
async fn a_group_ahead_of_its_stream_is_an_error_because_it_gets_no_events() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    run(&mut conn, "XADD s 1-0 f v").await;
    run(&mut conn, "XGROUP CREATE s a 9-0").await;
    let health = Health::start(&server.url(), &[]).await;
    let group = &health.connected().await["consumer_groups"]["a"];
    assert_eq!(group["status"], "error");
    assert!(group["error"].as_str().unwrap().contains("ahead of the stream's last entry 1-0"));
}

#[tokio::test]
async fn a_primary_that_becomes_a_replica_counts_as_not_connected_until_it_is_one_again() {
    let (primary, server) = (RedisServer::start(), RedisServer::start());
    let health = Health::start(&server.url(), &[]).await;
    health.connected().await;
    let mut conn = server.connection().await;
    run(&mut conn, &format!("REPLICAOF 127.0.0.1 {}", primary.port())).await;
    health.unreachable("connected to a replica").await;
    health.answers("/readyz", 503, "connected to a replica\n").await;
    run(&mut server.connection().await, "REPLICAOF NO ONE").await;
    health.connected().await;
}

#[tokio::test]
async fn while_redis_hangs_it_answers_in_time_and_recovers_by_itself() {
    let server = RedisServer::start();
    let health = Health::start(&server.url(), &[]).await;
    health.connected().await;
    server.pause();
    // Once on the connection that hangs, and once without one.
    for _ in 0..2 {
        assert_eq!(health.events().await, unreachable("Redis does not answer within 1.5s"));
    }
    assert_eq!(health.get("/readyz").await.0, 503);
    assert_eq!(health.get("/livez").await.0, 200);
    server.resume();
    health.connected().await;
    health.answers("/readyz", 200, "").await;
}

#[tokio::test]
async fn while_redis_is_away_it_says_so_and_no_old_number_is_told() {
    let mut server = RedisServer::start();
    let mut conn = server.connection().await;
    run(&mut conn, "XGROUP CREATE s a $ MKSTREAM").await;
    let health = Health::start(&server.url(), &[]).await;
    health.connected().await;
    health.answers("/metrics", 200, "eventbus_group_lag{group=\"a\"} 0\n").await;
    server.stop();
    health.unreachable("cannot reach Redis").await;
    health.answers("/readyz", 503, "cannot reach Redis\n").await;
    assert_eq!(health.get("/livez").await.0, 200);
    let (status, metrics) = health.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("eventbus_redis_connected 0\n"), "{metrics}");
    assert!(!metrics.contains("eventbus_group_lag{"), "{metrics}");
    server.restart();
    health.connected().await;
}

#[tokio::test]
async fn a_service_that_started_before_redis_finds_it() {
    let mut server = RedisServer::start();
    server.stop();
    let health = Health::start(&server.url(), &[]).await;
    health.unreachable("cannot reach Redis").await;
    server.restart();
    health.connected().await;
}

#[tokio::test]
async fn a_lag_that_is_not_known_is_absent_from_the_metrics() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    run(&mut conn, "XADD s 1-0 f v").await;
    run(&mut conn, "XGROUP CREATE s a 0").await;
    run(&mut conn, "XGROUP CREATE s b 9-0").await;
    let health = Health::start(&server.url(), &[]).await;
    let metrics = wait::until("the lag is told", SOON, async || {
        let (_, metrics) = health.get("/metrics").await;
        metrics.contains("eventbus_group_lag{group=\"a\"} 1\n").then_some(metrics)
    })
    .await;
    assert!(metrics.contains("eventbus_stream_length 1\n"), "{metrics}");
    assert!(!metrics.contains("group=\"b\""), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
}

#[tokio::test]
async fn all_answers_come_over_one_connection() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let health = Health::start(&server.url(), &[]).await;
    health.connected().await;
    let before = stat(&mut conn, "total_connections_received").await;
    // After a look that was late on a busy machine the next one makes a new connection.
    let mut late = 0;
    for _ in 0..5 {
        let answers = join_all((0..10).map(|_| health.events())).await;
        late += answers.iter().filter(|answer| answer["redis_connected"] == false).count() as u64;
    }
    let made = stat(&mut conn, "total_connections_received").await - before;
    assert!(made <= late, "{made} more connections, {late} of 50 answers were late");
}

#[tokio::test]
async fn a_hundred_requests_while_redis_hangs_share_a_look_and_all_answer_in_time() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let health = Health::start(&server.url(), &[]).await;
    health.connected().await;
    let before = stat(&mut conn, "total_connections_received").await;
    server.pause();
    for answer in join_all((0..100).map(|_| health.events())).await {
        assert_eq!(answer["redis_connected"], false);
    }
    server.resume();
    health.connected().await;
    // The first look hangs on the old connection; stragglers take one of their own, and so does the last question.
    let connects = stat(&mut conn, "total_connections_received").await - before;
    assert!(connects < 50, "{connects} connections");
}

#[tokio::test]
async fn a_wrong_password_is_told_without_the_password_or_the_address() {
    let server = RedisServer::start();
    run(&mut server.connection().await, "ACL SETUSER default >right resetpass >right").await;
    let url = format!("redis://default:hunter2@127.0.0.1:{}", server.port());
    let health = Health::start(&url, &[]).await;
    health.unreachable("Redis refuses the user name or the password").await;
    let output = health.program.output();
    assert!(!output.contains("hunter2") && output.contains("cannot connect to Redis"), "{output}");
}

#[tokio::test]
async fn read_rights_and_credentials_from_files_are_enough() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    run(&mut conn, "XADD s 1-0 f v").await;
    run(&mut conn, "XGROUP CREATE s a 0").await;
    run(&mut conn, &format!("ACL SETUSER watcher on >secret +info {PERMISSIONS}")).await;
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (username, password) = (file("username", "watcher\n"), file("password", "secret\n"));
    let settings =
        [("REDIS_USERNAME_FILE", username.as_str()), ("REDIS_PASSWORD_FILE", password.as_str())];
    let health = Health::start(&server.url(), &settings).await;
    let group = &health.connected().await["consumer_groups"]["a"];
    assert_eq!((&group["status"], &group["lag"]), (&json!("ok"), &json!(1)));
}

#[tokio::test]
async fn a_user_who_may_not_ask_for_the_version_still_gets_the_numbers() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    run(&mut conn, "XGROUP CREATE s a $ MKSTREAM").await;
    run(&mut conn, &format!("ACL SETUSER watcher on >secret {PERMISSIONS}")).await;
    let url = format!("redis://watcher:secret@127.0.0.1:{}", server.port());
    let health = Health::start(&url, &[]).await;
    assert_eq!(health.connected().await["consumer_groups"]["a"]["status"], "ok");
}

#[tokio::test]
async fn a_user_who_may_not_read_the_stream_is_told_so_for_every_group() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    run(&mut conn, "XGROUP CREATE s a $ MKSTREAM").await;
    run(&mut conn, "ACL SETUSER blind on >secret +info +eval_ro +evalsha_ro").await;
    let url = format!("redis://blind:secret@127.0.0.1:{}", server.port());
    let health = Health::start(&url, &[]).await;
    let error = "the Redis user may not read s and the keys beside it";
    let expected = json!({"status": "error", "error": error});
    assert_eq!(health.connected().await["consumer_groups"]["a"], expected);
}

#[tokio::test]
async fn sigterm_ends_it_cleanly_also_while_redis_hangs() {
    let server = RedisServer::start();
    let mut health = Health::start(&server.url(), &[]).await;
    health.connected().await;
    server.pause();
    health.program.terminate();
    assert_eq!(health.program.ended(SOON).await.code(), Some(0));
}

#[tokio::test]
async fn wrong_settings_are_told_all_at_once_with_exit_status_2() {
    let settings = [("REDIS_URL", "http://h"), ("HEALTH_GROUPS", "a b"), ("LISTEN", "everywhere")];
    let mut program = Running::start("consumer", &["health"], &settings);
    assert_eq!(program.ended(SOON).await.code(), Some(2));
    let output = program.output();
    for (name, _) in settings {
        assert!(output.contains(name), "{output}");
    }
}
