//! Reader of the lag of every group of a stream, which counts entries where the facts of a snapshot do not suffice.
//!
//! Counting reads entries on the server, so it goes in pages, and a result is carried over from snapshot to snapshot as
//! long as nothing was deleted.

use std::collections::BTreeMap;

use eventbus_core::facts::{GroupFacts, ServerInfo, StreamFacts};
use eventbus_core::lag::{self, COUNTED_UP_TO, Estimate, Lag, LagSource, Mark};
use eventbus_core::names::{EntryId, StreamKey};
use redis::{RedisResult, Value};

use crate::error::Error;
use crate::redis::Connection;
use crate::scripts::count::count;

/// Maximum of a deep count, which is made at intervals where the server reports no lag.
const DEEP: u64 = 10_000;
/// Interval between two deep counts of a stream, by the server's clock.
const DEEP_EVERY_MS: u64 = 30_000;
/// Maximum number of bytes of entries that one call reads, by their mean size.
const PAGE_BYTES: u64 = 1 << 20;
const PAGE_ENTRIES: u64 = 500;
/// Entries of one call if the mean size is unknown, without permission to read it.
const CAUTIOUS_PAGE: u64 = 100;

/// Reads the lags of one stream's groups, and keeps what it counted for the next read.
///
/// A new reader returns the same lags, at the cost of counting them again.
#[derive(Debug, Default)]
pub struct LagReader {
    run_id: String,
    marks: BTreeMap<String, Mark>,
    deep_at_ms: Option<u64>,
}

/// A group whose entries have to be counted.
struct Uncounted<'a> {
    name: &'a str,
    facts: &'a GroupFacts,
}

impl Uncounted<'_> {
    fn reported(&self) -> (String, Lag) {
        (self.name.to_owned(), Lag::reported(self.facts))
    }
}

/// Earlier count of a group, updated to the present facts.
#[derive(Clone, Copy)]
struct Carried {
    position: EntryId,
    undelivered: u64,
    source: LagSource,
}

impl LagReader {
    /// Returns the lag of every group in `facts`, as of the moment of the snapshot. Needs no permission to write;
    /// without permission to read entries the lag is the one that the server reports.
    ///
    /// Reads at most 2,000 entries on the server however many groups there are, once in 30 s up to 11,000 where the
    /// server reports no lag of a group. Cancelling it discards what this call counted.
    ///
    /// # Errors
    /// [`Error::Stream`].
    pub async fn read(
        &mut self,
        conn: &mut Connection,
        stream: &StreamKey,
        facts: &StreamFacts,
        server: &ServerInfo,
    ) -> Result<BTreeMap<String, Lag>, Error> {
        if self.run_id != server.run_id {
            *self = Self { run_id: server.run_id.clone(), ..Self::default() };
        }
        let (mut lags, uncounted) = estimates(facts, server);
        let deep = self.is_deep_due(facts, &uncounted);
        if !uncounted.is_empty() {
            let mut counter = Counter { conn, stream, length: facts.length, page: None, left: 0 };
            match self.count(&mut counter, facts, &uncounted, deep).await {
                Ok(counted) => lags.extend(counted),
                Err(source) if source.code() == Some("NOPERM") => {
                    lags.extend(uncounted.iter().map(Uncounted::reported));
                }
                Err(source) => {
                    let (operation, stream) = ("count the entries", stream.clone());
                    return Err(Error::Stream { operation, stream, source: source.into() });
                }
            }
        }
        if deep {
            self.deep_at_ms = Some(facts.server_ms);
        }
        self.marks = marks(facts, &lags);
        Ok(lags)
    }

