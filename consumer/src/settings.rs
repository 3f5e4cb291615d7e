//! Settings of `consumer run`, read by name from a look-up. Every invalid one is reported, all in one error.

mod table;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use eventbus::config::{BusConfig, Lookup, RedisConfig, SettingError, SettingReader};
use eventbus::consume::{Backoff, DeadLetters, DeliveryConfig, DeliveryOrder, SubscriberConfig};
use eventbus::{ConsumerName, GroupName, StreamKey};

use crate::handler::HandlerSettings;
use crate::handler::dial::{DialPolicy, HandlerUrl};
use crate::handler::http::HttpSettings;

pub use table::RUN;

use self::table::{
    DEAD_LETTER_ENABLED, DEAD_LETTER_MAX_LENGTH, DEAD_LETTER_STREAM, DELIVERY_BACKOFF_INITIAL,
    DELIVERY_BACKOFF_JITTER_PERCENT, DELIVERY_BACKOFF_MAX, DELIVERY_BACKOFF_MULTIPLIER,
    DELIVERY_BATCH_SIZE, DELIVERY_CONCURRENCY, DELIVERY_LEASE, DELIVERY_MAX_ATTEMPTS,
    DELIVERY_MAX_BYTES, DELIVERY_ORDERING, DELIVERY_TIMEOUT, EVENT_CONSUMER, EVENT_GROUP,
    EVENT_START, EVENT_TYPES, HANDLER, HANDLER_ALLOW_LOOPBACK, HANDLER_FORMAT, HANDLER_URL,
    Handler, LISTEN, SHUTDOWN_GRACE,
};

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
        let mut reader = SettingReader::new(&lookup);
        let bus = reader.check(BusConfig::from_lookup(&lookup));
        let group = reader.required(&EVENT_GROUP);
        let consumer = consumer(&mut reader, host_name);
        let types = reader.optional(&EVENT_TYPES);
        let start = reader.optional(&EVENT_START);
        let delivery = delivery(&mut reader);
        let stream = bus.as_ref().map(|bus| &bus.stream);
        let dead_letters = dead_letters(&mut reader, stream, group.as_ref());
        let handler = handler(&mut reader);
        let listen = reader.value(&LISTEN);
        let required = bus.zip(group).zip(consumer).zip(handler);
        reader.finish(required.map(|(((bus, group), consumer), handler)| {
            let mut subscriber = SubscriberConfig::new(bus.stream, group, consumer);
            subscriber.types = types.unwrap_or_default();
            subscriber.start = start;
            subscriber.dead_letters = dead_letters;
            subscriber.delivery = delivery;
            handler.kind().clone_into(&mut subscriber.handler);
            Self { redis: bus.redis, subscriber, handler, listen }
        }))
    }
}

fn consumer(reader: &mut SettingReader<'_>, host_name: Option<&str>) -> Option<ConsumerName> {
    if reader.text(EVENT_CONSUMER.name()).is_some() {
        return reader.optional(&EVENT_CONSUMER);
    }
    let name = host_name.and_then(|name| table::consumer(name).ok());
    if name.is_none() {
        let allowed = "must be set, because the host name cannot be used as a consumer name";
        reader.refuse(&EVENT_CONSUMER, allowed);
    }
    name
}

fn delivery(reader: &mut SettingReader<'_>) -> DeliveryConfig {
    let timeout = reader.value(&DELIVERY_TIMEOUT);
    let ordering = reader.value(&DELIVERY_ORDERING);
    let concurrency = reader.optional(&DELIVERY_CONCURRENCY);
    let concurrency = match (ordering, concurrency) {
        (DeliveryOrder::Stream, Some(2..)) => {
            reader.refuse(&DELIVERY_CONCURRENCY, "must be 1 if DELIVERY_ORDERING is Stream");
            1
        }
        (DeliveryOrder::Stream, _) => 1,
        (_, concurrency) => concurrency.unwrap_or_else(|| DELIVERY_CONCURRENCY.default()),
    };
    let mut config = DeliveryConfig::default();
    config.max_attempts = reader.value(&DELIVERY_MAX_ATTEMPTS);
    config.timeout = timeout;
    config.ordering = ordering;
    config.concurrency = concurrency;
    config.batch_size = reader.value(&DELIVERY_BATCH_SIZE);
    config.max_bytes = usize::try_from(reader.value(&DELIVERY_MAX_BYTES)).unwrap_or(usize::MAX);
    config.lease = reader.value(&DELIVERY_LEASE);
    config.backoff = backoff(reader);
    let grace = reader.optional(&SHUTDOWN_GRACE);
    config.grace = grace.unwrap_or(timeout + Duration::from_secs(5));
    config
}

