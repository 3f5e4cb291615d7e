//! Remedies for errors.

use super::Class;

/// Remedy for an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// Retry the same command after a backoff, on the same or on a new connection.
    Retry,
    /// Reconnect first: the server is no longer the primary, or it ended the wait.
    Reconnect,
    /// Create the group or the stream first.
    CreateGroup,
    /// Ask a person to change something: a type, a permission, a password.
    ManualFix,
}

impl Remedy {
    /// Returns the remedy for a failure of this class.
    pub(super) fn of(class: Class) -> Self {
        match class {
            Class::Unanswered | Class::Closed | Class::Busy => Self::Retry,
            Class::NotPrimary => Self::Reconnect,
            Class::NoGroup => Self::CreateGroup,
            // An answer without a known meaning would be the same again.
            Class::ManualFix | Class::StreamExhausted | Class::TooLarge | Class::Unknown => {
                Self::ManualFix
            }
        }
    }
}
