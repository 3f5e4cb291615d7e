//! A handler for a first look: one log line an event.

use eventbus::{Answer, Delivery};

/// Logs one line without the payload, which may hold personal data, and is done.
///
/// The texts of the event are quoted, so that none of them can forge a line.
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
