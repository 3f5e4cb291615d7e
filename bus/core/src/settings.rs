//! Settings from a look-up of names: every wrong one is reported, all at once.

use std::fmt;

/// Source of a setting's value: environment, flags, a test's table.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A setting that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value:?}: {allowed}")]
pub struct SettingError {
    /// The setting's name, such as `REDIS_URL`.
    pub name: String,
    /// The refused value, without credentials.
    pub value: String,
    /// The allowed values, and the way out.
    pub allowed: String,
}

impl SettingError {
    /// A refusal of `name`'s `value`.
    #[must_use]
    pub fn new(name: &str, value: &str, allowed: impl fmt::Display) -> Self {
        Self { name: name.to_owned(), value: value.to_owned(), allowed: allowed.to_string() }
    }
}

/// Every setting that was refused, in one error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("wrong settings: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct SettingErrors(pub Vec<SettingError>);
