//! Entries that arrive, new or claimed.

use std::sync::Arc;

use crate::event::{RawEntry, StreamEvent};

use super::in_flight::{EntryState, Stage};
use super::machine::{Machine, Origin};
use super::{Claimed, DeadLetter, Delivery, EntryRef, Moment, Output, Pool, Source};

impl Machine {
    /// Receives a claimed entry, or counts it as lost if it was trimmed.
    pub(super) fn receive_claimed(
        &mut self,
        origin: Origin,
        claimed: Claimed,
        now: Moment,
        out: &mut Vec<Output>,
    ) {
        let Claimed { id, attempt, entry } = claimed;
        self.failures.forget(EntryRef { source: origin.source, id });
        if let Some(entry) = entry {
            self.receive(origin, attempt, entry, now);
        } else {
            self.counts.lost += 1;
            out.push(Output::Trimmed(EntryRef { source: origin.source, id }));
        }
    }

    /// Adds an entry to those in flight, or to those that are acknowledged without a handler call.
    pub(super) fn receive(&mut self, origin: Origin, attempt: u32, raw: RawEntry, now: Moment) {
        let entry = EntryRef { source: origin.source, id: raw.id() };
        let leased_until = origin.sent + self.config.lease;
        let bytes = raw.size();
        self.fetch.note(bytes);
        let is_known = self.in_flight.update(entry, |state| {
            // Delivered again while its handler still runs, after the group was lost: the one call serves both.
            state.leased_until = leased_until;
            state.attempt = state.attempt.max(attempt);
            if let Stage::Running { forgotten } = &mut state.stage {
                *forgotten = false;
            }
        });
        if is_known.is_some() {
            return;
        }
        self.counts.received += 1;
        let unwanted = raw.event_type().is_some_and(|text| !self.types.matches(text));
        if unwanted && origin.source == Source::Stream {
            self.counts.skipped += 1;
            self.skipped.push((entry, leased_until));
            self.ack_since.get_or_insert(now);
            return;
        }
        let stage = self.first_stage(entry, origin.pool, attempt, raw);
        let state = EntryState {
            pool: origin.pool,
            since: origin.sent,
            leased_until,
            attempt,
            bytes,
            stage,
        };
        self.in_flight.insert(entry, state);
    }

    /// Returns the stage of an entry of which `attempt - 1` handler calls were begun.
    fn first_stage(
        &self,
        entry: EntryRef,
        pool: Option<Pool>,
        attempt: u32,
        raw: RawEntry,
    ) -> Stage {
        let begun = attempt - 1;
        let dead_letter = |reason, error| {
            let letter = DeadLetter { entry, attempts: begun, reason, error };
            Stage::DeadLettering { letter, sent: false }
        };
        let replay = entry.source == Source::DeadLetters;
        let raw = if replay { raw.without_dead_letter_fields() } else { raw };
        let event = match StreamEvent::decode(&self.stream, raw) {
            Ok(event) => event,
            Err(error) => return dead_letter("unreadable", error.to_string()),
        };
        let max = self.config.max_attempts;
        match pool {
            Some(Pool::Suspect) if begun > max => dead_letter(
                "crashed",
                format!("its consumer vanished with it, at attempt {begun} the last time"),
            ),
            Some(Pool::Delayed) if begun >= max => {
                dead_letter("exhausted", "its dead letter could not be written before".to_owned())
            }
            _ => {
                let (stream, group) = (self.stream.clone(), self.group.clone());
                Stage::Waiting(Arc::new(Delivery { event, attempt, stream, group, replay }))
            }
        }
    }
}
