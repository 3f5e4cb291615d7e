use std::cell::RefCell;
use std::collections::BTreeSet;

use eventbus::config::SETTINGS;

use super::*;

const REQUIRED: [(&str, &str); 2] =
    [("EVENT_GROUP", "notifications"), ("HANDLER_URL", "http://notifier.default.svc/events")];

/// Reads the required settings, with `changes` before them.
fn read(changes: &[(&str, &str)]) -> Result<Settings, Vec<SettingError>> {
    read_only(&[changes, &REQUIRED].concat())
}

fn read_only(settings: &[(&str, &str)]) -> Result<Settings, Vec<SettingError>> {
    let lookup = |name: &str| {
        settings.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    Settings::from_lookup(&lookup, Some("pod-1"))
}

fn refused(changes: &[(&str, &str)]) -> Vec<String> {
    read(changes).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn a_group_and_a_url_are_enough() {
    let settings = read(&[]).unwrap();
    let subscriber = &settings.subscriber;
    assert_eq!(settings.redis.endpoint(), "localhost:6379/0");
    assert_eq!(settings.listen, "[::]:9090".parse().unwrap());
    assert_eq!(subscriber.stream.as_str(), "stream:events");
    assert_eq!(subscriber.consumer.as_str(), "pod-1");
    let dead_letters = subscriber.dead_letters.as_ref().unwrap();
    assert_eq!(dead_letters.stream.as_str(), "{stream:events}:dlq:notifications");
    assert_eq!(dead_letters.max_length, 10_000);
    assert_eq!(subscriber.start, None);
    assert_eq!(subscriber.handler, "http");
    assert!(subscriber.types.matches("any.type"));
    let delivery = &subscriber.delivery;
    assert_eq!(delivery.timeout, Duration::from_secs(30));
    assert_eq!((delivery.concurrency, delivery.batch_size), (8, 16));
    assert_eq!(delivery.max_bytes, 67_108_864);
    assert_eq!((delivery.max_attempts, delivery.ordering), (5, DeliveryOrder::None));
    assert_eq!(delivery.lease, Duration::from_secs(30));
    assert_eq!(delivery.backoff, Backoff::default());
    assert_eq!(delivery.grace, Duration::from_secs(35));
}

#[test]
fn every_setting_has_its_effect() {
    let settings = read(&[
        ("EVENT_CONSUMER", "c"),
        ("EVENT_TYPES", "application.*, user.login"),
        ("EVENT_START", "$"),
        ("HANDLER", "log"),
        ("DELIVERY_MAX_ATTEMPTS", "100"),
        ("DELIVERY_TIMEOUT", "1h"),
        ("DELIVERY_CONCURRENCY", "256"),
        ("DELIVERY_BATCH_SIZE", "1000"),
        ("DELIVERY_MAX_BYTES", "1048576"),
        ("DELIVERY_LEASE", "5s"),
        ("DELIVERY_BACKOFF_INITIAL", "1ms"),
        ("DELIVERY_BACKOFF_MAX", "24h"),
        ("DELIVERY_BACKOFF_MULTIPLIER", "10"),
        ("DELIVERY_BACKOFF_JITTER_PERCENT", "0"),
        ("DEAD_LETTER_STREAM", "{stream:events}:dlq:all"),
        ("DEAD_LETTER_MAX_LENGTH", "1"),
        ("SHUTDOWN_GRACE", "7s"),
        ("LISTEN", "[::1]:80"),
    ])
    .unwrap();
    let subscriber = settings.subscriber;
    assert_eq!(subscriber.consumer.as_str(), "c");
    assert!(subscriber.types.matches("user.login") && !subscriber.types.matches("user.logout"));
    assert!(subscriber.start.is_some());
    assert_eq!(subscriber.handler, "log");
    let dead_letters = subscriber.dead_letters.unwrap();
    assert_eq!(
        (dead_letters.stream.as_str(), dead_letters.max_length),
        ("{stream:events}:dlq:all", 1)
    );
    let delivery = subscriber.delivery;
    assert_eq!(delivery.timeout, Duration::from_secs(3600));
    assert_eq!((delivery.concurrency, delivery.batch_size), (256, 1000));
    assert_eq!(delivery.max_bytes, 1_048_576);
    assert_eq!(delivery.max_attempts, 100);
    assert_eq!((delivery.lease, delivery.grace), (Duration::from_secs(5), Duration::from_secs(7)));
    let backoff = Backoff {
        initial: Duration::from_millis(1),
        max: Duration::from_secs(86_400),
        multiplier: 10,
        jitter_percent: 0,
    };
    assert_eq!(delivery.backoff, backoff);
    assert_eq!(settings.listen, "[::1]:80".parse().unwrap());
}

#[test]
fn a_value_outside_of_its_bounds_is_refused_by_its_name() {
    for (name, value) in [
        ("REDIS_URL", "http://h"),
        ("EVENT_GROUP", "a b"),
        ("EVENT_CONSUMER", "eventbus:delayed"),
        ("EVENT_TYPES", "a..b"),
        ("EVENT_TYPES", "a,"),
        ("EVENT_TYPES", &["a"; 65].join(",")),
        ("EVENT_START", "yesterday"),
        ("HANDLER", "grpc"),
        ("HANDLER", "exec"),
        ("HANDLER_URL", "notifier/events"),
        ("HANDLER_URL", "http://169.254.169.254/latest/meta-data"),
        ("HANDLER_FORMAT", "json"),
        ("HANDLER_ALLOW_LOOPBACK", "yes"),
        ("DELIVERY_TIMEOUT", "0s"),
        ("DELIVERY_TIMEOUT", "61m"),
        ("DELIVERY_TIMEOUT", "30"),
        ("DELIVERY_CONCURRENCY", "0"),
        ("DELIVERY_CONCURRENCY", "257"),
        ("DELIVERY_CONCURRENCY", "-1"),
        ("DELIVERY_BATCH_SIZE", "1001"),
        ("DELIVERY_MAX_BYTES", "1048575"),
        ("DELIVERY_MAX_BYTES", "64Mi"),
        ("DELIVERY_LEASE", "4999ms"),
        ("DELIVERY_BACKOFF_INITIAL", "6m"),
        ("DELIVERY_BACKOFF_MAX", "25h"),
        ("DELIVERY_BACKOFF_MULTIPLIER", "11"),
        ("DELIVERY_BACKOFF_JITTER_PERCENT", "101"),
        ("DELIVERY_MAX_ATTEMPTS", "0"),
        ("DELIVERY_MAX_ATTEMPTS", "101"),
        ("DELIVERY_ORDERING", "Key"),
        ("DEAD_LETTER_ENABLED", "no"),
        ("DEAD_LETTER_STREAM", "stream:events"),
        ("DEAD_LETTER_STREAM", "{other}:dlq:x"),
        ("DEAD_LETTER_STREAM", "{stream:events}:dead"),
        ("DEAD_LETTER_MAX_LENGTH", "0"),
        ("SHUTDOWN_GRACE", "3h"),
        ("LISTEN", "9090"),
    ] {
        let names: Vec<String> =
            read(&[(name, value)]).unwrap_err().into_iter().map(|error| error.name).collect();
        assert_eq!(names, [name], "{value}");
    }
}

#[test]
fn an_error_has_the_name_the_value_and_the_allowed_values() {
    let cases = [
        (
            ("DELIVERY_CONCURRENCY", "300"),
            r#"DELIVERY_CONCURRENCY="300": must be a number from 1 to 256"#,
        ),
        (
            ("DELIVERY_LEASE", "1s"),
            r#"DELIVERY_LEASE="1s": must be a duration such as 90s or 1h30m, from 5s to 1h"#,
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(refused(&[change]), [expected]);
    }
}

#[test]
fn all_invalid_settings_are_reported_at_once() {
    let errors = read_only(&[
        ("REDIS_URL", "redis-cluster://a"),
        ("HANDLER", "fax"),
        ("DELIVERY_LEASE", "1s"),
        ("LISTEN", "here"),
        ("DEAD_LETTER_ENABLED", "no"),
    ])
    .unwrap_err();
    let names: BTreeSet<String> = errors.into_iter().map(|error| error.name).collect();
    let expected =
        ["DEAD_LETTER_ENABLED", "DELIVERY_LEASE", "EVENT_GROUP", "HANDLER", "LISTEN", "REDIS_URL"];
    assert_eq!(names, expected.map(str::to_owned).into());
}

#[test]
fn ordered_delivery_has_one_worker() {
    let delivery = read(&[("DELIVERY_ORDERING", "Stream")]).unwrap().subscriber.delivery;
    assert_eq!((delivery.ordering, delivery.concurrency), (DeliveryOrder::Stream, 1));
    let many = refused(&[("DELIVERY_ORDERING", "Stream"), ("DELIVERY_CONCURRENCY", "2")]);
    assert_eq!(many, [r#"DELIVERY_CONCURRENCY="2": must be 1 if DELIVERY_ORDERING is Stream"#]);
}

#[test]
fn dead_letters_can_be_disabled() {
    let subscriber = read(&[("DEAD_LETTER_ENABLED", "false")]).unwrap().subscriber;
    assert_eq!(subscriber.dead_letters, None);
}

#[test]
fn an_empty_value_counts_as_unset() {
    let unset: Vec<(&str, &str)> = RUN
        .iter()
        .chain(&SETTINGS)
        .map(|setting| setting.name)
        .filter(|name| !["EVENT_GROUP", "HANDLER_URL"].contains(name))
        .map(|name| (name, ""))
        .collect();
    assert!(read(&unset).is_ok());
}

#[test]
fn a_handler_on_this_host_is_allowed_outside_of_a_pod_or_by_its_setting() {
    let url = ("HANDLER_URL", "http://localhost:8000/");
    let pod = ("KUBERNETES_SERVICE_HOST", "10.96.0.1");
    let allow = ("HANDLER_ALLOW_LOOPBACK", "true");
    assert!(read(&[url]).is_ok());
    assert!(read(&[url, pod]).is_err());
    assert!(read(&[url, pod, allow]).is_ok());
    assert!(read(&[url, ("HANDLER_ALLOW_LOOPBACK", "false")]).is_err());
}

#[test]
fn credentials_in_the_handlers_url_are_refused_and_not_shown() {
    let shown = |url: &str| refused(&[("HANDLER_URL", url)]).concat();
    let errors = shown("http://h:99999/events?token=hunter2");
    assert!(errors.starts_with(r#"HANDLER_URL="http://h:99999/events?***": "#), "{errors}");
    assert!(!shown("http://me:hunter2?@h/").contains("hunter2"));
    let errors = refused(&[("HANDLER_URL", "http://me:hunter2@h/events")]).concat();
    assert!(errors.starts_with(r#"HANDLER_URL="http://***@h/events": "#), "{errors}");
}

#[test]
fn a_host_name_that_cannot_be_a_consumer_name_needs_the_setting() {
    let lookup = |name: &str| {
        REQUIRED.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    for host in [None, Some(""), Some("my host")] {
        let errors = Settings::from_lookup(&lookup, host).unwrap_err();
        assert_eq!(errors[0].name, "EVENT_CONSUMER");
    }
}

#[test]
fn every_setting_that_is_read_has_a_flag_and_every_flag_is_read() {
    let asked = RefCell::new(BTreeSet::new());
    let lookup = |name: &str| {
        asked.borrow_mut().insert(name.to_owned());
        REQUIRED.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    Settings::from_lookup(&lookup, Some("pod-1")).unwrap();
    let flags: BTreeSet<String> =
        RUN.iter().chain(&SETTINGS).map(|setting| setting.name.to_owned()).collect();
    let mut asked = asked.into_inner();
    assert!(asked.remove("KUBERNETES_SERVICE_HOST"), "set by Kubernetes, not by people");
    assert_eq!(asked, flags);
}
