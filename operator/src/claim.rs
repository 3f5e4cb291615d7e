//! Which of several resources has a group: the oldest.

use std::cmp::Ordering;

use eventbus_api::EventConsumerGroup;
use jiff::Timestamp;
use kube::ResourceExt;

use crate::endpoints::{self, Endpoints};
use crate::observed::Claim;

/// The group that a resource asks for, valid or not: two with the same key want the same group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupKey {
    /// The endpoint's address and database: two endpoints may name the same Redis. The name, where there is none.
    pub address: String,
    /// The stream.
    pub stream: String,
    /// The group.
    pub group: String,
}

impl GroupKey {
    /// What `resource` asks for.
    #[must_use]
    pub fn of(resource: &EventConsumerGroup, endpoints: &Endpoints) -> Self {
        let spec = &resource.spec;
        let endpoint = spec.redis.as_ref().and_then(|redis| redis.name.as_deref());
        Self {
            address: endpoints.address(endpoint.unwrap_or(endpoints::DEFAULT)),
            stream: spec.stream.clone(),
            group: spec.group.clone().unwrap_or_else(|| resource.name_any()),
        }
    }
}

/// A resource that wants a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// When it was created.
    pub created: Option<Timestamp>,
}

impl Contender {
    /// Whether this one comes first: by age, then by UID. One without a time of creation comes last.
    #[must_use]
    pub fn is_before(&self, other: &Self) -> bool {
        let age = |c: &Self| c.created.map_or((1, Timestamp::MAX), |created| (0, created));
        age(self).cmp(&age(other)).then_with(|| self.uid.cmp(&other.uid)) == Ordering::Less
    }
}

/// Who has the group that `me` and the `others` want; who else is in the list does not matter.
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

    fn contender(name: &str, uid: &str, second: i64) -> Contender {
        let created = Timestamp::from_second(second).unwrap();
        let namespace = "ns".to_owned();
        Contender { namespace, name: name.into(), uid: uid.into(), created: Some(created) }
    }

    #[test]
    fn alone_a_resource_has_its_group() {
        let me = contender("me", "1", 5);
        assert_eq!(decide(&me, &[]), Claim::Ours);
        assert_eq!(decide(&me, std::slice::from_ref(&me)), Claim::Ours);
    }

    #[test]
    fn the_oldest_has_the_group() {
        let (me, old, older) =
            (contender("me", "1", 5), contender("a", "2", 4), contender("b", "3", 3));
        let all = [me.clone(), old.clone(), older.clone()];
        assert_eq!(decide(&me, &all), Claim::Other { name: Some("b".into()) });
        assert_eq!(decide(&old, &all), Claim::Other { name: Some("b".into()) });
        assert_eq!(decide(&older, &all), Claim::Ours);
    }

    #[test]
    fn of_the_same_age_the_smaller_uid_has_the_group() {
        let (a, b) = (contender("z", "1", 5), contender("a", "2", 5));
        let all = [a.clone(), b.clone()];
        assert_eq!(decide(&a, &all), Claim::Ours);
        assert_eq!(decide(&b, &all), Claim::Other { name: Some("z".into()) });
    }

    #[test]
    fn an_owner_in_another_namespace_is_not_named() {
        let me = contender("me", "1", 5);
        let other = Contender { namespace: "secret".into(), ..contender("a", "2", 4) };
        assert_eq!(decide(&me, &[other]), Claim::Other { name: None });
    }
}