    /// Counts from their earlier position for groups that were far behind, and from the stream's end for the others,
    /// each range between two of them once.
    async fn count(
        &self,
        counter: &mut Counter<'_>,
        facts: &StreamFacts,
        uncounted: &[Uncounted<'_>],
        deep: bool,
    ) -> RedisResult<Vec<(String, Lag)>> {
        let mut lags = Vec::with_capacity(uncounted.len());
        counter.left = COUNTED_UP_TO;
        let mut from_the_end = Vec::new();
        for group in uncounted {
            match self.carry(group, facts) {
                Some(carried) if !(deep && carried.source == LagSource::AtLeast) => {
                    match counter.carry_on(carried, group.facts.last_delivered).await? {
                        Some(lag) => lags.push((group.name.to_owned(), lag)),
                        None => from_the_end.push(group),
                    }
                }
                _ => from_the_end.push(group),
            }
        }
        from_the_end.sort_by_key(|group| std::cmp::Reverse(group.facts.last_delivered));
        // One more than the limit shows that there are more.
        counter.left = if deep { DEEP } else { COUNTED_UP_TO } + 1;
        let (mut upper, mut total, mut all) = (facts.last_generated, 0, true);
        for group in from_the_end {
            let lower = group.facts.last_delivered;
            if all && lower < upper {
                let range = counter.between(lower, upper).await?;
                total += range.entries;
                all = range.all;
                upper = lower;
            }
            let lag = if all {
                Lag::new(total, LagSource::Counted)
            } else {
                Lag::new(total.saturating_sub(1), LagSource::AtLeast)
            };
            lags.push((group.name.to_owned(), lag));
        }
        Ok(lags)
    }

    fn carry(&self, group: &Uncounted<'_>, facts: &StreamFacts) -> Option<Carried> {
        let mark = self.marks.get(group.name)?;
        let undelivered = mark.undelivered(facts)?;
        let position = mark.position();
        let far = undelivered > COUNTED_UP_TO || position == group.facts.last_delivered;
        let useful = far && position <= group.facts.last_delivered;
        useful.then_some(Carried { position, undelivered, source: mark.lag.source })
    }

    /// Returns `true` if a deep count is due, because a group has no lag of any kind.
    fn is_deep_due(&self, facts: &StreamFacts, uncounted: &[Uncounted<'_>]) -> bool {
        let waited = |at: u64| facts.server_ms.saturating_sub(at) >= DEEP_EVERY_MS;
        let unknown = |group: &Uncounted<'_>| {
            let carried = self.carry(group, facts);
            group.facts.reported_lag.is_none()
                && carried.is_none_or(|carried| carried.source == LagSource::AtLeast)
        };
        self.deep_at_ms.is_none_or(waited) && uncounted.iter().any(unknown)
    }
}

/// Returns the lag of every group in `facts` as far as it is known without counting, else as the server reports it.
#[must_use]
pub(super) fn without_counting(facts: &StreamFacts, server: &ServerInfo) -> BTreeMap<String, Lag> {
    let (mut lags, uncounted) = estimates(facts, server);
    lags.extend(uncounted.iter().map(Uncounted::reported));
    lags
}

/// Returns the lags that follow from the facts, and the groups whose entries have to be counted.
fn estimates<'a>(
    facts: &'a StreamFacts,
    server: &ServerInfo,
) -> (BTreeMap<String, Lag>, Vec<Uncounted<'a>>) {
    let (mut known, mut uncounted) = (BTreeMap::new(), Vec::new());
    for (name, group) in &facts.groups {
        match lag::estimate(facts, group, server) {
            Estimate::Known(lag) => {
                known.insert(name.clone(), lag);
            }
            Estimate::Count => uncounted.push(Uncounted { name, facts: group }),
        }
    }
    (known, uncounted)
}

fn marks(facts: &StreamFacts, lags: &BTreeMap<String, Lag>) -> BTreeMap<String, Mark> {
    let lasting = |lag: &Lag| !matches!(lag.source, LagSource::Reported | LagSource::Unknown);
    lags.iter()
        .filter(|(_, lag)| lasting(lag))
        .filter_map(|(name, lag)| {
            Some((name.clone(), Mark::new(facts, facts.groups.get(name)?, *lag)))
        })
        .collect()
}

/// Counts in pages, up to a maximum number of entries.
struct Counter<'a> {
    conn: &'a mut Connection,
    stream: &'a StreamKey,
    length: u64,
    page: Option<u64>,
    left: u64,
}

/// Number of entries in a range of the stream: `all` of them, or as many as could be counted.
struct Range {
    entries: u64,
    all: bool,
}

impl Counter<'_> {
    /// Returns the lag at `now`, from a lag at an earlier position; `None` if too much was delivered in between.
    async fn carry_on(&mut self, carried: Carried, now: EntryId) -> RedisResult<Option<Lag>> {
        let delivered = if carried.position == now {
            0
        } else {
            let range = self.between(carried.position, now).await?;
            if !range.all {
                return Ok(None);
            }
            range.entries
        };
        let source = match carried.source {
            LagSource::AtLeast => LagSource::AtLeast,
            _ => LagSource::Counted,
        };
        Ok(carried.undelivered.checked_sub(delivered).map(|value| Lag::new(value, source)))
    }

    async fn between(&mut self, mut after: EntryId, until: EntryId) -> RedisResult<Range> {
        let page = self.page().await?;
        let mut entries = 0;
        while self.left > 0 {
            let max = page.min(self.left);
            let (count, last) = self.read_page(after, until, max).await?;
            entries += count;
            self.left -= count;
            match last {
                Some(last) if count >= max => after = last,
                _ => return Ok(Range { entries, all: true }),
            }
        }
        Ok(Range { entries, all: false })
    }

    async fn read_page(
        &mut self,
        after: EntryId,
        until: EntryId,
        max: u64,
    ) -> RedisResult<(u64, Option<EntryId>)> {
        count(self.conn, self.stream, (after, until), max).await
    }

    /// Returns the number of entries for one call, by their mean size, which is read once.
    async fn page(&mut self) -> RedisResult<u64> {
        if let Some(page) = self.page {
            return Ok(page);
        }
        let mut usage = redis::cmd("MEMORY");
        let answer = usage.arg("USAGE").arg(self.stream.as_str()).query_async(self.conn).await;
        let page = match answer {
            Ok(Value::Int(bytes)) => page_entries(u64::try_from(bytes).unwrap_or(0), self.length),
            Ok(_) => CAUTIOUS_PAGE,
            Err(error) if error.code() == Some("NOPERM") => CAUTIOUS_PAGE,
            Err(error) => return Err(error),
        };
        self.page = Some(page);
        Ok(page)
    }
}

fn page_entries(bytes: u64, length: u64) -> u64 {
    let mean = bytes / length.max(1);
    (PAGE_BYTES / mean.max(1)).clamp(1, PAGE_ENTRIES)
}
