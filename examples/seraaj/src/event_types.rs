//! The event types of the platform.

use eventbus::{EventTypeError, EventTypes};

/// A volunteer began an application.
pub const APPLICATION_CREATED: &str = "application.created";
/// A volunteer sent an application.
pub const APPLICATION_SUBMITTED: &str = "application.submitted";
/// An application moved to another state.
pub const APPLICATION_STATE_CHANGED: &str = "application.state.changed";
/// Matches were computed for a volunteer.
pub const MATCH_SUGGESTIONS_GENERATED: &str = "match.suggestions.generated";
/// A volunteer applied to a suggested match.
pub const MATCH_SUGGESTION_APPLIED: &str = "match.suggestion.applied";
/// A volunteer signed up.
pub const VOLUNTEER_REGISTERED: &str = "volunteer.registered";
/// Someone logged in.
pub const USER_LOGIN: &str = "user.login";
/// A service came up.
pub const SERVICE_STARTED: &str = "service.started";
/// A service looked after its health.
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
