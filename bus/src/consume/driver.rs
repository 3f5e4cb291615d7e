//! Carries out the state machine's outputs: connections, outstanding commands, handler calls, time.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use eventbus_core::delivery::{
    Answer, Counts, Cut, Delivery, EntryRef, Input, Machine, Moment, Outcome, Output,
};
use eventbus_core::names::EntryId;
use eventbus_core::retry::outage::Outage;
use futures::future::{BoxFuture, ready};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::error::{Error, chain};
use crate::metrics::{ConnectionMetrics, GroupMetrics};

use super::commands::Consumer;
use super::connections::{Connections, Reply};
use super::drop_count::DropCount;
use super::{Readiness, Subscriber};

/// Time for settling after the handlers were cut off.
const AFTER_GRACE: Duration = Duration::from_secs(3);
/// A connection that lasts this long ends an outage: a server that refuses writes still answers the first heartbeat.
const STABLE_AFTER: Duration = Duration::from_secs(2);

type Handled = Result<(Id, (EntryRef, Option<Answer>, Duration)), JoinError>;

/// The outstanding read. It is never dropped: its entries would be pending without any consumer knowing them.
struct Reading {
    reply: Reply,
    /// `true` if it was sent on the present connection; the failure of one on an earlier connection is expected.
    current: bool,
}

/// Event that the driver waits for.
enum Happened {
    Replied(Result<Input, Error>),
    Read(Result<Input, Error>),
    Connected(Result<Connections, Error>),
    Handled(Handled),
    Tick,
    Stop,
    Deadline,
}

pub(super) struct Driver<H> {
    machine: Machine,
    consumer: Arc<Consumer>,
    redis: crate::config::RedisConfig,
    handler: Arc<H>,
    metrics: ConnectionMetrics,
    connects: u64,
    group_metrics: GroupMetrics,
    readiness: Readiness,
    connections: Option<Connections>,
    connecting: Option<BoxFuture<'static, Result<Connections, Error>>>,
    replies: FuturesUnordered<Reply>,
    reading: Option<Reading>,
    calls: JoinSet<(EntryRef, Option<Answer>, Duration)>,
    running: HashMap<EntryRef, AbortHandle>,
    outage: Outage,
    /// `true` since Redis was lost, until the connection is stable again.
    is_reconnecting: bool,
    /// `true` since the group was found missing.
    awaits_group: bool,
    connected_at: Moment,
    /// Time of the machine's last input.
    decided_at: Moment,
    counted: Counts,
    began: Instant,
    /// When the grace ends, then when settling has to end.
    deadline: Option<Instant>,
    cut_off: bool,
}

