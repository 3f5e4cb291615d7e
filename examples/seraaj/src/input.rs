//! What comes in by HTTP: bodies of JSON, and why one is refused.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde_json::{Map, Value, json};

/// A body may have this many bytes.
const MAX_BODY: usize = 64 * 1024;
/// So many bytes of a larger one are read, and forgotten, so that its sender comes to read the answer.
const MOST_READ: usize = 32 * 1024 * 1024;
/// A body may take this long.
const SLOWEST: Duration = Duration::from_secs(10);
/// Characters of a field.
const MAX_TEXT: usize = 128;

/// Why a request is refused: the answer's status, and its reason for people, in JSON as `error`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    reason: String,
}

impl Refusal {
    /// 400: the request makes no sense.
    pub fn bad(reason: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason: reason.into() }
    }

    /// 404: there is no such thing.
    pub fn unknown(what: &str) -> Self {
        Self { status: StatusCode::NOT_FOUND, reason: format!("there is no such {what}") }
    }

    /// 405: this path has other methods.
    #[must_use]
    pub fn method() -> Self {
        let reason = "this path does not take this method".to_owned();
        Self { status: StatusCode::METHOD_NOT_ALLOWED, reason }
    }

    /// 500: the platform itself cannot do it. The cause is for its log.
    #[must_use]
    pub fn broken() -> Self {
        let reason = "the event cannot be recorded".to_owned();
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, reason }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"error": self.reason}))).into_response()
    }
}

/// The body of a request: a JSON object.
#[derive(Debug)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body. The reason of a refusal shows nothing of it.
    ///
    /// # Errors
    /// [`Refusal`] of what is no object of JSON.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(Refusal::bad("the body must be a JSON object")),
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                let place = format!("the body is not JSON: line {line}, column {column}");
                Err(Refusal::bad(place))
            }
        }
    }

    /// The text of field `name`.
    ///
    /// # Errors
    /// [`Refusal`] where it is missing, no text, empty, or too long.
    pub fn text(&self, name: &str) -> Result<String, Refusal> {
        let text = match self.0.get(name) {
            Some(Value::String(text)) => text,
            Some(_) => return Err(Refusal::bad(format!("{name} must be a text"))),
            None => return Err(Refusal::bad(format!("{name} is missing"))),
        };
        if text.trim().is_empty() || text.chars().count() > MAX_TEXT {
            return Err(Refusal::bad(format!("{name} must have 1 to {MAX_TEXT} characters")));
        }
        if text.contains(char::is_control) {
            return Err(Refusal::bad(format!("{name} must have no control characters")));
        }
        Ok(text.clone())
    }
}

/// The ID in a path. One that makes no sense is an ID of nothing.
pub struct Id(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        // The empty text is nobody's ID: what asks for it reads the body, and then finds nothing.
        let id = Path::<String>::from_request_parts(parts, state).await;
        Ok(Self(id.map(|Path(id)| id).unwrap_or_default()))
    }
}

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        Self::parse(&whole(request.into_body(), MAX_BODY).await?)
    }
}

/// All of a body.
///
/// # Errors
/// [`Refusal`] of one that has more than `limit` bytes, broke off, or is too slow.
pub(crate) async fn whole(body: Body, limit: usize) -> Result<Vec<u8>, Refusal> {
    let late = |_| {
        let reason = format!("the body must come within {SLOWEST:?}");
        Err(Refusal { status: StatusCode::REQUEST_TIMEOUT, reason })
    };
    tokio::time::timeout(SLOWEST, read(body, limit)).await.unwrap_or_else(late)
}

/// Reads a body that is not wanted, so that its sender comes to read the answer.
pub(crate) async fn drain(body: Body) {
    // Why it cannot be read to its end changes nothing.
    whole(body, 0).await.ok();
}

async fn read(body: Body, limit: usize) -> Result<Vec<u8>, Refusal> {
    let (mut bytes, mut size) = (Vec::new(), 0);
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refusal::bad("the body broke off"))?;
        size += chunk.len();
        if size <= limit {
            bytes.extend_from_slice(&chunk);
        } else if size > MOST_READ {
            break;
        }
    }
    if size <= limit {
        return Ok(bytes);
    }
    let reason = format!("the body may have {limit} bytes");
    Err(Refusal { status: StatusCode::PAYLOAD_TOO_LARGE, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(body: &str) -> String {
        let text = Fields::parse(body.as_bytes()).and_then(|fields| fields.text("a"));
        text.unwrap_err().reason
    }

    #[test]
    fn a_field_is_a_text_of_1_to_128_characters() {
        let longest = "ä".repeat(128);
        let fields = Fields::parse(format!(r#"{{"a":"{longest}","b":2}}"#).as_bytes()).unwrap();
        assert_eq!(fields.text("a"), Ok(longest));
    }

    #[test]
    fn what_is_wrong_with_a_body_is_told_without_showing_it() {
        assert_eq!(reason(r#"{"a": secret}"#), "the body is not JSON: line 1, column 7");
        assert_eq!(reason(r#"["secret"]"#), "the body must be a JSON object");
        assert_eq!(reason(r#"{"b": "secret"}"#), "a is missing");
        assert_eq!(reason(r#"{"a": 5}"#), "a must be a text");
        assert_eq!(reason(r#"{"a": ""}"#), "a must have 1 to 128 characters");
        assert_eq!(reason(r#"{"a": "  "}"#), "a must have 1 to 128 characters");
        assert_eq!(reason(r#"{"a": "x\u0000"}"#), "a must have no control characters");
        let long = format!(r#"{{"a": "{}"}}"#, "x".repeat(129));
        assert_eq!(reason(&long), "a must have 1 to 128 characters");
    }
}
