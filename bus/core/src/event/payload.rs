//! The payload: JSON text, checked once, never rebuilt.

use std::fmt;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// JSON text exactly as it stood in the entry. `Debug` shows its length only, because payloads may be personal.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(String);

/// Place at which the text stops being JSON. The message shows the place, never the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("syntax error at line {line}, column {column}")]
pub struct PayloadError {
    line: usize,
    column: usize,
}

impl Payload {
    /// Takes JSON text. Only its syntax is checked: any depth and any number will do.
    ///
    /// # Errors
    /// [`PayloadError`] with the place of the first mistake.
    pub fn from_text(text: String) -> Result<Self, PayloadError> {
        match serde_json::from_str::<IgnoredAny>(&text) {
            Ok(_) => Ok(Self(text)),
            Err(error) => Err(PayloadError { line: error.line(), column: error.column() }),
        }
    }

    /// Writes a value as JSON.
    ///
    /// # Errors
    /// What `serde_json` says of a value that has no JSON form, such as a map with non-text keys.
    pub fn from_value(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(Self)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text as a tree.
    ///
    /// # Errors
    /// A depth or number that `serde_json` cannot hold.
    pub fn json(&self) -> serde_json::Result<serde_json::Value> {
        self.parse()
    }

    /// The text as a value of your own type.
    ///
    /// # Errors
    /// What does not fit the type.
    pub fn parse<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(&self.0)
    }
}

impl Serialize for Payload {
    /// Writes the text unchanged into the surrounding JSON.
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
    fn depth_and_number_range_are_no_error() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Payload::from_text(deep).is_ok());
        assert!(Payload::from_text("1e99999".into()).is_ok());
    }

    #[test]
    fn what_follows_the_json_is_an_error_with_its_place() {
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
