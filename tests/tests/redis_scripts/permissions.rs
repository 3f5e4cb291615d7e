//! The permissions that a consumer's user needs, and the error for a missing one.

use redis::RedisError;
use serde_json::{Value, json};

use super::call::{acknowledge, claim, delay};
use super::world::{DELAYED, Heartbeat, LEASE, World, state};

/// Without any of these something cannot be done.
const NEEDED: [&str; 10] = [
    "xpending",
    "xclaim",
    "xack",
    "xdel",
    "xrange",
    "xadd",
    "xlen",
    "xgroup|delconsumer",
    "xreadgroup",
    "time",
];
/// Without these nothing is lost but what people are shown, and what a lost group would resume from.
const REPORTED: [&str; 4] = ["xinfo|groups", "hget", "hset", "hdel"];

impl World {
    /// Goes on as a user with these permissions to the group's keys alone.
    async fn become_user_with(&mut self, permissions: &[&str]) {
        let permissions: Vec<String> =
            permissions.iter().map(|right| format!("+{right}")).collect();
        let permissions = permissions.iter().map(String::as_str);
        let user = ["ACL", "SETUSER", "consumer", "on", ">p", "resetchannels", "+eval"];
        let keys = ["~s", "~{s}:dlq:g", "~{s}:eventbus:consumers:g"];
        let words: Vec<&str> = user.into_iter().chain(keys).chain(permissions).collect();
        self.run(&words).await;
        self.conn = self.server.connection_as("consumer", "p").await;
    }
}

/// One look, one retry, one dead letter, one replay, one event in order, then leaves.
async fn work(world: &mut World) -> Result<(), RedisError> {
    let heartbeat =
        Heartbeat { of_stream: &["1-0", "2-0"], search: (true, true), ..Heartbeat::default() };
    world.try_heartbeat(heartbeat).await?;
    let retried = world.try_call(delay("me", DELAYED, &["1-0", "1", "0"])).await?;
    assert_eq!(retried, json!([1]));
    world.try_call(claim("me", DELAYED, "1")).await?;
    assert_eq!(world.try_dead_letter("2-0", &["dlq.reason", "rejected"]).await?, json!([1, 0]));
    let finished = world.try_call(acknowledge("me", "0", &["1-0"])).await?;
    assert_eq!(finished, json!(1));
    world.try_call(claim("me", DELAYED, "1").with("source", "{s}:dlq:g")).await?;
    let replayed =
        world.try_call(acknowledge("me", "1", &["1-0"]).with("source", "{s}:dlq:g")).await?;
    assert_eq!(replayed, json!(1));
    let next = world.try_next("me", "").await?;
    assert_eq!(next[1], json!("entry"));
    world.try_call(acknowledge("me", "0", &["3-0"])).await?;
    world.try_leave(&["received", "3"]).await.map(|_| ())
}

/// Two events in flight, one that nobody read, and a dead letter to replay.
async fn with_work() -> World {
    let mut world = World::start().await;
    for id in ["1-0", "2-0", "3-0"] {
        world.add(id).await;
    }
    let read = ["XREADGROUP", "GROUP", "g", "me", "COUNT", "2", "STREAMS", "s", ">"];
    world.run(&read).await;
    world.give_replay("1-0", DELAYED, super::world::DAY, 0).await;
    world
}

#[tokio::test]
async fn with_exactly_a_consumers_permissions_everything_is_done() {
    let mut world = with_work().await;
    world.become_user_with(&[NEEDED.as_slice(), &REPORTED].concat()).await;
    work(&mut world).await.unwrap();
    world.conn = world.server.connection().await;
    assert_eq!(world.pending().await, []);
    assert_eq!(world.json("gone").await["received"], json!(3));
    assert_eq!(world.json("resume").await["v"], json!(1));
    assert_eq!(world.consumers("s").await, [DELAYED]);
}

#[tokio::test]
async fn without_permission_for_the_hash_no_lease_and_no_event_is_lost() {
    let mut world = with_work().await;
    let last_delivered = REPORTED[0];
    world.become_user_with(&[NEEDED.as_slice(), &[last_delivered]].concat()).await;
    work(&mut world).await.unwrap();
    world.conn = world.server.connection().await;
    assert_eq!(world.pending().await, []);
    assert_eq!(world.run(&["EXISTS", "{s}:eventbus:consumers:g"]).await, json!(0));
}

#[tokio::test]
async fn without_permission_to_read_groups_leases_are_renewed_and_no_resume_point_is_stored() {
    let mut world = World::start().await;
    let hash = REPORTED.into_iter().filter(|right| *right != "xinfo|groups").collect::<Vec<_>>();
    world.become_user_with(&[NEEDED.as_slice(), &hash].concat()).await;
    world.heartbeat(Heartbeat::default()).await;
    assert_eq!(world.json("c:me").await["v"], json!(1));
    assert_eq!(world.field("resume").await, Value::Null);
}

#[tokio::test]
async fn a_missing_permission_is_reported() {
    for missing in NEEDED {
        let mut world = with_work().await;
        let permissions: Vec<&str> = NEEDED.into_iter().filter(|right| *right != missing).collect();
        world.become_user_with(&[permissions.as_slice(), &REPORTED].concat()).await;
        let error = work(&mut world).await.unwrap_err().to_string();
        // Inside a script it is told by its text alone, which is not the same on all servers.
        let texts = ["executing the script can't", "ACL failure in script", "NOPERM"];
        assert!(texts.iter().any(|text| error.contains(text)), "{missing}: {error}");
    }
}

#[tokio::test]
async fn a_dead_letter_that_may_not_be_written_leaves_its_entry_pending() {
    let mut world = World::start().await;
    world.give("1-0", "me", LEASE, 5).await;
    let permissions: Vec<&str> = NEEDED.into_iter().filter(|right| *right != "xadd").collect();
    world.become_user_with(&permissions).await;
    let code = world.try_dead_letter("1-0", &["dlq.reason", "x"]).await.unwrap_err();
    assert!(matches!(code.code(), Some("NOPERM" | "ERR")), "{code}");
    world.conn = world.server.connection().await;
    assert_eq!(world.pending().await, [state("1-0", "me", 5)]);
    assert_eq!(world.letters().await, Vec::<Value>::new());
}
