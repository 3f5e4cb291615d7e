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

/// Address of the API server, as Kubernetes tells every pod.
const API_SERVER: &str = "10.96.0.1";

/// The environment of the pods of a resource, or the operator's words against it.
fn try_environment(fields: Value) -> Result<BTreeMap<String, String>, String> {
    let yaml = "endpoints: [{name: default, url: 'rediss://r.example:6380/2', credentialsDir: /c, secretName: s}]";
    let endpoints = Endpoints::parse(yaml, &|file| file.ends_with("password")).unwrap();
    let mut resource = rules::resource("orders", &rules::spec(fields));
    resource.metadata.namespace = Some("shop".to_owned());
    let desired = validate(&resource, &endpoints, "i", API_SERVER.parse().ok());
    let desired = desired.map_err(|refusal| refusal.message)?;
    let pod = deployment(&desired.workload(1)).spec.unwrap().template.spec.unwrap();
    let variables = pod.containers.into_iter().flat_map(|container| container.env.unwrap());
    let mut environment = BTreeMap::from([("HOME".to_owned(), "/root".to_owned())]);
    for variable in variables {
        let pod_name = variable.value_from.map(|_| "ecg-orders-7d9f-x2x".to_owned());
        let value = variable.value.map(|value| kubelet::expanded(&value, &environment));
        environment.insert(variable.name, value.or(pod_name).unwrap());
    }
    environment.insert("KUBERNETES_SERVICE_HOST".to_owned(), API_SERVER.to_owned());
    Ok(environment)
}

fn environment(fields: Value) -> BTreeMap<String, String> {
    let shown = fields.to_string();
    try_environment(fields).unwrap_or_else(|refusal| panic!("{shown}: {refusal}"))
}

/// The settings of a consumer in this environment, or its words against it.
fn read(environment: &BTreeMap<String, String>) -> Result<Settings, String> {
    let settings = Settings::from_lookup(&|name| environment.get(name).cloned(), None);
    settings.map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn parsed(fields: Value) -> Settings {
    let shown = fields.to_string();
    read(&environment(fields)).unwrap_or_else(|errors| panic!("{shown}: {errors}"))
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
    let desired = validate(&resource, &endpoints.unwrap(), "i", None).unwrap();
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

/// Specs with each number of `schema` at its bounds; `place` puts the object that the schema describes into a spec.
fn at_bounds(schema: &Value, place: impl Fn(Value) -> Value) -> Vec<Value> {
    let properties = schema["properties"].as_object().unwrap();
    let bounds = |(name, property): (&String, &Value)| {
        let bounds = ["minimum", "maximum"].map(|bound| property[bound].as_u64());
        bounds.into_iter().flatten().map(|bound| json!({ name: bound })).collect::<Vec<_>>()
    };
    properties.iter().flat_map(bounds).map(place).collect()
}

#[test]
fn case_11_every_number_that_the_schema_accepts_at_its_bounds_starts_a_consumer() {
    let definition = serde_yaml::from_str::<Value>(&eventbus_api::yaml()).unwrap();
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let schema = |path: &str| definition.pointer(&format!("{spec}/{path}")).unwrap();
    let service = |mut fields: Value| {
        fields["name"] = json!("web");
        json!({"handler": {"http": {"service": fields}}})
    };
    let specs = [
        at_bounds(schema("delivery"), |fields| json!({ "delivery": fields })),
        at_bounds(
            schema("delivery/properties/backoff"),
            |fields| json!({"delivery": {"backoff": fields}}),
        ),
        at_bounds(schema("handler/properties/http/properties/service"), service),
    ];
    assert!(specs.iter().all(|specs| specs.len() > 1), "{specs:?}");
    for fields in specs.concat() {
        parsed(fields);
    }
}

#[test]
fn case_11_every_text_that_the_schema_accepts_at_its_bounds_starts_a_consumer() {
    let delivery = |fields: Value| json!({ "delivery": fields });
    let backoff = |initial, max| json!({"delivery": {"backoff": {"initial": initial, "max": max}}});
    let http = |fields: Value| json!({"handler": {"http": fields}});
    let url = format!("http://h/{}", "a".repeat(2_048 - "http://h/".len()));
    let types: Vec<String> = (0..64).map(|number| format!("{number:0128}")).collect();
    let service = json!({"name": "n".repeat(63), "port": 65_535, "path": "/".to_owned() + &"p".repeat(1_023)});
    for fields in [
        json!({"stream": " "}),
        json!({"stream": "s".repeat(512)}),
        json!({"group": "0"}),
        json!({"group": "g".repeat(200)}),
        json!({"eventTypes": ["*"]}),
        json!({ "eventTypes": types }),
        delivery(json!({"timeout": "1ms", "lease": "5s"})),
        delivery(json!({"timeout": "59m59s1000ms", "lease": "99999ms3500s"})),
        delivery(json!({"timeout": "1h", "lease": "60m"})),
        backoff("1ms", "1ms"),
        backoff("24h", "23h59m60s"),
        http(json!({ "url": url })),
        http(json!({ "service": service })),
    ] {
        parsed(fields);
    }
}

#[test]
fn case_11_the_operator_refuses_a_url_where_the_consumer_does_and_in_its_words() {
    let mut settings = environment(json!({"handler": {"http": {"url": "http://h/"}}}));
    for url in [
        "http://notifier.default.svc/events",
        "http://[fd00::7]:8080/",
        "https://h:443/a?b=c#d",
        "http://h:0/",
        "http://H%41/é ü",
        "http://localhost:3000/e",
        "http://notifier:99999/e",
        "http://h:8080:9090/e",
        "http://h:-1/",
        "http://127.1/",
        "http://[::1]/",
        "http://[bad",
        "http://user@h/",
        "http://h\\@x/",
        "http://xn--a/",
        "http://a b/",
        "http:////h/",
        "http://10.96.0.1/",
        "http://169.254.169.254/",
        "http://h/\0",
    ] {
        settings.insert("HANDLER_URL".to_owned(), url.to_owned());
        let of_consumer = read(&settings).map(drop);
        let of_operator = try_environment(json!({"handler": {"http": {"url": url}}})).map(drop);
        match (of_operator, of_consumer) {
            (Ok(()), Ok(())) => {}
            (Err(operator), Err(consumer)) => {
                let words = operator.strip_prefix("handler.http.url: ").unwrap();
                assert!(consumer.ends_with(words), "{url}: {operator:?}, {consumer:?}");
            }
            (operator, consumer) => panic!("{url}: {operator:?}, {consumer:?}"),
        }
    }
}
