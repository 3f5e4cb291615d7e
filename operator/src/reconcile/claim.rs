//! Ownership of a group that several resources claim: whoever runs it keeps it, else the oldest claim gets it. Pure.

use std::cmp::{Ordering, Reverse};
use std::net::IpAddr;

use eventbus_api::{ClaimStatus, EventConsumerGroup, EventConsumerGroupStatus, reasons};
use jiff::Timestamp;
use kube::ResourceExt;

use crate::redis::endpoints::Endpoints;
use crate::redis::{GroupKey, target_hash};

use super::validate::validate;

/// Owner of a group that several resources may claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The resource itself.
    Ours,
    /// Another resource, which runs the group or has an older claim.
    Other {
        /// Name of the owner; `None` if it is in another namespace, because it must not be named then.
        name: Option<String>,
    },
}

/// Resource that may claim a group.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// The resource.
    pub resource: &'a EventConsumerGroup,
    /// Its last status.
    pub last: Option<EventConsumerGroupStatus>,
    /// Group that this process last decided to be its own: its status is written later.
    pub owned: Option<GroupKey>,
}

/// Degree to which a resource is the owner of a group already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// It is not.
    None,
    /// It was when its endpoint had another address.
    Former,
    /// It is.
    Present,
}

/// Resource that claims a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// Its present hold of the group.
    pub hold: Hold,
    /// Time of its claim; `None` if it is a new one, which is younger than every other.
    pub claimed_at: Option<Timestamp>,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
}

impl Contender {
    /// Returns the claim of `candidate` on the group `key`.
    ///
    /// A claim is bound to the Redis server that was asked for when it was made: asking for another one is a new claim.
    /// Another address of the same endpoint, which only the administrator can give, and another name of the same address are
    /// none.
    fn of(candidate: &Candidate<'_>, key: &GroupKey, endpoints: &Endpoints) -> Self {
        let (resource, last) = (candidate.resource, candidate.last.as_ref());
        let created = resource.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let claim = last.and_then(|last| last.claim.as_ref());
        let hash = target_hash(&key.address);
        let is_there = |claim: &ClaimStatus| claim.target_hash == hash;
        let current = claim
            .filter(|claim| is_there(claim) || endpoints.address(&claim.endpoint) == key.address);
        let claimed_at = match (claim, last) {
            (Some(_), _) => current.map(|claim| claim.claimed_at.0),
            (None, Some(last)) if is_refused(last) => None,
            (None, _) => created,
        };
        let has_run = |claim: &&ClaimStatus| {
            let last = last.filter(|last| last.group_origin.is_some());
            last.is_some_and(|last| last.target_hash() == Some(&claim.target_hash))
        };
        let hold = match current.filter(has_run) {
            _ if candidate.owned.as_ref() == Some(key) => Hold::Present,
            Some(claim) if is_there(claim) => Hold::Present,
            Some(_) => Hold::Former,
            None => Hold::None,
        };
        Self {
            namespace: resource.namespace().unwrap_or_default(),
            name: resource.name_any(),
            uid: resource.uid().unwrap_or_default(),
            hold,
            claimed_at,
            created,
        }
    }

    /// Returns true if `self` comes first: the owner, else the older claim, else the older resource, else the smaller UID.
    fn is_before(&self, other: &Self) -> bool {
        let last = |time: Option<Timestamp>| time.map_or((1, Timestamp::MAX), |time| (0, time));
        let rank = |c: &Self| (Reverse(c.hold), last(c.claimed_at), last(c.created));
        rank(self).cmp(&rank(other)).then_with(|| self.uid.cmp(&other.uid)) == Ordering::Less
    }
}

/// Returns true if the status is that of a refused resource.
fn is_refused(status: &EventConsumerGroupStatus) -> bool {
    let refusals = [reasons::ENDPOINT_NOT_ALLOWED, reasons::INVALID_TEMPLATE];
    status.ready().is_some_and(|ready| refusals.contains(&&*ready.reason))
}

/// Selects those of `candidates` that claim the group `key`. A refused one claims nothing new; it keeps the group that it
/// owns, because its pods continue to run. `image` and `api_server` are those of [`validate`].
#[must_use]
pub fn contenders<'a>(
    candidates: impl IntoIterator<Item = Candidate<'a>>,
    key: &GroupKey,
    endpoints: &Endpoints,
    image: &str,
    api_server: Option<IpAddr>,
) -> Vec<Contender> {
    let claims = |candidate: Candidate<'a>| {
        let asked_for = GroupKey::of(candidate.resource, endpoints);
        if !asked_for.is_alike(key) {
            return None;
        }
        let contender = Contender::of(&candidate, key, endpoints);
        let is_valid = validate(candidate.resource, endpoints, image, api_server).is_ok();
        let counts = if is_valid { asked_for == *key } else { contender.hold == Hold::Present };
        counts.then_some(contender)
    };
    candidates.into_iter().filter_map(claims).collect()
}

