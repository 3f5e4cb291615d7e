//! heartbeat.lua: the fields of the consumers' hash.

use serde_json::json;

use super::world::{DELAYED, Heartbeat, Report, World, is_about};

#[tokio::test]
async fn a_consumers_counts_are_stored_with_the_servers_time() {
    let mut world = World::start().await;
    let state = r#"{"v":1,"lease":30000,"received":7,"handler":"http"}"#;
    let now = world.now().await;
    world.heartbeat(Heartbeat { state, ..Heartbeat::default() }).await;
    let stored = world.json("c:me").await;
    assert!(is_about(stored["at"].as_u64().unwrap(), now), "{stored}");
    assert_eq!((&stored["v"], &stored["lease"]), (&json!(1), &json!(30_000)));
    assert_eq!((&stored["received"], &stored["handler"]), (&json!(7), &json!("http")));
}

#[tokio::test]
async fn the_group_would_resume_before_its_oldest_pending_entry_whoever_has_it() {
    let mut world = World::start().await;
    world.add("1-0").await;
    world.give("2-0", DELAYED, 0, 1).await;
    world.give("3-0", "me", 0, 1).await;
    world.come_to("3-0").await;
    world.heartbeat(Heartbeat { of_stream: &["3-0"], ..Heartbeat::default() }).await;
    assert_eq!(world.resume_point().await, json!({"v": 1, "before": "2-0"}));
}

#[tokio::test]
async fn with_nothing_pending_it_would_resume_after_the_last_one_delivered() {
    let mut world = World::start().await;
    world.run(&["XGROUP", "CREATE", "s", "another", "9-0"]).await;
    world.add("1-0").await;
    world.run(&["XREADGROUP", "GROUP", "g", "me", "STREAMS", "s", ">"]).await;
    world.run(&["XACK", "s", "g", "1-0"]).await;
    world.add("2-0").await;
    world.heartbeat(Heartbeat::default()).await;
    assert_eq!(world.resume_point().await, json!({"v": 1, "after": "1-0"}));
}

#[tokio::test]
async fn after_its_position_was_set_back_it_would_resume_there_whatever_is_pending_beyond() {
    let mut world = World::start().await;
    world.add("9-0").await;
    world.give("10-0", "other", 0, 1).await;
    world.come_to("9-0").await;
    world.heartbeat(Heartbeat::default()).await;
    assert_eq!(world.resume_point().await, json!({"v": 1, "after": "9-0"}));
}

#[tokio::test]
async fn the_resume_point_is_before_an_entry_that_the_heartbeat_itself_releases() {
    let mut world = World::start().await;
    world.give("1-0", "me", 90_000, 1).await;
    world.come_to("1-0").await;
    world.heartbeat(Heartbeat { search: (true, true), ..Heartbeat::default() }).await;
    assert_eq!(world.resume_point().await, json!({"v": 1, "before": "1-0"}));
}

#[tokio::test]
async fn a_hash_of_another_type_costs_no_lease() {
    let mut world = World::start().await;
    world.run(&["SET", "{s}:eventbus:consumers:g", "x"]).await;
    world.give("1-0", "me", 20_000, 1).await;
    world.give("2-0", "stranger", 20_000, 1).await;
    let heartbeat = Heartbeat { of_stream: &["1-0"], search: (true, true), ..Heartbeat::default() };
    assert_eq!(world.heartbeat(heartbeat).await, Report::default());
    assert!(is_about(world.idle("1-0").await, 0));
}
