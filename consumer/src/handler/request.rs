//! Headers and body of the request that delivers an event to an HTTP handler.

use std::fmt::Write;

use axum::body::Bytes;
use eventbus::{Delivery, Payload};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Serialize;
use serde_json::value::RawValue;

/// Format of an event in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// CloudEvents' binary mode: the body is the payload, byte for byte, the rest is in `ce-` headers.
    #[default]
    CloudEventBinary,
    /// CloudEvents' structured mode: one JSON object with the payload as `data`.
    CloudEventStructured,
    /// One JSON object: `id`, `event_id`, `type`, `timestamp`, `payload`, `source_service`, `attempt`.
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

/// Builds headers and body of the request for `delivery`.
///
/// No field of an event can add or break a header: values are percent-encoded as CloudEvents' HTTP binding requires, and
/// a malformed trace context is omitted.
#[must_use]
pub fn build(delivery: &Delivery, format: Format) -> (HeaderMap, Bytes) {
    let event = &delivery.event;
    let mut headers = HeaderMap::new();
    put(&mut headers, "idempotency-key", event.event_id());
    put(&mut headers, "x-event-entry-id", &event.id().to_string());
    put(&mut headers, "x-event-attempt", &delivery.attempt.to_string());
    put(&mut headers, "x-event-group", delivery.group.as_str());
    put(&mut headers, "x-event-stream", delivery.stream.as_str());
    put_trace(&mut headers, delivery);
    let (content_type, body) = match format {
        Format::CloudEventBinary => {
            put(&mut headers, "ce-specversion", "1.0");
            put(&mut headers, "ce-id", event.event_id());
            put(&mut headers, "ce-type", event.event_type());
            put(&mut headers, "ce-source", source(delivery));
            put(&mut headers, "ce-time", &event.timestamp().to_string());
            ("application/json", Bytes::from_owner(Text(event.payload().clone())))
        }
        Format::CloudEventStructured => {
            ("application/cloudevents+json", serialized(&CloudEvent::of(delivery)))
        }
        Format::Json => ("application/json", serialized(&Plain::of(delivery))),
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    (headers, body)
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
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
        if matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b'%') {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
    encoded
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
    data: &'a RawValue,
}

impl<'a> CloudEvent<'a> {
    fn of(delivery: &'a Delivery) -> Self {
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
    attempt: u32,
}

impl<'a> Plain<'a> {
    fn of(delivery: &'a Delivery) -> Self {
        let event = &delivery.event;
        Self {
            id: event.id().to_string(),
            event_id: event.event_id(),
            r#type: event.event_type(),
            timestamp: event.timestamp().to_string(),
            payload: raw(delivery),
            source_service: event.source_service(),
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
