//! Settings of `consumer run`, read by name from a look-up. Every invalid one is reported, all in one error.

mod reader;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use eventbus::config::{BusConfig, Lookup, RedisConfig, SettingError};
use eventbus::consume::{Backoff, DeadLetters, DeliveryConfig, DeliveryOrder, SubscriberConfig};
use eventbus::{ConsumerName, GroupName, StreamKey, TypeFilter};
use eventbus_program::Setting;

use crate::handler::HandlerSettings;
use crate::handler::dial::{DialPolicy, HandlerUrl};
use crate::handler::http::HttpSettings;
use crate::handler::request::Format;

use self::reader::Reader;

/// Settings of the Redis connection and of publishing. They are the same for every program, so that one set of variables
/// serves all.
pub const REDIS: [Setting; 15] = [
    (
        "REDIS_URL",
        "URL of the Redis server, redis:// or rediss:// [default: redis://localhost:6379]",
    ),
    ("REDIS_STREAM_NAME", "Key of the stream [default: stream:events]"),
    ("REDIS_USERNAME_FILE", "File with the user name, read at each connect"),
    ("REDIS_PASSWORD_FILE", "File with the password, read at each connect"),
    ("REDIS_CA_FILE", "PEM file with the certificate authorities [default: the system's]"),
    ("REDIS_CERT_FILE", "PEM file with the client certificate"),
    ("REDIS_KEY_FILE", "PEM file with the client key"),
    ("REDIS_TRIM", "Trimming by publishers: acked, maxlen or none [default: acked]"),
    ("REDIS_MAX_ENTRIES", "Number of finished entries that publishers keep [default: 10000]"),
    (
        "REDIS_HARD_MAX_ENTRIES",
        "Hard cap: length at which the stream is full; 0 for no cap [default: 0]",
    ),
    (
        "REDIS_OVERFLOW",
        "Action of publishers at the hard cap: reject or drop-oldest [default: reject]",
    ),
    (
        "REDIS_MISSING_GROUP_HOLD",
        "Time for which a missing group without owner holds trimming back [default: 168h]",
    ),
    (
        "REDIS_DURABILITY",
        "Confirmation that a publish waits for: async, replicated:N or fsynced [default: async]",
    ),
    (
        "REDIS_OUTBOX_DIR",
        "Directory in which publishers store events until Redis has them [default: no outbox]",
    ),
    ("REDIS_OUTBOX_MAX_BYTES", "Maximum size of the outbox in bytes [default: 1073741824]"),
];

/// Settings of `consumer run`, without [`REDIS`].
pub const RUN: [Setting; 23] = [
    ("EVENT_GROUP", "Name of the consumer group; required"),
    ("EVENT_CONSUMER", "Name of this consumer, to which a nonce is added [default: the host name]"),
    (
        "EVENT_TYPES",
        "Comma-separated patterns of event types; * matches any characters [default: all]",
    ),
    (
        "EVENT_START",
        "Start of a missing group, which is then created: 0, $, an entry ID or a time [default: wait for the group]",
    ),
    ("HANDLER", "Kind of the handler: http or log [default: http]"),
    ("HANDLER_URL", "URL of the http handler; required for it"),
    (
        "HANDLER_FORMAT",
        "Format of the request: CloudEventBinary, CloudEventStructured or Json [default: CloudEventBinary]",
    ),
    (
        "HANDLER_ALLOW_LOOPBACK",
        "true allows a handler on this host [default: true, in a pod false]",
    ),
    ("DELIVERY_TIMEOUT", "Time limit of a handler call, up to 1h [default: 30s]"),
    ("DELIVERY_CONCURRENCY", "Number of concurrent handler calls, 1 to 256 [default: 8]"),
    ("DELIVERY_BATCH_SIZE", "Maximum number of events per read, 1 to 1000 [default: 16]"),
    (
        "DELIVERY_LEASE",
        "Lease: time without a heartbeat after which other consumers claim a consumer's events, 5s to 1h [default: 30s]",
    ),
    ("DELIVERY_BACKOFF_INITIAL", "Wait before the second attempt, up to the maximum [default: 1s]"),
    ("DELIVERY_BACKOFF_MAX", "Maximum wait between two attempts, up to 24h [default: 5m]"),
    ("DELIVERY_BACKOFF_MULTIPLIER", "Factor by which the wait grows, 1 to 10 [default: 2]"),
    (
        "DELIVERY_BACKOFF_JITTER_PERCENT",
        "Random deviation of the wait in per cent, 0 to 100 [default: 20]",
    ),
    ("DELIVERY_MAX_ATTEMPTS", "Attempts before an event is dead-lettered, 1 to 100 [default: 5]"),
    (
        "DELIVERY_ORDERING",
        "None, or Stream: one event at a time in stream order, across all consumers [default: None]",
    ),
    (
        "DEAD_LETTER_ENABLED",
        "false drops dead letters: they are acknowledged and counted, but not stored [default: true]",
    ),
    ("DEAD_LETTER_STREAM", "Key of the dead-letter stream [default: {<stream>}:dlq:<group>]"),
    (
        "DEAD_LETTER_MAX_LENGTH",
        "Maximum length of the dead-letter stream, at least 1 [default: 10000]",
    ),
    (
        "SHUTDOWN_GRACE",
        "Time for handler calls to finish after SIGTERM, up to 2h [default: DELIVERY_TIMEOUT + 5s]",
    ),
    ("LISTEN", "Listen address of /livez, /readyz and /metrics [default: 0.0.0.0:9090]"),
];

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const MAX_TYPES: usize = 64;
const MAX_TYPE: usize = 128;

