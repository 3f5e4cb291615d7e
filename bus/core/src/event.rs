//! Events: the entries of a stream, decoded for handlers and encoded for publishing.

mod payload;
mod types;

use std::borrow::Cow;

use jiff::Timestamp;

use crate::names::{EntryId, StreamKey};

pub use payload::{Payload, PayloadError};
pub use types::{EventTypeError, EventTypes, TypeFilter, is_type};

/// Entry of a stream as it is in Redis: field names and values in order, any bytes, repeated names included.
#[derive(Clone, PartialEq, Eq)]
pub struct RawEntry {
    pub(crate) id: EntryId,
    pub(crate) fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl RawEntry {
    /// Creates an entry from an ID and fields.
    #[must_use]
    pub fn new(id: EntryId, fields: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        Self { id, fields }
    }

    /// Returns the entry's ID.
    #[must_use]
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// Returns field names and values in their order: any bytes, repeated names included.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    /// Returns the size of all field names and values, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.fields.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// Returns the last field `type`; `None` if it is missing or not UTF-8. The other fields may be malformed.
    #[must_use]
    pub fn event_type(&self) -> Option<&str> {
        let (_, value) = self.fields.iter().rfind(|(name, _)| name == b"type")?;
        std::str::from_utf8(value).ok()
    }

    /// Restores the original entry from a dead letter, with its original ID.
    #[must_use]
    pub fn without_dead_letter_fields(self) -> Self {
        let original = self.fields.iter().rfind(|(name, _)| name == b"dlq.id");
        let id = original.and_then(|(_, id)| std::str::from_utf8(id).ok()?.parse().ok());
        let mut fields = self.fields;
        fields.retain(|(name, _)| !name.starts_with(b"dlq."));
        Self { id: id.unwrap_or(self.id), fields }
    }
}

impl std::fmt::Debug for RawEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RawEntry({}, {} fields)", self.id, self.fields.len())
    }
}

/// Event as a handler receives it. `Debug` shows neither payload nor key.
#[derive(Clone, PartialEq)]
pub struct StreamEvent {
    id: EntryId,
    event_id: String,
    event_type: String,
    timestamp: Timestamp,
    payload: Payload,
    source_service: Option<String>,
    key: Option<String>,
    traceparent: Option<String>,
    tracestate: Option<String>,
    extra: Vec<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for StreamEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamEvent")
            .field("id", &self.id)
            .field("event_id", &self.event_id)
            .field("event_type", &self.event_type)
            .field("timestamp", &self.timestamp)
            .field("payload", &self.payload)
            .field("source_service", &self.source_service)
            .field("extra", &self.extra.len())
            .finish_non_exhaustive()
    }
}

