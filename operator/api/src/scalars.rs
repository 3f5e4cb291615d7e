//! Scalar types whose schema is stricter than their Rust type.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

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
