//! Every setting of `consumer run`: name, help text, default and parser.

use std::net::SocketAddr;
use std::time::Duration;

use eventbus::config::{Setting, SettingDescription};
use eventbus::consume::DeliveryOrder;
use eventbus::{ConsumerName, GroupName, Start, TypeFilter};
use eventbus_core::settings::{bytes, number, socket_address, span, text, yes_or_no};

use crate::handler::request::Format;

const HOUR: u64 = 3_600_000;
const MAX_TYPES: usize = 64;
const MAX_TYPE: usize = 128;

/// Value of [`HANDLER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handler {
    Http,
    Log,
}

pub(super) const EVENT_GROUP: Setting<GroupName> =
    Setting::new("EVENT_GROUP", "Name of the consumer group; required", group);
pub(super) const EVENT_CONSUMER: Setting<ConsumerName> =
    Setting::new("EVENT_CONSUMER", "Name of this consumer, to which a nonce is added", consumer)
        .with_computed_default("the host name");
pub(super) const EVENT_TYPES: Setting<TypeFilter> = Setting::new(
    "EVENT_TYPES",
    "Comma-separated patterns of event types; * matches any characters",
    types,
)
.with_computed_default("all");
pub(super) const EVENT_START: Setting<Start> = Setting::new(
    "EVENT_START",
    "Start of a missing group, which is then created: 0, $, an entry ID or a time",
    start,
)
.with_computed_default("wait for the group");
pub(super) const HANDLER: Setting<Handler> =
    Setting::new("HANDLER", "Kind of the handler: http or log", handler).with_default("http");
pub(super) const HANDLER_URL: Setting<String> =
    Setting::new("HANDLER_URL", "URL of the http handler; required for it", text);
pub(super) const HANDLER_FORMAT: Setting<Format> = Setting::new(
    "HANDLER_FORMAT",
    "Format of the request: CloudEventBinary, CloudEventStructured or Json",
    format,
)
.with_default("CloudEventBinary");
pub(super) const HANDLER_ALLOW_LOOPBACK: Setting<bool> =
    Setting::new("HANDLER_ALLOW_LOOPBACK", "true allows a handler on this host", yes_or_no)
        .with_computed_default("true, in a pod false");
pub(super) const DELIVERY_TIMEOUT: Setting<Duration> =
    Setting::new("DELIVERY_TIMEOUT", "Time limit of a handler call, up to 1h", span::<1, HOUR>)
        .with_default("30s");
pub(super) const DELIVERY_CONCURRENCY: Setting<usize> = Setting::new(
    "DELIVERY_CONCURRENCY",
    "Number of concurrent handler calls, 1 to 256",
    number::<usize, 1, 256>,
)
.with_default("8");
pub(super) const DELIVERY_BATCH_SIZE: Setting<usize> = Setting::new(
    "DELIVERY_BATCH_SIZE",
    "Maximum number of events per read, 1 to 1000",
    number::<usize, 1, 1_000>,
)
.with_default("16");
pub(super) const DELIVERY_MAX_BYTES: Setting<u64> = Setting::new(
    "DELIVERY_MAX_BYTES",
    "Maximum size of the events in flight in bytes, 1 MiB to 1 TiB: fewer are read at once where they are large",
    bytes::<1_048_576, 1_099_511_627_776>,
)
.with_default("67108864");
pub(super) const DELIVERY_LEASE: Setting<Duration> =
    Setting::new("DELIVERY_LEASE", "Lease: time without a heartbeat after which other consumers claim a consumer's events, 5s to 1h", span::<5_000, HOUR>).with_default("30s");
pub(super) const DELIVERY_BACKOFF_INITIAL: Setting<Duration> = Setting::new(
    "DELIVERY_BACKOFF_INITIAL",
    "Wait before the second attempt, up to the maximum",
    // The range ends at a day and not at the maximum, so that there is one error instead of two.
    span::<1, { 24 * HOUR }>,
)
.with_default("1s");
pub(super) const DELIVERY_BACKOFF_MAX: Setting<Duration> = Setting::new(
    "DELIVERY_BACKOFF_MAX",
    "Maximum wait between two attempts, up to 24h",
    span::<1, { 24 * HOUR }>,
)
.with_default("5m");
pub(super) const DELIVERY_BACKOFF_MULTIPLIER: Setting<u32> = Setting::new(
    "DELIVERY_BACKOFF_MULTIPLIER",
    "Factor by which the wait grows, 1 to 10",
    number::<u32, 1, 10>,
)
.with_default("2");
pub(super) const DELIVERY_BACKOFF_JITTER_PERCENT: Setting<u32> = Setting::new(
    "DELIVERY_BACKOFF_JITTER_PERCENT",
    "Random deviation of the wait in per cent, 0 to 100",
    number::<u32, 0, 100>,
)
.with_default("20");
pub(super) const DELIVERY_MAX_ATTEMPTS: Setting<u32> = Setting::new(
    "DELIVERY_MAX_ATTEMPTS",
    "Attempts before an event is dead-lettered, 1 to 100",
    number::<u32, 1, 100>,
)
.with_default("5");
pub(super) const DELIVERY_ORDERING: Setting<DeliveryOrder> = Setting::new(
    "DELIVERY_ORDERING",
    "None, or Stream: one event at a time in stream order, across all consumers",
    ordering,
)
.with_default("None");
pub(super) const DEAD_LETTER_ENABLED: Setting<bool> = Setting::new(
    "DEAD_LETTER_ENABLED",
    "false drops dead letters: they are acknowledged and counted, but not stored",
    yes_or_no,
)
.with_default("true");
pub(super) const DEAD_LETTER_STREAM: Setting<String> =
    Setting::new("DEAD_LETTER_STREAM", "Key of the dead-letter stream", text)
        .with_computed_default("{<stream>}:dlq:<group>");
