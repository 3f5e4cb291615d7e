//! Declared groups that are missing: how long they hold trimming back.

use std::time::Duration;

use eventbus::Metrics;
use eventbus::admin::TrimHold;
use eventbus::config::TrimMode;
use prometheus_client::registry::Registry;
use tests::event_bus::connect_with_metrics;
use tests::subscriber::LONG;
use tests::wait;

use super::permissions::logged;
use super::{Fixture, HOLD, keeping, publish};

const OWNED: &str = r#"{"v":1,"namespace":"shop","name":"orders","uid":"u-1","types":[]}"#;
const UNOWNED: &str = r#"{"v":1,"types":[]}"#;

/// A declaration of a group that is missing since `ms`.
fn missing_since(declaration: &str, ms: u64) -> String {
    declaration.replace('}', &format!(",\"missingSince\":{ms}}}"))
}

impl Fixture {
    /// A thousand entries that group `g` has finished; group `h` is declared and missing.
    async fn with_missing(declaration: &str) -> Self {
        let mut s = Self::new().await;
        s.add(1, 1_000).await;
        s.group("g", 1_000).await;
        s.declare("h", declaration).await;
        s
    }

    async fn declare(&mut self, group: &str, declaration: &str) {
        self.run(&format!("HSET {{s}}:eventbus:groups {group} {declaration}")).await;
    }

    async fn declaration(&mut self, group: &str) -> String {
        let key = self.stream.groups_key();
        redis::cmd("HGET").arg(key).arg(group).query_async(&mut self.conn).await.unwrap()
    }

    /// The server's clock less `hold`, in ms.
    async fn now_less(&mut self, hold: Duration) -> u64 {
        let (seconds, _): (u64, u64) =
            redis::cmd("TIME").query_async(&mut self.conn).await.unwrap();
        (seconds - hold.as_secs()) * 1_000
    }
}

fn hold(group: &str) -> Option<TrimHold> {
    Some(TrimHold::Missing { group: group.to_owned() })
}

