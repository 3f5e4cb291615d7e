//! Interpretation of an HTTP handler's reply as an answer for the event.

use std::time::Duration;

use eventbus::Answer;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Maximum wait that a handler can request with `Retry-After`.
const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);
/// Maximum size of the part of a reply's body that is stored as the reason of a dead letter, in bytes.
const MAX_REASON: usize = 512;

/// Parts of a handler's reply that decide about the event.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// Status code.
    pub status: u16,
    /// Header `Retry-After`.
    pub retry_after: Option<&'a str>,
    /// Header `Content-Type`.
    pub content_type: Option<&'a str>,
    /// `true` if the body is compressed, or in another encoding that is not read.
    pub is_encoded: bool,
    /// Start of the body, as far as it was read.
    pub body: &'a [u8],
    /// `true` if the body is longer than `body`.
    pub is_cut: bool,
}

/// Decides about the event: 2xx is done, unless a JSON body with `status` requests a retry or a dead letter; statuses
/// that may pass are a retry; every other 3xx and 4xx is a dead letter at once.
///
/// `now` turns a `Retry-After` date into a wait. The reason of a retry never quotes the body: it may repeat the payload.
#[must_use]
pub fn judge(reply: &Reply<'_>, now: Timestamp) -> Answer {
    match reply.status {
        200..=299 => judge_body(reply),
        429 | 503 => retry(reply, reply.retry_after.and_then(|text| wait(text, now))),
        401 | 403 | 404 | 408 | 409 | 425 => retry(reply, None),
        300..=499 => Answer::Dead { reason: refusal(reply) },
        // 5xx, and numbers that are not final statuses: neither shows a fault of the event.
        _ => retry(reply, None),
    }
}

fn retry(reply: &Reply<'_>, after: Option<Duration>) -> Answer {
    Answer::Retry { after, reason: format!("the handler answered {}", reply.status) }
}

/// Optional body in the convention of Dapr's subscribers. Without `status`, the event is done.
#[derive(Deserialize)]
struct Verdict {
    #[serde(default, deserialize_with = "present")]
    status: Option<Value>,
}

/// Keeps `null` apart from an absent member.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Decides by the body of a success. What cannot be understood may have requested a retry, and is retried.
fn judge_body(reply: &Reply<'_>) -> Answer {
    let status = reply.status;
    let retry = |problem: &str| Answer::Retry {
        after: None,
        reason: format!("the handler answered {status} with {problem}"),
    };
    if !may_be_a_verdict(reply) {
        return Answer::Done;
    }
    if reply.is_cut {
        return retry("a JSON body that is too long to be read");
    }
    let is_object = reply.body.trim_ascii_start().starts_with(b"{");
    if !is_object && serde_json::from_slice::<IgnoredAny>(reply.body).is_ok() {
        // JSON without members has no `status`.
        return Answer::Done;
    }
    let Ok(verdict) = serde_json::from_slice::<Verdict>(reply.body) else {
        return retry(if reply.is_encoded {
            "a body in an encoding that was not asked for"
        } else {
            "a body that is not JSON"
        });
    };
    match verdict.status.as_ref().map(Value::as_str) {
        None | Some(Some("SUCCESS")) => Answer::Done,
        Some(Some("RETRY")) => retry("status RETRY"),
        Some(Some("DROP")) => {
            Answer::Dead { reason: format!("the handler answered {status} with status DROP") }
        }
        Some(_) => retry("a status other than SUCCESS, RETRY or DROP"),
    }
}

/// Returns `true` if the body has to be understood: it is declared to be JSON, begins like a JSON object, or is encoded and
/// not declared at all, so that it may be either.
fn may_be_a_verdict(reply: &Reply<'_>) -> bool {
    if reply.body.is_empty() {
        return false;
    }
    if reply.is_encoded && reply.content_type.is_none() {
        return true;
    }
    let media_type = reply.content_type.and_then(|text| text.split(';').next()).unwrap_or_default();
    let media_type = media_type.trim().to_ascii_lowercase();
    let is_json = matches!(media_type.as_str(), "application/json" | "text/json")
        || media_type.ends_with("+json");
    // Byte-order marks, and the zero bytes of UTF-16 and UTF-32, hide the start of an object.
    let is_before = |b: &u8| b.is_ascii_whitespace() || b"\0\xef\xbb\xbf\xfe\xff".contains(b);
    is_json || reply.body.iter().find(|b| !is_before(b)) == Some(&b'{')
}

fn refusal(reply: &Reply<'_>) -> String {
    let start = &reply.body[..reply.body.len().min(MAX_REASON)];
    if start.is_empty() {
        return format!("the handler answered {}", reply.status);
    }
    format!("the handler answered {}: {}", reply.status, start.escape_ascii())
}

