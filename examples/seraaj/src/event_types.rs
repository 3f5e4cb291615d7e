//! Event types of the platform.

use eventbus::{EventTypeError, EventTypes};

/// Application that a volunteer created.
pub const APPLICATION_CREATED: &str = "application.created";
/// Application that a volunteer submitted.
pub const APPLICATION_SUBMITTED: &str = "application.submitted";
/// Change of an application's status.
pub const APPLICATION_STATE_CHANGED: &str = "application.state.changed";
/// Computed matches for a volunteer.
pub const MATCH_SUGGESTIONS_GENERATED: &str = "match.suggestions.generated";
/// Application to a suggested match.
pub const MATCH_SUGGESTION_APPLIED: &str = "match.suggestion.applied";
/// Registration of a volunteer.
pub const VOLUNTEER_REGISTERED: &str = "volunteer.registered";
/// Login of a volunteer.
pub const USER_LOGIN: &str = "user.login";
/// Start of a service.
pub const SERVICE_STARTED: &str = "service.started";
/// Health check of a service.
pub const SERVICE_HEALTH_CHECK: &str = "service.health.check";

/// Returns the registry of all types above.
///
/// # Errors
/// [`EventTypeError`] if one of them cannot be published.
pub fn all() -> Result<EventTypes, EventTypeError> {
    EventTypes::new([
        APPLICATION_CREATED,
        APPLICATION_SUBMITTED,
        APPLICATION_STATE_CHANGED,
        MATCH_SUGGESTIONS_GENERATED,
        MATCH_SUGGESTION_APPLIED,
        VOLUNTEER_REGISTERED,
        USER_LOGIN,
        SERVICE_STARTED,
        SERVICE_HEALTH_CHECK,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_can_be_published() {
        assert_eq!(all().map(|types| types.iter().count()), Ok(9));
    }
}
