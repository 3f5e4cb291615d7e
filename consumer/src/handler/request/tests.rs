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
    let EventRequest { headers, body, .. } =
        build(&delivery(&[("id", "e-1")]), Format::CloudEventBinary);
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
    let EventRequest { headers, body, .. } =
        build(&delivery(&[("id", "e-1")]), Format::CloudEventStructured);
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
    let EventRequest { headers, body, .. } = build(&delivery(&[]), Format::Json);
    let expected = format!(
        r#"{{"id":"1700000000000-3","event_id":"stream:events/1700000000000-3","type":"application.submitted","timestamp":"2026-11-06T08:49:37Z","payload":{PAYLOAD},"source_service":"applications","key":null,"attributes":{{}},"attempt":2}}"#
    );
    assert_eq!(String::from_utf8(body.into()).unwrap(), expected);
    assert_eq!(header(&headers, "content-type"), Some("application/json"));
}

#[test]
fn an_event_without_a_source_comes_from_its_stream() {
    let delivery = delivery(&[("source", "")]);
    let EventRequest { headers, .. } = build(&delivery, Format::CloudEventBinary);
    assert_eq!(header(&headers, "ce-source"), Some("stream:events"));
}

#[test]
fn a_field_of_an_event_cannot_forge_a_header() {
    let hostile = delivery(&[
        ("id", "1\r\nX-Admin: yes\u{0}"),
        ("source", "a b\"%é€😀"),
        ("traceparent", "00-1\r\nX-Admin: yes"),
    ]);
    let EventRequest { headers, .. } = build(&hostile, Format::CloudEventBinary);
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
    let EventRequest { headers, .. } = build(&traced, Format::CloudEventBinary);
    assert_eq!(header(&headers, "traceparent"), Some(parent));
    assert_eq!(header(&headers, "tracestate"), Some("a=1, b=\"2%\""));
}

#[test]
fn a_trace_state_alone_is_not_passed_on() {
    let EventRequest { headers, .. } =
        build(&delivery(&[("tracestate", "a=1")]), Format::CloudEventBinary);
    assert_eq!(header(&headers, "tracestate"), None);
}

/// Fields of an entry that are attributes of the event, in the order of the entry.
const FIELDS: [(&str, &str); 4] =
    [("tenantid", "t é"), ("key", "o-1"), ("dataschema", "https://s/1"), ("subject", "a/1")];

#[test]
fn case_13_other_fields_are_attributes_in_headers() {
    let request = build(&delivery(&FIELDS), Format::CloudEventBinary);
    let expected = [
        ("ce-subject", "a/1"),
        ("ce-dataschema", "https://s/1"),
        ("ce-partitionkey", "o-1"),
        ("ce-tenantid", "t%20%C3%A9"),
    ];
    for (name, value) in expected {
        assert_eq!(header(&request.headers, name), Some(value));
    }
    assert_eq!(request.omitted_fields, 0);
}

#[test]
fn case_13_other_fields_are_members_of_the_structured_form() {
    let EventRequest { body, .. } = build(&delivery(&FIELDS), Format::CloudEventStructured);
    let expected = format!(
        r#""partitionkey":"o-1","dataschema":"https://s/1","subject":"a/1","tenantid":"t é","data":{PAYLOAD}}}"#
    );
    assert!(String::from_utf8(body.into()).unwrap().ends_with(&expected));
}

#[test]
fn case_13_other_fields_are_key_and_attributes_of_the_json_form() {
    let EventRequest { body, .. } = build(&delivery(&FIELDS), Format::Json);
    let expected = r#""key":"o-1","attributes":{"dataschema":"https://s/1","subject":"a/1","tenantid":"t é"},"attempt":2}"#;
    assert!(String::from_utf8(body.into()).unwrap().ends_with(expected));
}

/// Returns the names of the headers beyond those of an event without other fields, and the number of fields left out.
fn beyond(fields: &[(&str, &str)]) -> (Vec<String>, u64) {
    let without = build(&delivery(&[]), Format::CloudEventBinary).headers;
    let request = build(&delivery(fields), Format::CloudEventBinary);
    let more = request.headers.keys().filter(|name| !without.contains_key(*name));
    let changed = without.iter().filter(|(name, value)| request.headers.get(*name) != Some(value));
    assert_eq!(changed.count(), 0, "{fields:?}");
    (more.map(ToString::to_string).collect(), request.omitted_fields)
}

#[test]
fn case_13_a_field_whose_name_is_no_attribute_is_counted() {
    let reserved = ["time", "specversion", "datacontenttype", "data"];
    let odd = ["Host", "content-length", "tenantId", "a.b", "", "ä", "a\r\nb", "data_base64"];
    let long = "a".repeat(21);
    for name in reserved.into_iter().chain(odd).chain([long.as_str()]) {
        assert_eq!(beyond(&[(name, "x")]), (Vec::new(), 1), "{name:?}");
    }
    assert_eq!(beyond(&[("host", "x")]), (vec!["ce-host".to_owned()], 0));
    assert_eq!(beyond(&[(&long[1..], "")]), (vec![format!("ce-{}", &long[1..])], 0));
}

#[test]
fn case_13_the_last_of_repeated_fields_is_the_attribute() {
    let fields = [("x", "1"), ("y", "2"), ("x", "3\r\nHost: evil")];
    let request = build(&delivery(&fields), Format::CloudEventBinary);
    assert_eq!(header(&request.headers, "ce-x"), Some("3%0D%0AHost:%20evil"));
    assert_eq!(header(&request.headers, "ce-y"), Some("2"));
    assert_eq!(request.omitted_fields, 1);
}

#[test]
fn case_13_the_key_replaces_a_field_for_partitioning() {
    let partitioned = [("partitionkey", "p")];
    let both = [("partitionkey", "p"), ("key", "o-1")];
    for (fields, expected, omitted) in [(&partitioned[..], "p", 0), (&both[..], "o-1", 1)] {
        let request = build(&delivery(fields), Format::CloudEventBinary);
        assert_eq!(header(&request.headers, "ce-partitionkey"), Some(expected));
        assert_eq!(request.omitted_fields, omitted);
    }
}

#[test]
fn case_13_the_number_of_attributes_is_limited() {
    let names: Vec<String> = (0..40).map(|number| format!("x{number}")).collect();
    let mut fields: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    fields.extend([("subject", "s"), ("dataschema", "d"), ("key", "k")]);
    let (headers, omitted) = beyond(&fields);
    assert_eq!((headers.len(), omitted), (35, 8));
    assert!(headers.contains(&"ce-x31".to_owned()) && !headers.contains(&"ce-x32".to_owned()));
}

#[test]
fn case_13_the_size_of_attributes_is_limited_as_it_is_in_headers() {
    // Each letter has six bytes once it is encoded.
    let encoded = "é".repeat(1_364);
    let fields = [("large", encoded.as_str()), ("small", "12"), ("b", "1"), ("c", "")];
    let expected = ["ce-large", "ce-b", "ce-c"].map(str::to_owned).to_vec();
    assert_eq!(beyond(&fields), (expected, 1));
}

#[test]
fn case_13_a_key_that_is_too_large_for_a_header_is_in_bodies_only() {
    let key = "k".repeat(8 * 1024);
    let fields = [("key", key.as_str()), ("x", "1")];
    assert_eq!(beyond(&fields), (vec!["ce-x".to_owned()], 1));
    for format in [Format::CloudEventStructured, Format::Json] {
        let request = build(&delivery(&fields), format);
        assert_eq!(request.omitted_fields, 0);
        assert!(String::from_utf8(request.body.into()).unwrap().contains(&key));
    }
}
