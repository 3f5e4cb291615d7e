//! Headers and body of the request that delivers an event to an HTTP handler.

mod attributes;

use std::fmt::Write;

use axum::body::Bytes;
use eventbus::{Delivery, Payload};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::value::RawValue;

use self::attributes::{Attributes, PARTITION_KEY, partition_key};

/// Format of an event in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// CloudEvents' binary mode: the body is the payload, byte for byte, the rest is in `ce-` headers.
    #[default]
    CloudEventBinary,
    /// CloudEvents' structured mode: one JSON object with the payload as `data`.
    CloudEventStructured,
    /// One JSON object: `id`, `event_id`, `type`, `timestamp`, `payload`, `source_service`, `key`, `attributes`, `attempt`.
    Json,
}

impl Format {
    /// Returns the format with this name, as in the resource; `None` if there is none.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "CloudEventBinary" => Some(Self::CloudEventBinary),
            "CloudEventStructured" => Some(Self::CloudEventStructured),
            "Json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// Headers and body of a request.
#[derive(Debug)]
pub struct EventRequest {
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// Number of the entry's fields that the request does not hold.
    pub omitted_fields: u64,
}

/// Builds headers and body of the request for `delivery`.
///
/// Fields that the bus does not know are attributes if their names are `[a-z0-9]{1,20}` and their values UTF-8: at most 32,
/// and 8 KiB, beside `subject` and `dataschema`. No field of an event can add, replace or break another header: values are
/// percent-encoded as CloudEvents' HTTP binding requires, and a malformed trace context is omitted.
#[must_use]
pub fn build(delivery: &Delivery, format: Format) -> EventRequest {
    let event = &delivery.event;
    let attributes = Attributes::of(event);
    let mut omitted_fields = attributes.omitted;
    let mut headers = HeaderMap::new();
    put(&mut headers, "idempotency-key", event.event_id());
    put(&mut headers, "x-event-entry-id", &event.id().to_string());
    put(&mut headers, "x-event-attempt", &delivery.attempt.to_string());
    put(&mut headers, "x-event-group", delivery.group.as_str());
    put(&mut headers, "x-event-stream", delivery.stream.as_str());
    put_trace(&mut headers, delivery);
    let (content_type, body) = match format {
        Format::CloudEventBinary => {
            omitted_fields += usize::from(event.key() != partition_key(event));
            put_attributes(&mut headers, delivery, &attributes);
            ("application/json", Bytes::from_owner(Text(event.payload().clone())))
        }
        Format::CloudEventStructured => {
            ("application/cloudevents+json", serialized(&CloudEvent::of(delivery, attributes)))
        }
        Format::Json => ("application/json", serialized(&Plain::of(delivery, attributes))),
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    EventRequest { headers, body, omitted_fields: omitted_fields as u64 }
}

/// Adds the attributes of CloudEvents' binary mode.
fn put_attributes(headers: &mut HeaderMap, delivery: &Delivery, attributes: &Attributes<'_>) {
    let event = &delivery.event;
    let time = event.timestamp().to_string();
    let required = [
        ("specversion", "1.0"),
        ("id", event.event_id()),
        ("type", event.event_type()),
        ("source", source(delivery)),
        ("time", &time),
    ];
    let key = partition_key(event).map(|key| (PARTITION_KEY, key));
    for (name, value) in required.into_iter().chain(key).chain(attributes.passed.iter().copied()) {
        put(headers, &format!("ce-{name}"), value);
    }
}

fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    let name = HeaderName::try_from(name).expect("names are lower case letters, digits and '-'");
    let value = HeaderValue::from_str(&percent_encoded(value))
        .expect("percent-encoded text is visible ASCII");
    headers.insert(name, value);
}

/// Adds the trace context unchanged, since encoding would change its meaning. `tracestate` alone is omitted.
fn put_trace(headers: &mut HeaderMap, delivery: &Delivery) {
    let printable = |text: Option<&str>| {
        let text = text?;
        let printable = text.bytes().all(|b| matches!(b, b' '..=b'~'));
        HeaderValue::from_str(text).ok().filter(|_| printable && !text.is_empty())
    };
    let Some(traceparent) = printable(delivery.event.traceparent()) else {
        return;
    };
    headers.insert("traceparent", traceparent);
    if let Some(tracestate) = printable(delivery.event.tracestate()) {
        headers.insert("tracestate", tracestate);
    }
}

/// Returns the source that CloudEvents requires: the publisher's, else the stream's name.
fn source(delivery: &Delivery) -> &str {
    let source = delivery.event.source_service();
    source.filter(|source| !source.is_empty()).unwrap_or(delivery.stream.as_str())
}

/// Encodes a header's value by section 3.1.3.2 of CloudEvents' HTTP binding: space, quote, per cent and every byte that is
/// not visible ASCII become `%XX`.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_plain(byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
    encoded
}

/// Returns `true` for bytes that a header's value holds unencoded.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b'%')
}

#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    r#type: &'a str,
    time: String,
    datacontenttype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracestate: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitionkey: Option<&'a str>,
    #[serde(flatten)]
    attributes: Attributes<'a>,
    data: &'a RawValue,
}

impl<'a> CloudEvent<'a> {
    fn of(delivery: &'a Delivery, attributes: Attributes<'a>) -> Self {
        let event = &delivery.event;
        Self {
            specversion: "1.0",
            id: event.event_id(),
            source: source(delivery),
            r#type: event.event_type(),
            time: event.timestamp().to_string(),
            datacontenttype: "application/json",
            traceparent: event.traceparent(),
            tracestate: event.tracestate(),
            partitionkey: event.key(),
            attributes,
            data: raw(delivery),
        }
    }
}

#[derive(Serialize)]
struct Plain<'a> {
    id: String,
    event_id: &'a str,
    r#type: &'a str,
    timestamp: String,
    payload: &'a RawValue,
    source_service: Option<&'a str>,
    key: Option<&'a str>,
    attributes: Attributes<'a>,
    attempt: u32,
}

impl<'a> Plain<'a> {
    fn of(delivery: &'a Delivery, attributes: Attributes<'a>) -> Self {
        let event = &delivery.event;
        Self {
            id: event.id().to_string(),
            event_id: event.event_id(),
            r#type: event.event_type(),
            timestamp: event.timestamp().to_string(),
            payload: raw(delivery),
            source_service: event.source_service(),
            key: event.key(),
            attributes,
            attempt: delivery.attempt,
        }
    }
}

/// Returns the payload's own text, so that no number in it is rounded.
fn raw(delivery: &Delivery) -> &RawValue {
    serde_json::from_str(delivery.event.payload().as_str())
        .expect("a payload is checked to be JSON")
}

fn serialized(object: &impl Serialize) -> Bytes {
    serde_json::to_vec(object).expect("texts and checked JSON can be serialized").into()
}

/// A payload that is a body without a copy of its own.
struct Text(Payload);

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.0.as_str().as_bytes()
    }
}

#[cfg(test)]
mod tests;
