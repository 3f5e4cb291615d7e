//! Settings, read by name from a look-up; every invalid setting is reported, all in one error.

use std::fmt;

/// Look-up of a setting's value by its name: in the environment, in flags, or in a test's table.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Invalid setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value:?}: {allowed}")]
pub struct SettingError {
    /// The setting's name, such as `REDIS_URL`.
    pub name: String,
    /// The refused value, without credentials.
    pub value: String,
    /// The allowed values.
    pub allowed: String,
}

impl SettingError {
    /// Creates the error for setting `name` with this value.
    #[must_use]
    pub fn new(name: &str, value: &str, allowed: impl fmt::Display) -> Self {
        Self { name: name.to_owned(), value: value.to_owned(), allowed: allowed.to_string() }
    }
}

/// Every invalid setting, in one error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid settings: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct SettingErrors(pub Vec<SettingError>);
