//! Metrics of a report, built for each scrape. A number that is not known has no sample, instead of an old value or 0.

use std::sync::atomic::AtomicU64;

use eventbus::observe::health::{GroupNumbers, GroupReport, Report};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Group {
    group: String,
}

type Number = Gauge<u64, AtomicU64>;
type OfGroup = fn(&GroupNumbers) -> Option<u64>;

/// Gauges of a group: name, help text, and the number in the report.
const GROUP_GAUGES: [(&str, &str, OfGroup); 5] = [
    (
        "eventbus_group_lag",
        "Entries not delivered to the group yet; a lower bound if there are too many to count",
        |group| group.lag,
    ),
    ("eventbus_group_pending", "Entries delivered to the group and not acknowledged", |group| {
        Some(group.pending)
    }),
    (
        "eventbus_group_consumers",
        "Consumers of the group whose heartbeat is not older than their lease; in a group without any, those that the server lists",
        |group| Some(group.consumers),
    ),
    (
        "eventbus_group_oldest_age_seconds",
        "Age of the oldest entry that is pending or not delivered yet",
        |group| group.oldest_age_seconds,
    ),
    ("eventbus_group_dead_letters", "Dead letters of the group", |group| group.dead_letters),
];

/// Returns the metrics of `report`.
pub fn registry(report: &Report) -> Registry {
    let mut registry = Registry::default();
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("eventbus_build", "Version of this program", version);
    let help = "1 while Redis answers as a primary, else 0";
    gauge(&mut registry, "eventbus_redis_connected", help, u64::from(report.seen.is_ok()));
    let Ok(stream) = &report.seen else { return registry };
    if let Some(length) = stream.length {
        gauge(&mut registry, "eventbus_stream_length", "Entries of the stream", length);
    }
    let groups = stream.groups.iter().filter_map(|(name, group)| match group {
        GroupReport::Ok(numbers) => Some((name, numbers)),
        GroupReport::NotCreated | GroupReport::Error { .. } => None,
    });
    for (name, help, number) in GROUP_GAUGES {
        let family = Family::<Group, Number>::default();
        for (group, numbers) in groups.clone() {
            if let Some(number) = number(numbers) {
                family.get_or_create(&Group { group: group.clone() }).set(number);
            }
        }
        registry.register(name, help, family);
    }
    registry
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let number = Number::default();
    number.set(value);
    registry.register(name, help, number);
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbus::observe::health::StreamReport;
    use jiff::Timestamp;
    use std::collections::BTreeMap;

    fn text(seen: Result<StreamReport, String>) -> String {
        let mut text = String::new();
        let report = Report { seen, last_check: Timestamp::UNIX_EPOCH };
        prometheus_client::encoding::text::encode(&mut text, &registry(&report)).unwrap();
        text
    }

    fn numbers(lag: Option<u64>) -> GroupReport {
        GroupReport::Ok(GroupNumbers {
            lag,
            lag_source: "counted",
            pending: 3,
            consumers: 2,
            last_delivered_id: "1-0".into(),
            oldest_age_seconds: None,
            dead_letters: Some(0),
        })
    }

    #[test]
    fn a_known_number_of_a_group_is_a_gauge_and_an_unknown_one_is_absent() {
        let groups = [
            ("known", numbers(Some(7))),
            ("unknown", numbers(None)),
            ("missing", GroupReport::NotCreated),
        ];
        let groups: BTreeMap<_, _> = groups.map(|(name, group)| (name.to_owned(), group)).into();
        let text = text(Ok(StreamReport { length: Some(9), groups }));
        let has = |line: &str| text.lines().any(|l| l == line);
        assert!(has("eventbus_redis_connected 1") && has("eventbus_stream_length 9"), "{text}");
        assert!(has(r#"eventbus_group_lag{group="known"} 7"#), "{text}");
        assert!(has(r#"eventbus_group_dead_letters{group="unknown"} 0"#), "{text}");
        assert!(!text.contains(r#"eventbus_group_lag{group="unknown"}"#), "{text}");
        assert!(!text.contains("missing") && !text.contains("oldest_age_seconds{"), "{text}");
    }

    #[test]
    fn while_redis_is_unreachable_no_old_number_is_reported() {
        let text = text(Err("unreachable".into()));
        assert!(text.contains("eventbus_redis_connected 0"), "{text}");
        assert!(!text.contains("eventbus_stream_length") && !text.contains("group"), "{text}");
    }
}