pub(super) const DEAD_LETTER_MAX_LENGTH: Setting<u64> = Setting::new(
    "DEAD_LETTER_MAX_LENGTH",
    "Maximum length of the dead-letter stream, at least 1; the oldest dead letters beyond it are dropped and counted",
    number::<u64, 1, { u64::MAX }>,
)
.with_default("10000");
pub(super) const SHUTDOWN_GRACE: Setting<Duration> = Setting::new(
    "SHUTDOWN_GRACE",
    "Time for handler calls to finish after SIGTERM, up to 2h",
    span::<1, { 2 * HOUR }>,
)
.with_computed_default("DELIVERY_TIMEOUT + 5s");
pub(super) const LISTEN: Setting<SocketAddr> =
    Setting::new("LISTEN", "Listen address of /livez, /readyz and /metrics", socket_address)
        .with_default("[::]:9090");

/// Settings of `consumer run`, without [`eventbus::config::SETTINGS`].
pub const RUN: [SettingDescription; 24] = [
    EVENT_GROUP.description(),
    EVENT_CONSUMER.description(),
    EVENT_TYPES.description(),
    EVENT_START.description(),
    HANDLER.description(),
    HANDLER_URL.description(),
    HANDLER_FORMAT.description(),
    HANDLER_ALLOW_LOOPBACK.description(),
    DELIVERY_TIMEOUT.description(),
    DELIVERY_CONCURRENCY.description(),
    DELIVERY_BATCH_SIZE.description(),
    DELIVERY_MAX_BYTES.description(),
    DELIVERY_LEASE.description(),
    DELIVERY_BACKOFF_INITIAL.description(),
    DELIVERY_BACKOFF_MAX.description(),
    DELIVERY_BACKOFF_MULTIPLIER.description(),
    DELIVERY_BACKOFF_JITTER_PERCENT.description(),
    DELIVERY_MAX_ATTEMPTS.description(),
    DELIVERY_ORDERING.description(),
    DEAD_LETTER_ENABLED.description(),
    DEAD_LETTER_STREAM.description(),
    DEAD_LETTER_MAX_LENGTH.description(),
    SHUTDOWN_GRACE.description(),
    LISTEN.description(),
];

fn group(text: &str) -> Result<GroupName, String> {
    let allowed = "must start with a letter or digit and have up to 200 of letters, digits, '.', '_', ':', '-'";
    GroupName::new(text).map_err(|_| allowed.to_owned())
}

pub(super) fn consumer(text: &str) -> Result<ConsumerName, String> {
    let allowed = "must have 1 to 320 visible ASCII characters and must not be eventbus:delayed or eventbus:suspect";
    ConsumerName::new(text).map_err(|_| allowed.to_owned())
}

fn types(text: &str) -> Result<TypeFilter, String> {
    let patterns: Vec<&str> = text.split(',').map(str::trim).collect();
    if patterns.len() > MAX_TYPES || patterns.iter().any(|pattern| pattern.len() > MAX_TYPE) {
        return Err(format!("must be up to {MAX_TYPES} patterns of up to {MAX_TYPE} characters"));
    }
    TypeFilter::parse(patterns).map_err(|error| error.to_string())
}

fn start(text: &str) -> Result<Start, String> {
    let allowed =
        "must be 0, $, an entry ID such as 1700000000000-0, or a time such as 2026-11-01T00:00:00Z";
    text.parse().map_err(|_| allowed.to_owned())
}

fn handler(text: &str) -> Result<Handler, String> {
    match text {
        "http" => Ok(Handler::Http),
        "log" => Ok(Handler::Log),
        _ => Err("must be http or log".to_owned()),
    }
}

fn format(text: &str) -> Result<Format, String> {
    let allowed = "must be CloudEventBinary, CloudEventStructured or Json";
    Format::from_name(text).ok_or_else(|| allowed.to_owned())
}

fn ordering(text: &str) -> Result<DeliveryOrder, String> {
    match text {
        "None" => Ok(DeliveryOrder::None),
        "Stream" => Ok(DeliveryOrder::Stream),
        _ => Err("must be None or Stream".to_owned()),
    }
}
