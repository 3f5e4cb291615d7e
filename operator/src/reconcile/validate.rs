//! Parses a resource into its desired state, or refuses it with the reason. Pure.

use std::net::IpAddr;

use eventbus::{GroupName, Start, StreamKey, TypeFilter};
use eventbus_api::{self as api, EventConsumerGroup, EventConsumerGroupSpec, ResourceId, reasons};
use eventbus_core::retry::backoff::Backoff;
use eventbus_core::time as duration;
use eventbus_program::dial::{DialPolicy, HandlerUrl};

use crate::redis::endpoints::Endpoints;
use crate::redis::{Target, endpoint_of};
use crate::workload::{DeliverySettings, HandlerKind, PodRedis, PodSettings};

use super::desired::Desired;

/// Reason and message of the condition Ready of a resource that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Reason: one of [`reasons`].
    pub reason: &'static str,
    /// Message for people: the field, the problem and the way out.
    pub message: String,
}

impl Refusal {
    fn template(field: &str, problem: impl std::fmt::Display) -> Self {
        Self { reason: reasons::INVALID_TEMPLATE, message: format!("{field}: {problem}") }
    }
}

/// Parses `resource`. `image` is the image of its pods unless the resource names one; `api_server` is the address of the
/// API server as pods see it, which no handler may have.
///
/// # Errors
/// [`Refusal`] with the reason `EndpointNotAllowed` or `InvalidTemplate`.
pub fn validate(
    resource: &EventConsumerGroup,
    endpoints: &Endpoints,
    image: &str,
    api_server: Option<IpAddr>,
) -> Result<Desired, Refusal> {
    let spec = &resource.spec;
    let (name, resource) = (endpoint_of(resource), ResourceId::of(resource));
    let stream = stream(&spec.stream)?;
    let endpoint = endpoints.find(name, &resource.namespace, &stream).map_err(|error| Refusal {
        reason: reasons::ENDPOINT_NOT_ALLOWED,
        message: error.to_string(),
    })?;
    let group = spec.group.as_deref().unwrap_or(&resource.name);
    Ok(Desired {
        group: GroupName::new(group).map_err(|e| Refusal::template("group", e))?,
        target: Target { endpoint: endpoint.name.clone(), stream },
        start: start(spec)?,
        types: TypeFilter::parse(spec.event_types.iter().map(String::as_str))
            .map_err(|error| Refusal::template("eventTypes", error))?,
        pods: PodSettings {
            redis: PodRedis { url: endpoint.url.clone(), secret: endpoint.secret.clone() },
            event_types: spec.event_types.clone(),
            handler: handler(spec, &resource.namespace, api_server)?,
            delivery: delivery(&spec.delivery)?,
            image: spec.image.clone().unwrap_or_else(|| image.to_owned()),
        },
        replicas: spec.replicas.unwrap_or(1),
        suspend: spec.suspend,
        resource,
    })
}

fn stream(key: &str) -> Result<StreamKey, Refusal> {
    if key.contains('\0') {
        let problem =
            "must not contain a NUL character, which no environment variable of a pod can have";
        return Err(Refusal::template("stream", problem));
    }
    StreamKey::new(key).map_err(|error| Refusal::template("stream", error))
}

fn start(spec: &EventConsumerGroupSpec) -> Result<Start, Refusal> {
    let Some(start) = &spec.start else {
        return Ok(Start::Id(eventbus::EntryId::ZERO));
    };
    let (field, text) = match (&start.id, &start.time) {
        (Some(id), _) => ("start.id", id),
        (None, Some(time)) => ("start.time", time),
        (None, None) => {
            return Err(Refusal::template("start", "set exactly one of id, time"));
        }
    };
    text.parse().map_err(|error| Refusal::template(field, error))
}

