//! A monitor: its connection, what it refuses, and the errors by which its user decides.

use std::time::Duration;

use eventbus::config::{CredentialFiles, RedisConfig};
use eventbus::observe::{GroupRequest, GroupView, Lag, LagSource, Monitor, MonitorError};
use eventbus::{StreamKey, chain};
use tests::redis::RedisServer;
use tests::wait;

use super::Fixture;

/// Far beyond what a read takes, on a busy machine too.
const LIMIT: Duration = Duration::from_secs(60);

fn monitor(redis: RedisConfig) -> Monitor {
    Monitor::new(redis, StreamKey::new("s").unwrap(), LIMIT)
}

/// The ID of a monitor's connection.
async fn client_id(monitor: &Monitor) -> u64 {
    let mut conn = monitor.connection().await.unwrap();
    redis::cmd("CLIENT").arg("ID").query_async(&mut conn).await.unwrap()
}

#[tokio::test]
async fn a_snapshot_has_every_group_and_of_those_asked_for_also_dead_letters() {
    let mut s = Fixture::new().await;
    s.add(1, 4).await;
    s.run("XGROUP CREATE s a 1-0").await;
    s.run("XGROUP CREATE s b 0").await;
    s.run("XADD shared-{s} 1-0 dlq.group a").await;
    let monitor = monitor(s.server.config());
    let request =
        GroupRequest { dead_letters: StreamKey::new("shared-{s}").unwrap(), ..s.request("a") };
    let snapshot = monitor.read(&[request]).await.unwrap();
    let [a, b] = ["a", "b"].map(|group| GroupView::new(snapshot.clone(), group));
    assert_eq!(a.facts().unwrap().dead_letters.unwrap().length, 1);
    assert_eq!(b.facts().unwrap().dead_letters, None);
    assert_eq!(a.lag().value, Some(3));
    assert_eq!(b.lag(), Lag::new(4, LagSource::Exact));
    let all = monitor.read_all().await.unwrap();
    let letters = |group: &str| all.stream.groups[group].dead_letters.unwrap().length;
    assert_eq!((letters("a"), letters("b")), (0, 0));
}

#[tokio::test]
async fn reads_and_single_operations_share_one_connection_until_it_fails() {
    let mut s = Fixture::new().await;
    let monitor = monitor(s.server.config());
    monitor.read_all().await.unwrap();
    let first = client_id(&monitor).await;
    monitor.read_all().await.unwrap();
    assert_eq!(client_id(&monitor).await, first);
    s.run(&format!("CLIENT KILL ID {first}")).await;
    // The read itself connects again.
    monitor.read_all().await.unwrap();
    assert!(client_id(&monitor).await > first);
}

#[tokio::test]
async fn a_server_that_stopped_is_unreachable_and_found_again() {
    let mut server = RedisServer::start();
    let monitor = monitor(server.config());
    monitor.read_all().await.unwrap();
    server.stop();
    let error = monitor.read_all().await.unwrap_err();
    assert!(matches!(error, MonitorError::Unreachable(_)), "{error:?}");
    server.restart();
    let run_id = monitor.read_all().await.unwrap().server.run_id.clone();
    assert_eq!(run_id.len(), 40);
}

#[tokio::test]
async fn a_server_that_hangs_is_unreachable_after_the_limit() {
    let server = RedisServer::start();
    let limit = Duration::from_millis(200);
    let monitor = Monitor::new(server.config(), StreamKey::new("s").unwrap(), limit);
    server.pause();
    let error = wait::within("the read ends", LIMIT, monitor.read_all()).await.unwrap_err();
    server.resume();
    assert!(matches!(error, MonitorError::Unreachable(_)), "{error:?}");
    assert_eq!(chain(&error), "cannot read the groups on stream s: no answer within 200ms");
}

#[tokio::test]
async fn a_replica_is_refused_until_it_is_a_primary_again() {
    let (primary, server) = (RedisServer::start(), RedisServer::start());
    let replica_of =
        |host: &str, port: &str| redis::cmd("REPLICAOF").arg(host).arg(port).to_owned();
    let mut conn = server.connection().await;
    let port = primary.port().to_string();
    replica_of("127.0.0.1", &port).exec_async(&mut conn).await.unwrap();
    let monitor = monitor(server.config());
    let error = monitor.read_all().await.unwrap_err();
    assert!(matches!(error, MonitorError::Replica { .. }), "{error:?}");
    replica_of("NO", "ONE").exec_async(&mut server.connection().await).await.unwrap();
    monitor.read_all().await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_and_missing_permissions_are_errors_of_authentication() {
    let mut s = Fixture::new().await;
    s.run("ACL SETUSER blind on >secret +info +eval_ro +evalsha_ro").await;
    for login in ["default:wrong", "blind:secret"] {
        let url = format!("redis://{login}@127.0.0.1:{}", s.server.port());
        let redis = RedisConfig::new("url", &url, CredentialFiles::default()).unwrap();
        if login.starts_with("default") {
            s.run("ACL SETUSER default resetpass >right").await;
        }
        let error = monitor(redis).read_all().await.unwrap_err();
        assert!(matches!(error, MonitorError::AuthFailed(_)), "{login}: {error:?}");
    }
}

#[tokio::test]
async fn a_key_of_another_type_is_told_from_an_unreachable_server() {
    let mut s = Fixture::new().await;
    let monitor = monitor(s.server.config());
    assert!(!monitor.read_all().await.unwrap().stream.exists);
    let first = client_id(&monitor).await;
    s.run("SET s text").await;
    let error = monitor.read_all().await.unwrap_err();
    assert!(matches!(error, MonitorError::WrongType(_)), "{error:?}");
    assert_eq!(client_id(&monitor).await, first, "the connection was right");
}
