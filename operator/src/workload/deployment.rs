//! Deployment of the consumers.

use std::collections::BTreeMap;

use eventbus_api::{EventConsumerGroup, ResourceId};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource;

use super::Workload;
use super::drift::stamp;
use super::pod::pod;

/// Value of `app.kubernetes.io/managed-by` on every object that the operator creates.
pub const MANAGED_BY: &str = "eventbus-operator";
/// Annotation with the name of the group, which may not fit in a label.
const GROUP_ANNOTATION: &str = "eventbus.seraaj.dev/group";
/// Annotation with the key of the stream.
const STREAM_ANNOTATION: &str = "eventbus.seraaj.dev/stream";

/// Returns the name of a resource's Deployment.
#[must_use]
pub fn name(resource: &ResourceId) -> String {
    format!("ecg-{}", resource.name)
}

/// Returns the labels that select the pods of a resource. They must not change: a Deployment's selector is immutable.
fn selector_labels(resource: &ResourceId) -> BTreeMap<String, String> {
    map([
        ("app.kubernetes.io/name", "eventbus-consumer"),
        ("app.kubernetes.io/instance", &resource.name),
    ])
}

/// Returns the label selector of a resource's pods as text.
#[must_use]
pub fn selector(resource: &ResourceId) -> String {
    let labels = selector_labels(resource);
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// Returns true if `uid` is the controller in the owner references of `metadata`.
#[must_use]
pub fn is_controlled_by(metadata: &ObjectMeta, uid: &str) -> bool {
    let owners = metadata.owner_references.iter().flatten();
    owners.filter(|owner| owner.controller == Some(true)).any(|owner| owner.uid == uid)
}

/// Returns the desired Deployment with all fields that the operator owns.
#[must_use]
pub fn deployment(workload: &Workload<'_>) -> Deployment {
    let resource = workload.resource;
    let selector = selector_labels(resource);
    let mut labels = selector.clone();
    labels.extend(map([
        ("app.kubernetes.io/managed-by", MANAGED_BY),
        ("app.kubernetes.io/part-of", "eventbus"),
    ]));
    let annotations = map([
        (GROUP_ANNOTATION, workload.group.as_str()),
        (STREAM_ANNOTATION, workload.stream.as_str()),
    ]);
    let mut deployment = Deployment {
        metadata: ObjectMeta {
            name: Some(name(resource)),
            namespace: Some(resource.namespace.clone()),
            labels: Some(labels.clone()),
            annotations: Some(annotations.clone()),
            owner_references: Some(vec![owner(resource)]),
            ..ObjectMeta::default()
        },
        spec: Some(DeploymentSpec {
            replicas: Some(i32::try_from(workload.replicas).unwrap_or(i32::MAX)),
            selector: LabelSelector { match_labels: Some(selector), ..LabelSelector::default() },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(workload)),
            },
            ..DeploymentSpec::default()
        }),
        status: None,
    };
    stamp(&mut deployment);
    deployment
}

/// Returns the owner reference, by which Kubernetes deletes the Deployment with the resource. It is without
/// `blockOwnerDeletion`, which would need a permission on the finalizers of the resource.
fn owner(resource: &ResourceId) -> OwnerReference {
    OwnerReference {
        api_version: EventConsumerGroup::api_version(&()).into_owned(),
        kind: EventConsumerGroup::kind(&()).into_owned(),
        name: resource.name.clone(),
        uid: resource.uid.clone(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

#[cfg(test)]
mod tests {
    use crate::testing::desired;

    use super::*;

    #[test]
    fn the_deployment_is_named_owned_and_selected_by_its_resource() {
        let desired = desired();
        let deployment = deployment(&desired.workload(3));
        assert_eq!(deployment.metadata.name.as_deref(), Some("ecg-orders"));
        assert!(is_controlled_by(&deployment.metadata, "uid-1"));
        assert!(!is_controlled_by(&deployment.metadata, "uid-2"));
        let spec = deployment.spec.unwrap();
        assert_eq!(spec.replicas, Some(3));
        let expected = map([
            ("app.kubernetes.io/instance", "orders"),
            ("app.kubernetes.io/name", "eventbus-consumer"),
        ]);
        assert_eq!(spec.selector.match_labels, Some(expected));
        assert_eq!(
            selector(&desired.resource),
            "app.kubernetes.io/instance=orders,app.kubernetes.io/name=eventbus-consumer"
        );
    }
}
