//! Interpretation of an HTTP handler's reply as an answer for the event.

use std::time::Duration;

use eventbus::Answer;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde::Deserialize;

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
    /// Start of the body, as far as it was read.
    pub body: &'a [u8],
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

/// Optional body in the convention of Dapr's subscribers. Any other body and any other status is done.
#[derive(Deserialize)]
struct Verdict {
    status: String,
}

fn judge_body(reply: &Reply<'_>) -> Answer {
    let word = serde_json::from_slice::<Verdict>(reply.body).map(|verdict| verdict.status);
    match word.as_deref() {
        Ok("RETRY") => Answer::Retry {
            after: None,
            reason: format!("the handler answered {} with status RETRY", reply.status),
        },
        Ok("DROP") => Answer::Dead {
            reason: format!("the handler answered {} with status DROP", reply.status),
        },
        _ => Answer::Done,
    }
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
        let date = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO)
    };
    Some(span.min(MAX_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, retry_after: Option<&str>, body: &[u8]) -> Answer {
        let now = "2026-11-06T08:49:00Z".parse().unwrap();
        judge(&Reply { status, retry_after, body }, now)
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
            (br#"{"status":"ok"}"#, "done"),
            (br#"{"status":7}"#, "done"),
            (br#"{"done":true}"#, "done"),
            (b"RETRY", "done"),
            (b"", "done"),
        ];
        for (body, expected) in cases {
            assert_eq!(word(&judged(200, None, body)), expected, "{}", body.escape_ascii());
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
