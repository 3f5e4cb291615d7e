//! Kubernetes Events, for transitions only.

use eventbus::admin::GroupCreation;
use eventbus::{EntryId, Start};
use eventbus_api::{EventConsumerGroup, EventConsumerGroupStatus, GroupOrigin, reasons};
use kube::Resource;
use kube::runtime::events::{Event, EventType};

use crate::kubernetes::calls::within;
use crate::reconcile::context::Context;
use crate::reconcile::desired::Desired;

/// Maximum length of a note in bytes: the API server rejects longer ones.
const MAX_NOTE: usize = 1_000;

/// An Event without the resource that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
struct EventDraft {
    warning: bool,
    reason: String,
    action: &'static str,
    note: String,
}

/// Writes the Event of a group that was created.
pub(in crate::reconcile) async fn created(
    context: &Context,
    resource: &EventConsumerGroup,
    desired: &Desired,
    origin: GroupOrigin,
    creation: &GroupCreation,
) {
    if let Some(draft) = of_creation(desired, origin, creation) {
        publish(context, resource, draft).await;
    }
}

/// Writes the Events of what changed from one status to the next.
pub(super) async fn transition(
    context: &Context,
    resource: &EventConsumerGroup,
    old: Option<&EventConsumerGroupStatus>,
    new: &EventConsumerGroupStatus,
) {
    for draft in [adopted(resource, old, new), ready_changed(old, new)].into_iter().flatten() {
        publish(context, resource, draft).await;
    }
}

fn of_creation(
    desired: &Desired,
    origin: GroupOrigin,
    creation: &GroupCreation,
) -> Option<EventDraft> {
    let GroupCreation::Created { position, first_entry, stream_created } = creation else {
        return None;
    };
    let (group, stream) = (&desired.group, &desired.target.stream);
    let mut note = format!("group {group} on stream {stream} starts after {position}");
    let at_end = desired.start == Start::Latest && origin == GroupOrigin::Created;
    if at_end {
        note.push_str(", the end of the stream: entries added before are not delivered");
    } else if desired.start != Start::Id(EntryId::ZERO)
        && let Some(first) = first_entry.filter(|first| first.before() > *position)
    {
        note.push_str(&format!("; the oldest entry of the stream is {first}"));
    }
    if *stream_created {
        note.push_str("; the stream did not exist and was created");
    }
    let (reason, lost) = match origin {
        GroupOrigin::Recreated => ("GroupRecreated", true),
        GroupOrigin::Created | GroupOrigin::Adopted => ("GroupCreated", false),
    };
    let reason = reason.to_owned();
    Some(EventDraft { warning: at_end || lost, reason, action: "CreateGroup", note })
}

fn adopted(
    resource: &EventConsumerGroup,
    old: Option<&EventConsumerGroupStatus>,
    new: &EventConsumerGroupStatus,
) -> Option<EventDraft> {
    let was_known = old.is_some_and(|status| status.group_origin.is_some());
    if was_known || new.group_origin != Some(GroupOrigin::Adopted) {
        return None;
    }
    let start = resource.spec.start.as_ref();
    let asked = start.and_then(|start| start.id.as_deref().or(start.time.as_deref()));
    let position = new.position.as_ref().and_then(|position| position.last_delivered_id.as_deref());
    let note = format!(
        "group {} existed already and keeps its position {}; the start {} of the spec is not used",
        new.group.as_deref().unwrap_or_default(),
        position.unwrap_or("unknown"),
        asked.unwrap_or("0"),
    );
    Some(EventDraft {
        warning: false,
        reason: "GroupAdopted".to_owned(),
        action: "AdoptGroup",
        note,
    })
}

/// Returns the Event of a change of Ready to False, of its reason, or back. Changes of pods are not reported: the
/// Deployment has Events for them.
fn ready_changed(
    old: Option<&EventConsumerGroupStatus>,
    new: &EventConsumerGroupStatus,
) -> Option<EventDraft> {
    let blocked = |status: &EventConsumerGroupStatus| {
        let ready = status.ready().filter(|ready| ready.status == "False")?;
        let reported = ready.reason != reasons::CONSUMERS_UNAVAILABLE;
        reported.then(|| (ready.reason.clone(), ready.message.clone()))
    };
    match (old.and_then(blocked), blocked(new)) {
        (before, Some((reason, message))) => {
            let is_new = before.is_none_or(|(before, _)| before != reason);
            is_new.then_some(EventDraft {
                warning: true,
                reason,
                action: "Reconcile",
                note: message,
            })
        }
        (Some((before, _)), None) => Some(EventDraft {
            warning: false,
            reason: "Recovered".to_owned(),
            action: "Reconcile",
            note: format!("recovered from {before}"),
        }),
        (None, None) => None,
    }
}

