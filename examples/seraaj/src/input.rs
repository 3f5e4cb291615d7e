//! Input by HTTP: JSON bodies, and refusals.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde_json::{Map, Value, json};

/// Maximum size of a body, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// Maximum number of bytes that are read and discarded of a larger body, so that its sender reads the answer.
const MAX_DISCARDED: usize = 32 * 1024 * 1024;
/// Time limit of reading a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of characters of a field.
const MAX_TEXT: usize = 128;

/// Refusal of a request: the answer's status, and the reason as field `error` of its JSON body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    reason: String,
}

impl Refusal {
    /// Returns a 400: the request is malformed.
    pub fn bad(reason: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason: reason.into() }
    }

    /// Returns a 404: `what` does not exist.
    pub fn unknown(what: &str) -> Self {
        Self { status: StatusCode::NOT_FOUND, reason: format!("there is no such {what}") }
    }

    /// Returns a 405: the path does not support the method.
    #[must_use]
    pub fn method() -> Self {
        let reason = "this path does not support this method".to_owned();
        Self { status: StatusCode::METHOD_NOT_ALLOWED, reason }
    }

    /// Returns a 500: the platform failed. The cause belongs in its log.
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

/// Fields of a request's body, which is a JSON object.
#[derive(Debug)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Parses a body. The reason of a refusal never quotes it.
    ///
    /// # Errors
    /// [`Refusal`] if it is not a JSON object.
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

    /// Returns the text of field `name`.
    ///
    /// # Errors
    /// [`Refusal`] if it is missing, not a text, empty, or too long.
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

/// ID in a path; empty if it is malformed.
pub struct Id(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        // No object has the empty ID: the handler reads the body and then answers 404.
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

/// Reads a whole body.
///
/// # Errors
/// [`Refusal`] if it has more than `limit` bytes, is incomplete, or takes too long.
pub(crate) async fn whole(body: Body, limit: usize) -> Result<Vec<u8>, Refusal> {
    let late = |_| {
        let reason = format!("the body must arrive within {BODY_TIMEOUT:?}");
        Err(Refusal { status: StatusCode::REQUEST_TIMEOUT, reason })
    };
    tokio::time::timeout(BODY_TIMEOUT, read(body, limit)).await.unwrap_or_else(late)
}

/// Reads and discards a body, so that its sender reads the answer.
pub(crate) async fn drain(body: Body) {
    // A body that cannot be read to its end needs no other answer.
    whole(body, 0).await.ok();
}

async fn read(body: Body, limit: usize) -> Result<Vec<u8>, Refusal> {
    let (mut bytes, mut size) = (Vec::new(), 0);
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refusal::bad("the body is incomplete"))?;
        size += chunk.len();
        if size <= limit {
            bytes.extend_from_slice(&chunk);
        } else if size > MAX_DISCARDED {
            break;
        }
    }
    if size <= limit {
        return Ok(bytes);
    }
    let reason = format!("the body must have at most {limit} bytes");
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
    fn the_error_of_a_body_never_quotes_it() {
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
