//! Event types: filters by pattern, and a registry of the types that a program uses.

use std::collections::BTreeSet;

use crate::pattern;

const MAX_PATTERN: usize = 128;

/// Refused pattern or event type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "event type {0:?} must have 1 to 128 of letters, digits, '_', '-', '*', in parts joined by single dots"
)]
pub struct EventTypeError(pub String);

/// Filter of event types: types that match any of the patterns, or all types without a pattern.
///
/// `*` matches any run of characters, dots included. A pattern must match the whole type; case matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeFilter(Vec<String>);

impl TypeFilter {
    /// Parses patterns such as `application.*`.
    ///
    /// # Errors
    /// [`EventTypeError`] with the first malformed pattern.
    pub fn parse<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, EventTypeError> {
        let check = |pattern: &str| {
            let good = is_pattern(pattern).then(|| pattern.to_owned());
            good.ok_or_else(|| EventTypeError(pattern.to_owned()))
        };
        patterns.into_iter().map(check).collect::<Result<_, _>>().map(Self)
    }

    /// Returns `true` if the filter selects events of this type.
    #[must_use]
    pub fn matches(&self, event_type: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| pattern::matches(pattern, event_type))
    }

    /// Returns the patterns.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.0
    }
}

/// Registry of the event types that a program publishes or handles.
///
/// The bus itself accepts any well-formed type; a registry finds a misspelled one early.
///
/// ```
/// let types = eventbus_core::event::EventTypes::new(["order.created", "order.paid"])?;
/// assert!(types.contains("order.paid") && !types.contains("order.payed"));
/// # Ok::<(), eventbus_core::event::EventTypeError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventTypes(BTreeSet<String>);

impl EventTypes {
    /// Creates a registry of these types.
    ///
    /// # Errors
    /// [`EventTypeError`] with the first malformed type.
    pub fn new<'a>(types: impl IntoIterator<Item = &'a str>) -> Result<Self, EventTypeError> {
        let check = |event_type: &str| {
            let good = is_type(event_type).then(|| event_type.to_owned());
            good.ok_or_else(|| EventTypeError(event_type.to_owned()))
        };
        types.into_iter().map(check).collect::<Result<_, _>>().map(Self)
    }

    /// Returns `true` if the type is registered; case matters.
    #[must_use]
    pub fn contains(&self, event_type: &str) -> bool {
        self.0.contains(event_type)
    }

    /// Returns the types in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// Returns `true` if the type is well formed: a pattern without `*`.
pub fn is_type(event_type: &str) -> bool {
    is_pattern(event_type) && !event_type.contains('*')
}

fn is_pattern(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-*".contains(&b))
    };
    text.len() <= MAX_PATTERN && text.split('.').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_dots_too() {
        let filter = TypeFilter::parse(["application.*", "user.login"]).unwrap();
        assert!(filter.matches("application.state.changed") && filter.matches("user.login"));
        assert!(!filter.matches("application") && !filter.matches("user.login.failed"));
    }

    #[test]
    fn without_patterns_every_type_is_selected() {
        assert!(TypeFilter::default().matches("x"));
    }

    #[test]
    fn a_pattern_with_an_empty_part_or_another_character_is_refused() {
        for pattern in ["", ".", "a..b", "a.", "a b", "ä", &"a".repeat(129)] {
            assert!(TypeFilter::parse([pattern]).is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_registry_accepts_types_but_no_patterns() {
        let types = EventTypes::new(["b.c", "a"]).unwrap();
        assert_eq!(types.iter().collect::<Vec<_>>(), ["a", "b.c"]);
        assert!(types.contains("a") && !types.contains("A"));
        assert_eq!(EventTypes::new(["a", "b.*"]), Err(EventTypeError("b.*".to_owned())));
    }
}
