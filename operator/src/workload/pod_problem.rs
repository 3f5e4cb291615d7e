//! Reason why pods are not ready, taken from their status. Pure.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

/// Reasons of a waiting container that is starting.
const STARTING: [&str; 2] = ["ContainerCreating", "PodInitializing"];
/// Maximum size of a shown text in bytes.
const MAX_SHOWN: usize = 1_024;

/// Returns the reason why the first of `pods` with a problem is not ready. `secret` is the Secret that the pods mount:
/// while it is missing, they remain in creation, and their status does not name the cause.
#[must_use]
pub fn pod_problem(pods: &[Pod], secret: Option<&str>) -> Option<String> {
    let name = |pod: &Pod| pod.metadata.name.clone().unwrap_or_default();
    let found = pods.iter().find_map(|pod| Some((name(pod), of_pod(pod)?)));
    let starting = || {
        let pod = pods.iter().find(|pod| waits_for_creation(pod))?;
        let secret = secret?;
        Some((
            name(pod),
            format!("ContainerCreating: the Secret {secret} must exist in this namespace"),
        ))
    };
    found.or_else(starting).map(|(pod, why)| format!("pod {pod}: {why}"))
}

fn of_pod(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let unscheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    if let Some(condition) = unscheduled {
        let reason = condition.reason.as_deref().unwrap_or("Unschedulable");
        return Some(sentence(reason, condition.message.as_deref().map(shown)));
    }
    containers(pod).find_map(of_container)
}

fn of_container(container: &ContainerStatus) -> Option<String> {
    let state = container.state.as_ref()?;
    if let Some(ended) = state.terminated.as_ref().filter(|ended| ended.exit_code != 0) {
        return Some(sentence(ended.reason.as_deref().unwrap_or("Error"), Some(end(ended))));
    }
    let waiting = state.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    if STARTING.contains(&reason) {
        return None;
    }
    let last = container.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    Some(sentence(reason, last.map(end).or_else(|| waiting.message.as_deref().map(shown))))
}

/// Returns the exit code of a container, and its termination message if it left one.
fn end(ended: &ContainerStateTerminated) -> String {
    let code = format!("the container ended with exit code {}", ended.exit_code);
    match ended.message.as_deref().map(shown).filter(|message| !message.is_empty()) {
        Some(message) => format!("{code}: {message}"),
        None => code,
    }
}

/// Returns a text from a pod as one bounded line: lines are joined, control characters escaped, and of a longer text the end
/// remains, where a log has its reason.
fn shown(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut line = String::new();
    for c in lines.join("; ").chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    match line.char_indices().map(|(at, _)| at).find(|at| line.len() - at <= MAX_SHOWN) {
        Some(at @ 1..) => format!("…{}", &line[at..]),
        _ => line,
    }
}

fn waits_for_creation(pod: &Pod) -> bool {
    containers(pod).any(|container| {
        let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
        waiting.and_then(|waiting| waiting.reason.as_deref()) == Some(STARTING[0])
    })
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten())
}

fn sentence(reason: &str, message: Option<String>) -> String {
    match message {
        Some(message) if !message.is_empty() => format!("{reason}: {message}"),
        _ => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pods(statuses: &[Value]) -> Vec<Pod> {
        let pod = |status: &Value| json!({"metadata": {"name": "p-1"}, "status": status});
        statuses.iter().map(|status| serde_json::from_value(pod(status)).unwrap()).collect()
    }

    fn waiting(reason: &str, message: &str) -> Value {
        let waiting = json!({"waiting": {"reason": reason, "message": message}});
        json!({"containerStatuses": [{
            "name": "consumer", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": waiting,
        }]})
    }

    #[test]
    fn pods_that_run_or_start_have_no_problem() {
        assert_eq!(pod_problem(&pods(&[json!({}), waiting("ContainerCreating", "")]), None), None);
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_reported_with_its_pod() {
        let pods = pods(&[json!({}), waiting("ImagePullBackOff", "not found")]);
        assert_eq!(
            pod_problem(&pods, None).as_deref(),
            Some("pod p-1: ImagePullBackOff: not found")
        );
    }

    #[test]
    fn a_container_in_a_crash_loop_is_reported_with_its_exit_code() {
        let mut status = waiting("CrashLoopBackOff", "back-off 5m0s");
        status["containerStatuses"][0]["lastState"] = json!({"terminated": {"exitCode": 2}});
        let problem = pod_problem(&pods(&[status]), None);
        let expected = "pod p-1: CrashLoopBackOff: the container ended with exit code 2";
        assert_eq!(problem.as_deref(), Some(expected));
    }

    #[test]
    fn case_11_the_termination_message_of_a_container_is_reported() {
        let ended = json!({"exitCode": 2, "message": "HANDLER_URL=\"x\": must be a URL\nLISTEN=\"y\": bad\n"});
        let mut waiting = waiting("CrashLoopBackOff", "back-off 5m0s");
        waiting["containerStatuses"][0]["lastState"] = json!({"terminated": ended});
        let mut between = waiting.clone();
        between["containerStatuses"][0]["state"] = json!({"terminated": ended});
        let words = "the container ended with exit code 2: HANDLER_URL=\"x\": must be a URL; LISTEN=\"y\": bad";
        for (status, reason) in [(waiting, "CrashLoopBackOff"), (between, "Error")] {
            let expected = format!("pod p-1: {reason}: {words}");
            assert_eq!(pod_problem(&pods(&[status]), None), Some(expected));
        }
    }

    #[test]
    fn case_11_a_text_of_a_pod_is_one_bounded_line() {
        assert_eq!(shown(" a\n\n\tb\u{1b}[31m\r\n"), "a; b\\u{1b}[31m");
        let long = shown(&format!("{}the reason", "é".repeat(2_000)));
        assert!(long.starts_with('…') && long.ends_with("the reason"), "{long}");
        assert!(long.len() <= MAX_SHOWN + '…'.len_utf8());
    }

    #[test]
    fn a_pod_without_a_node_is_reported() {
        let status = json!({"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node"}]});
        let problem = pod_problem(&pods(&[status]), None);
        assert_eq!(problem.as_deref(), Some("pod p-1: Unschedulable: no node"));
    }

    #[test]
    fn a_pod_that_waits_for_its_secret_is_reported_with_the_secret() {
        let creating = pods(&[waiting("ContainerCreating", "")]);
        let problem = pod_problem(&creating, Some("redis")).unwrap();
        assert!(problem.contains("Secret redis"), "{problem}");
    }
}
