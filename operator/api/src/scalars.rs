//! Scalar types whose schema says more than their Rust type.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

const DURATION: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

/// A CEL expression that is true where `field` is absent, is no duration (which is told elsewhere, in better words
/// than those of a failed conversion), or fulfils `rule`, in which `{}` stands for the span.
pub(super) fn where_span(field: &str, rule: &str) -> String {
    let span = format!("duration(self.{field})");
    let rule = rule.replace("{}", &span);
    format!("!has(self.{field}) || !self.{field}.matches('{DURATION}') || ({rule})")
}

/// A time span such as `90s` or `1h30m`: one to four numbers with a unit of `h`, `m`, `s` or `ms`.
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
        // The rule says with an example what a failed pattern can only print.
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
