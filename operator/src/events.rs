//! Events, for transitions only.

use eventbus::admin::GroupCreation;
use eventbus::{EntryId, Start};
use eventbus_api::{EventConsumerGroup, EventConsumerGroupStatus, GroupOrigin, reasons};
use kube::Resource;
use kube::runtime::events::{Event, EventType};

use crate::calls::within;
use crate::context::Context;
use crate::status;
use crate::wanted::Wanted;

/// The API server refuses longer notes.
const MAX_NOTE: usize = 1_000;

/// What to tell about a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    warning: bool,
    reason: String,
    action: &'static str,
    note: String,
}

/// Tells that a group was created.
pub async fn created(
    context: &Context,
    resource: &EventConsumerGroup,
    wanted: &Wanted,
    origin: GroupOrigin,
    creation: &GroupCreation,
) {
    if let Some(told) = creation_told(wanted, origin, creation) {
        publish(context, resource, told).await;
    }
}

/// Tells what changed from one status to the next.
pub async fn transition(
    context: &Context,
    resource: &EventConsumerGroup,
    old: Option<&EventConsumerGroupStatus>,
    new: &EventConsumerGroupStatus,
) {
    for told in [adopted(resource, old, new), ready_changed(old, new)].into_iter().flatten() {
        publish(context, resource, told).await;
    }
}

fn creation_told(wanted: &Wanted, origin: GroupOrigin, creation: &GroupCreation) -> Option<Told> {
    let GroupCreation::Created { position, first_entry, stream_created } = creation else {
        return None;
    };
    let (group, stream) = (&wanted.group, &wanted.target.stream);
    let mut note = format!("group {group} on stream {stream} starts after {position}");
    let at_end = wanted.start == Start::Latest && origin == GroupOrigin::Created;
    if at_end {
        note.push_str(", the end of the stream: what was published before is not delivered");
    } else if wanted.start != Start::Id(EntryId::ZERO)
        && let Some(first) = first_entry.filter(|first| first.before() > *position)
    {
        note.push_str(&format!("; the oldest entry that the stream keeps is {first}"));
    }
    if *stream_created {
        note.push_str("; the stream was created too, and is empty");
    }
    let (reason, lost) = match origin {
        GroupOrigin::Recreated => ("GroupRecreated", true),
        GroupOrigin::Created | GroupOrigin::Adopted => ("GroupCreated", false),
    };
    let reason = reason.to_owned();
    Some(Told { warning: at_end || lost, reason, action: "CreateGroup", note })
}

fn adopted(
    resource: &EventConsumerGroup,
    old: Option<&EventConsumerGroupStatus>,
    new: &EventConsumerGroupStatus,
) -> Option<Told> {
    let was_known = old.is_some_and(|status| status.group_origin.is_some());
    if was_known || new.group_origin != Some(GroupOrigin::Adopted) {
        return None;
    }
    let start = resource.spec.start.as_ref();
    let asked = start.and_then(|start| start.id.as_deref().or(start.time.as_deref()));
    let position = new.position.as_ref().and_then(|position| position.last_delivered_id.as_deref());
    let note = format!(
        "group {} was there already and keeps its position {}; its start {} is not used",
        new.group.as_deref().unwrap_or_default(),
        position.unwrap_or("unknown"),
        asked.unwrap_or("0"),
    );
    Some(Told { warning: false, reason: "GroupAdopted".to_owned(), action: "AdoptGroup", note })
}

/// What stands in the way, when it begins and when it ends. That pods come and go is told by the Deployment.
fn ready_changed(
    old: Option<&EventConsumerGroupStatus>,
    new: &EventConsumerGroupStatus,
) -> Option<Told> {
    let blocked = |status: &EventConsumerGroupStatus| {
        let ready = status::ready(status).filter(|ready| ready.status == "False")?;
        let told = ready.reason != reasons::CONSUMERS_UNAVAILABLE;
        told.then(|| (ready.reason.clone(), ready.message.clone()))
    };
    match (old.and_then(blocked), blocked(new)) {
        (before, Some((reason, message))) => {
            let is_new = before.is_none_or(|(before, _)| before != reason);
            is_new.then_some(Told { warning: true, reason, action: "Reconcile", note: message })
        }
        (Some((before, _)), None) => Some(Told {
            warning: false,
            reason: "Recovered".to_owned(),
            action: "Reconcile",
            note: format!("{before} is over"),
        }),
        (None, None) => None,
    }
}

async fn publish(context: &Context, resource: &EventConsumerGroup, told: Told) {
    let mut note = told.note;
    let end = (0..=MAX_NOTE.min(note.len())).rev().find(|at| note.is_char_boundary(*at));
    note.truncate(end.unwrap_or(0));
    let event = Event {
        type_: if told.warning { EventType::Warning } else { EventType::Normal },
        reason: told.reason,
        note: Some(note),
        action: told.action.to_owned(),
        secondary: None,
    };
    let reference = resource.object_ref(&());
    let subject = resource.metadata.name.as_deref().unwrap_or_default();
    let call = context.recorder.publish(&event, &reference);
    // An event is a courtesy: what it tells stands in the status too.
    if let Err(error) = within("write an event about EventConsumerGroup", subject, call).await {
        tracing::warn!(error = error.told(), "an event was not written");
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use crate::testing::wanted;
    use eventbus_api::conditions::ConditionDraft;

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
        ready_changed(old.as_ref(), &new).map(|told| told.reason)
    }

    #[test]
    fn what_stands_in_the_way_is_told_once_and_its_end_too() {
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

    fn created_at(wanted: &Wanted, origin: GroupOrigin) -> Told {
        let creation = GroupCreation::Created {
            position: EntryId { ms: 7, seq: 0 },
            first_entry: Some(EntryId { ms: 9, seq: 0 }),
            stream_created: false,
        };
        creation_told(wanted, origin, &creation).unwrap()
    }

    #[test]
    fn a_start_at_the_end_is_a_warning_with_the_id() {
        let told = created_at(&Wanted { start: Start::Latest, ..wanted() }, GroupOrigin::Created);
        assert!(told.warning && told.note.contains("after 7-0, the end"), "{}", told.note);
    }

    #[test]
    fn a_start_before_the_oldest_entry_names_both_ids() {
        let start = Start::Id(EntryId { ms: 7, seq: 0 });
        let told = created_at(&Wanted { start, ..wanted() }, GroupOrigin::Created);
        assert!(!told.warning, "{}", told.note);
        assert!(told.note.contains("7-0") && told.note.contains("9-0"), "{}", told.note);
    }

    #[test]
    fn a_group_that_existed_was_not_created() {
        let existed = GroupCreation::Existed { position: EntryId::ZERO };
        assert_eq!(creation_told(&wanted(), GroupOrigin::Created, &existed), None);
    }
}
