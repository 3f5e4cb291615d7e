//! Trimming: what goes, and what is kept.

use eventbus::admin;
use eventbus::admin::{TrimHold, Trimmed};
use eventbus::config::TrimMode;

use super::{Fixture, HOLD, keeping, publish, trimmed_below};

fn trimmed(removed: u64, length: u64, hold: Option<TrimHold>) -> Trimmed {
    Trimmed { removed, length, hold, released: Vec::new() }
}

#[tokio::test]
async fn publishing_trims_what_is_finished_down_to_what_is_to_be_kept() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("g", 1_000).await;
    let bus = s.bus(&keeping(TrimMode::Acked, 300)).await;
    publish(&bus, 100).await;
    // What was published is not read yet; of the rest, nodes of 100 are left.
    trimmed_below(&mut s, &bus, 500).await;
    assert!(s.length().await >= 300);
}

#[tokio::test]
async fn what_a_slow_group_has_not_read_is_kept_however_much_it_is() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("fast", 1_000).await;
    s.group("slow", 400).await;
    assert_eq!(s.trim(100).await.removed, 300);
    let hold = TrimHold::Behind { group: "slow".to_owned(), entries: 600 };
    assert_eq!(s.trim(100).await, trimmed(0, 700, Some(hold)));
}

#[tokio::test]
async fn what_is_pending_is_kept_though_it_was_delivered() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("g", 200).await;
    s.run("XREADGROUP GROUP g c COUNT 800 STREAMS s >").await;
    assert_eq!(s.trim(100).await.removed, 200);
    let mut acknowledge = redis::cmd("XACK");
    acknowledge.arg("s").arg("g").arg((201..=1_000).map(|n| format!("{n}-0")).collect::<Vec<_>>());
    acknowledge.exec_async(&mut s.conn).await.unwrap();
    assert_eq!(s.trim(100).await, trimmed(700, 100, None));
}

#[tokio::test]
async fn a_position_that_was_set_back_keeps_what_is_to_be_read_again() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("g", 1_000).await;
    s.run("XGROUP SETID s g 300-0").await;
    assert_eq!(s.trim(100).await.removed, 200);
}

#[tokio::test]
async fn a_position_that_was_set_back_counts_though_something_younger_is_pending() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("g", 900).await;
    s.run("XREADGROUP GROUP g c COUNT 1 STREAMS s >").await;
    s.run("XGROUP SETID s g 300-0").await;
    assert_eq!(s.trim(100).await.removed, 200);
}

#[tokio::test]
async fn nothing_is_trimmed_without_a_group() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    let hold = Some(TrimHold::NoGroup);
    assert_eq!(s.trim(100).await, trimmed(0, 1_000, hold));
}

#[tokio::test]
async fn nothing_is_trimmed_while_a_group_is_ahead_of_the_stream() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("g", 1_000).await;
    s.group("h", 1_001).await;
    assert_eq!(s.trim(100).await.hold, Some(TrimHold::Ahead { group: "h".to_owned() }));
    assert_eq!(s.length().await, 1_000);
}

#[tokio::test]
async fn a_stream_that_is_missing_or_short_is_left_as_it_is() {
    let mut s = Fixture::new().await;
    assert_eq!(s.trim(100).await, trimmed(0, 0, None));
    assert_eq!(s.run("EXISTS s").await, redis::Value::Int(0));
    s.add(1, 100).await;
    s.group("g", 100).await;
    assert_eq!(s.trim(100).await, trimmed(0, 100, None));
}

#[tokio::test]
async fn a_key_of_another_type_is_an_error_that_names_the_stream() {
    let mut s = Fixture::new().await;
    s.run("SET s x").await;
    let error = admin::trim(&mut s.conn, &s.stream, 1, HOLD).await.unwrap_err();
    assert!(error.is_wrong_type() && error.to_string() == "cannot trim on stream s", "{error:?}");
    let error = admin::drop_oldest(&mut s.conn, &s.stream, 1, 0).await.unwrap_err();
    assert!(error.is_wrong_type(), "{error:?}");
}

#[tokio::test]
async fn with_maxlen_the_oldest_go_whether_they_were_read_or_not() {
    let mut s = Fixture::new().await;
    s.group("g", 0).await;
    let bus = s.bus(&keeping(TrimMode::MaxLen, 100)).await;
    publish(&bus, 500).await;
    assert!((100..200).contains(&s.length().await));
}

#[tokio::test]
async fn with_none_nothing_is_trimmed() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("g", 1_000).await;
    let bus = s.bus(&keeping(TrimMode::None, 100)).await;
    let again = publish(&bus, 250).await;
    // A bus that trims would have been at it by now: it answers after what is sent later on the same connection.
    let other = s.bus(&keeping(TrimMode::Acked, 100)).await;
    assert!((1_250..=1_250 + again).contains(&s.length().await));
    publish(&other, 100).await;
    trimmed_below(&mut s, &other, 700).await;
}

#[tokio::test]
async fn a_publisher_that_may_not_trim_goes_on() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("g", 1_000).await;
    let redis = s.config_with("+xadd ~s").await;
    let bus = s.bus_as(redis, &keeping(TrimMode::Acked, 100)).await;
    let again = publish(&bus, 350).await;
    assert!((1_350..=1_350 + again).contains(&s.length().await));
}

#[tokio::test]
async fn a_right_that_trimming_needs_inside_its_script_is_told_as_missing() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("g", 1_000).await;
    s.config_with("+eval +evalsha +xlen +xinfo ~s ~{s}:eventbus:groups").await;
    let mut conn = s.server.connection_as("u", "p").await;
    let error = admin::trim(&mut conn, &s.stream, 100, HOLD).await.unwrap_err();
    assert_eq!(error.code(), Some("NOPERM"), "{error:?}");
}
