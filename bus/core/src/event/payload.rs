//! Payload of an event: JSON text, checked once and never reformatted.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// JSON text exactly as it is in the entry; clones share it. `Debug` shows only its length, because payloads may hold personal data.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(Arc<String>);

/// Syntax error of a payload. The message has its position, never the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("syntax error at line {line}, column {column}")]
pub struct PayloadError {
    line: usize,
    column: usize,
}

impl Payload {
    /// Checks that `text` is JSON and takes it unchanged. Depth and number range are not limited.
    ///
    /// # Errors
    /// [`PayloadError`] with the position of the first error.
    pub fn from_text(text: String) -> Result<Self, PayloadError> {
        match serde_json::from_str::<IgnoredAny>(&text) {
            Ok(_) => Ok(Self(Arc::new(text))),
            Err(error) => Err(PayloadError { line: error.line(), column: error.column() }),
        }
    }

    /// Serializes a value as JSON.
    ///
    /// # Errors
    /// The error of `serde_json` for a value without JSON form, such as a map whose keys are not text.
    pub fn from_value(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(|text| Self(Arc::new(text)))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses the text into a JSON tree.
    ///
    /// # Errors
    /// The error of `serde_json` for a depth or number beyond its limits.
    pub fn json(&self) -> serde_json::Result<serde_json::Value> {
        self.parse()
    }

    /// Parses the text into a value of type `T`.
    ///
    /// # Errors
    /// The error of `serde_json` for text that does not fit the type.
    pub fn parse<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(&self.0)
    }
}

impl Serialize for Payload {
    /// Inserts the text unchanged into the surrounding JSON.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_and_number_range_are_not_limited() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Payload::from_text(deep).is_ok());
        assert!(Payload::from_text("1e99999".into()).is_ok());
    }

    #[test]
    fn text_after_the_json_is_an_error_with_its_position() {
        let error = Payload::from_text("{} secret".into()).unwrap_err();
        assert_eq!(error.to_string(), "syntax error at line 1, column 4");
    }

    #[test]
    fn serializing_keeps_the_text_to_the_byte() {
        let text = r#"{"b":1.0,  "a":[1e2]}"#;
        let payload = Payload::from_text(text.into()).unwrap();
        assert_eq!(serde_json::to_string(&payload).unwrap(), text);
    }

    #[test]
    fn debug_output_shows_no_payload() {
        let payload = Payload::from_text(r#""secret""#.into()).unwrap();
        assert_eq!(format!("{payload:?}"), "Payload(8 bytes)");
    }
}
