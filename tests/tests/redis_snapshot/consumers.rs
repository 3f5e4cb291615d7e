//! The consumers of a group and their heartbeats.

use std::collections::BTreeMap;
use std::time::Duration;

use eventbus::observe::{ConsumerSource, Heartbeat};

use super::Fixture;

const HASH: &str = "{s}:eventbus:consumers:g";

fn heartbeat(at_ms: u64) -> Heartbeat {
    Heartbeat { at_ms, lease: Duration::from_secs(30) }
}

/// Field `at` of a heartbeat with a lease of 30 s.
fn stored(at_ms: u64) -> String {
    format!(r#"{{"v":1,"at":{at_ms},"lease":30000,"received":7,"later":true}}"#)
}

#[tokio::test]
async fn a_consumer_of_this_library_is_known_by_its_heartbeat_and_a_foreign_one_has_none() {
    let mut s = Fixture::new().await;
    s.run("XGROUP CREATE s g 0 MKSTREAM").await;
    for name in ["ours", "foreign", "odd"] {
        s.run(&format!("XGROUP CREATECONSUMER s g {name}")).await;
    }
    s.run(&format!("HSET {HASH} c:ours {} c:odd 17 swept 1", stored(5_000))).await;
    let facts = s.snapshot(&["g"]).await;
    let group = &facts.groups["g"];
    let found: BTreeMap<_, _> =
        group.consumers.iter().map(|c| (c.name.as_str(), c.heartbeat)).collect();
    let expected = [("ours", Some(heartbeat(5_000))), ("foreign", None), ("odd", None)];
    assert_eq!(found, BTreeMap::from(expected));
    assert_eq!(group.consumer_source, ConsumerSource::Heartbeats);
}

#[tokio::test]
async fn a_consumer_that_the_server_does_not_list_is_known_by_its_heartbeat() {
    let mut s = Fixture::new().await;
    s.run("XGROUP CREATE s g 0 MKSTREAM").await;
    s.run("XGROUP CREATECONSUMER s g m").await;
    let now = s.snapshot(&[]).await.server_ms;
    let (a, z) = (stored(now - 1_000), stored(now - 60_000));
    s.run(&format!("HSET {HASH} c:z {z} c:a {a} c:odd 17 c:eventbus:delayed {a}")).await;
    let facts = s.snapshot(&["g"]).await;
    let group = &facts.groups["g"];
    let found: Vec<_> =
        group.consumers.iter().map(|c| (c.name.as_str(), c.pending, c.heartbeat)).collect();
    let expected = [
        ("a", 0, Some(heartbeat(now - 1_000))),
        ("m", 0, None),
        ("z", 0, Some(heartbeat(now - 60_000))),
    ];
    assert_eq!(found, expected);
    let idle = Duration::from_millis(facts.server_ms - (now - 60_000));
    assert_eq!(group.consumers[2].idle, idle);
    let counts = group.consumer_source.count(&group.consumers, facts.server_ms).unwrap();
    assert_eq!((counts.total, counts.live, counts.stale), (3, 1, 2));
}

#[tokio::test]
async fn a_group_without_any_heartbeat_has_the_servers_list() {
    let mut s = Fixture::new().await;
    s.run("XGROUP CREATE s g 0 MKSTREAM").await;
    s.run("XGROUP CREATE s other 0").await;
    s.run("XGROUP CREATECONSUMER s g foreign").await;
    let facts = s.snapshot(&["g"]).await;
    let sources = ["g", "other"].map(|group| facts.groups[group].consumer_source);
    assert_eq!(sources, [ConsumerSource::ServerList, ConsumerSource::NotRead]);
    // All consumers of this library left.
    s.run(&format!("HSET {HASH} gone {{}}")).await;
    let facts = s.snapshot(&["g"]).await;
    assert_eq!(facts.groups["g"].consumer_source, ConsumerSource::Heartbeats);
}

#[tokio::test]
async fn a_hash_of_another_type_is_a_problem_of_its_group_whose_consumers_are_not_read() {
    let mut s = Fixture::new().await;
    s.run("XGROUP CREATE s g 0 MKSTREAM").await;
    s.run("XGROUP CREATECONSUMER s g c").await;
    s.run(&format!("SET {HASH} text")).await;
    let facts = s.snapshot(&["g"]).await;
    let group = &facts.groups["g"];
    let problem = group.problem.as_deref().unwrap();
    assert!(problem.starts_with("WRONGTYPE") && problem.contains(HASH), "{problem}");
    assert_eq!((group.consumer_source, &*group.consumers), (ConsumerSource::NotRead, &[][..]));
}

#[tokio::test]
async fn of_thousands_of_crashed_consumers_no_more_than_the_limit_are_returned() {
    let mut s = Fixture::new().await;
    s.run("XGROUP CREATE s g 0 MKSTREAM").await;
    s.run("XGROUP CREATECONSUMER s g listed").await;
    for page in 0..5 {
        let crashed = (0..1_000).map(|n| format!("c:{page}-{n} {}", stored(1)));
        s.run(&format!("HSET {HASH} {}", crashed.collect::<Vec<_>>().join(" "))).await;
    }
    s.run(&format!("HSET {HASH} c:listed {}", stored(5_000))).await;
    let facts = s.snapshot(&["g"]).await;
    let consumers = &facts.groups["g"].consumers;
    // The server returns whole buckets of its hash table.
    assert!((900..=1_200).contains(&consumers.len()), "{}", consumers.len());
    let listed = consumers.iter().find(|consumer| consumer.name == "listed").unwrap();
    assert_eq!(listed.heartbeat, Some(heartbeat(5_000)));
}
