//! Memory of each resource between two reconciles; after a restart it is rebuilt from what is observed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use eventbus::admin::Declaration;
use eventbus_api::{EventConsumerGroupStatus, GroupOrigin};

use crate::redis::GroupKey;

/// Memory of all resources, by UID.
#[derive(Debug, Default)]
pub struct Memory {
    resources: Mutex<HashMap<String, Remembered>>,
    owned: Mutex<Owned>,
}

/// Groups that resources were decided to own, by the resource's UID.
pub type Owned = HashMap<String, GroupKey>;

#[derive(Clone, Debug, Default)]
struct Remembered {
    written: Option<Written>,
    origin: Option<GroupOrigin>,
    declared: Option<(String, Declaration)>,
    failures: u32,
}

/// Status that was written.
#[derive(Clone, Debug)]
struct Written {
    status: EventConsumerGroupStatus,
    version: Option<u64>,
    at: Instant,
}

impl Memory {
    /// Returns the last status: `watched`, or the one that was written if that is newer.
    #[must_use]
    pub fn last_status(
        &self,
        uid: &str,
        watched: Option<&EventConsumerGroupStatus>,
        watched_version: Option<&str>,
    ) -> Option<EventConsumerGroupStatus> {
        let memory = self.locked();
        let written = memory.get(uid).and_then(|remembered| remembered.written.as_ref());
        let newer = written.filter(|written| {
            let watched = watched_version.and_then(|version| version.parse::<u64>().ok());
            written.version.zip(watched).is_some_and(|(ours, watched)| ours > watched)
        });
        newer.map(|written| &written.status).or(watched).cloned()
    }

    /// Returns the time since the last write.
    #[must_use]
    pub fn since_written(&self, uid: &str, now: Instant) -> Option<Duration> {
        let written = self.locked().get(uid).and_then(|remembered| remembered.written.clone())?;
        Some(now.saturating_duration_since(written.at))
    }

    /// Records a written status with its resource version.
    pub fn written(
        &self,
        uid: &str,
        status: EventConsumerGroupStatus,
        version: Option<&str>,
        at: Instant,
    ) {
        let version = version.and_then(|version| version.parse().ok());
        let mut memory = self.locked();
        let remembered = memory.entry(uid.to_owned()).or_default();
        // The status has the origin from now on.
        remembered.origin = None;
        remembered.written = Some(Written { status, version, at });
    }

    /// Returns the origin of the group, until a status has it.
    #[must_use]
    pub fn origin(&self, uid: &str) -> Option<GroupOrigin> {
        self.locked().get(uid).and_then(|remembered| remembered.origin)
    }

    /// Records the origin of the group.
    pub fn set_origin(&self, uid: &str, origin: GroupOrigin) {
        self.locked().entry(uid.to_owned()).or_default().origin = Some(origin);
    }

    /// Returns true if this declaration was the last one for the Redis server with `target_hash`.
    #[must_use]
    pub fn is_declared(&self, uid: &str, target_hash: &str, declaration: &Declaration) -> bool {
        let memory = self.locked();
        let declared = memory.get(uid).and_then(|remembered| remembered.declared.as_ref());
        declared.is_some_and(|(hash, last)| hash == target_hash && last == declaration)
    }

    /// Records a declaration, also one that Redis refused: it is not retried before it changes.
    pub fn set_declared(&self, uid: &str, target_hash: &str, declaration: Declaration) {
        let declared = Some((target_hash.to_owned(), declaration));
        self.locked().entry(uid.to_owned()).or_default().declared = declared;
    }

    /// Counts a failed reconcile; returns the number of failures in a row.
    pub fn failed(&self, uid: &str) -> u32 {
        let mut memory = self.locked();
        let remembered = memory.entry(uid.to_owned()).or_default();
        remembered.failures = remembered.failures.saturating_add(1);
        remembered.failures
    }

    /// Resets the number of failures after a reconcile without failure.
    pub fn succeeded(&self, uid: &str) {
        if let Some(remembered) = self.locked().get_mut(uid) {
            remembered.failures = 0;
        }
    }

    /// Returns the groups that resources own; nobody else decides while the result is kept.
    pub fn owned(&self) -> MutexGuard<'_, Owned> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets every resource for which `exists` returns false.
    pub fn retain(&self, exists: impl Fn(&str) -> bool) {
        self.owned().retain(|uid, _| exists(uid));
        self.locked().retain(|uid, _| exists(uid));
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, Remembered>> {
        self.resources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(generation: i64) -> EventConsumerGroupStatus {
        EventConsumerGroupStatus {
            observed_generation: Some(generation),
            ..EventConsumerGroupStatus::default()
        }
    }

    #[test]
    fn a_watched_status_that_is_older_than_the_written_one_is_ignored() {
        let memory = Memory::default();
        memory.written("u", status(2), Some("10"), crate::testing::instant());
        let last = |version| memory.last_status("u", Some(&status(1)), Some(version));
        assert_eq!(last("9"), Some(status(2)));
        assert_eq!(last("10"), Some(status(1)));
        assert_eq!(memory.last_status("v", Some(&status(1)), Some("1")), Some(status(1)));
    }

    #[test]
    fn failures_are_counted_in_a_row() {
        let memory = Memory::default();
        assert_eq!((memory.failed("u"), memory.failed("u")), (1, 2));
        memory.succeeded("u");
        assert_eq!(memory.failed("u"), 1);
    }

    #[test]
    fn the_origin_is_remembered_until_a_status_has_it() {
        let memory = Memory::default();
        memory.set_origin("u", GroupOrigin::Created);
        assert_eq!(memory.origin("u"), Some(GroupOrigin::Created));
        memory.written("u", status(1), Some("1"), crate::testing::instant());
        assert_eq!(memory.origin("u"), None);
    }

    #[test]
    fn a_declaration_counts_for_its_server_until_it_changes() {
        let (memory, declaration) = (Memory::default(), Declaration::default());
        assert!(!memory.is_declared("u", "hash", &declaration));
        memory.set_declared("u", "hash", declaration.clone());
        assert!(memory.is_declared("u", "hash", &declaration));
        assert!(!memory.is_declared("u", "another", &declaration));
        let types = eventbus::TypeFilter::parse(["a"]).unwrap();
        assert!(!memory.is_declared("u", "hash", &Declaration { types, ..declaration }));
    }
}
