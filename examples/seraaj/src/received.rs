//! Handling of a received event: it prints a line, once per event.

use std::collections::{HashSet, VecDeque};
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use serde::de::Error as _;
use serde_json::{Map, Value};

use crate::event_types::{APPLICATION_STATE_CHANGED, APPLICATION_SUBMITTED};

/// Maximum number of event IDs in memory. A repeat usually arrives long before this many other events.
const MAX_IDS: usize = 10_000;

/// Handler of events, which drops repeats.
pub struct Received {
    recent: Mutex<Recent>,
    events: Counter,
    repeats: Counter,
}

#[derive(Default)]
struct Recent {
    order: VecDeque<String>,
    known: HashSet<String>,
}

impl Received {
    /// Creates a handler that counts in `registry`.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let (events, repeats) = (Counter::default(), Counter::default());
        let seraaj = registry.sub_registry_with_prefix("seraaj");
        seraaj.register("events_received", "Events received, without repeats", events.clone());
        let help = "Repeated events, dropped by their ID";
        seraaj.register("events_repeated", help, repeats.clone());
        Self { recent: Mutex::default(), events, repeats }
    }

    /// Handles an event: prints a line on standard output if its type has one and `event_id` is new.
    ///
    /// # Errors
    /// The payload lacks a field of the line; a retry would fail as well.
    pub fn take(
        &self,
        event_id: &str,
        event_type: &str,
        payload: &[u8],
    ) -> Result<(), serde_json::Error> {
        let line = line(event_type, payload)?;
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if !recent.add(event_id, MAX_IDS) {
            self.repeats.inc();
            return Ok(());
        }
        self.events.inc();
        if let Some(line) = line {
            // A closed standard output is no reason to retry the event.
            writeln!(io::stdout(), "{line}").ok();
        }
        Ok(())
    }
}

impl Recent {
    /// Returns `true` if `id` is new, and drops the oldest of more than `limit` IDs.
    fn add(&mut self, id: &str, limit: usize) -> bool {
        if !self.known.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

/// Returns the line of an event, without control characters; `None` for most types.
fn line(event_type: &str, payload: &[u8]) -> Result<Option<String>, serde_json::Error> {
    let payload: Map<String, Value> = serde_json::from_slice(payload)?;
    let text = |name: &'static str| match payload.get(name) {
        Some(Value::String(text)) => Ok(text.replace(char::is_control, "\u{fffd}")),
        _ => Err(serde_json::Error::missing_field(name)),
    };
    Ok(match event_type {
        APPLICATION_SUBMITTED => {
            Some(format!("New application submitted: {}", text("applicationId")?))
        }
        APPLICATION_STATE_CHANGED => {
            Some(format!("Application {} changed to {}", text("applicationId")?, text("status")?))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_types_of_events_have_a_line_and_others_have_none() {
        let payload = br#"{"applicationId": "a-1", "status": "accepted", "more": 1}"#;
        let of = |event_type| line(event_type, payload).unwrap();
        let submitted = Some("New application submitted: a-1".to_owned());
        assert_eq!(of("application.submitted"), submitted);
        let changed = Some("Application a-1 changed to accepted".to_owned());
        assert_eq!(of("application.state.changed"), changed);
        assert_eq!(of("application.created"), None);
    }

    #[test]
    fn an_event_without_a_field_of_its_line_is_refused() {
        assert!(line("application.submitted", br#"{"volunteerId": "v"}"#).is_err());
        assert!(line("application.state.changed", br#"{"applicationId": "a"}"#).is_err());
        assert!(line("application.submitted", br#"["a"]"#).is_err());
        assert!(line("user.login", b"anything").is_err());
        assert!(line("user.login", b"{}").is_ok());
    }

    #[test]
    fn a_payload_can_add_no_line_of_its_own() {
        let payload = br#"{"applicationId": "a\nb"}"#;
        let line = line("application.submitted", payload).unwrap().unwrap();
        assert_eq!(line, "New application submitted: a\u{fffd}b");
    }

    #[test]
    fn a_repeat_is_recognised_as_long_as_its_id_is_in_memory() {
        let mut recent = Recent::default();
        let new: Vec<bool> = ["a", "b", "a", "c", "a"].map(|id| recent.add(id, 2)).to_vec();
        assert_eq!(new, [true, true, false, true, true]);
        assert_eq!(recent.known.len(), 2);
    }
}
