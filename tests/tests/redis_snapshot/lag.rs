//! The lag of groups after everything that makes a server's own number wrong or absent.

use eventbus::observe::{Lag, LagReader, LagSource};

use crate::Fixture;

#[tokio::test]
async fn a_group_that_was_trimmed_past_lags_by_what_is_left() {
    let mut s = Fixture::new().await;
    s.add(1, 10).await;
    s.run("XGROUP CREATE s g 0").await;
    s.run("XREADGROUP GROUP g c COUNT 2 STREAMS s >").await;
    s.run("XTRIM s MAXLEN 3").await;
    assert_eq!(s.lag("g").await, Lag::new(3, LagSource::Exact));
}

#[tokio::test]
async fn a_deleted_undelivered_entry_is_no_lag() {
    let mut s = Fixture::new().await;
    s.add(1, 10).await;
    s.run("XGROUP CREATE s g 0").await;
    s.run("XREADGROUP GROUP g c COUNT 4 STREAMS s >").await;
    s.run("XDEL s 7-0").await;
    assert_eq!(s.snapshot(&[]).await.groups["g"].reported_lag, None);
    assert_eq!(s.lag("g").await, Lag::new(5, LagSource::Counted));
}

#[tokio::test]
async fn a_group_ahead_of_the_stream_has_no_lag_and_an_empty_stream_leaves_none() {
    let mut s = Fixture::new().await;
    s.add(1, 2).await;
    s.run("XGROUP CREATE s ahead 9-0").await;
    s.run("XGROUP CREATE s behind 0").await;
    s.run("XTRIM s MAXLEN 0").await;
    let lags = s.lags().await;
    assert_eq!(lags["ahead"], Lag::UNKNOWN);
    assert_eq!(lags["behind"], Lag::new(0, LagSource::Exact));
}

#[tokio::test]
async fn ten_thousand_entries_are_counted_where_the_server_reports_no_lag() {
    let mut s = Fixture::new().await;
    s.add(1, 10_003).await;
    s.run("XGROUP CREATE s near 3-0").await;
    s.run("XGROUP CREATE s far 2-0").await;
    let lags = s.lags().await;
    assert_eq!(lags["near"], Lag::new(10_000, LagSource::Counted));
    assert_eq!(lags["far"], Lag::new(10_000, LagSource::AtLeast));
}

#[tokio::test]
async fn a_counted_lag_moves_on_between_two_long_counts() {
    let mut s = Fixture::new().await;
    s.add(1, 5_000).await;
    s.run("XGROUP CREATE s g 100-0").await;
    assert_eq!(s.lag("g").await, Lag::new(4_900, LagSource::Counted));
    s.run("XREADGROUP GROUP g c COUNT 700 STREAMS s >").await;
    s.add(5_001, 5_100).await;
    assert_eq!(s.lag("g").await, Lag::new(4_300, LagSource::Counted));
    s.run("XTRIM s MINID 600-0").await;
    assert_eq!(s.lag("g").await, Lag::new(4_300, LagSource::Counted));
}

#[tokio::test]
async fn a_group_that_was_set_back_is_counted_anew() {
    let mut s = Fixture::new().await;
    s.add(1, 5_000).await;
    s.run("XGROUP CREATE s g 3000-0").await;
    assert_eq!(s.lag("g").await, Lag::new(2_000, LagSource::Counted));
    s.run("XGROUP SETID s g 100-0").await;
    assert_eq!(s.lag("g").await, Lag::new(1_000, LagSource::AtLeast));
    s.run("XGROUP SETID s g 4900-0").await;
    assert_eq!(s.lag("g").await, Lag::new(100, LagSource::Counted));
}

#[tokio::test]
async fn what_is_not_known_any_more_is_a_lower_bound_until_the_next_long_count() {
    let mut s = Fixture::new().await;
    s.add(1, 5_000).await;
    s.run("XGROUP CREATE s g 100-0").await;
    assert_eq!(s.lag("g").await, Lag::new(4_900, LagSource::Counted));
    s.run("XDEL s 3000-0").await;
    assert_eq!(s.lag("g").await, Lag::new(1_000, LagSource::AtLeast));
}

#[tokio::test]
async fn a_restart_of_the_server_spoils_no_lag() {
    let mut s = Fixture::with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    s.add(1, 20).await;
    s.run("XGROUP CREATE s g 0").await;
    s.run("XREADGROUP GROUP g c COUNT 5 STREAMS s >").await;
    s.server.restart();
    s.conn = s.server.connection().await;
    // Redis 7.0 has forgotten how many the group has read; later ones know it.
    let forgotten = s.snapshot(&[]).await.groups["g"].reported_lag.is_none();
    let source = if forgotten { LagSource::Counted } else { LagSource::Exact };
    assert_eq!(s.lag("g").await, Lag::new(15, source));
}

#[tokio::test]
async fn large_entries_are_counted_in_pages_of_a_megabyte() {
    let mut s = Fixture::new().await;
    let payload = "x".repeat(100_000);
    for n in 1..=60 {
        s.run(&format!("XADD s {n}-0 f {payload}")).await;
    }
    s.run("XGROUP CREATE s g 10-0").await;
    s.lag("g").await;
    s.lags = LagReader::default();
    s.run("CONFIG RESETSTAT").await;
    assert_eq!(s.lag("g").await, Lag::new(50, LagSource::Counted));
    let stats: String =
        redis::cmd("INFO").arg("commandstats").query_async(&mut s.conn).await.unwrap();
    let line = stats.lines().find(|line| line.starts_with("cmdstat_xrange:")).unwrap();
    let calls = line.split_once("calls=").unwrap().1.split(',').next().unwrap();
    // One for the oldest undelivered entry; the others bring 10 or 11 entries each.
    assert!((5..=7).contains(&calls.parse::<u64>().unwrap()), "{line}");
}

#[tokio::test]
async fn many_groups_at_different_places_cost_one_walk_over_the_stream() {
    let mut s = Fixture::new().await;
    s.add(1, 500).await;
    // A server that is believed knows the lag of a group at the first entry, and no other of these.
    for n in 2..=201 {
        s.run(&format!("XGROUP CREATE s g{n} {n}-0")).await;
    }
    let facts = s.snapshot(&[]).await;
    s.run("CONFIG RESETSTAT").await;
    let info = s.server_info().await;
    let lags = s.lags.read(&mut s.conn, &s.stream, &facts, &info).await.unwrap();
    for n in 2..=201 {
        assert_eq!(lags[&format!("g{n}")], Lag::new(500 - n, LagSource::Counted));
    }
    let stats: String =
        redis::cmd("INFO").arg("commandstats").query_async(&mut s.conn).await.unwrap();
    let line = stats.lines().find(|line| line.starts_with("cmdstat_xrange:")).unwrap();
    assert!(line.contains("calls=200,"), "{line}");
}
