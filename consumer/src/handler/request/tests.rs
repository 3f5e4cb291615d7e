use eventbus::{GroupName, RawEntry, StreamEvent, StreamKey};

use super::*;

fn delivery(fields: &[(&str, &str)]) -> Delivery {
    let stream = StreamKey::new("stream:events").unwrap();
    let mut all = vec![("type", "application.submitted"), ("payload", PAYLOAD)];
    all.extend([("ts", "2026-11-06T08:49:37Z"), ("source", "applications")]);
    all.extend(fields);
    let fields =
        all.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    let entry = RawEntry::new("1700000000000-3".parse().unwrap(), fields.collect());
    let event = StreamEvent::decode(&stream, entry).unwrap();
    Delivery::new(event, 2, stream, GroupName::new("notifications").unwrap())
}

/// Spaces, key order and figures that a parser would not keep.
const PAYLOAD: &str = r#"{"z": 1.0,  "a":12345678901234567890123, "é":"ü"}"#;

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

#[test]
fn the_binary_form_sends_the_payload_unchanged_and_the_rest_in_headers() {
    let (headers, body) = build(&delivery(&[("id", "e-1")]), Format::CloudEventBinary);
    assert_eq!(body, PAYLOAD.as_bytes());
    let mut sent: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    sent.sort_unstable();
    let expected = [
        ("ce-id", "e-1"),
        ("ce-source", "applications"),
        ("ce-specversion", "1.0"),
        ("ce-time", "2026-11-06T08:49:37Z"),
        ("ce-type", "application.submitted"),
        ("content-type", "application/json"),
        ("idempotency-key", "e-1"),
        ("x-event-attempt", "2"),
        ("x-event-entry-id", "1700000000000-3"),
        ("x-event-group", "notifications"),
        ("x-event-stream", "stream:events"),
    ];
    assert_eq!(sent, expected);
}

#[test]
fn the_structured_form_holds_the_payload_unchanged_as_data() {
    let (headers, body) = build(&delivery(&[("id", "e-1")]), Format::CloudEventStructured);
    let expected = format!(
        r#"{{"specversion":"1.0","id":"e-1","source":"applications","type":"application.submitted","time":"2026-11-06T08:49:37Z","datacontenttype":"application/json","data":{PAYLOAD}}}"#
    );
    assert_eq!(String::from_utf8(body.into()).unwrap(), expected);
    assert_eq!(header(&headers, "content-type"), Some("application/cloudevents+json"));
    assert_eq!(header(&headers, "ce-id"), None);
    assert_eq!(header(&headers, "idempotency-key"), Some("e-1"));
}

#[test]
fn the_json_form_is_the_event_as_one_object() {
    let (headers, body) = build(&delivery(&[]), Format::Json);
    let expected = format!(
        r#"{{"id":"1700000000000-3","event_id":"stream:events/1700000000000-3","type":"application.submitted","timestamp":"2026-11-06T08:49:37Z","payload":{PAYLOAD},"source_service":"applications","attempt":2}}"#
    );
    assert_eq!(String::from_utf8(body.into()).unwrap(), expected);
    assert_eq!(header(&headers, "content-type"), Some("application/json"));
}

#[test]
fn an_event_without_a_source_comes_from_its_stream() {
    let delivery = delivery(&[("source", "")]);
    let (headers, _) = build(&delivery, Format::CloudEventBinary);
    assert_eq!(header(&headers, "ce-source"), Some("stream:events"));
}

#[test]
fn a_field_of_an_event_cannot_forge_a_header() {
    let hostile = delivery(&[
        ("id", "1\r\nX-Admin: yes\u{0}"),
        ("source", "a b\"%é€😀"),
        ("traceparent", "00-1\r\nX-Admin: yes"),
    ]);
    let (headers, _) = build(&hostile, Format::CloudEventBinary);
    assert_eq!(header(&headers, "ce-id"), Some("1%0D%0AX-Admin:%20yes%00"));
    assert_eq!(header(&headers, "idempotency-key"), Some("1%0D%0AX-Admin:%20yes%00"));
    assert_eq!(header(&headers, "ce-source"), Some("a%20b%22%25%C3%A9%E2%82%AC%F0%9F%98%80"));
    assert_eq!(header(&headers, "traceparent"), None);
    assert_eq!(header(&headers, "x-admin"), None);
}

#[test]
fn a_trace_context_is_passed_on_as_it_is() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let traced = delivery(&[("traceparent", parent), ("tracestate", "a=1, b=\"2%\"")]);
    let (headers, _) = build(&traced, Format::CloudEventBinary);
    assert_eq!(header(&headers, "traceparent"), Some(parent));
    assert_eq!(header(&headers, "tracestate"), Some("a=1, b=\"2%\""));
}

#[test]
fn a_trace_state_alone_is_not_passed_on() {
    let (headers, _) = build(&delivery(&[("tracestate", "a=1")]), Format::CloudEventBinary);
    assert_eq!(header(&headers, "tracestate"), None);
}