async fn publish(context: &Context, resource: &EventConsumerGroup, draft: EventDraft) {
    let mut note = draft.note;
    let end = (0..=MAX_NOTE.min(note.len())).rev().find(|at| note.is_char_boundary(*at));
    note.truncate(end.unwrap_or(0));
    let event = Event {
        type_: if draft.warning { EventType::Warning } else { EventType::Normal },
        reason: draft.reason,
        note: Some(note),
        action: draft.action.to_owned(),
        secondary: None,
    };
    let reference = resource.object_ref(&());
    let subject = resource.metadata.name.as_deref().unwrap_or_default();
    let call = context.recorder.publish(&event, &reference);
    // The status has the same information.
    if let Err(error) = within("write an Event about EventConsumerGroup", subject, call).await {
        tracing::warn!(error = error.report(), "Event not written");
    }
}

#[cfg(test)]
mod tests {
    use eventbus_api::conditions::ConditionDraft;
    use jiff::Timestamp;

    use crate::testing::desired;

    use super::*;

    fn status(holds: bool, reason: &'static str) -> EventConsumerGroupStatus {
        let now = Timestamp::from_second(1).unwrap();
        EventConsumerGroupStatus {
            conditions: vec![ConditionDraft::new("Ready", Some(holds), reason, "why").complete(
                &[],
                1,
                now,
            )],
            ..EventConsumerGroupStatus::default()
        }
    }

    fn reason(
        old: Option<EventConsumerGroupStatus>,
        new: EventConsumerGroupStatus,
    ) -> Option<String> {
        ready_changed(old.as_ref(), &new).map(|draft| draft.reason)
    }

    #[test]
    fn a_reason_against_ready_is_reported_once_and_so_is_the_recovery() {
        let unreachable = || status(false, "RedisUnreachable");
        assert_eq!(reason(None, unreachable()).as_deref(), Some("RedisUnreachable"));
        assert_eq!(reason(Some(unreachable()), unreachable()), None);
        let idle = status(true, "Idle");
        assert_eq!(reason(Some(unreachable()), idle.clone()).as_deref(), Some("Recovered"));
        assert_eq!(reason(Some(idle), status(true, "Consuming")), None);
    }

    #[test]
    fn pods_that_start_are_no_event() {
        assert_eq!(reason(None, status(false, "ConsumersUnavailable")), None);
    }

    fn created_at(desired: &Desired, origin: GroupOrigin) -> EventDraft {
        let creation = GroupCreation::Created {
            position: EntryId { ms: 7, seq: 0 },
            first_entry: Some(EntryId { ms: 9, seq: 0 }),
            stream_created: false,
        };
        of_creation(desired, origin, &creation).unwrap()
    }

    #[test]
    fn a_start_at_the_end_is_a_warning_with_the_id() {
        let draft =
            created_at(&Desired { start: Start::Latest, ..desired() }, GroupOrigin::Created);
        assert!(draft.warning && draft.note.contains("after 7-0, the end"), "{}", draft.note);
    }

    #[test]
    fn a_start_before_the_oldest_entry_names_both_ids() {
        let start = Start::Id(EntryId { ms: 7, seq: 0 });
        let draft = created_at(&Desired { start, ..desired() }, GroupOrigin::Created);
        assert!(!draft.warning, "{}", draft.note);
        assert!(draft.note.contains("7-0") && draft.note.contains("9-0"), "{}", draft.note);
    }

    #[test]
    fn a_group_that_existed_was_not_created() {
        let existed = GroupCreation::Existed { position: EntryId::ZERO };
        assert_eq!(of_creation(&desired(), GroupOrigin::Created, &existed), None);
    }
}