fn backoff(reader: &mut SettingReader<'_>) -> Backoff {
    let max = reader.value(&DELIVERY_BACKOFF_MAX);
    let initial = reader.value(&DELIVERY_BACKOFF_INITIAL);
    if initial > max {
        reader.refuse(&DELIVERY_BACKOFF_INITIAL, "must not exceed DELIVERY_BACKOFF_MAX");
    }
    let multiplier = reader.value(&DELIVERY_BACKOFF_MULTIPLIER);
    let jitter_percent = reader.value(&DELIVERY_BACKOFF_JITTER_PERCENT);
    Backoff { initial, max, multiplier, jitter_percent }
}

/// Reads the settings of dead letters. Their stream shares a hash slot with the stream, because scripts write to both.
fn dead_letters(
    reader: &mut SettingReader<'_>,
    stream: Option<&StreamKey>,
    group: Option<&GroupName>,
) -> Option<DeadLetters> {
    let max_length = reader.value(&DEAD_LETTER_MAX_LENGTH);
    let is_enabled = reader.value(&DEAD_LETTER_ENABLED);
    let (stream, group) = (stream?, group?);
    let default = DeadLetters::of(stream, group);
    let dead_letters = match reader.optional(&DEAD_LETTER_STREAM) {
        None => default,
        Some(text) => {
            let fits = |key: &StreamKey| text.contains(":dlq:") && key.is_beside(stream);
            if let Some(key) = StreamKey::new(&*text).ok().filter(fits) {
                default.with_stream(key)
            } else {
                let example = &default.stream;
                let allowed = format!(
                    "must contain :dlq: and share the stream's hash slot, such as {example}"
                );
                reader.refuse(&DEAD_LETTER_STREAM, allowed);
                default
            }
        }
    };
    is_enabled.then(|| dead_letters.with_max_length(max_length))
}

fn handler(reader: &mut SettingReader<'_>) -> Option<HandlerSettings> {
    match reader.valid(&HANDLER)? {
        Handler::Http => http(reader),
        Handler::Log => Some(HandlerSettings::Log),
    }
}

fn http(reader: &mut SettingReader<'_>) -> Option<HandlerSettings> {
    // Kubernetes sets this variable in every pod.
    let api_server = reader.text("KUBERNETES_SERVICE_HOST");
    let allow_loopback = reader.optional(&HANDLER_ALLOW_LOOPBACK);
    let policy = DialPolicy {
        allow_loopback: allow_loopback.unwrap_or(api_server.is_none()),
        api_server: api_server.and_then(|host| host.parse::<IpAddr>().ok()),
    };
    let format = reader.value(&HANDLER_FORMAT);
    let text = reader.optional(&HANDLER_URL).unwrap_or_default();
    match HandlerUrl::parse(&text, &policy) {
        Ok(url) => Some(HandlerSettings::Http(HttpSettings { url, format, policy })),
        Err(allowed) => {
            reader.refuse_shown(&HANDLER_URL, &without_secrets(&text), allowed);
            None
        }
    }
}

/// Hides the part of a URL before an `@`, and its query, which may hold a token.
fn without_secrets(url: &str) -> String {
    let mut shown = match (url.split_once("://"), url.rsplit_once('@')) {
        (_, None) => url.to_owned(),
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://***@{rest}"),
        (None, Some((_, rest))) => format!("***@{rest}"),
    };
    if let Some(query) = shown.find('?') {
        shown.replace_range(query.., "?***");
    }
    shown
}

#[cfg(test)]
mod tests;
