//! IDs that fill their 64 bits, and names that look like something else.

use serde_json::json;
use tests::redis::RedisServer;

use super::call::{acknowledge, claim, delay};
use super::world::{DELAYED, Heartbeat, Report, SUSPECT, World, is_about, state};

/// Beyond 2^53 and 2^63, and the last there is; each differs from a neighbour in its last digit.
const IDS: [&str; 4] = [
    "9007199254740993-9007199254740993",
    "9223372036854775809-9223372036854775809",
    "18446744073709551614-18446744073709551615",
    "18446744073709551615-18446744073709551615",
];

/// Through every script but `next`, and to an end without a trace.
async fn whole_life(world: &mut World, id: &str) {
    world.set_field("c:other", r#"{"lease":30000}"#).await;
    world.give(id, "other", 700_000, 1).await;
    world.come_to(id).await;
    let report = world
        .heartbeat(Heartbeat { of_stream: &[id], search: (true, false), ..Heartbeat::default() })
        .await;
    assert_eq!((report.lost, report.moved), (vec![id.to_owned()], 1));
    assert_eq!(world.resume_point().await, json!({"v": 1, "before": id}));
    let (stream, group) = (world.stream.clone(), world.group.clone());
    let xclaim = ["XCLAIM", &stream, &group, SUSPECT, "0", id, "IDLE", "86400000", "JUSTID"];
    world.run(&xclaim).await;
    let fields = ["type", "t", "payload", "{}"];
    let claimed = world.call(claim("me", SUSPECT, "1")).await;
    assert_eq!(claimed, json!([[id, 2, fields]]));
    assert_eq!(world.call(delay("me", DELAYED, &[id, "2", "0"])).await, json!([1]));
    assert_eq!(world.call(claim("me", DELAYED, "1")).await, json!([[id, 3, fields]]));
    assert_eq!(
        world.heartbeat(Heartbeat { of_stream: &[id], ..Heartbeat::default() }).await,
        Report::default()
    );
    assert_eq!(world.try_dead_letter(id, &["dlq.id", id]).await.unwrap(), json!([1, 0]));
    assert_eq!(world.letters().await, [json!(["dlq.id", id, "type", "t", "payload", "{}"])]);
    let dead_letters = world.dead_letters.clone();
    let letter = world.run(&["XRANGE", &dead_letters, "-", "+"]).await[0][0].clone();
    let letter = letter.as_str().unwrap();
    assert_eq!(world.try_replay(letter).await.unwrap(), json!(1));
    assert_eq!(world.heartbeat(Heartbeat::default()).await.replays, 1);
    world.call_replays(claim("me", DELAYED, "1")).await;
    assert_eq!(world.call_replays(acknowledge("me", "1", &[letter])).await, json!(1));
    assert_eq!(world.letters().await, Vec::<serde_json::Value>::new());
    assert_eq!(world.pending().await, []);
    world.set_field("swept", "0").await;
}

#[tokio::test]
async fn ids_of_any_64_bits_go_through_every_script() {
    let mut world = World::start().await;
    for id in IDS {
        whole_life(&mut world, id).await;
    }
    assert_eq!(world.try_leave(&[]).await.unwrap(), json!(1));
}

#[tokio::test]
async fn ids_that_differ_in_their_last_digit_alone_are_two() {
    let mut world = World::start().await;
    let (one, other) = ("9007199254740992-9007199254740992", "9007199254740992-9007199254740993");
    world.give(one, "me", 20_000, 1).await;
    world.give(other, "other", 20_000, 1).await;
    let heartbeat = Heartbeat { of_stream: &[one, other], ..Heartbeat::default() };
    assert_eq!(world.heartbeat(heartbeat).await.lost, [other]);
    assert!(is_about(world.idle(one).await, 0));
    assert_eq!(world.call(acknowledge("me", "0", &[one])).await, json!(1));
    assert_eq!(world.pending().await, [state(other, "other", 1)]);
}

#[tokio::test]
async fn in_order_ids_of_any_64_bits_follow_each_other() {
    let mut world = World::start().await;
    for id in IDS {
        world.add(id).await;
    }
    let mut done = "";
    for id in IDS {
        let reply = world.try_next("me", done).await.unwrap();
        assert_eq!((&reply[0], &reply[3]), (&json!(1), &json!(id)));
        done = id;
    }
    let reply = world.try_next("me", done).await.unwrap();
    assert_eq!(reply, json!([1, "empty", IDS[3]]));
}

#[tokio::test]
async fn names_of_odd_characters_are_names() {
    let names = [
        ("a:b", "{a:b}", "g:h"),
        ("x{tag}y", "x{tag}y", "group"),
        ("Büro/日本", "{Büro/日本}", "größe"),
        ("1-0", "{1-0}", "0"),
        ("%s\\n'\"]]", "{%s\\n'\"]]}", "--[[ g"),
        ("$", "{$}", ">"),
    ];
    for (stream, prefix, group) in names {
        let mut world = World::on(RedisServer::start(), stream, prefix, group).await;
        whole_life(&mut world, "1-0").await;
        world.come_to("0-0").await;
        let reply = world.try_next("me", "").await.unwrap();
        assert_eq!(reply[1], json!("entry"), "{stream}: it was never read");
        assert_eq!(world.try_next("me", "1-0").await.unwrap(), json!([1, "empty", "1-0"]));
        assert_eq!(world.try_leave(&[]).await.unwrap(), json!(1), "{stream}");
    }
}

#[tokio::test]
async fn a_consumers_name_may_look_like_an_option() {
    for me in ["JUSTID", "IDLE", "0", "c:me", "-", "eventbus:delayed2"] {
        let mut world = World::start().await;
        world.give("1-0", me, 20_000, 1).await;
        let report =
            world.heartbeat(Heartbeat { me, of_stream: &["1-0"], ..Heartbeat::default() }).await;
        assert_eq!(report, Report::default(), "{me}");
        assert!(is_about(world.idle("1-0").await, 0), "{me}");
        assert_eq!(world.call(delay(me, DELAYED, &["1-0", "1", "0"])).await, json!([1]), "{me}");
        world.call(claim(me, DELAYED, "1")).await;
        assert_eq!(world.pending().await, [state("1-0", me, 2)], "{me}");
    }
}