#[tokio::test]
async fn nothing_is_trimmed_while_a_declared_group_is_missing() {
    let mut s = Fixture::with_missing(r#"{"v":1,"of":"tomorrow"}"#).await;
    s.declare("g", "not-json").await;
    assert_eq!(s.trim(100).await.hold, hold("h"));
    s.group("h", 1_000).await;
    assert_eq!(s.trim(100).await.removed, 900);
    assert_eq!(s.declaration("g").await, "not-json");
}

#[tokio::test]
async fn the_time_when_a_group_was_first_found_missing_is_kept_in_its_declaration() {
    let mut s = Fixture::with_missing(UNOWNED).await;
    let before = s.now_less(Duration::ZERO).await;
    s.trim(100).await;
    let first = s.declaration("h").await;
    let (declaration, since) = first.split_once(",\"missingSince\":").unwrap();
    assert_eq!(declaration, UNOWNED.trim_end_matches('}'));
    let since: u64 = since.trim_end_matches('}').parse().unwrap();
    let after = s.now_less(Duration::ZERO).await + 1_000;
    assert!((before..=after).contains(&since), "{since} is not from {before} to {after}");
    s.trim(100).await;
    assert_eq!(s.declaration("h").await, first);
}

#[tokio::test]
async fn a_missing_group_without_owner_holds_for_the_set_time_and_no_longer() {
    let mut s = Fixture::with_missing(UNOWNED).await;
    let almost = s.now_less(HOLD - LONG).await;
    s.declare("h", &missing_since(UNOWNED, almost)).await;
    let trimmed = s.trim(100).await;
    assert_eq!((trimmed.removed, trimmed.hold), (0, hold("h")));
    assert!(trimmed.released.is_empty());
    let too_long = s.now_less(HOLD).await;
    s.declare("h", &missing_since(UNOWNED, too_long)).await;
    let trimmed = s.trim(100).await;
    assert_eq!((trimmed.removed, trimmed.hold), (900, None));
    assert_eq!(trimmed.released, ["h"]);
}

#[tokio::test]
async fn a_missing_group_with_an_owner_or_an_unreadable_declaration_holds_without_end() {
    for declaration in [OWNED, r#"{"v":1,"uid":"#, "[]", "7"] {
        let mut s = Fixture::with_missing(&missing_since(declaration, 1)).await;
        let trimmed = s.trim(100).await;
        assert_eq!((trimmed.removed, trimmed.hold), (0, hold("h")), "{declaration}");
        assert_eq!(s.declaration("h").await, missing_since(declaration, 1));
    }
}

#[tokio::test]
async fn one_group_that_still_holds_is_enough_and_all_are_noted_as_missing() {
    let mut s = Fixture::with_missing(&missing_since(UNOWNED, 1)).await;
    s.declare("i", OWNED).await;
    s.declare("j", UNOWNED).await;
    let trimmed = s.trim(100).await;
    assert_eq!((trimmed.removed, trimmed.released), (0, vec!["h".to_owned()]));
    assert!(s.declaration("j").await.contains("missingSince"));
    s.group("i", 1_000).await;
    assert_eq!(s.trim(100).await.hold, hold("j"));
}

#[tokio::test]
async fn a_group_that_is_back_and_goes_missing_again_holds_from_then_on() {
    for since in ["{\"missingSince\":1,\"v\":1}", "{\"v\":1, \"missingSince\" : 1}"] {
        let mut s = Fixture::new().await;
        s.add(1, 1_000).await;
        s.group("g", 1_000).await;
        let mut declare = redis::cmd("HSET");
        declare.arg(s.stream.groups_key()).arg("h").arg(since);
        declare.exec_async(&mut s.conn).await.unwrap();
        s.group("h", 900).await;
        assert!(s.trim(500).await.removed > 0);
        assert_eq!(s.declaration("h").await, r#"{"v":1}"#);
        s.run("XGROUP DESTROY s h").await;
        assert_eq!(s.trim(100).await.hold, hold("h"));
    }
}

#[tokio::test]
async fn a_time_in_the_future_counts_as_now() {
    let mut s = Fixture::with_missing(&missing_since(UNOWNED, 9_000_000_000_000)).await;
    let before = s.now_less(Duration::ZERO).await;
    assert_eq!(s.trim(100).await.hold, hold("h"));
    let declaration = s.declaration("h").await;
    let since = declaration.split("\"missingSince\":").nth(1).unwrap().trim_end_matches('}');
    assert!((before..9_000_000_000_000).contains(&since.parse().unwrap()), "{declaration}");
}

#[tokio::test]
async fn where_the_declaration_cannot_be_written_a_missing_group_holds() {
    let mut s = Fixture::with_missing(UNOWNED).await;
    let permissions = "+xadd +xlen +xtrim +xinfo|stream +xinfo|groups +xpending +hgetall +time +eval +evalsha ~s ~{s}:eventbus:groups";
    s.config_with(permissions).await;
    let mut conn = s.server.connection_as("u", "p").await;
    let trimmed = eventbus::admin::trim(&mut conn, &s.stream, 100, Duration::ZERO).await.unwrap();
    assert_eq!((trimmed.removed, trimmed.hold), (0, hold("h")));
    assert_eq!(s.declaration("h").await, UNOWNED);
}

#[tokio::test]
async fn a_bus_trims_past_a_missing_group_after_the_hold_that_is_set_and_counts_it_once() {
    let s = Fixture::with_missing(UNOWNED).await;
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let config = s.bus_config(s.server.config(), &keeping(TrimMode::Acked, 300));
    let config = config.with_missing_group_hold(Duration::ZERO);
    let bus = connect_with_metrics(config, &metrics).await;
    let mut s = s;
    for _ in 0..2 {
        s.add_later(1_000).await;
        s.run("XGROUP SETID s g $").await;
        super::trimmed_below(&mut s, &bus, 600).await;
    }
    publish(&bus, 1).await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let line = r#"eventbus_missing_groups_released_total{stream="s",group="h"} 1"#;
    assert!(text.lines().any(|counted| counted == line), "{text}");
}

#[tokio::test]
async fn a_missing_group_that_no_longer_holds_is_named_once_with_the_way_out() {
    let s = Fixture::with_missing(&missing_since(UNOWNED, 1)).await;
    let output = logged(&s.server.url(), &[("REDIS_MAX_ENTRIES", "100")]).await;
    let lines: Vec<&str> = output.lines().filter(|line| line.contains("no longer holds")).collect();
    assert_eq!(lines.len(), 1, "{output}");
    assert!(
        lines[0].contains(r#"group="h""#) && lines[0].contains("forget_consumer_group"),
        "{output}"
    );
}

#[tokio::test]
async fn the_hold_is_read_from_its_setting() {
    let mut s = Fixture::with_missing(UNOWNED).await;
    let settings = [("REDIS_MAX_ENTRIES", "100"), ("REDIS_MISSING_GROUP_HOLD", "0s")];
    let output = logged(&s.server.url(), &settings).await;
    assert!(output.contains("no longer holds"), "{output}");
    wait::until("it has trimmed", LONG, async || (s.length().await < 1_000).then_some(())).await;
    s.declare("h", UNOWNED).await;
    s.add_later(1_000).await;
    let output = logged(&s.server.url(), &settings[..1]).await;
    assert!(!output.contains("no longer holds"), "{output}");
    assert!(output.contains("a declared group is missing"), "{output}");
}
