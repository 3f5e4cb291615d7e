//! What the operator writes into the environment of a consumer is what the consumer reads.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::collections::BTreeMap;
use std::time::Duration;

use eventbus_consumer::handler::HandlerSettings;
use eventbus_consumer::handler::http::HttpSettings;
use eventbus_consumer::handler::request::Format;
use eventbus_consumer::settings::Settings;
use eventbus_core::retry::backoff::Backoff;
use eventbus_operator::reconcile::validate::validate;
use eventbus_operator::redis::endpoints::Endpoints;
use eventbus_operator::workload::deployment;
use serde_json::{Value, json};
use tests::{kubelet, rules};

/// The environment of the pods of a resource.
fn environment(fields: Value) -> BTreeMap<String, String> {
    let yaml = "endpoints: [{name: default, url: 'rediss://r.example:6380/2', credentialsDir: /c, secretName: s}]";
    let endpoints = Endpoints::parse(yaml, &|file| file.ends_with("password")).unwrap();
    let mut resource = rules::resource("orders", &rules::spec(fields));
    resource.metadata.namespace = Some("shop".to_owned());
    let desired = validate(&resource, &endpoints, "i").unwrap();
    let pod = deployment(&desired.workload(1)).spec.unwrap().template.spec.unwrap();
    let variables = pod.containers.into_iter().flat_map(|container| container.env.unwrap());
    let mut environment = BTreeMap::from([("HOME".to_owned(), "/root".to_owned())]);
    for variable in variables {
        let pod_name = variable.value_from.map(|_| "ecg-orders-7d9f-x2x".to_owned());
        let value = variable.value.map(|value| kubelet::expanded(&value, &environment));
        environment.insert(variable.name, value.or(pod_name).unwrap());
    }
    environment
}

fn parsed(fields: Value) -> Settings {
    let environment = environment(fields);
    Settings::from_lookup(&|name| environment.get(name).cloned(), None).unwrap()
}

fn http(settings: &Settings) -> &HttpSettings {
    match &settings.handler {
        HandlerSettings::Http(http) => http,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_consumer_reads_what_the_resource_asks_for() {
    let settings = parsed(json!({
        "group": "g", "eventTypes": ["a.*", "b"],
        "handler": {"http": {"service": {"name": "web", "port": 8080, "path": "/events"}, "format": "Json"}},
        "delivery": {"timeout": "1m30s", "concurrency": 3, "batchSize": 7, "maxBytes": "32Mi", "lease": "45s",
            "backoff": {"initial": "500ms", "max": "2m", "multiplier": 3, "jitterPercent": 5}},
    }));
    assert_eq!(settings.redis.endpoint(), "r.example:6380/2");
    let subscriber = &settings.subscriber;
    assert_eq!((subscriber.stream.as_str(), subscriber.group.as_str()), ("s", "g"));
    assert_eq!(subscriber.consumer.as_str(), "ecg-orders-7d9f-x2x");
    assert_eq!(subscriber.types.patterns(), ["a.*", "b"]);
    // Consumers wait for the operator to make the group.
    assert_eq!(subscriber.start, None);
    assert_eq!(subscriber.dead_letters.as_ref().unwrap().stream.as_str(), "{s}:dlq:g");
    let delivery = &subscriber.delivery;
    assert_eq!(
        (delivery.timeout, delivery.lease),
        (Duration::from_secs(90), Duration::from_secs(45))
    );
    assert_eq!((delivery.concurrency, delivery.batch_size), (3, 7));
    assert_eq!(delivery.max_bytes, 33_554_432);
    let backoff = Backoff {
        initial: Duration::from_millis(500),
        max: Duration::from_secs(120),
        multiplier: 3,
        jitter_percent: 5,
    };
    assert_eq!(delivery.backoff, backoff);
    let http = http(&settings);
    assert_eq!(http.url.url().as_str(), "http://web.shop.svc:8080/events");
    assert_eq!(http.format, Format::Json);
}

#[test]
fn the_defaults_of_the_resource_are_those_of_the_consumer() {
    let environment = environment(json!({}));
    let required = |name: &str| {
        let keep =
            ["EVENT_GROUP", "EVENT_CONSUMER", "HANDLER", "REDIS_STREAM_NAME"].contains(&name);
        keep.then(|| environment.get(name).cloned()).flatten()
    };
    let of_consumer = Settings::from_lookup(&required, None).unwrap().subscriber.delivery;
    assert_eq!(format!("{:?}", parsed(json!({})).subscriber.delivery), format!("{of_consumer:?}"));
}

#[test]
fn the_consumer_is_done_before_the_pod_is_killed() {
    let fields = json!({"delivery": {"timeout": "20s"}});
    let endpoints = Endpoints::parse("endpoints: [{name: default, url: 'redis://r'}]", &|_| false);
    let resource = rules::resource("orders", &rules::spec(fields.clone()));
    let desired = validate(&resource, &endpoints.unwrap(), "i").unwrap();
    let pod = deployment(&desired.workload(1)).spec.unwrap().template.spec.unwrap();
    let killed =
        Duration::from_secs(pod.termination_grace_period_seconds.unwrap().try_into().unwrap());
    assert!(parsed(fields).subscriber.delivery.grace < killed);
}

#[test]
fn case_04_a_dollar_sign_in_a_stream_or_url_arrives_as_it_is() {
    for odd in ["a$$b", "$", "a$b", "$(HOME)", "$$(HOME)", "$$$(HOME)", "{a,b}:c \"d\" é"] {
        let url = format!("http://h/?a={odd}");
        let handler = json!({"http": {"url": url}});
        let environment = environment(json!({"stream": odd, "group": "g", "handler": handler}));
        assert_eq!(environment["REDIS_STREAM_NAME"], odd);
        assert_eq!(environment["HANDLER_URL"], url);
    }
}