impl<H, F> Driver<H>
where
    H: Fn(Arc<Delivery>) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    pub fn new(subscriber: Subscriber, handler: H) -> Self {
        let Subscriber { redis, config, metrics, readiness, refusals } = subscriber;
        let me = config.consumer.with_nonce(nonce());
        let machine = Machine::new(
            config.stream.clone(),
            config.group.clone(),
            config.types.clone(),
            config.delivery.clone(),
        );
        let group_metrics = metrics.of_group(&config.stream, &config.group);
        let lease = config.delivery.lease;
        let drops = DropCount::new(group_metrics.dropped_dead_letters());
        Self {
            machine,
            consumer: Arc::new(Consumer::new(me, config, refusals, drops)),
            redis,
            handler: Arc::new(handler),
            metrics: metrics.of_connection("consume"),
            connects: 0,
            group_metrics,
            readiness,
            connections: None,
            connecting: None,
            replies: FuturesUnordered::new(),
            reading: None,
            calls: JoinSet::new(),
            running: HashMap::new(),
            outage: Outage::bounded(lease / 3),
            is_reconnecting: false,
            awaits_group: false,
            connected_at: Moment::START,
            decided_at: Moment::START,
            counted: Counts::default(),
            began: now(),
            deadline: None,
            cut_off: false,
        }
    }

    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        let config = &self.consumer.config;
        tracing::info!(stream = %config.stream, group = %config.group, consumer = %self.consumer.me,
            redis = %self.redis.endpoint(), "subscribing");
        self.connect(Duration::ZERO);
        loop {
            let input = match self.wait(&stop).await {
                Happened::Replied(Ok(input)) => self.replied(input),
                Happened::Read(result) => self.read(result),
                Happened::Replied(Err(error)) | Happened::Connected(Err(error)) => {
                    self.failed(&error)
                }
                Happened::Connected(Ok(connections)) => self.connected(connections),
                Happened::Handled(handled) => self.handled(handled),
                Happened::Tick => Input::Tick,
                Happened::Stop => self.stop(),
                Happened::Deadline => self.deadline()?,
            };
            self.decided_at = self.moment();
            let outputs = self.machine.on(input, self.decided_at, random());
            let stopped = outputs.contains(&Output::Stopped);
            self.carry_out_all(outputs);
            self.count();
            if stopped {
                tracing::info!(consumer = %self.consumer.me, "left the group");
                return Ok(());
            }
        }
    }

    async fn wait(&mut self, stop: &CancellationToken) -> Happened {
        let due = self
            .machine
            .due_at(self.decided_at)
            .map(|moment| self.began + (moment - Moment::START));
        let stopping = self.deadline.is_some();
        tokio::select! {
            biased;
            () = at(self.deadline), if stopping => Happened::Deadline,
            () = stop.cancelled(), if !stopping => Happened::Stop,
            Some(reply) = self.replies.next(), if !self.replies.is_empty() => Happened::Replied(reply),
            result = read(&mut self.reading), if self.reading.is_some() => Happened::Read(result),
            Some(handled) = self.calls.join_next_with_id(), if !self.calls.is_empty() => {
                Happened::Handled(handled)
            }
            connections = connects(&mut self.connecting), if self.connecting.is_some() => Happened::Connected(connections),
            () = at(due), if due.is_some() => Happened::Tick,
        }
    }

    fn moment(&self) -> Moment {
        Moment::START + (now() - self.began)
    }

    /// Starts to connect after `wait`, and to create the group if this process is configured to.
    fn connect(&mut self, wait: Duration) {
        let (redis, consumer) = (self.redis.clone(), self.consumer.clone());
        // The group existed before; events may have arrived while it was missing, and `$` would skip them.
        let lost = self.readiness.has_connected() || consumer.config.group_existed;
        self.connecting = Some(Box::pin(async move {
            tokio::time::sleep(wait).await;
            Connections::connect(&redis, &consumer, lost).await
        }));
    }

    fn connected(&mut self, connections: Connections) -> Input {
        self.connecting = None;
        self.connections = Some(connections);
        self.connected_at = self.moment();
        self.connects += 1;
        self.metrics.connected(self.connects);
        Input::Connected
    }

    fn replied(&mut self, input: Input) -> Input {
        let config = &self.consumer.config;
        if self.outage.is_on() && self.moment() >= self.connected_at + STABLE_AFTER {
            let failures = self.outage.end();
            if std::mem::take(&mut self.is_reconnecting) && failures > 0 {
                tracing::info!(redis = %self.redis.endpoint(), failures, "connected to Redis again");
            }
        }
        if let Input::Heartbeat { report, .. } = &input {
            if std::mem::take(&mut self.awaits_group) || !self.readiness.has_connected() {
                tracing::info!(stream = %config.stream, group = %config.group, "found the group");
            }
            self.readiness.set();
            if report.moved > 0 {
                tracing::warn!(stream = %config.stream, group = %config.group, entries = report.moved,
                    "moved entries of vanished consumers to the suspects");
            }
        }
        input
    }

    fn read(&mut self, result: Result<Input, Error>) -> Input {
        let read = self.reading.take();
        match (result, read) {
            (Ok(input), _) => self.replied(input),
            (Err(_), Some(Reading { current: false, .. })) => Input::ReadFailed,
            (Err(error), _) => self.failed(&error),
        }
    }

    /// Reconnects both connections, whichever failed. A read that is outstanding may still be answered.
    fn failed(&mut self, error: &Error) -> Input {
        let is_no_group = error.is_no_group();
        self.connections = None;
        if !is_no_group {
            self.metrics.disconnected();
        }
        self.replies = FuturesUnordered::new();
        let wait = self.record_failure(error);
        self.connect(wait);
        let reading = self.still_reads();
        let cut = cut(error);
        if is_no_group { Input::NoGroup { reading } } else { Input::Disconnected { reading, cut } }
    }

    /// Returns `true` if the read is outstanding on the lost connection. If it failed with that, it is dropped: it may be
    /// the one whose reply was too large, behind a command that went out in the same write.
    fn still_reads(&mut self) -> bool {
        let Some(reading) = &mut self.reading else { return false };
        match reading.reply.as_mut().now_or_never() {
            Some(Err(_)) => self.reading = None,
            Some(Ok(input)) => reading.reply = Box::pin(ready(Ok(input))),
            None => {}
        }
        self.reading.as_mut().map(|reading| reading.current = false).is_some()
    }

    /// Records a failure and logs it at intervals. Returns the wait before the next attempt to connect.
    fn record_failure(&mut self, error: &Error) -> Duration {
        let moment = self.moment();
        if error.is_no_group() {
            self.awaits_group = true;
            let (wait, times) = self.outage.miss("no group".to_owned(), moment - Moment::START);
            if let Some(times) = times {
                let (stream, group) = (&self.consumer.config.stream, &self.consumer.config.group);
                tracing::warn!(%stream, %group, times, "waiting for the group");
            }
            return wait;
        }
        self.is_reconnecting = true;
        let (wait, times) = self.outage.fail(error.cause(), moment - Moment::START, random());
        if let Some(times) = times {
            let message = match error {
                Error::Connect { .. } | Error::File { .. } => "cannot connect to Redis; retrying",
                _ => "a command failed; reconnecting to Redis",
            };
            tracing::warn!(redis = %self.redis.endpoint(), times, error = %chain(error), "{message}");
        }
        wait
    }

    /// Collects this call and all others that ended meanwhile: one decision for the whole batch.
    fn handled(&mut self, first: Handled) -> Input {
        let mut calls: Vec<_> = self.ended(first).into_iter().collect();
        while let Some(next) = self.calls.try_join_next_with_id() {
            calls.extend(self.ended(next));
        }
        Input::Handled(calls)
    }

    fn ended(&mut self, handled: Handled) -> Option<(EntryRef, Outcome)> {
        let (entry, outcome) = match handled {
            Ok((call, (entry, answer, claimed_from))) => {
                // A call that was cut off as it ended: its entry may be in another call by now.
                self.running.get(&entry).filter(|running| running.id() == call)?;
                self.group_metrics.handled(claimed_from);
                (entry, answer.map_or(Outcome::TimedOut, Outcome::Answered))
            }
            Err(error) => {
                let known = self.running.iter().find(|(_, call)| call.id() == error.id());
                (known.map(|(entry, _)| *entry)?, Outcome::Panicked)
            }
        };
        self.running.remove(&entry);
        self.log(entry.id, &outcome);
        Some((entry, outcome))
    }

    fn log(&self, id: EntryId, outcome: &Outcome) {
        let (what, reason) = match outcome {
            Outcome::Answered(Answer::Done) | Outcome::CutOff => return,
            Outcome::Answered(Answer::Retry { reason, .. }) => {
                ("the handler failed; the attempt counts", reason.as_str())
            }
            // Its reason is in the dead letter; it may quote the handler, and that the payload.
            Outcome::Answered(Answer::Dead { .. }) => {
                ("the handler rejected the event; storing a dead letter", "")
            }
            Outcome::Answered(_) => return,
            Outcome::TimedOut => ("the handler timed out; the attempt counts", ""),
            Outcome::Panicked => ("the handler panicked; the attempt counts", ""),
        };
        let (stream, group) = (&self.consumer.config.stream, &self.consumer.config.group);
        tracing::warn!(%stream, %group, entry = %id, reason, "{what}");
    }

    fn stop(&mut self) -> Input {
        let grace = self.consumer.config.delivery.grace;
        self.deadline = Some(now() + grace);
        tracing::info!(in_flight = self.machine.counts().in_flight, ?grace, "stopping");
        Input::Stop
    }

    fn deadline(&mut self) -> Result<Input, Error> {
        if self.cut_off || self.connections.is_none() {
            let config = &self.consumer.config;
            return Err(Error::ShutdownTimedOut {
                stream: config.stream.clone(),
                group: config.group.clone(),
                grace: config.delivery.grace,
            });
        }
        self.cut_off = true;
        self.deadline = Some(now() + AFTER_GRACE);
        Ok(Input::GraceOver)
    }

    /// Sends or starts all outputs. Acknowledgements beside a read go out on its connection, in one write with it.
    fn carry_out_all(&mut self, outputs: Vec<Output>) {
        let reads = outputs.iter().any(|output| matches!(output, Output::Read { .. }));
        for output in outputs {
            match output {
                Output::Start(entry, delivery) => self.start(entry, delivery),
                Output::Cancel(entry) => {
                    if let Some(call) = self.running.remove(&entry) {
                        call.abort();
                    }
                }
                Output::Trimmed(entry) => tracing::warn!(stream = %self.consumer.config.stream,
                    group = %self.consumer.config.group, entry = %entry.id,
                    "an entry was trimmed from its stream while it waited for another attempt"),
                Output::Unfetchable(entry) => self.log_unfetchable(entry),
                Output::Stopped => {}
                output => self.send(output, reads),
            }
        }
    }

    fn send(&mut self, output: Output, reads: bool) {
        let Some(connections) = &self.connections else {
            return;
        };
        let (consumer, sent) = (self.consumer.clone(), self.moment());
        let limit = self.machine.reply_limit();
        match output {
            Output::Read { .. } => {
                let reply = connections.send(consumer, output, sent, limit);
                self.reading = Some(Reading { reply, current: true });
            }
            Output::Ack { entries, checked: false } if reads => {
                self.replies.push(connections.send_ack_with_read(consumer, entries, limit));
            }
            output => self.replies.push(connections.send(consumer, output, sent, limit)),
        }
    }

    /// Logs at intervals that entries cannot be fetched, with one of them.
    fn log_unfetchable(&mut self, entry: EntryRef) {
        let moment = self.moment();
        let times = self.outage.log("unfetchable".to_owned(), moment - Moment::START);
        let config = &self.consumer.config;
        if let Some(times) = times {
            let unfetchable = self.machine.counts().unfetchable;
            tracing::error!(stream = %config.stream, group = %config.group, entry = %entry.id,
                source = self.consumer.key(entry.source), unfetchable, times,
                "cannot fetch an entry although nothing else was asked for with it; it stays pending and is tried again: \
                 raise the limit that cuts the reply (client-output-buffer-limit, a proxy's), or delete the entry with XDEL");
        }
    }

    fn start(&mut self, entry: EntryRef, delivery: Arc<Delivery>) {
        let (handler, limit) = (self.handler.clone(), self.consumer.config.delivery.timeout);
        let span = span(&delivery);
        let call = async move {
            let began = now();
            let answer = tokio::time::timeout(limit, handler(delivery)).await.ok();
            (entry, answer, now() - began)
        };
        let call = self.calls.spawn(call.instrument(span));
        self.running.insert(entry, call);
    }

    /// Adds the change of the counts to the metrics.
    fn count(&mut self) {
        let counts = self.machine.counts();
        if counts != self.counted {
            self.group_metrics.advance(&self.counted, &counts);
            self.counted = counts;
        }
    }
}

