//! Fields of an entry that the bus does not know.

use serde_json::{Value, json};
use tests::consumer::{Consumer, SOON, add, settled};
use tests::handler::{Handler, Request};
use tests::redis::RedisServer;
use tests::wait;

type Field<'a> = (&'a str, &'a [u8]);

const FIELDS: [Field<'static>; 5] = [
    ("type", b"order.created"),
    ("payload", b"{\"a\": 1.0}"),
    ("key", b"o-1"),
    ("tenantid", b"caf\xc3\xa9"),
    ("subject", b"orders/1"),
];

/// Handles one entry of these fields, and returns the request with the metric of fields left out.
async fn handled(format: &str, fields: &[Field<'_>]) -> (Request, u64) {
    let (server, handler) = (RedisServer::start(), Handler::start());
    let mut conn = server.connection().await;
    add(&mut conn, fields).await;
    let consumer = Consumer::start(&server, &handler.url(), &[("HANDLER_FORMAT", format)]);

    let request = handler.received(1).await.remove(0);
    settled(&mut conn).await;

    let omitted = wait::until("the metric is served", SOON, async || {
        let (_, text) = consumer.get("/metrics").await;
        let name = r#"eventbus_handler_omitted_fields_total{stream="s",group="g"} "#;
        text.lines().find_map(|line| line.strip_prefix(name)?.parse().ok())
    })
    .await;
    (request, omitted)
}

fn with_schema() -> Vec<Field<'static>> {
    FIELDS.into_iter().chain([("dataschema", &b"https://schemas/order"[..])]).collect()
}

#[tokio::test]
async fn case_13_other_fields_reach_the_handler_as_headers() {
    let (request, omitted) = handled("CloudEventBinary", &with_schema()).await;
    let expected = [
        ("ce-partitionkey", "o-1"),
        ("ce-tenantid", "caf%C3%A9"),
        ("ce-subject", "orders/1"),
        ("ce-dataschema", "https://schemas/order"),
    ];
    for (name, value) in expected {
        assert_eq!(request.header(name), value, "{name}");
    }
    assert_eq!((request.body.as_ref(), omitted), (&b"{\"a\": 1.0}"[..], 0));
}

#[tokio::test]
async fn case_13_other_fields_reach_the_handler_in_the_structured_form() {
    let (request, _) = handled("CloudEventStructured", &with_schema()).await;
    let event: Value = serde_json::from_slice(&request.body).unwrap();
    let expected = [
        ("partitionkey", "o-1"),
        ("tenantid", "café"),
        ("subject", "orders/1"),
        ("dataschema", "https://schemas/order"),
    ];
    for (name, value) in expected {
        assert_eq!(event[name], value, "{event}");
    }
}

#[tokio::test]
async fn case_13_other_fields_reach_the_handler_in_the_json_form() {
    let (request, _) = handled("Json", &with_schema()).await;
    let event: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(event["key"], "o-1");
    let expected =
        json!({"tenantid": "café", "subject": "orders/1", "dataschema": "https://schemas/order"});
    assert_eq!(event["attributes"], expected);
}

#[tokio::test]
async fn case_13_fields_that_are_no_attributes_change_no_header_and_are_counted() {
    let odd: [Field<'_>; 8] = [
        ("Host", b"evil"),
        ("content-length", b"0"),
        ("tenantId", b"x"),
        ("time", b"1970-01-01T00:00:00Z"),
        ("specversion", b"9"),
        ("binary", b"\xff\xfe"),
        ("x\r\nx-evil: 1", b"x"),
        ("tenantid", b"last\r\nx-evil: 1"),
    ];
    let many: Vec<String> = (0..40).map(|number| format!("x{number}")).collect();
    let many = many.iter().map(|name| (name.as_str(), &b"1"[..]));
    let fields: Vec<Field<'_>> = FIELDS.into_iter().chain(odd).chain(many).collect();

    let (request, omitted) = handled("CloudEventBinary", &fields).await;

    assert_eq!(request.header("ce-tenantid"), "last%0D%0Ax-evil:%201");
    assert_eq!(request.header("ce-specversion"), "1.0");
    assert_eq!(request.header("content-length"), "10");
    assert!(
        !request.header("ce-time").starts_with("1970") && !request.header("host").contains('e')
    );
    assert!(!request.headers.contains_key("x-evil") && !request.headers.contains_key("ce-binary"));
    let extensions = request.headers.keys().filter(|name| name.as_str().starts_with("ce-x"));
    // With `tenantid` they are 32. Left out are seven odd fields, the first `tenantid`, and nine of 40.
    assert_eq!((extensions.count(), omitted), (31, 17));
}
