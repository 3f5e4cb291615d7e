//! A consumer's connections, and the command for each output of the state machine.

use std::sync::Arc;
use std::time::Duration;

use eventbus_core::declaration::Declaration;
use eventbus_core::delivery::{EntryRef, Input, Moment, Output};
use eventbus_core::group::GroupCreation;
use futures::future::BoxFuture;

use crate::config::RedisConfig;
use crate::error::Error;
use crate::redis::Connection;
use crate::scripts::create_group::{EnsureGroup, ensure_group};

use super::commands::Consumer;
use super::reader::{Reader, acknowledge};

/// Maximum time for a reply while connecting, also bounded by a third of the lease.
const MAX_SILENCE: Duration = Duration::from_secs(2);

/// Reply to a command, as the machine's next input.
pub(super) type Reply = BoxFuture<'static, Result<Input, Error>>;

/// One connection for reads that block, one for everything else.
pub(super) struct Connections {
    reader: Reader,
    commands: Connection,
}

impl Connections {
    /// Connects, checks the permissions, and creates and declares the group if this process is configured to. `lost`
    /// states that the group existed before.
    pub async fn connect(
        redis: &RedisConfig,
        consumer: &Consumer,
        lost: bool,
    ) -> Result<Self, Error> {
        let config = &consumer.config;
        let lease = config.delivery.lease;
        let reader = Reader::connect(redis, lease).await?;
        let mut commands = Connection::open(redis, (lease / 3).min(MAX_SILENCE)).await?;
        consumer.check_permissions(&mut commands).await?;
        if let Some(start) = config.start {
            let declaration = Declaration { owner: None, types: config.types.clone() };
            let request = EnsureGroup { start, lost, known_position: None, declaration };
            let (stream, group) = (&config.stream, &config.group);
            let ensured = ensure_group(&mut commands, stream, group, &request).await?;
            consumer.refusals.log(stream, group, &ensured.declared);
            log_created(consumer, ensured.creation, lost);
        }
        Ok(Self { reader, commands })
    }

    /// Acknowledges on the reading connection; the read that follows at once goes out in the same write.
    pub fn send_ack_with_read(
        &self,
        consumer: Arc<Consumer>,
        entries: Vec<EntryRef>,
        limit: Duration,
    ) -> Reply {
        let reader = self.reader.within(limit);
        Box::pin(async move {
            let confirmed = reader.acknowledge(&consumer, &entries).await?;
            Ok(Input::Acked { entries, confirmed })
        })
    }

    /// Sends the command for an output; its reply is the next input. Without a reply within `limit`, for a read beyond the
    /// time that it blocks, the connection fails.
    pub fn send(
        &self,
        consumer: Arc<Consumer>,
        output: Output,
        sent: Moment,
        limit: Duration,
    ) -> Reply {
        let (reader, mut conn) = (self.reader.within(limit), self.commands.clone());
        conn.set_response_timeout(limit);
        Box::pin(async move {
            Ok(match output {
                Output::Read { count } => {
                    Input::Read { sent, entries: reader.read(&consumer, count).await? }
                }
                Output::Claim { source, pool, count } => {
                    let entries = consumer.claim(conn, source, pool, count).await?;
                    Input::Claimed { sent, source, pool, entries }
                }
                Output::Next { done } => consumer.next(conn, sent, done).await?,
                Output::ListPending { source, count } => {
                    let entries = consumer.pending(conn, source, count).await?;
                    Input::Pending { source, entries }
                }
                Output::WaitForEntry { after } => {
                    reader.wait(&consumer, after).await?;
                    Input::Arrived
                }
                Output::Ack { entries, checked } => {
                    let confirmed = if checked {
                        consumer.acknowledge_checked(conn, &entries).await?
                    } else {
                        acknowledge(&mut conn, &consumer, &entries).await?
                    };
                    Input::Acked { entries, confirmed }
                }
                Output::Delay(source, requests) => {
                    Input::Delayed(consumer.delay(conn, source, &requests).await?)
                }
                Output::DeadLetter(letter) => {
                    let settled = consumer.dead_letter(conn, &letter, (wall_clock(), sent)).await?;
                    Input::DeadLettered(letter.entry, settled)
                }
                Output::Heartbeat { entries, search, counts } => {
                    let report = consumer.heartbeat(conn, &entries, &search, &counts).await?;
                    Input::Heartbeat { sent, report }
                }
                Output::Leave(counts) => {
                    consumer.leave(conn, &counts).await?;
                    Input::Left
                }
                Output::Start(..)
                | Output::Cancel(_)
                | Output::Trimmed(_)
                | Output::Unfetchable(_)
                | Output::Stopped => Input::Tick,
            })
        })
    }
}

fn log_created(consumer: &Consumer, creation: GroupCreation, lost: bool) {
    let GroupCreation::Created { position, stream_created, .. } = creation else { return };
    let (stream, group) = (&consumer.config.stream, &consumer.config.group);
    if lost {
        tracing::warn!(%stream, %group, %position, stream_created, "created the group again, which was lost");
    } else {
        tracing::info!(%stream, %group, %position, stream_created, "created the group");
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge that stamps dead letters")]
fn wall_clock() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
