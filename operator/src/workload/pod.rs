//! Pods of the Deployment.

use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, HTTPGetAction, PodSecurityContext, PodSpec, Probe,
    ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Workload;
use super::environment::environment;

const CONTAINER: &str = "consumer";
const PORT: i32 = 9090;
const SECRET_VOLUME: &str = "redis-credentials";
const SECRET_DIRECTORY: &str = "/etc/eventbus/redis";
/// Time for the last acknowledgements after the longest handler call.
const DRAIN: Duration = Duration::from_secs(10);
const USER: i64 = 65_532;

/// Returns the pod of a consumer.
pub(super) fn pod(workload: &Workload<'_>) -> PodSpec {
    let secret = workload.pods.redis.secret.as_ref();
    let grace = workload.pods.delivery.timeout + DRAIN;
    PodSpec {
        containers: vec![container(workload)],
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        // Rounded up, so that the last handler call is not cut off.
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

fn container(workload: &Workload<'_>) -> Container {
    Container {
        name: CONTAINER.to_owned(),
        image: Some(workload.pods.image.clone()),
        args: Some(vec!["run".to_owned()]),
        env: Some(environment(workload, SECRET_DIRECTORY)),
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
        volume_mounts: workload.pods.redis.secret.as_ref().map(|_| {
            vec![VolumeMount {
                name: SECRET_VOLUME.to_owned(),
                mount_path: SECRET_DIRECTORY.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            }]
        }),
        // For an end without a message of its own: out of memory, a panic, another program in the user's image.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
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

#[cfg(test)]
mod tests {
    use crate::redis::endpoints::PodSecret;
    use crate::testing::desired;

    use super::*;

    #[test]
    fn the_pod_passes_pod_security_restricted_and_gets_no_token() {
        let spec = pod(&desired().workload(1));
        assert_eq!(spec.automount_service_account_token, Some(false));
        let security = spec.security_context.unwrap();
        assert_eq!(security.run_as_non_root, Some(true));
        assert_eq!(security.seccomp_profile.unwrap().type_, "RuntimeDefault");
        let security = spec.containers[0].security_context.clone().unwrap();
        assert_eq!(security.allow_privilege_escalation, Some(false));
        assert_eq!(security.read_only_root_filesystem, Some(true));
        assert_eq!(security.capabilities.unwrap().drop, Some(vec!["ALL".to_owned()]));
    }

    #[test]
    fn case_11_the_status_of_a_pod_has_the_end_of_its_log() {
        let container = &pod(&desired().workload(1)).containers[0];
        let policy = container.termination_message_policy.as_deref();
        assert_eq!(policy, Some("FallbackToLogsOnError"));
    }

    #[test]
    fn the_pod_gets_ten_seconds_more_than_a_handler_call() {
        assert_eq!(pod(&desired().workload(1)).termination_grace_period_seconds, Some(30));
        let mut short = desired();
        short.pods.delivery.timeout = Duration::from_millis(1_500);
        assert_eq!(pod(&short.workload(1)).termination_grace_period_seconds, Some(12));
    }

    #[test]
    fn credentials_are_mounted_from_the_secret_of_the_endpoint() {
        let mut with_secret = desired();
        let files = vec![("REDIS_PASSWORD_FILE", "password")];
        with_secret.pods.redis.secret = Some(PodSecret { name: "redis".into(), files });
        let spec = pod(&with_secret.workload(1));
        let volume = &spec.volumes.unwrap()[0];
        assert_eq!(volume.secret.as_ref().unwrap().secret_name.as_deref(), Some("redis"));
        let mount = &spec.containers[0].volume_mounts.as_ref().unwrap()[0];
        assert_eq!((&*mount.name, &*mount.mount_path), (&*volume.name, "/etc/eventbus/redis"));
        assert_eq!(pod(&desired().workload(1)).volumes, None);
    }
}