/// Decides the owner of the group that `me` and the `others` claim; `me` may be one of the `others`.
#[must_use]
pub fn decide(me: &Contender, others: &[Contender]) -> Claim {
    let before_me = others.iter().filter(|other| other.uid != me.uid && other.is_before(me));
    let first = before_me.reduce(|a, b| if b.is_before(a) { b } else { a });
    first.map_or(Claim::Ours, |first| Claim::Other {
        name: (first.namespace == me.namespace).then(|| first.name.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn claimed(name: &str, uid: &str, second: i64) -> Contender {
        let (namespace, name, uid) = ("ns".to_owned(), name.to_owned(), uid.to_owned());
        let claimed_at = Some(at(second));
        Contender { namespace, name, uid, hold: Hold::None, claimed_at, created: Some(at(1)) }
    }

    #[test]
    fn a_resource_without_contenders_owns_its_group() {
        let me = claimed("me", "1", 5);
        assert_eq!(decide(&me, &[]), Claim::Ours);
        assert_eq!(decide(&me, std::slice::from_ref(&me)), Claim::Ours);
    }

    #[test]
    fn the_oldest_claim_gets_the_group_and_a_new_one_comes_last() {
        let (me, old, older) = (claimed("me", "1", 5), claimed("a", "2", 4), claimed("b", "3", 3));
        let new = Contender { claimed_at: None, ..claimed("new", "0", 0) };
        let all = [new.clone(), me.clone(), old.clone(), older.clone()];
        for loser in [&new, &me, &old] {
            assert_eq!(decide(loser, &all), Claim::Other { name: Some("b".into()) });
        }
        assert_eq!(decide(&older, &all), Claim::Ours);
        assert_eq!(decide(&new, &all[..2]), Claim::Other { name: Some("me".into()) });
    }

    #[test]
    fn whoever_runs_the_group_keeps_it_from_an_older_claim() {
        let holder = Contender { hold: Hold::Present, ..claimed("holder", "2", 9) };
        let moved = Contender { hold: Hold::Former, ..claimed("moved", "3", 5) };
        let older = claimed("older", "1", 1);
        let all = [older.clone(), moved.clone(), holder.clone()];
        assert_eq!(decide(&holder, &all), Claim::Ours);
        for loser in [&moved, &older] {
            assert_eq!(decide(loser, &all), Claim::Other { name: Some("holder".into()) });
        }
        assert_eq!(decide(&moved, &all[..2]), Claim::Ours);
    }

    #[test]
    fn of_claims_of_the_same_time_the_older_resource_and_then_the_smaller_uid_gets_the_group() {
        let (a, b) = (claimed("z", "1", 5), claimed("a", "2", 5));
        let all = [a.clone(), b.clone()];
        assert_eq!(decide(&a, &all), Claim::Ours);
        assert_eq!(decide(&b, &all), Claim::Other { name: Some("z".into()) });
        let older = Contender { created: Some(at(0)), ..b };
        assert_eq!(decide(&older, &[a, older.clone()]), Claim::Ours);
    }

    const ENDPOINTS: &str = "endpoints:
- {name: default, url: 'redis://one'}
- {name: alias, url: 'redis://one'}
- {name: shared, url: 'redis://two'}
- {name: private, url: 'redis://two', namespaces: [shop]}";

    fn endpoints(yaml: &str) -> Endpoints {
        Endpoints::parse(yaml, &|_| false).unwrap()
    }

    /// Group g on stream s of the endpoint, created at second 10.
    fn resource(name: &str, endpoint: &str) -> EventConsumerGroup {
        let resource = serde_json::json!({
            "apiVersion": "eventbus.seraaj.dev/v1alpha1", "kind": "EventConsumerGroup",
            "metadata": {"name": name, "namespace": "team-a", "uid": name,
                "creationTimestamp": "1970-01-01T00:00:10Z"},
            "spec": {"stream": "s", "group": "g", "handler": {"log": {}}, "redis": {"name": endpoint}},
        });
        serde_json::from_value(resource).unwrap()
    }

    /// The same with the claim of an owner of that group on `endpoint`, made at second 20.
    fn owner(name: &str, endpoint: &str, now_asks_for: &str) -> EventConsumerGroup {
        let hash = target_hash(&endpoints(ENDPOINTS).address(endpoint));
        let mut resource = resource(name, now_asks_for);
        resource.status = Some(EventConsumerGroupStatus {
            group_origin: Some(eventbus_api::GroupOrigin::Created),
            redis: Some(eventbus_api::RedisStatus {
                target_hash: Some(hash.clone()),
                ..Default::default()
            }),
            claim: Some(ClaimStatus {
                endpoint: endpoint.to_owned(),
                target_hash: hash,
                claimed_at: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(20)),
            }),
            ..Default::default()
        });
        resource
    }

    /// Hold and time of the resource's claim on its group on `endpoint`, with these endpoints.
    fn claim_by(
        resource: &EventConsumerGroup,
        endpoint: &str,
        yaml: &str,
    ) -> Option<(Hold, Option<i64>)> {
        let endpoints = endpoints(yaml);
        let mut key = GroupKey::of(resource, &endpoints);
        key.address = endpoints.address(endpoint);
        let candidate = Candidate { resource, last: resource.status.clone(), owned: None };
        let found = contenders([candidate], &key, &endpoints, "img", None).pop()?;
        Some((found.hold, found.claimed_at.map(|time| time.as_second())))
    }

    fn claim_of(resource: &EventConsumerGroup, endpoint: &str) -> Option<(Hold, Option<i64>)> {
        claim_by(resource, endpoint, ENDPOINTS)
    }

    #[test]
    fn the_first_claim_is_as_old_as_its_resource_unless_that_was_refused() {
        let mut new = resource("new", "default");
        assert_eq!(claim_of(&new, "default"), Some((Hold::None, Some(10))));
        assert_eq!(claim_of(&new, "shared"), None);
        let refused = eventbus_api::conditions::ConditionDraft::new(
            eventbus_api::conditions::READY,
            Some(false),
            reasons::ENDPOINT_NOT_ALLOWED,
            "",
        );
        let conditions = vec![refused.complete(&[], 1, at(15))];
        new.status = Some(EventConsumerGroupStatus { conditions, ..Default::default() });
        assert_eq!(claim_of(&new, "default"), Some((Hold::None, None)));
    }

    #[test]
    fn asking_for_another_server_is_a_new_claim_and_another_name_of_the_same_one_is_none() {
        assert_eq!(
            claim_of(&owner("a", "default", "default"), "default"),
            Some((Hold::Present, Some(20)))
        );
        assert_eq!(
            claim_of(&owner("a", "default", "alias"), "alias"),
            Some((Hold::Present, Some(20)))
        );
        assert_eq!(claim_of(&owner("a", "default", "shared"), "shared"), Some((Hold::None, None)));
        assert_eq!(claim_of(&owner("a", "default", "shared"), "default"), None);
    }

    #[test]
    fn another_address_of_its_endpoint_keeps_the_time_of_a_claim_and_holds_nothing_there() {
        let moved = ENDPOINTS.replace("redis://one", "redis://two");
        let (r, s) = (owner("r", "default", "default"), owner("s", "shared", "shared"));
        assert_eq!(claim_by(&r, "default", &moved), Some((Hold::Former, Some(20))));
        assert_eq!(claim_by(&s, "shared", &moved), Some((Hold::Present, Some(20))));
        let mut refused = r;
        refused.spec.redis.as_mut().unwrap().name = Some("private".to_owned());
        assert_eq!(claim_by(&refused, "default", &moved), None);
    }

    #[test]
    fn a_group_that_was_decided_to_be_its_own_is_held_before_the_status_is_written() {
        let (endpoints, resource) = (endpoints(ENDPOINTS), resource("a", "default"));
        let key = GroupKey::of(&resource, &endpoints);
        let other = GroupKey { address: "another".to_owned(), ..key.clone() };
        for (owned, hold) in [(Some(key.clone()), Hold::Present), (Some(other), Hold::None)] {
            let candidate = Candidate { resource: &resource, last: None, owned };
            assert_eq!(Contender::of(&candidate, &key, &endpoints).hold, hold);
        }
    }

    #[test]
    fn a_refused_resource_claims_nothing_new_and_keeps_what_it_owns() {
        assert_eq!(claim_of(&resource("a", "private"), "private"), None);
        let edited = owner("a", "default", "private");
        assert_eq!(claim_of(&edited, "private"), None);
        assert_eq!(claim_of(&edited, "default"), Some((Hold::Present, Some(20))));
    }

    #[test]
    fn a_server_that_never_answered_is_not_held() {
        let mut edited = owner("a", "default", "shared");
        let status = edited.status.as_mut().unwrap();
        let claim = status.claim.as_mut().unwrap();
        claim.target_hash = target_hash(&endpoints(ENDPOINTS).address("shared"));
        claim.endpoint = "shared".to_owned();
        assert_eq!(claim_of(&edited, "shared"), Some((Hold::None, Some(20))));
    }

    #[test]
    fn an_owner_in_another_namespace_is_not_named() {
        let me = claimed("me", "1", 5);
        let other = Contender { namespace: "secret".into(), ..claimed("a", "2", 4) };
        assert_eq!(decide(&me, &[other]), Claim::Other { name: None });
    }
}