/// Settings of the consumer.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address of the Redis server.
    pub redis: RedisConfig,
    /// Group, delivery and dead letters.
    pub subscriber: SubscriberConfig,
    /// Handler of the events.
    pub handler: HandlerSettings,
    /// Listen address of probes and metrics.
    pub listen: SocketAddr,
}

impl Settings {
    /// Reads the settings; `host_name` is the default of the consumer's name. An empty value counts as unset.
    ///
    /// # Errors
    /// Every invalid setting.
    pub fn from_lookup(
        lookup: Lookup<'_>,
        host_name: Option<&str>,
    ) -> Result<Self, Vec<SettingError>> {
        let lookup = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let mut reader = Reader::new(&lookup);
        let bus = reader.check(BusConfig::from_lookup(&lookup));
        let group = reader.required("EVENT_GROUP", |text| GroupName::new(text).map_err(|_| GROUP));
        let consumer = consumer(&mut reader, host_name);
        let types = reader.parsed("EVENT_TYPES", types);
        let start = reader.parsed("EVENT_START", |text| {
            text.parse().map_err(|_| "must be 0, $, an entry ID such as 1700000000000-0, or a time such as 2026-11-01T00:00:00Z")
        });
        let delivery = delivery(&mut reader);
        let stream = bus.as_ref().map(|bus| &bus.stream);
        let dead_letters = dead_letters(&mut reader, stream, group.as_ref());
        let handler = handler(&mut reader);
        let listen = reader.parsed("LISTEN", |text| {
            text.parse().map_err(|_| "must be an address and a port such as 0.0.0.0:9090")
        });
        let errors = reader.into_errors();
        match (bus, group, consumer, handler) {
            (Some(bus), Some(group), Some(consumer), Some(handler)) if errors.is_empty() => {
                let mut subscriber = SubscriberConfig::new(bus.stream, group, consumer);
                subscriber.types = types.unwrap_or_default();
                subscriber.start = start;
                subscriber.dead_letters = dead_letters;
                subscriber.delivery = delivery;
                handler.kind().clone_into(&mut subscriber.handler);
                let listen = listen.unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9090)));
                Ok(Self { redis: bus.redis, subscriber, handler, listen })
            }
            _ => Err(errors),
        }
    }
}

const GROUP: &str =
    "must start with a letter or digit and have up to 200 of letters, digits, '.', '_', ':', '-'";

fn consumer(reader: &mut Reader<'_>, host_name: Option<&str>) -> Option<ConsumerName> {
    let parse = |text: &str| {
        ConsumerName::new(text)
            .map_err(|_| "must have 1 to 320 visible ASCII characters and must not be eventbus:delayed or eventbus:suspect")
    };
    if reader.text("EVENT_CONSUMER").is_some() {
        return reader.parsed("EVENT_CONSUMER", parse);
    }
    let name = host_name.and_then(|name| parse(name).ok());
    if name.is_none() {
        reader.refuse(
            "EVENT_CONSUMER",
            "must be set, because the host name cannot be used as a consumer name",
        );
    }
    name
}

fn types(text: &str) -> Result<TypeFilter, String> {
    let patterns: Vec<&str> = text.split(',').map(str::trim).collect();
    if patterns.len() > MAX_TYPES || patterns.iter().any(|pattern| pattern.len() > MAX_TYPE) {
        return Err(format!("must be up to {MAX_TYPES} patterns of up to {MAX_TYPE} characters"));
    }
    TypeFilter::parse(patterns).map_err(|error| error.to_string())
}