fn handler(
    spec: &EventConsumerGroupSpec,
    namespace: &str,
    api_server: Option<IpAddr>,
) -> Result<HandlerKind, Refusal> {
    let Some(http) = &spec.handler.http else {
        return Ok(HandlerKind::Log);
    };
    let (field, url) = match (&http.url, &http.service) {
        (Some(url), _) => ("handler.http.url", url.clone()),
        (None, Some(service)) if is_dns_label(&service.name) => {
            ("handler.http.service", service_url(service, namespace))
        }
        (None, Some(service)) => {
            let problem = format!(
                "{:?} is not the name of a Service of this namespace: use up to 63 of a-z, 0-9 and '-'",
                service.name
            );
            return Err(Refusal::template("handler.http.service.name", problem));
        }
        (None, None) => {
            return Err(Refusal::template("handler.http", "set exactly one of url, service"));
        }
    };
    // As in the pods, where loopback is closed to handlers.
    let policy = DialPolicy { allow_loopback: false, api_server };
    HandlerUrl::parse(&url, &policy).map_err(|problem| Refusal::template(field, problem))?;
    Ok(HandlerKind::Http { url, format: http.format })
}

/// Returns true if `name` is a DNS label (RFC 1123), as the name of a Service has to be.
fn is_dns_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edge = |c: Option<char>| c.is_some_and(|c| c != '-');
    name.len() <= 63
        && name.chars().all(inner)
        && edge(name.chars().next())
        && edge(name.chars().next_back())
}

fn service_url(service: &api::ServiceRef, namespace: &str) -> String {
    let port = if service.port == 80 { String::new() } else { format!(":{}", service.port) };
    let slash = if service.path.starts_with('/') { "" } else { "/" };
    format!("http://{}.{namespace}.svc{port}{slash}{}", service.name, service.path)
}

