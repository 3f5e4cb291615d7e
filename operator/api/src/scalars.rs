//! Scalar types whose schema is stricter than their Rust type.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

const MIB: u64 = 1024 * 1024;
const MAX_BYTES: u64 = 1024 * 1024 * MIB;
const DURATION: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

/// Returns a CEL expression that is true if `field` is absent, is not a duration (the rule of [`DurationText`] reports
/// that; a failed conversion would have a less clear message), or fulfils `rule`, in which `{}` is replaced by the span.
pub(super) fn where_span(field: &str, rule: &str) -> String {
    let span = format!("duration(self.{field})");
    let rule = rule.replace("{}", &span);
    format!("!has(self.{field}) || !self.{field}.matches('{DURATION}') || ({rule})")
}

/// Duration such as `90s` or `1h30m`: one to four numbers, each with one of the units `h`, `m`, `s` and `ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DurationText(pub String);

impl From<&str> for DurationText {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Number of bytes: a whole number, or text with a unit such as `64Mi` or `1Gi`; from 1 MiB to 1 TiB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ByteSize {
    /// Bytes.
    Bytes(u64),
    /// A number with the unit `Mi` or `Gi`.
    Text(String),
}

impl ByteSize {
    /// Returns the number of bytes; `None` if it is not from 1 MiB to 1 TiB, or the text has another form.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        let bytes = match self {
            Self::Bytes(bytes) => Some(*bytes),
            Self::Text(text) => {
                let (number, unit) = text.split_at_checked(text.len().checked_sub(2)?)?;
                let unit = match unit {
                    "Mi" => MIB,
                    "Gi" => 1024 * MIB,
                    _ => return None,
                };
                number.parse::<u64>().ok()?.checked_mul(unit)
            }
        };
        bytes.filter(|bytes| (MIB..=MAX_BYTES).contains(bytes))
    }
}

impl From<&str> for ByteSize {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": "^[1-9][0-9]{0,6}(Mi|Gi)$",
            "minimum": MIB,
            "maximum": MAX_BYTES,
        })
    }
}

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "DurationText".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // The message of a failed pattern is the pattern; the message of this rule has an example.
        json_schema!({
            "type": "string",
            "maxLength": 16,
            "pattern": DURATION,
            "x-kubernetes-validations": [{
                "rule": format!("self.matches('{DURATION}')"),
                "message": "must be a duration such as 90s or 1h30m",
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_of_bytes_or_has_a_unit() {
        let text = |text: &str| ByteSize::from(text).bytes();
        assert_eq!(ByteSize::Bytes(1_048_576).bytes(), Some(1_048_576));
        assert_eq!((text("64Mi"), text("1024Gi")), (Some(67_108_864), Some(1_099_511_627_776)));
        for wrong in
            ["", "Mi", "0Mi", "1025Gi", "64", "64M", "64Ki", "1.5Gi", "-1Mi", "\u{e9}\u{e9}"]
        {
            assert_eq!(text(wrong), None, "{wrong}");
        }
        assert_eq!(ByteSize::Bytes(1_048_575).bytes(), None);
    }
}