/// Returns how a connection ended, if the size of a reply may have caused it. A server or proxy that refuses a large reply
/// has no code for it.
fn cut(error: &Error) -> Option<Cut> {
    match error {
        Error::Group { source, .. } if source.is_timeout() => Some(Cut::Late),
        Error::Group { source, .. } if matches!(source.code(), None | Some("ERR")) => {
            Some(Cut::Closed)
        }
        _ => None,
    }
}

/// Returns the span of a handler call, with the event, its entry and its trace.
fn span(delivery: &Delivery) -> tracing::Span {
    let event = &delivery.event;
    tracing::info_span!("handle", stream = %delivery.stream, group = %delivery.group, entry = %event.id(),
        event_id = event.event_id(), event_type = event.event_type(), attempt = delivery.attempt,
        replay = delivery.replay, traceparent = event.traceparent())
}

async fn read(reading: &mut Option<Reading>) -> Result<Input, Error> {
    match reading {
        Some(reading) => reading.reply.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn connects(
    connecting: &mut Option<BoxFuture<'static, Result<Connections, Error>>>,
) -> Result<Connections, Error> {
    match connecting {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge that gives the machine its clock")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the edge that draws the machine's random numbers")]
fn random() -> f64 {
    rand::random()
}

#[expect(clippy::disallowed_methods, reason = "the edge that names this start of the process")]
fn nonce() -> u32 {
    rand::random()
}
