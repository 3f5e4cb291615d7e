//! Entries that nobody here wrote: whatever stands in one, the reader goes on, and nothing of it is lost.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::collections::BTreeMap;

use eventbus::Answer;
use eventbus::admin::Connection;
use tests::redis::RedisServer;
use tests::subscriber::{Running, config, drained, xadd};

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// A megabyte, the most that our own publishers send.
const MEGABYTE: usize = 1024 * 1024;

fn fields(pairs: &[(&[u8], &[u8])]) -> Fields {
    pairs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

fn event(payload: &[u8]) -> Fields {
    fields(&[(b"type", b"t"), (b"payload", payload)])
}

/// What became of some entries, each of which stood between two good events.
struct Outcome {
    /// How often the handler got each payload of theirs.
    handled: BTreeMap<String, usize>,
    /// The fields of each dead letter, by the ID of its original.
    dead: BTreeMap<Vec<u8>, Fields>,
    /// The entries' IDs.
    ids: Vec<Vec<u8>>,
}

/// Puts each of `entries` between good events and lets a subscriber read them; every good one was handled once.
async fn among_good_events(entries: &[Fields]) -> Outcome {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let mut ids = Vec::new();
    for (n, entry) in entries.iter().enumerate() {
        xadd(&mut conn, &format!(r#""good {n}""#)).await;
        let add = redis::cmd("XADD").arg("s").arg("*").arg(entry).to_owned();
        ids.push(add.query_async(&mut conn).await.unwrap());
    }
    xadd(&mut conn, r#""good to the end""#).await;
    let running = Running::start(server.config(), config(), async |_| Answer::Done);
    drained(&mut conn).await;
    xadd(&mut conn, r#""good afterwards""#).await;
    drained(&mut conn).await;
    let (good, handled): (BTreeMap<_, _>, _) =
        running.seen.times().into_iter().partition(|(payload, _)| payload.starts_with(r#""good "#));
    assert_eq!((good.len(), good.values().sum::<usize>()), (entries.len() + 2, entries.len() + 2));
    running.stop().await.unwrap();
    Outcome { handled, dead: dead_letters(&mut conn).await, ids }
}

async fn dead_letters(conn: &mut Connection) -> BTreeMap<Vec<u8>, Fields> {
    let range = redis::cmd("XRANGE").arg("{s}:dlq:g").arg("-").arg("+").to_owned();
    // As pairs, not as a map: names may be odd and stand there twice.
    let letters: Vec<(String, Fields)> = range.query_async(conn).await.unwrap();
    letters.into_iter().map(|(_, fields)| (value(&fields, b"dlq.id").to_vec(), fields)).collect()
}

fn value<'a>(fields: &'a Fields, expected: &[u8]) -> &'a [u8] {
    &fields.iter().find(|(name, _)| name == expected).unwrap().1
}

impl Outcome {
    /// The original fields in the dead letter of the entry `n`, and why it is one.
    fn letter(&self, n: usize) -> (Fields, &str) {
        let fields = &self.dead[&self.ids[n]];
        assert_eq!(value(fields, b"dlq.reason"), b"unreadable");
        let original = fields.iter().filter(|(name, _)| !name.starts_with(b"dlq."));
        (original.cloned().collect(), std::str::from_utf8(value(fields, b"dlq.error")).unwrap())
    }
}

/// The values of a MessagePack array of strings.
fn unpack(packed: &[u8]) -> Vec<&[u8]> {
    let (mut values, mut rest) = (Vec::new(), packed);
    let mut take = |count: usize| {
        let (taken, left) = rest.split_at(count);
        rest = left;
        taken
    };
    let number = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
    let length = match take(1)[0] {
        short @ 0x90..=0x9f => usize::from(short & 0x0f),
        0xdc => number(take(2)),
        0xdd => number(take(4)),
        other => panic!("{other:#x} is no array"),
    };
    for _ in 0..length {
        let size = match take(1)[0] {
            short @ 0xa0..=0xbf => usize::from(short & 0x1f),
            0xd9 => number(take(1)),
            0xda => number(take(2)),
            0xdb => number(take(4)),
            other => panic!("{other:#x} is no string"),
        };
        values.push(take(size));
    }
    assert!(rest.is_empty(), "{} bytes more", rest.len());
    values
}

#[tokio::test]
async fn f38_what_is_no_event_becomes_a_dead_letter_of_its_raw_fields() {
    let entries = [
        (fields(&[(b"payload", b"{}"), (b"tenant", b"north")]), r#"the entry has no field "type""#),
        (fields(&[(b"type", b"t"), (b"body", b"{}")]), r#"the entry has no field "payload""#),
        (event(b""), r#"the entry has no field "payload""#),
        (fields(&[(b"", b"")]), r#"the entry has no field "type""#),
        (fields(&[(b"type", b"\xff"), (b"payload", b"1")]), r#"field "type" is not UTF-8"#),
        (event(b"\"\xc3\x28\""), r#"field "payload" is not UTF-8"#),
        (fields(&[(b"\xff\x00", b"\r\n"), (b"\r\n", b"\xfe")]), r#"the entry has no field "type""#),
        (
            fields(&[(b"a", b"1"), (b"a", b"2"), (b"payload", b"1"), (b"a", b"1")]),
            r#"the entry has no field "type""#,
        ),
        (
            event(b"{\"a\": 1}\n}"),
            r#"field "payload" is not JSON: syntax error at line 2, column 1"#,
        ),
    ];
    let (entries, errors): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
    let outcome = among_good_events(&entries).await;
    assert_eq!(outcome.handled, BTreeMap::new());
    assert_eq!(outcome.dead.len(), entries.len());
    for (n, (entry, error)) in entries.into_iter().zip(errors).enumerate() {
        assert_eq!(outcome.letter(n), (entry, error));
    }
}

#[tokio::test]
async fn an_event_with_odd_bytes_or_repeats_beside_what_is_asked_of_it_is_handled() {
    let entries = [
        fields(&[(b"\xff\x00", b"\xfe"), (b"type", b"t"), (b"payload", b"\"odd\""), (b"", b"")]),
        fields(&[(b"type", b"a"), (b"payload", b"1"), (b"type", b"t"), (b"payload", b"\"last\"")]),
        fields(&[(b"ts", b"\xff"), (b"payload", b"\"no time\""), (b"type", b"t")]),
    ];
    let outcome = among_good_events(&entries).await;
    let once = [r#""last""#, r#""no time""#, r#""odd""#].map(|payload| (payload.to_owned(), 1));
    assert_eq!(outcome.handled, BTreeMap::from(once));
    assert_eq!(outcome.dead.len(), 0);
}

#[tokio::test]
async fn a_payload_of_a_megabyte_is_handled_however_deep_or_broad_it_is() {
    let half = MEGABYTE / 2;
    let deep = format!("{}{}", "[".repeat(half), "]".repeat(half));
    let objects = format!(r#"{}1{}"#, r#"{"a":"#.repeat(MEGABYTE / 6), "}".repeat(MEGABYTE / 6));
    let broad = format!("[{}0]", "0,".repeat(half - 1));
    let payloads = [deep, objects, broad];
    let entries = payloads.each_ref().map(|payload| event(payload.as_bytes()));
    let outcome = among_good_events(&entries).await;
    // Not by assert_eq: it would print them.
    assert!(outcome.handled == BTreeMap::from(payloads.map(|payload| (payload, 1))));
    assert_eq!(outcome.dead.len(), 0);
}

#[tokio::test]
async fn a_payload_of_a_megabyte_that_never_closes_becomes_a_dead_letter() {
    let entry = event("[".repeat(MEGABYTE).as_bytes());
    let outcome = among_good_events(std::slice::from_ref(&entry)).await;
    let (original, error) = outcome.letter(0);
    assert!(original == entry);
    assert!(error.starts_with(r#"field "payload" is not JSON"#), "{error}");
}

/// Ten thousand fields, odd ones and repeats among them.
fn ten_thousand() -> Fields {
    let name = |n: usize| {
        if n.is_multiple_of(10) { b"again".to_vec() } else { n.to_string().into_bytes() }
    };
    (0..10_000).map(|n| (name(n), [b"\xff".as_slice(), &vec![b'v'; n % 300]].concat())).collect()
}

#[tokio::test]
async fn an_event_of_ten_thousand_fields_is_handled() {
    let entry = [ten_thousand(), event(b"\"many\"")].concat();
    let outcome = among_good_events(&[entry]).await;
    assert_eq!(outcome.handled, BTreeMap::from([(r#""many""#.to_owned(), 1)]));
    assert_eq!(outcome.dead.len(), 0);
}

#[tokio::test]
async fn ten_thousand_fields_that_are_no_event_become_a_dead_letter_that_unpacks_to_them() {
    let entry = ten_thousand();
    let outcome = among_good_events(std::slice::from_ref(&entry)).await;
    let (original, error) = outcome.letter(0);
    assert_eq!((original, error), (Fields::new(), r#"the entry has no field "type""#));
    let values = unpack(value(&outcome.dead[&outcome.ids[0]], b"dlq.raw"));
    let expected = entry.iter().flat_map(|(name, value)| [name.as_slice(), value]);
    assert!(values.into_iter().eq(expected));
}