/// Parses `Retry-After`: seconds, or a date; a past date is no wait.
fn wait(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let span = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().map_or(MAX_WAIT, Duration::from_secs)
    } else {
        Duration::try_from(date(text, now)?.duration_since(now)).unwrap_or(Duration::ZERO)
    };
    Some(span.min(MAX_WAIT))
}

/// Parses a date of HTTP in one of its three forms: RFC 9110, section 5.6.7.
fn date(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(date) = rfc2822::DateTimeParser::new().parse_timestamp(text) {
        return Some(date);
    }
    let utc = |date: DateTime| date.to_zoned(TimeZone::UTC).ok().map(|date| date.timestamp());
    if let Ok(date) = DateTime::strptime("%a %b %e %H:%M:%S %Y", text) {
        return utc(date);
    }
    // The obsolete form of RFC 850 has two digits of the year: of those that fit, the last one that is at most 50 years
    // ahead.
    let (date, zone) = text.split_once(", ")?.1.rsplit_once(' ')?;
    let date = DateTime::strptime("%d-%b-%y %H:%M:%S", date).ok()?;
    if !zone.eq_ignore_ascii_case("GMT") {
        return None;
    }
    let latest = i32::from(now.to_zoned(TimeZone::UTC).year()) + 50;
    let year = latest - (latest - i32::from(date.year())).rem_euclid(100);
    utc(date.with().year(i16::try_from(year).ok()?).build().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, retry_after: Option<&str>, body: &[u8]) -> Answer {
        let now = "2026-11-06T08:49:00Z".parse().unwrap();
        judge(&Reply { retry_after, ..reply(status, body) }, now)
    }

    fn reply(status: u16, body: &[u8]) -> Reply<'_> {
        let (retry_after, content_type) = (None, None);
        Reply { status, retry_after, content_type, is_encoded: false, body, is_cut: false }
    }

    fn word(answer: &Answer) -> &'static str {
        match answer {
            Answer::Done => "done",
            Answer::Retry { .. } => "retry",
            Answer::Dead { .. } => "dead",
            _ => "another",
        }
    }

    #[test]
    fn the_status_code_decides() {
        let cases: [(&str, &[u16]); 3] = [
            ("done", &[200, 201, 202, 204, 299]),
            ("retry", &[401, 403, 404, 408, 409, 425, 429, 500, 501, 502, 503, 504, 599, 101, 600]),
            ("dead", &[300, 301, 302, 304, 307, 308, 400, 402, 405, 410, 413, 415, 422, 431, 451]),
        ];
        for (expected, statuses) in cases {
            for &status in statuses {
                assert_eq!(word(&judged(status, None, b"")), expected, "{status}");
            }
        }
    }

    #[test]
    fn a_json_reply_can_overrule_a_success() {
        let cases: [(&[u8], &str); 8] = [
            (br#"{"status":"SUCCESS"}"#, "done"),
            (br#"{"status":"RETRY"}"#, "retry"),
            (br#"{"status":"DROP","why":1}"#, "dead"),
            (br#"{"done":true}"#, "done"),
            (b"{}", "done"),
            (b"RETRY", "done"),
            (b"<html>{}</html>", "done"),
            (b"", "done"),
        ];
        for (body, expected) in cases {
            assert_eq!(word(&judged(200, None, body)), expected, "{}", body.escape_ascii());
        }
    }

    #[test]
    fn case_09_a_status_that_is_not_understood_is_retried() {
        let cases: [&[u8]; 9] = [
            br#"{"status":"FAILED"}"#,
            br#"{"status":"ok"}"#,
            br#"{"status":"success"}"#,
            br#"{"status":7}"#,
            br#"{"status":null}"#,
            br#"{"status":"SUCCESS","status":"RETRY"}"#,
            b"\xef\xbb\xbf{\"status\":\"RETRY\"}",
            br#"{"status":"RETRY","#,
            b"{status: RETRY}",
        ];
        for body in cases {
            assert_eq!(word(&judged(200, None, body)), "retry", "{}", body.escape_ascii());
        }
    }

    #[test]
    fn case_09_a_json_body_that_cannot_be_read_is_retried_and_any_other_is_done() {
        let json = Some("Application/JSON; charset=utf-8");
        let cases = [
            (Reply { content_type: json, is_encoded: true, ..reply(200, b"\x1f\x8b") }, "retry"),
            (Reply { is_cut: true, ..reply(200, br#"{"x":"xxx"#) }, "retry"),
            (Reply { content_type: json, is_cut: true, ..reply(200, b"[1") }, "retry"),
            (Reply { content_type: json, ..reply(200, b"RETRY") }, "retry"),
            (Reply { content_type: Some("application/problem+json"), ..reply(200, b"x") }, "retry"),
            (Reply { content_type: Some("text/json"), ..reply(200, b"x") }, "retry"),
            (Reply { content_type: json, ..reply(200, b"[1]") }, "done"),
            (Reply { content_type: json, ..reply(200, br#""RETRY""#) }, "done"),
            (Reply { content_type: json, ..reply(204, b"") }, "done"),
            (Reply { content_type: Some("text/html"), is_cut: true, ..reply(200, b"<p>") }, "done"),
            (Reply { is_encoded: true, ..reply(200, b"\x1f\x8b") }, "retry"),
            (
                Reply {
                    is_encoded: true,
                    content_type: Some("text/html"),
                    ..reply(200, b"\x1f\x8b")
                },
                "done",
            ),
            (Reply { content_type: json, ..reply(200, b"\x1f\x8b\x08") }, "retry"),
            (Reply { content_type: json, ..reply(200, b"null") }, "done"),
            (reply(200, b"\xff\xfe{\0\"\0"), "retry"),
            (reply(200, b"\xfe\xff\0{\0\""), "retry"),
            (reply(200, b"{\0\"\0"), "retry"),
            (reply(200, b"\0\0\0{"), "retry"),
        ];
        let now = "2026-11-06T08:49:00Z".parse().unwrap();
        for (reply, expected) in cases {
            assert_eq!(word(&judge(&reply, now)), expected, "{reply:?}");
        }
    }

    #[test]
    fn a_json_reply_does_not_soften_a_failure() {
        assert_eq!(word(&judged(500, None, br#"{"status":"SUCCESS"}"#)), "retry");
        assert_eq!(word(&judged(400, None, br#"{"status":"RETRY"}"#)), "dead");
    }

    #[test]
    fn retry_after_is_honoured_as_seconds_and_as_a_date() {
        let cases = [
            (503, Some("7"), Some(7)),
            (429, Some(" 120 "), Some(120)),
            (503, Some("Fri, 06 Nov 2026 08:49:37 GMT"), Some(37)),
            (503, Some("Fri, 06 Nov 2026 08:00:00 GMT"), Some(0)),
            (429, Some("99999999999999999999999"), Some(86_400)),
            (429, Some("9999999"), Some(86_400)),
            (503, Some("soon"), None),
            (503, Some("-1"), None),
            (503, Some(""), None),
            (503, None, None),
            (500, Some("7"), None),
        ];
        for (status, header, seconds) in cases {
            let Answer::Retry { after, .. } = judged(status, header, b"") else {
                panic!("{status} {header:?} is no retry");
            };
            assert_eq!(after, seconds.map(Duration::from_secs), "{status} {header:?}");
        }
    }

    #[test]
    fn case_15_retry_after_is_read_in_each_form_of_a_date() {
        let cases = [
            ("Friday, 06-Nov-26 08:49:37 GMT", Some(37)),
            ("Fri Nov  6 08:49:37 2026", Some(37)),
            ("Friday, 06-Nov-77 08:49:37 GMT", Some(0)),
            ("Saturday, 06-Nov-76 08:49:37 GMT", Some(86_400)),
            ("Fri Nov 06 08:49:37 2026", Some(37)),
            ("Fri, 6 Nov 2026 08:49:37 GMT", Some(37)),
            ("Fri, 06 Nov 2026 08:49:37 +0000", Some(37)),
            ("fri, 06 nov 2026 08:49:37 gmt", Some(37)),
            ("friday, 06-nov-26 08:49:37 gmt", Some(37)),
            ("FRI NOV  6 08:49:37 2026", Some(37)),
            ("Friday, 06-Nov-26 08:49:37 CET", None),
            ("2026-11-06T08:49:37Z", None),
            ("Friday, 31-Feb-26 08:49:37 GMT", None),
            ("Fri Nov 31 08:49:37 2026", None),
        ];
        for (date, seconds) in cases {
            let Answer::Retry { after, .. } = judged(503, Some(date), b"") else {
                panic!("{date:?} is no retry");
            };
            assert_eq!(after, seconds.map(Duration::from_secs), "{date:?}");
        }
    }

    #[test]
    fn the_reason_of_a_dead_letter_quotes_a_bounded_escaped_part_of_the_answer() {
        let body = [b"bad\r\n\x1b[31m\xff".as_slice(), &[b'x'; 2_000]].concat();
        let Answer::Dead { reason } = judged(422, None, &body) else { panic!("not dead") };
        assert!(
            reason.starts_with(r"the handler answered 422: bad\r\n\x1b[31m\xffxxx"),
            "{reason}"
        );
        assert!(reason.len() < 560, "{}", reason.len());
    }

    #[test]
    fn the_reason_of_a_retry_never_quotes_the_answer() {
        let Answer::Retry { reason, .. } = judged(500, None, b"your payload was: secret") else {
            panic!("no retry");
        };
        assert_eq!(reason, "the handler answered 500");
    }
}
