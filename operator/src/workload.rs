//! The Deployment of consumers, as a function of what is wanted. Pure.

mod environment;
mod in_place;

use std::collections::BTreeMap;
use std::time::Duration;

use eventbus_api::EventConsumerGroup;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, HTTPGetAction, PodSecurityContext, PodSpec,
    PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecretVolumeSource,
    SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Resource;

use crate::wanted::{ResourceId, Wanted};

pub use environment::environment;
pub use in_place::is_in_place;

/// The value of `app.kubernetes.io/managed-by` on everything that the operator makes.
pub const MANAGED_BY: &str = "eventbus-operator";
/// The annotation with the group's name, which may not fit a label.
pub const GROUP_ANNOTATION: &str = "eventbus.seraaj.dev/group";
/// The annotation with the stream's key.
pub const STREAM_ANNOTATION: &str = "eventbus.seraaj.dev/stream";

const CONTAINER: &str = "consumer";
const PORT: i32 = 9090;
const SECRET_VOLUME: &str = "redis-credentials";
const SECRET_DIRECTORY: &str = "/etc/eventbus/redis";
/// What remains for the last acknowledgements after the longest handler call.
const DRAIN: Duration = Duration::from_secs(10);
const USER: i64 = 65_532;

/// The name of a resource's Deployment.
#[must_use]
pub fn name(resource: &ResourceId) -> String {
    format!("ecg-{}", resource.name)
}

/// The labels by which a resource's pods are found: never changed once there are pods.
#[must_use]
pub fn selector_labels(resource: &ResourceId) -> BTreeMap<String, String> {
    map([
        ("app.kubernetes.io/name", "eventbus-consumer"),
        ("app.kubernetes.io/instance", &resource.name),
    ])
}

/// The same labels as text, for /scale.
#[must_use]
pub fn selector(resource: &ResourceId) -> String {
    let labels = selector_labels(resource);
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// Whether `metadata` names `uid` as its controller.
#[must_use]
pub fn is_controlled_by(metadata: &ObjectMeta, uid: &str) -> bool {
    let owners = metadata.owner_references.iter().flatten();
    owners.filter(|owner| owner.controller == Some(true)).any(|owner| owner.uid == uid)
}

/// The Deployment with `replicas` pods, whole: what is not in it is not ours.
#[must_use]
pub fn deployment(wanted: &Wanted, replicas: u32) -> Deployment {
    let resource = &wanted.resource;
    let selector = selector_labels(resource);
    let mut labels = selector.clone();
    labels.extend(map([
        ("app.kubernetes.io/managed-by", MANAGED_BY),
        ("app.kubernetes.io/part-of", "eventbus"),
    ]));
    let annotations = map([
        (GROUP_ANNOTATION, wanted.group.as_str()),
        (STREAM_ANNOTATION, wanted.target.stream.as_str()),
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
            replicas: Some(i32::try_from(replicas).unwrap_or(i32::MAX)),
            selector: LabelSelector { match_labels: Some(selector), ..LabelSelector::default() },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(wanted)),
            },
            ..DeploymentSpec::default()
        }),
        status: None,
    };
    in_place::stamp(&mut deployment);
    deployment
}

/// Deleting the resource takes the Deployment with it. Without `blockOwnerDeletion`, which would need a right on the
/// resource's finalizers.
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

fn pod(wanted: &Wanted) -> PodSpec {
    let secret = wanted.redis.secret.as_ref();
    let grace = wanted.delivery.timeout + DRAIN;
    PodSpec {
        containers: vec![container(wanted)],
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        // Rounded up: a second less could cut a handler call.
        termination_grace_period_seconds: i64::try_from(grace.as_millis().div_ceil(1_000)).ok(),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        volumes: secret.map(|secret| {
            vec![Volume {
                name: SECRET_VOLUME.to_owned(),
                secret: Some(SecretVolumeSource {
                    secret_name: Some(secret.name.clone()),
                    ..SecretVolumeSource::default()
                }),
                ..Volume::default()
            }]
        }),
        ..PodSpec::default()
    }
}

fn container(wanted: &Wanted) -> Container {
    Container {
        name: CONTAINER.to_owned(),
        image: Some(wanted.image.clone()),
        args: Some(vec!["run".to_owned()]),
        env: Some(environment(wanted, SECRET_DIRECTORY)),
        ports: Some(vec![ContainerPort {
            name: Some("http".to_owned()),
            container_port: PORT,
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        liveness_probe: Some(probe("/livez", 10, 6)),
        readiness_probe: Some(probe("/readyz", 2, 3)),
        resources: Some(ResourceRequirements {
            requests: Some(
                [("cpu", "10m"), ("memory", "32Mi")]
                    .map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned())))
                    .into(),
            ),
            ..ResourceRequirements::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        volume_mounts: wanted.redis.secret.as_ref().map(|_| {
            vec![VolumeMount {
                name: SECRET_VOLUME.to_owned(),
                mount_path: SECRET_DIRECTORY.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            }]
        }),
        ..Container::default()
    }
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

#[cfg(test)]
mod tests {
    use crate::endpoints::PodSecret;
    use crate::testing::wanted;

    use super::*;

    fn pod_of(wanted: &Wanted) -> PodSpec {
        deployment(wanted, 1).spec.unwrap().template.spec.unwrap()
    }

    #[test]
    fn the_deployment_is_named_owned_and_selected_by_its_resource() {
        let deployment = deployment(&wanted(), 3);
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
            selector(&wanted().resource),
            "app.kubernetes.io/instance=orders,app.kubernetes.io/name=eventbus-consumer"
        );
    }

    #[test]
    fn the_pod_passes_pod_security_restricted_and_gets_no_token() {
        let pod = pod_of(&wanted());
        assert_eq!(pod.automount_service_account_token, Some(false));
        let security = pod.security_context.unwrap();
        assert_eq!(security.run_as_non_root, Some(true));
        assert_eq!(security.seccomp_profile.unwrap().type_, "RuntimeDefault");
        let security = pod.containers[0].security_context.clone().unwrap();
        assert_eq!(security.allow_privilege_escalation, Some(false));
        assert_eq!(security.read_only_root_filesystem, Some(true));
        assert_eq!(security.capabilities.unwrap().drop, Some(vec!["ALL".to_owned()]));
    }

    #[test]
    fn the_pod_gets_ten_seconds_more_than_a_handler_call() {
        assert_eq!(pod_of(&wanted()).termination_grace_period_seconds, Some(30));
        let mut short = wanted();
        short.delivery.timeout = Duration::from_millis(1_500);
        assert_eq!(pod_of(&short).termination_grace_period_seconds, Some(12));
    }

    #[test]
    fn credentials_are_mounted_from_the_secret_of_the_endpoint() {
        let mut with_secret = wanted();
        let files = vec![("REDIS_PASSWORD_FILE", "password")];
        with_secret.redis.secret = Some(PodSecret { name: "redis".into(), files });
        let pod = pod_of(&with_secret);
        let volume = &pod.volumes.unwrap()[0];
        assert_eq!(volume.secret.as_ref().unwrap().secret_name.as_deref(), Some("redis"));
        let mount = &pod.containers[0].volume_mounts.as_ref().unwrap()[0];
        assert_eq!((&*mount.name, &*mount.mount_path), (&*volume.name, "/etc/eventbus/redis"));
        assert_eq!(pod_of(&wanted()).volumes, None);
    }
}
