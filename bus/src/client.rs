//! The bus as one value: a stream on a Redis, to publish to, to subscribe to and to look at.

mod events_since;
mod groups;
mod info;
mod publish;
mod spool;
mod subscription;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eventbus_core::group::Start;
use eventbus_core::names::{GroupName, StreamKey};
use prometheus_client::registry::Registry;

use crate::config::BusConfig;
use crate::config::PUBLISH_TIMEOUT;
use crate::error::{Error, chain};
use crate::metrics::Metrics;
use crate::observe::LagReader;
use crate::outbox::Outbox;
use crate::publish::{Batches, Publisher};
use crate::redis::Connection;
use crate::redis::SharedConnection;
use crate::scripts::declare_group::RefusalLog;

pub use events_since::{EventPage, MAX_PAGE_BYTES};
pub use info::{ConsumerInfo, GroupInfo, GroupStatus, StreamInfo};
pub use spool::PublishOutcome;
pub use subscription::{Subscription, SubscriptionBuilder};

/// Limit of every call that neither publishes nor subscribes, connecting included.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// One stream on one Redis. Clones share the connections, which are made anew after a failure, and what they know of
/// groups that were created.
#[derive(Clone)]
pub struct EventBus {
    pub(crate) config: Arc<BusConfig>,
    pub(crate) connection: SharedConnection,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) outbox: Option<Arc<Outbox>>,
    metrics: Metrics,
    /// For long answers, behind which no publish has to wait.
    calls: SharedConnection,
    /// The groups that were created here or found standing by it, and where they started.
    created: Arc<Mutex<BTreeMap<GroupName, Start>>>,
    refusals: RefusalLog,
    lags: Arc<tokio::sync::Mutex<LagReader>>,
}

/// An [`EventBus`] that is not connected yet, with its options. Made by [`EventBus::builder`].
#[derive(Debug)]
#[must_use = "a bus connects by connect or connect_lazy"]
pub struct EventBusBuilder {
    config: BusConfig,
    metrics: Option<Metrics>,
}

impl EventBusBuilder {
    /// Counts in `metrics`. Default: in metrics of its own that nobody reads.
    pub fn metrics(mut self, metrics: &Metrics) -> Self {
        self.metrics = Some(metrics.clone());
        self
    }

    /// Connects, and pings. With an outbox Redis may be unreachable.
    ///
    /// # Errors
    /// [`Error::OutboxTaken`], [`Error::OutboxForeign`], [`Error::OutboxFile`] about the outbox; [`Error::File`],
    /// [`Error::Connect`], or [`Error::Server`] if the ping is refused; [`Error::MissingPermissions`] if the user may not
    /// enforce the hard cap; [`Error::CannotFsync`] if the server cannot keep the durability. Permissions to publish are
    /// not checked, because a bus may only subscribe: the first publish names those that are missing.
    pub async fn connect(self) -> Result<EventBus, Error> {
        let bus = self.connect_lazy().await?;
        let reached = match bus.ping().await {
            Ok(()) => bus.publisher.check().await,
            Err(error) => Err(error),
        };
        match reached {
            // A service with an outbox starts during an outage too.
            Err(error) if bus.outbox.is_some() && error.is_transient() => {
                let (stream, error) = (bus.stream(), chain(&error));
                tracing::warn!(%stream, %error, "cannot reach Redis; events are kept in the outbox");
            }
            reached => reached?,
        }
        Ok(bus)
    }

    /// Begins to connect and returns at once; connecting goes on until Redis is there. For programs that start before
    /// Redis does. What [`connect`](Self::connect) would refuse is returned by each publish.
    ///
    /// # Errors
    /// What is wrong with the outbox, if there is one.
    pub async fn connect_lazy(self) -> Result<EventBus, Error> {
        let Self { config, metrics } = self;
        let metrics = &metrics.unwrap_or_else(|| Metrics::register(&mut Registry::default()));
        // Below the limit of a call, so that a silent connection is noticed, and replaced, by its own time-out.
        let of = |limit: Duration, name| (limit * 4 / 5, metrics.of_connection(name));
        let (limit, counts) = of(PUBLISH_TIMEOUT, "publish");
        let connection = SharedConnection::start(config.redis.clone(), limit, counts);
        let (limit, counts) = of(CALL_TIMEOUT, "call");
        let calls = connection.beside(limit, counts);
        connection.begin();
        let publisher = Arc::new(Publisher::start(&config, &connection, metrics));
        let outbox = match &config.outbox {
            Some(outbox) => {
                let batches = Batches::new(&config, publisher.clone(), metrics);
                let counts = metrics.of_outbox(&config.stream);
                let open = Outbox::open(outbox.clone(), &config.stream, batches, counts);
                Some(Arc::new(open.await?))
            }
            None => None,
        };
        Ok(EventBus {
            publisher,
            outbox,
            config: Arc::new(config),
            connection,
            metrics: metrics.clone(),
            calls,
            created: Arc::default(),
            refusals: RefusalLog::default(),
            lags: Arc::default(),
        })
    }
}

impl fmt::Debug for EventBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBus")
            .field("redis", &self.config.redis)
            .field("stream", self.stream())
            .finish_non_exhaustive()
    }
}

impl EventBus {
    /// Connects with the default options, and pings.
    ///
    /// # Errors
    /// Those of [`EventBusBuilder::connect`].
    pub async fn connect(config: BusConfig) -> Result<Self, Error> {
        Self::builder(config).connect().await
    }

    /// Returns a bus to set up and connect.
    pub fn builder(config: BusConfig) -> EventBusBuilder {
        EventBusBuilder { config, metrics: None }
    }

    /// The stream.
    #[must_use]
    pub fn stream(&self) -> &StreamKey {
        &self.config.stream
    }

    /// Asks Redis for an answer, within a fraction of a second once connected.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Connect`] or [`Error::BreakerOpen`] without a connection, else [`Error::Server`].
    pub async fn ping(&self) -> Result<(), Error> {
        ping(&self.connection).await
    }

    /// Does `work` on the connection for calls, within [`CALL_TIMEOUT`].
    async fn call<T, F>(
        &self,
        operation: &'static str,
        work: impl FnOnce(Connection) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let call = async {
            let (number, conn) = self.calls.open().await?;
            self.calls.judge(number, work(conn).await)
        };
        tokio::time::timeout(CALL_TIMEOUT, call).await.unwrap_or_else(|_| {
            self.calls.timed_out();
            let (stream, limit) = (self.stream().clone(), CALL_TIMEOUT);
            Err(Error::TimedOut { operation, stream, limit })
        })
    }
}

async fn ping(connection: &SharedConnection) -> Result<(), Error> {
    let (number, mut conn) = connection.open().await?;
    let answer = redis::cmd("PING").exec_async(&mut conn).await;
    let endpoint = connection.endpoint();
    let failed = |source: redis::RedisError| Error::Server {
        operation: "ping Redis",
        endpoint,
        source: source.into(),
    };
    connection.judge(number, answer.map_err(failed))
}
