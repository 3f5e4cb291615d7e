//! Log handler, for trying things out: one log line per event.

use eventbus::{Answer, Delivery};

/// Logs one line without the payload, which may hold personal data, and returns [`Answer::Done`].
///
/// Texts of the event are quoted, so that they cannot forge a log line.
pub fn handle(delivery: &Delivery) -> Answer {
    let event = &delivery.event;
    tracing::info!(
        stream = %delivery.stream,
        group = %delivery.group,
        entry = %event.id(),
        event = ?event.event_id(),
        r#type = ?event.event_type(),
        source = ?event.source_service().unwrap_or_default(),
        attempt = delivery.attempt,
        payload_bytes = event.payload().as_str().len(),
        "event"
    );
    Answer::Done
}
