//! Seeded random walks: what is said of a lag holds, whatever happens to the stream.

use eventbus::observe::LagReader;
use eventbus::observe::LagSource::{AtLeast, Counted, Exact, Reported};
use eventbus::observe::{Lag, LagSource, ServerInfo};

use crate::Fixture;

const GROUPS: [&str; 3] = ["a", "b", "c"];

/// The same walk for the same seed, everywhere.
struct Random(u64);

impl Random {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % sides
    }

    fn group(&mut self) -> &'static str {
        GROUPS[usize::try_from(self.roll(3)).unwrap()]
    }
}

/// One of the things that happen to a stream; `scale` says to how many entries at a time.
async fn step(s: &mut Fixture, rng: &mut Random, next: &mut u64, scale: u64) {
    let (what, group) = (rng.roll(12), rng.group());
    match what {
        0..=4 => {
            let count = 1 + rng.roll(8 * scale);
            s.add(*next, *next + count - 1).await;
            *next += count;
        }
        5..=8 => {
            let count = 1 + rng.roll(6 * scale);
            s.run(&format!("XREADGROUP GROUP {group} me COUNT {count} STREAMS s >")).await;
        }
        9 => {
            let id = next.saturating_sub(1 + rng.roll(12 * scale)).max(1);
            s.run(&format!("XDEL s {id}-0")).await;
        }
        10 => {
            let keep = rng.roll(20 * scale);
            s.run(&format!("XTRIM s MAXLEN {keep}")).await;
        }
        _ => {
            let id = 1 + rng.roll(*next);
            s.run(&format!("XACK s {group} {id}-0")).await;
        }
    }
}

/// Whether `lag` says nothing that is not so. Only a server's own number may be wrong, and it says that.
fn is_true(lag: Lag, truth: u64) -> bool {
    match (lag.source, lag.value) {
        (Exact | Counted, value) => value == Some(truth),
        (AtLeast, Some(value)) => value < truth,
        (Reported, Some(value)) => value > 1_000,
        _ => false,
    }
}

/// Walks and compares, after each step, the lag of each group with the entries that XRANGE finds after its
/// position; both of a reader that remembers and of one that does not. Answers the sources that were seen, and the
/// server.
async fn walk(seed: u64, steps: usize, scale: u64) -> (Vec<LagSource>, ServerInfo) {
    let mut s = Fixture::new().await;
    let (mut rng, mut next, mut seen) = (Random(seed), 1, Vec::new());
    for group in GROUPS {
        s.run(&format!("XGROUP CREATE s {group} 0 MKSTREAM")).await;
    }
    let info = s.server_info().await;
    for at in 0..steps {
        step(&mut s, &mut rng, &mut next, scale).await;
        let facts = s.snapshot(&[]).await;
        let (conn, stream) = (&mut s.conn, &s.stream);
        let remembered = s.lags.read(conn, stream, &facts, &info).await.unwrap();
        let fresh = LagReader::default().read(conn, stream, &facts, &info).await.unwrap();
        for group in GROUPS {
            let truth = s.truth(&facts, group).await;
            for lag in [remembered[group], fresh[group]] {
                let place = format!("seed {seed}, step {at}, {group}: {lag:?} of {facts:?}");
                assert!(is_true(lag, truth), "truly {truth} at {place}");
                seen.push(lag.source);
            }
        }
    }
    (seen, info)
}

#[tokio::test]
async fn every_lag_is_exact_while_no_group_is_far_behind() {
    for seed in [1, 0x5eed, 271_828] {
        let (seen, _) = walk(seed, 150, 1).await;
        let exact = |source| matches!(source, Exact | Counted);
        assert!(seen.into_iter().all(exact), "seed {seed}");
    }
}

#[tokio::test]
async fn no_lag_claims_more_than_it_knows_when_groups_are_far_behind() {
    for seed in [1, 0x5eed, 271_828] {
        let (seen, server) = walk(seed, 100, 150).await;
        assert!(seen.contains(&Counted), "seed {seed}");
        // The number of a server that is believed is exact.
        assert_ne!(seen.contains(&Reported), server.reports_true_lag(), "seed {seed}");
    }
}
