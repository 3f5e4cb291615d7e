//! Reports in the log, and the permissions that trimming and a cap need.

use eventbus::config::{Overflow, TrimMode};
use tests::event_bus::refusal;
use tests::programs::Running;
use tests::subscriber::LONG;
use tests::wait;

use super::{Fixture, capped, keeping, publish, trimmed_below};

/// Log of the program `publish` while it publishes 450 events with these settings, in several rounds of trimming.
pub async fn logged(redis: &str, settings: &[(&str, &str)]) -> String {
    let mut all = vec![("REDIS_URL", redis), ("REDIS_STREAM_NAME", "s")];
    all.extend(settings);
    let args = ["--count", "450", "--rate", "1000"];
    let mut program = Running::start("publish", &args, &all);
    assert!(program.ended(LONG).await.success(), "{}", program.output());
    program.output()
}

#[tokio::test]
async fn a_group_that_holds_entries_back_is_named_once_with_their_number() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("fast", 1_000).await;
    s.group("slow", 0).await;
    let output = logged(&s.server.url(), &[("REDIS_MAX_ENTRIES", "100")]).await;
    let lines: Vec<&str> =
        output.lines().filter(|line| line.contains("cannot trim all entries")).collect();
    assert_eq!(lines.len(), 1, "{output}");
    assert!(lines[0].contains(r#"group="slow""#), "{output}");
    let entries = lines[0].split("entries=").nth(1).and_then(|rest| rest.split(' ').next());
    let entries: u64 = entries.expect("the number is logged").parse().unwrap();
    // It is logged in one of the first rounds, which come after every 100 publishes.
    assert!((1_000..=s.length().await).contains(&entries), "{output}");
}

#[tokio::test]
async fn a_missing_permission_to_trim_is_logged_once() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("g", 1_000).await;
    s.config_with("+xadd ~s").await;
    let url = format!("redis://u:p@127.0.0.1:{}", s.server.port());
    let output = logged(&url, &[("REDIS_MAX_ENTRIES", "100")]).await;
    assert_eq!(output.matches("no permission to trim").count(), 1, "{output}");
    // An event that was late is published again.
    assert!(s.length().await >= 1_450);
}

#[tokio::test]
async fn a_cap_that_the_user_may_not_keep_is_an_error_at_connect_that_names_what_is_missing() {
    let mut s = Fixture::new().await;
    let redis = s.config_with("+xadd ~s").await;
    let reject = capped(TrimMode::Acked, 500, Overflow::Reject);
    let error = refusal(s.bus_config(redis.clone(), &reject)).await;
    assert_eq!(
        error.to_string(),
        "cannot enforce the hard cap on stream s: the Redis user has no permission for XLEN"
    );
    assert!(error.is_auth() && !error.is_transient());
    s.run("ACL SETUSER u +xlen +xrange +xinfo +xpending +xtrim +eval").await;
    s.bus_as(redis.clone(), &reject).await;
    let drop_oldest = capped(TrimMode::Acked, 500, Overflow::DropOldest);
    let error = refusal(s.bus_config(redis, &drop_oldest)).await;
    assert_eq!(
        error.to_string(),
        "cannot enforce the hard cap on stream s: the Redis user has no permission for XACK, HINCRBY on the hash of losses, EVAL, EVALSHA"
    );
}

#[tokio::test]
async fn exactly_these_rights_are_enough_to_publish_and_to_drop_the_oldest() {
    let mut s = Fixture::new().await;
    let permissions = "+xadd +xlen +xrange +xtrim +xinfo|groups +xpending +xack +hincrby +eval +evalsha ~s ~{s}:eventbus:lost";
    let redis = s.config_with(permissions).await;
    let bus = s.bus_as(redis, &capped(TrimMode::None, 500, Overflow::DropOldest)).await;
    let keys: u32 = redis::cmd("DBSIZE").query_async(&mut s.conn).await.unwrap();
    assert_eq!(keys, 0, "trying the rights changes nothing");
    s.group("g", 0).await;
    wait::until("it drops", LONG, async || {
        publish(&bus, 50).await;
        s.lost().await.contains_key("g").then_some(())
    })
    .await;
}

#[tokio::test]
async fn exactly_these_rights_are_enough_to_publish_and_to_trim() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("g", 900).await;
    s.run("XREADGROUP GROUP g c COUNT 10 STREAMS s >").await;
    let permissions = "+xadd +xlen +xtrim +xinfo|stream +xinfo|groups +xpending +hgetall +eval +evalsha ~s ~{s}:eventbus:groups";
    let redis = s.config_with(permissions).await;
    let bus = s.bus_as(redis, &keeping(TrimMode::Acked, 100)).await;
    publish(&bus, 100).await;
    trimmed_below(&mut s, &bus, 500).await;
}
