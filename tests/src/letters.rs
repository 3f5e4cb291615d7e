//! The dead letters of group `g` on stream `s`.

use std::collections::BTreeMap;

use ::redis::streams::StreamRangeReply;
use eventbus::admin::Connection;
use eventbus::{EntryId, StreamKey};

use crate::subscriber::config;

/// Their stream.
#[must_use]
pub fn stream() -> StreamKey {
    config().dead_letters.expect("the group keeps them").stream
}

/// A dead letter: its ID, and its fields by name.
pub type Letter = (EntryId, BTreeMap<String, Vec<u8>>);

/// All of them, the oldest first.
pub async fn all(conn: &mut Connection) -> Vec<Letter> {
    let mut range = ::redis::cmd("XRANGE");
    let range = range.arg(stream().as_str()).arg("-").arg("+");
    let reply: StreamRangeReply = range.query_async(conn).await.expect("it is a stream, or none");
    let bytes = |value| ::redis::from_redis_value::<Vec<u8>>(value).expect("a value is bytes");
    let letter = |entry: ::redis::streams::StreamId| {
        let fields = entry.map.into_iter().map(|(name, value)| (name, bytes(value))).collect();
        (entry.id.parse().expect("an entry has an ID"), fields)
    };
    reply.ids.into_iter().map(letter).collect()
}

/// The fields of all of them.
pub async fn fields(conn: &mut Connection) -> Vec<BTreeMap<String, Vec<u8>>> {
    all(conn).await.into_iter().map(|(_, fields)| fields).collect()
}
