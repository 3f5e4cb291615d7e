//! Ownership of a group that several resources declare: the oldest owns it. Pure.

use std::cmp::Ordering;
use std::net::IpAddr;

use eventbus_api::EventConsumerGroup;
use jiff::Timestamp;
use kube::ResourceExt;

use crate::redis::GroupKey;
use crate::redis::endpoints::Endpoints;

use super::validate::validate;

/// Owner of a group that several resources may declare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The resource itself.
    Ours,
    /// Another resource, which is older.
    Other {
        /// Name of the owner; `None` if it is in another namespace, because it must not be named then.
        name: Option<String>,
    },
}

/// Resource that declares a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
}

impl Contender {
    fn of(resource: &EventConsumerGroup) -> Self {
        Self {
            namespace: resource.namespace().unwrap_or_default(),
            name: resource.name_any(),
            uid: resource.uid().unwrap_or_default(),
            created: resource.metadata.creation_timestamp.as_ref().map(|time| time.0),
        }
    }

    /// Returns true if `self` is older, or of the same age with a smaller UID. Without a creation time it comes last.
    fn is_before(&self, other: &Self) -> bool {
        let age = |c: &Self| c.created.map_or((1, Timestamp::MAX), |created| (0, created));
        age(self).cmp(&age(other)).then_with(|| self.uid.cmp(&other.uid)) == Ordering::Less
    }
}

/// Selects those of `resources` that declare the group `key`. A refused one counts only if it owns the group, because its
/// pods continue to run. `image` and `api_server` are those of [`validate`].
#[must_use]
pub fn contenders<'a>(
    resources: impl IntoIterator<Item = &'a EventConsumerGroup>,
    key: &GroupKey,
    endpoints: &Endpoints,
    image: &str,
    api_server: Option<IpAddr>,
) -> Vec<Contender> {
    let counts = |resource: &EventConsumerGroup| {
        let status = resource.status.as_ref();
        let owns_it = status.is_some_and(|status| status.group_origin.is_some());
        owns_it || validate(resource, endpoints, image, api_server).is_ok()
    };
    resources
        .into_iter()
        .filter(|resource| GroupKey::of(resource, endpoints) == *key)
        .filter(|resource| counts(resource))
        .map(Contender::of)
        .collect()
}

/// Decides the owner of the group that `me` and the `others` declare; `me` may be one of the `others`.
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
    fn a_resource_without_contenders_owns_its_group() {
        let me = contender("me", "1", 5);
        assert_eq!(decide(&me, &[]), Claim::Ours);
        assert_eq!(decide(&me, std::slice::from_ref(&me)), Claim::Ours);
    }

    #[test]
    fn the_oldest_owns_the_group() {
        let (me, old, older) =
            (contender("me", "1", 5), contender("a", "2", 4), contender("b", "3", 3));
        let all = [me.clone(), old.clone(), older.clone()];
        assert_eq!(decide(&me, &all), Claim::Other { name: Some("b".into()) });
        assert_eq!(decide(&old, &all), Claim::Other { name: Some("b".into()) });
        assert_eq!(decide(&older, &all), Claim::Ours);
    }

    #[test]
    fn of_the_same_age_the_smaller_uid_owns_the_group() {
        let (a, b) = (contender("z", "1", 5), contender("a", "2", 5));
        let all = [a.clone(), b.clone()];
        assert_eq!(decide(&a, &all), Claim::Ours);
        assert_eq!(decide(&b, &all), Claim::Other { name: Some("z".into()) });
    }

    fn resource(name: &str, spec: serde_json::Value) -> EventConsumerGroup {
        let resource = serde_json::json!({
            "apiVersion": "eventbus.seraaj.dev/v1alpha1", "kind": "EventConsumerGroup",
            "metadata": {"name": name, "namespace": "ns", "uid": name}, "spec": spec,
        });
        serde_json::from_value(resource).unwrap()
    }

    #[test]
    fn a_refused_resource_contends_only_for_a_group_that_it_owns() {
        let endpoints =
            Endpoints::parse("endpoints: [{name: default, url: 'redis://r'}]", &|_| false).unwrap();
        let valid = serde_json::json!({"stream": "s", "group": "g", "handler": {"log": {}}});
        let refused = serde_json::json!({"stream": "s", "group": "g", "handler": {"http": {"url": "http://u:p@h"}}});
        let other = serde_json::json!({"stream": "s", "group": "h", "handler": {"log": {}}});
        let mut owner = resource("owner", refused.clone());
        owner.status = Some(eventbus_api::EventConsumerGroupStatus {
            group_origin: Some(eventbus_api::GroupOrigin::Created),
            ..Default::default()
        });
        let all = [
            resource("valid", valid),
            resource("refused", refused),
            resource("other", other),
            owner,
        ];
        let key = GroupKey::of(&all[0], &endpoints);
        let contenders = contenders(&all, &key, &endpoints, "img", None);
        let names: Vec<_> = contenders.iter().map(|contender| &*contender.name).collect();
        assert_eq!(names, ["valid", "owner"]);
    }

    #[test]
    fn an_owner_in_another_namespace_is_not_named() {
        let me = contender("me", "1", 5);
        let other = Contender { namespace: "secret".into(), ..contender("a", "2", 4) };
        assert_eq!(decide(&me, &[other]), Claim::Other { name: None });
    }
}