fn delivery(delivery: &api::Delivery) -> Result<DeliverySettings, Refusal> {
    let span = |field: &str, text: &api::DurationText| {
        duration::parse(&text.0).map_err(|error| Refusal::template(field, error))
    };
    let max_bytes = delivery.max_bytes.bytes().ok_or_else(|| {
        Refusal::template("delivery.maxBytes", "must be a size such as 64Mi, from 1Mi to 1024Gi")
    })?;
    let backoff = &delivery.backoff;
    Ok(DeliverySettings {
        max_attempts: delivery.max_attempts,
        timeout: span("delivery.timeout", &delivery.timeout)?,
        concurrency: delivery.concurrency.unwrap_or(8),
        batch_size: delivery.batch_size,
        max_bytes,
        lease: span("delivery.lease", &delivery.lease)?,
        backoff: Backoff {
            initial: span("delivery.backoff.initial", &backoff.initial)?,
            max: span("delivery.backoff.max", &backoff.max)?,
            multiplier: backoff.multiplier,
            jitter_percent: backoff.jitter_percent,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    const API_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1));

    fn endpoints() -> Endpoints {
        let yaml = "endpoints: [{name: default, url: 'redis://r:6379'}, {name: other, url: 'redis://o', namespaces: [x]}]";
        Endpoints::parse(yaml, &|_| false).unwrap()
    }

    fn validated(spec: Value) -> Result<Desired, Refusal> {
        let resource = json!({
            "apiVersion": "eventbus.seraaj.dev/v1alpha1", "kind": "EventConsumerGroup",
            "metadata": {"name": "n", "namespace": "ns", "uid": "u", "generation": 3},
            "spec": spec,
        });
        validate(&serde_json::from_value(resource).unwrap(), &endpoints(), "img", Some(API_SERVER))
    }

    fn refused(spec: Value) -> (&'static str, String) {
        let refusal = validated(spec).unwrap_err();
        (refusal.reason, refusal.message)
    }

    #[test]
    fn a_url_without_a_host_and_a_service_of_another_namespace_are_refused() {
        for url in ["http:////u:p@h/", "http://:80/x", "http://[bad", "http://?x"] {
            let (reason, message) =
                refused(json!({"stream": "s", "handler": {"http": {"url": url}}}));
            assert_eq!(reason, reasons::INVALID_TEMPLATE, "{url}");
            assert!(message.contains("handler.http.url"), "{message}");
        }
        for name in ["a.b", "evil/x?", "u:p@h", "-a", "A", ""] {
            let service = json!({"name": name});
            let (reason, message) =
                refused(json!({"stream": "s", "handler": {"http": {"service": service}}}));
            assert_eq!(reason, reasons::INVALID_TEMPLATE, "{name}");
            assert!(message.contains("handler.http.service.name"), "{message}");
        }
    }

    #[test]
    fn case_11_a_url_that_the_consumer_would_refuse_is_refused_in_its_words() {
        let form = "must be a URL such as http://notifier.default.svc/events: invalid port number";
        let loopback =
            "must not lead to a loopback address (HANDLER_ALLOW_LOOPBACK=true allows it)";
        for (url, words) in [
            ("http://notifier:99999/e", form),
            ("http://h:8080:9090/e", form),
            ("http://localhost:3000/e", loopback),
            ("http://[::1]:3000/e", loopback),
            ("https://10.96.0.1/apis", "must not lead to the API server's address"),
            ("http://0xa9fea9fe/", "must not lead to a link-local address"),
        ] {
            let spec = json!({"stream": "s", "handler": {"http": {"url": url}}});
            let message = format!("handler.http.url: {words}");
            assert_eq!(refused(spec), (reasons::INVALID_TEMPLATE, message), "{url}");
        }
    }

    #[test]
    fn case_11_a_service_whose_url_the_consumer_would_refuse_is_refused() {
        let long = "é".repeat(1_024);
        for service in [json!({"name": "xn--a"}), json!({"name": "web", "path": long})] {
            let spec = json!({"stream": "s", "handler": {"http": {"service": service}}});
            let (reason, message) = refused(spec);
            assert_eq!(reason, reasons::INVALID_TEMPLATE, "{service}");
            assert!(message.starts_with("handler.http.service: must "), "{message}");
        }
    }

    #[test]
    fn case_11_a_stream_that_no_environment_variable_can_carry_is_refused() {
        let odd = "é".repeat(300);
        for stream in ["a\0b", &odd] {
            let (reason, message) = refused(json!({"stream": stream, "handler": {"log": {}}}));
            assert_eq!(reason, reasons::INVALID_TEMPLATE);
            assert!(message.starts_with("stream: "), "{message}");
        }
    }

    #[test]
    fn the_smallest_resource_gets_the_documented_defaults() {
        let desired = validated(json!({"stream": "s", "handler": {"log": {}}})).unwrap();
        assert_eq!(desired.group.as_str(), "n");
        assert_eq!(desired.start, Start::Id(eventbus::EntryId::ZERO));
        assert_eq!((desired.replicas, desired.suspend), (1, false));
        let PodSettings { image, delivery, .. } = desired.pods;
        assert_eq!((&*image, delivery.concurrency), ("img", 8));
        assert_eq!(delivery.timeout, Duration::from_secs(30));
        assert_eq!(delivery.backoff, Backoff::default());
        assert_eq!(desired.resource.generation, 3);
    }

    #[test]
    fn a_service_becomes_a_url_in_the_namespace_of_the_resource() {
        let cases = [
            (json!({"name": "web"}), "http://web.ns.svc/"),
            (
                json!({"name": "web", "port": 8080, "path": "events"}),
                "http://web.ns.svc:8080/events",
            ),
        ];
        for (service, url) in cases {
            let spec = json!({"stream": "s", "handler": {"http": {"service": service}}});
            let format = eventbus_api::Format::CloudEventBinary;
            let expected = HandlerKind::Http { url: url.to_owned(), format };
            assert_eq!(validated(spec).unwrap().pods.handler, expected);
        }
    }

    #[test]
    fn a_url_with_a_password_is_refused() {
        let spec = json!({"stream": "s", "handler": {"http": {"url": "http://u:p@h/x"}}});
        let (reason, message) = refused(spec);
        assert_eq!(reason, "InvalidTemplate");
        assert!(message.starts_with("handler.http.url") && !message.contains("u:p"), "{message}");
        let at_sign_in_path = json!({"stream": "s", "handler": {"http": {"url": "http://h/@x"}}});
        assert!(validated(at_sign_in_path).is_ok());
    }

    #[test]
    fn an_endpoint_of_other_namespaces_is_not_allowed() {
        let spec = json!({"stream": "s", "handler": {"log": {}}, "redis": {"name": "other"}});
        assert_eq!(refused(spec).0, "EndpointNotAllowed");
    }

    #[test]
    fn an_entry_id_that_does_not_fit_is_refused_with_its_field() {
        let spec =
            json!({"stream": "s", "handler": {"log": {}}, "start": {"id": "99999999999999999999"}});
        let (reason, message) = refused(spec);
        assert_eq!(reason, "InvalidTemplate");
        assert!(message.starts_with("start.id"), "{message}");
    }
}