fn delivery(reader: &mut Reader<'_>) -> DeliveryConfig {
    let default = DeliveryConfig::default();
    let seconds = Duration::from_secs;
    let timeout = reader.span("DELIVERY_TIMEOUT", default.timeout, MILLISECOND..=HOUR);
    let ordering = reader.parsed("DELIVERY_ORDERING", |text| match text {
        "None" => Ok(DeliveryOrder::None),
        "Stream" => Ok(DeliveryOrder::Stream),
        _ => Err("must be None or Stream"),
    });
    let ordering = ordering.unwrap_or_default();
    let workers = if ordering == DeliveryOrder::Stream { 1 } else { default.concurrency };
    let concurrency = reader.number("DELIVERY_CONCURRENCY", workers, 1..=256);
    if ordering == DeliveryOrder::Stream && concurrency > 1 {
        reader.refuse("DELIVERY_CONCURRENCY", "must be 1 if DELIVERY_ORDERING is Stream");
    }
    let mut config = DeliveryConfig::default();
    config.max_attempts = reader.number("DELIVERY_MAX_ATTEMPTS", default.max_attempts, 1..=100);
    config.timeout = timeout;
    config.ordering = ordering;
    config.concurrency = concurrency;
    config.batch_size = reader.number("DELIVERY_BATCH_SIZE", default.batch_size, 1..=1000);
    config.lease = reader.span("DELIVERY_LEASE", default.lease, seconds(5)..=HOUR);
    config.backoff = backoff(reader);
    config.grace = reader.span("SHUTDOWN_GRACE", timeout + seconds(5), MILLISECOND..=2 * HOUR);
    config
}

fn backoff(reader: &mut Reader<'_>) -> Backoff {
    let default = Backoff::default();
    let max = reader.span("DELIVERY_BACKOFF_MAX", default.max, MILLISECOND..=DAY);
    // The range ends at a day and not at `max`, so that there is one error instead of two.
    let initial = reader.span("DELIVERY_BACKOFF_INITIAL", default.initial, MILLISECOND..=DAY);
    if initial > max {
        reader.refuse("DELIVERY_BACKOFF_INITIAL", "must not exceed DELIVERY_BACKOFF_MAX");
    }
    Backoff {
        initial,
        max,
        multiplier: reader.number("DELIVERY_BACKOFF_MULTIPLIER", default.multiplier, 1..=10),
        jitter_percent: reader.number(
            "DELIVERY_BACKOFF_JITTER_PERCENT",
            default.jitter_percent,
            0..=100,
        ),
    }
}

/// Reads the settings of dead letters. Their stream shares a hash slot with the stream, because scripts write to both.
fn dead_letters(
    reader: &mut Reader<'_>,
    stream: Option<&StreamKey>,
    group: Option<&GroupName>,
) -> Option<DeadLetters> {
    let max_length = reader.number("DEAD_LETTER_MAX_LENGTH", 10_000, 1..=u64::MAX);
    let enabled = reader.parsed("DEAD_LETTER_ENABLED", |text| {
        text.parse::<bool>().map_err(|_| "must be true or false")
    });
    let (stream, group) = (stream?, group?);
    let default = DeadLetters::of(stream, group).stream;
    let given = reader.parsed("DEAD_LETTER_STREAM", |text| {
        let fits = |key: &StreamKey| text.contains(":dlq:") && key.is_beside(stream);
        StreamKey::new(text).ok().filter(fits).ok_or_else(|| {
            format!("must contain :dlq: and share the stream's hash slot, such as {default}")
        })
    });
    let dead_letters = DeadLetters::of(stream, group)
        .with_stream(given.unwrap_or(default))
        .with_max_length(max_length);
    enabled.unwrap_or(true).then_some(dead_letters)
}

fn handler(reader: &mut Reader<'_>) -> Option<HandlerSettings> {
    match reader.text("HANDLER").as_deref() {
        None | Some("http") => http(reader),
        Some("log") => Some(HandlerSettings::Log),
        Some(_) => {
            reader.refuse("HANDLER", "must be http or log".to_owned());
            None
        }
    }
}

fn http(reader: &mut Reader<'_>) -> Option<HandlerSettings> {
    // Kubernetes sets this variable in every pod.
    let api_server = reader.text("KUBERNETES_SERVICE_HOST");
    let policy = DialPolicy {
        allow_loopback: reader
            .parsed("HANDLER_ALLOW_LOOPBACK", |text| {
                text.parse().map_err(|_| "must be true or false")
            })
            .unwrap_or(api_server.is_none()),
        api_server: api_server.and_then(|host| host.parse::<IpAddr>().ok()),
    };
    let format = reader.parsed("HANDLER_FORMAT", |text| {
        Format::from_name(text).ok_or("must be CloudEventBinary, CloudEventStructured or Json")
    });
    let text = reader.text("HANDLER_URL").unwrap_or_default();
    match HandlerUrl::parse(&text, &policy) {
        Ok(url) => {
            let format = format.unwrap_or_default();
            Some(HandlerSettings::Http(HttpSettings { url, format, policy }))
        }
        Err(allowed) => {
            reader.refuse_shown("HANDLER_URL", &without_credentials(&text), allowed);
            None
        }
    }
}

/// Hides the part of a URL before an `@`.
fn without_credentials(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (_, None) => url.to_owned(),
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://***@{rest}"),
        (None, Some((_, rest))) => format!("***@{rest}"),
    }
}

#[cfg(test)]
mod tests;
