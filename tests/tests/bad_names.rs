//! What is no name, entry ID, start or event type is refused where it enters, with the value and what is allowed.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use eventbus::{ConsumerName, EntryId, GroupName, Start, StreamKey, TypeFilter};
use eventbus_core::names::{DELAYED, SUSPECT};

type Parse = fn(&str) -> Result<(), String>;

fn refusal<T>(result: Result<T, impl std::error::Error>) -> Result<(), String> {
    result.map(|_| ()).map_err(|error| error.to_string())
}

const STREAM: Parse = |text| refusal(StreamKey::new(text));
const GROUP: Parse = |text| refusal(GroupName::new(text));
const CONSUMER: Parse = |text| refusal(ConsumerName::new(text));
const ENTRY: Parse = |text| refusal(text.parse::<EntryId>());
const START: Parse = |text| refusal(text.parse::<Start>());
const TYPE: Parse = |text| refusal(TypeFilter::parse([text]));

#[test]
fn what_is_refused_is_named_with_what_is_allowed() {
    let long = |length: usize| "x".repeat(length);
    let cases: [(Parse, &str, &[&str]); 6] = [
        (STREAM, "must have 1 to 512 bytes", &["", &long(513), &"é".repeat(257)]),
        (
            GROUP,
            "must start with a letter or digit and have up to 200 of letters",
            &["", "a b", " a", "{a}", "a}", "-a", ".a", "_a", ":a", "é", "a\n", "a\0", &long(201)],
        ),
        (
            CONSUMER,
            "must have 1 to 320 visible ASCII characters and must not be eventbus:delayed or eventbus:suspect",
            &["", " ", "a b", "a\t", "a\n", "é", DELAYED, SUSPECT, &long(321)],
        ),
        (
            ENTRY,
            "must be <milliseconds> or <milliseconds>-<sequence>, each below 2^64",
            &[
                "",
                "-",
                "1-",
                "-1",
                "1-2-3",
                "+1",
                " 1",
                "1 ",
                "a",
                "0x1",
                "1.5",
                "$",
                ">",
                "*",
                "18446744073709551616",
                "1-18446744073709551616",
                "١",
            ],
        ),
        (
            START,
            "must be 0, $, an entry ID such as 1700000000000-0, or a time such as",
            &["", "$$", "-1", "1-", "latest", "now", "2026-01-31", "2026-01-31T08:00:00", ">"],
        ),
        (
            TYPE,
            "must have 1 to 128 of letters, digits, '_', '-', '*', in parts joined by single dots",
            &["", ".", "a.", ".a", "a..b", "a b", "{a}", "a/b", "é", "a\n", &long(129)],
        ),
    ];
    for (parse, allowed, texts) in cases {
        for text in texts {
            let error = parse(text).expect_err(text);
            assert!(error.contains(&format!("{text:?}")), "{error}");
            assert!(error.contains(allowed), "{error}");
        }
    }
}

#[test]
fn what_is_at_the_limit_is_taken() {
    let long = |length: usize| "x".repeat(length);
    let cases: [(Parse, &[&str]); 6] = [
        (STREAM, &["s", " ", "a b", "{a}:b", "}{", "{}", "é\n", &long(512)]),
        (GROUP, &["g", "0", "a.B_c:d-9", &long(200)]),
        (CONSUMER, &["c", "{c}", "~!/", "eventbus:delayed2", &long(320)]),
        (ENTRY, &["0", "0-0", "01", "18446744073709551615-18446744073709551615"]),
        (START, &["0", "$", "1", "1-1", "2026-01-31T08:00:00Z", "2026-01-31T08:00:00+02:00"]),
        (TYPE, &["a", "*", "a.*", "A_b-9.c", &long(128)]),
    ];
    for (parse, texts) in cases {
        for text in texts {
            assert_eq!(parse(text), Ok(()), "{text:?}");
        }
    }
}