/// Entry that cannot be decoded as an event. The message never shows a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A required field is missing, or `type` is empty.
    #[error("the entry has no field {0:?}")]
    Missing(&'static str),
    /// A field of the protocol is not UTF-8.
    #[error("field {0:?} is not UTF-8")]
    NotUtf8(&'static str),
    /// The payload is not JSON.
    #[error("field \"payload\" is not JSON: {0}")]
    NotJson(PayloadError),
}

impl StreamEvent {
    /// Returns the entry's ID in its stream.
    #[must_use]
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// Returns the publisher's ID of the event (field `id`), else `<stream>/<entry ID>`. It is the same for each delivery and
    /// each repeated publish, so a handler can recognise repeats by it.
    #[must_use]
    pub fn event_id(&self) -> &str {
        &self.event_id
    }

    /// Returns field `type`, such as `application.submitted`.
    #[must_use]
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// Returns field `ts` (RFC 3339); if that is missing or malformed, the time in the entry's ID.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// Returns field `payload`: JSON text, unchanged.
    #[must_use]
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Returns field `source`; `None` if missing or empty.
    #[must_use]
    pub fn source_service(&self) -> Option<&str> {
        self.source_service.as_deref()
    }

    /// Returns field `key`, the ordering key; `None` if missing or empty.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Returns field `traceparent` (W3C Trace Context).
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// Returns field `tracestate` (W3C Trace Context).
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
    }

    /// Returns the fields with other names in their order: any bytes.
    pub fn extra(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.extra.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    /// Decodes an entry of `stream`. The last one of repeated fields counts, as in clients that read entries into a map.
    ///
    /// # Errors
    /// [`Unreadable`] with the field that is missing or malformed.
    pub fn decode(stream: &StreamKey, entry: RawEntry) -> Result<Self, Unreadable> {
        let mut known = Known::default();
        let mut extra = Vec::new();
        for (name, value) in entry.fields {
            match known.slot(&name) {
                Some(slot) => *slot = Some(value),
                None => extra.push((name, value)),
            }
        }
        let event_type = required("type", known.event_type)?;
        let payload = required("payload", known.payload)?;
        let timestamp = text("ts", known.ts).ok().flatten().and_then(|ts| ts.parse().ok());
        Ok(Self {
            id: entry.id,
            event_id: text("id", known.id)?.unwrap_or_else(|| format!("{stream}/{}", entry.id)),
            event_type,
            timestamp: timestamp.unwrap_or_else(|| time_of(entry.id)),
            payload: Payload::from_text(payload).map_err(Unreadable::NotJson)?,
            source_service: text("source", known.source)?,
            key: text("key", known.key)?,
            traceparent: text("traceparent", known.traceparent)?,
            tracestate: text("tracestate", known.tracestate)?,
            extra,
        })
    }
}

#[derive(Default)]
struct Known {
    event_type: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
    source: Option<Vec<u8>>,
    ts: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
    traceparent: Option<Vec<u8>>,
    tracestate: Option<Vec<u8>>,
}

impl Known {
    fn slot(&mut self, name: &[u8]) -> Option<&mut Option<Vec<u8>>> {
        match name {
            b"type" => Some(&mut self.event_type),
            b"payload" => Some(&mut self.payload),
            b"source" => Some(&mut self.source),
            b"ts" => Some(&mut self.ts),
            b"id" => Some(&mut self.id),
            b"key" => Some(&mut self.key),
            b"traceparent" => Some(&mut self.traceparent),
            b"tracestate" => Some(&mut self.tracestate),
            _ => None,
        }
    }
}

/// Decodes a field; `None` if it is missing or empty.
fn text(name: &'static str, value: Option<Vec<u8>>) -> Result<Option<String>, Unreadable> {
    let text = value.map(String::from_utf8).transpose().map_err(|_| Unreadable::NotUtf8(name))?;
    Ok(text.filter(|text| !text.is_empty()))
}

fn required(name: &'static str, value: Option<Vec<u8>>) -> Result<String, Unreadable> {
    text(name, value)?.ok_or(Unreadable::Missing(name))
}

/// Returns the time in an entry's ID, at most [`Timestamp::MAX`].
pub fn time_of(id: EntryId) -> Timestamp {
    let ms = i64::try_from(id.ms).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}

/// Event to publish. `Debug` shows neither payload nor key.
///
/// ```
/// use eventbus_core::event::{NewEvent, Payload};
///
/// let payload = Payload::from_text(r#"{"orderId": "o-1"}"#.to_owned())?;
/// let event = NewEvent::new("order.created", payload).with_source_service("shop").with_key("o-1");
/// # Ok::<(), eventbus_core::event::PayloadError>(())
/// ```
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct NewEvent {
    /// Type, such as `application.submitted`: 1 to 128 letters, digits, `_`, `-`, in parts joined by single dots.
    pub event_type: String,
    /// JSON text.
    pub payload: Payload,
    /// Name of the publishing service.
    pub source_service: Option<String>,
    /// ID of the event. Default: a new UUIDv7, generated before the first attempt.
    pub id: Option<String>,
    /// Ordering key.
    pub key: Option<String>,
    /// `traceparent` of the W3C Trace Context.
    pub traceparent: Option<String>,
    /// `tracestate` of the W3C Trace Context.
    pub tracestate: Option<String>,
}

impl std::fmt::Debug for NewEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewEvent")
            .field("event_type", &self.event_type)
            .field("payload", &self.payload)
            .field("source_service", &self.source_service)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl NewEvent {
    /// Creates an event with a type and a payload.
    #[must_use]
    pub fn new(event_type: impl Into<String>, payload: Payload) -> Self {
        Self {
            event_type: event_type.into(),
            payload,
            source_service: None,
            id: None,
            key: None,
            traceparent: None,
            tracestate: None,
        }
    }

    /// Sets the publishing service (field `source`).
    #[must_use]
    pub fn with_source_service(mut self, source_service: impl Into<String>) -> Self {
        self.source_service = Some(source_service.into());
        self
    }

    /// Sets the ID of the event, by which handlers recognise repeats.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the ordering key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the W3C Trace Context: `traceparent` and, where there is one, `tracestate`.
    #[must_use]
    pub fn with_trace_context(
        mut self,
        traceparent: impl Into<String>,
        tracestate: Option<String>,
    ) -> Self {
        (self.traceparent, self.tracestate) = (Some(traceparent.into()), tracestate);
        self
    }

    /// Encodes the event as the fields of an entry, in their order on the wire.
    #[must_use]
    pub fn encode<'a>(&'a self, id: &'a str, now: Timestamp) -> Vec<(&'static str, Cow<'a, str>)> {
        let text = |text: &'a Option<String>| text.as_deref().unwrap_or_default().into();
        let mut fields = vec![
            ("type", self.event_type.as_str().into()),
            ("payload", self.payload.as_str().into()),
            ("source", text(&self.source_service)),
            ("ts", now.to_string().into()),
            ("id", id.into()),
        ];
        let optional = [
            ("key", &self.key),
            ("traceparent", &self.traceparent),
            ("tracestate", &self.tracestate),
        ];
        let given = optional.into_iter().filter(|(_, value)| value.is_some());
        fields.extend(given.map(|(name, value)| (name, text(value))));
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fields: &[(&str, &str)]) -> RawEntry {
        let bytes = |(n, v): &(&str, &str)| (n.as_bytes().to_vec(), v.as_bytes().to_vec());
        RawEntry { id: EntryId { ms: 1_000, seq: 7 }, fields: fields.iter().map(bytes).collect() }
    }

    fn decode(fields: &[(&str, &str)]) -> Result<StreamEvent, Unreadable> {
        StreamEvent::decode(&StreamKey::new("s").unwrap(), entry(fields))
    }

    const MINIMAL: [(&str, &str); 2] = [("type", "t"), ("payload", "{}")];

    #[test]
    fn an_event_reads_back_as_it_was_written() {
        let mut new = NewEvent::new("a.b", Payload::from_text(r#"{"x": 1}"#.into()).unwrap());
        new.source_service = Some("svc".into());
        new.key = Some("k".into());
        let fields = new.encode("id-1", Timestamp::from_second(5).unwrap());
        let fields: Vec<_> = fields.iter().map(|(n, v)| (*n, v.as_ref())).collect();
        let event = decode(&fields).unwrap();
        assert_eq!(event.payload.as_str(), r#"{"x": 1}"#);
        assert_eq!((event.event_id.as_str(), event.event_type.as_str()), ("id-1", "a.b"));
        assert_eq!(event.timestamp.as_second(), 5);
        assert_eq!((event.source_service, event.key), (Some("svc".into()), Some("k".into())));
    }

    #[test]
    fn the_default_event_id_is_stream_and_entry_id() {
        assert_eq!(decode(&MINIMAL).unwrap().event_id, "s/1000-7");
    }

    #[test]
    fn a_missing_or_bad_time_falls_back_to_the_entry_id() {
        for ts in [None, Some(("ts", "yesterday"))] {
            let fields: Vec<_> = MINIMAL.into_iter().chain(ts).collect();
            assert_eq!(decode(&fields).unwrap().timestamp.as_millisecond(), 1_000);
        }
    }

    #[test]
    fn unknown_fields_survive_in_order_with_any_bytes() {
        let mut raw = entry(&MINIMAL);
        raw.fields.push((b"x".to_vec(), vec![0xff]));
        raw.fields.push((b"x".to_vec(), b"2".to_vec()));
        let event = StreamEvent::decode(&StreamKey::new("s").unwrap(), raw).unwrap();
        assert_eq!(event.extra, [(b"x".to_vec(), vec![0xff]), (b"x".to_vec(), b"2".to_vec())]);
    }

    #[test]
    fn an_entry_that_is_not_an_event_is_refused_with_the_field() {
        assert_eq!(decode(&[("payload", "1")]), Err(Unreadable::Missing("type")));
        assert_eq!(decode(&[("type", ""), ("payload", "1")]), Err(Unreadable::Missing("type")));
        assert_eq!(decode(&[("type", "t")]), Err(Unreadable::Missing("payload")));
        assert!(matches!(decode(&[("type", "t"), ("payload", "{")]), Err(Unreadable::NotJson(_))));
        let mut raw = entry(&MINIMAL);
        raw.fields.push((b"payload".to_vec(), vec![b'"', 0xff, b'"']));
        let error = StreamEvent::decode(&StreamKey::new("s").unwrap(), raw);
        assert_eq!(error, Err(Unreadable::NotUtf8("payload")));
    }

    #[test]
    fn the_last_of_repeated_fields_counts() {
        let fields = [("type", "a"), ("payload", "1"), ("type", "b")];
        assert_eq!(decode(&fields).unwrap().event_type, "b");
    }
}
