//! The façade: one stream on one Redis server, to publish to, subscribe to and inspect.

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
use crate::observe::SnapshotReader;
use crate::outbox::Outbox;
use crate::publish::{OrderedSender, Publisher};
use crate::redis::Connection;
use crate::redis::SharedConnection;
use crate::scripts::declare_group::RefusalLog;

pub use crate::outbox::SetAsideEvent;
pub use events_since::{EventPage, MAX_PAGE_BYTES};
pub use info::{ConsumerInfo, GroupInfo, GroupStatus, StreamInfo};
pub use spool::PublishOutcome;
pub use subscription::{Subscription, SubscriptionBuilder};

/// Time limit of a call that neither publishes nor subscribes, connecting included.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Client of one stream on one Redis server.
///
/// Clones share the connections, which reconnect after a failure, and the list of groups that they created.
///
/// ```no_run
/// use eventbus::config::BusConfig;
/// use eventbus::{Answer, ConsumerName, EventBus, GroupName, Start, TypeFilter};
///
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = EventBus::connect(BusConfig::from_env()?).await?;
/// let group = GroupName::new("billing")?;
/// bus.create_consumer_group(&group, Start::default()).await?;
/// let types = TypeFilter::parse(["order.*"])?;
/// let subscription = bus.subscribe(&group, &ConsumerName::new("billing-1")?, types, |delivery| async move {
///     println!("{}", delivery.event.payload().as_str());
///     Answer::Done
/// });
/// bus.publish("order.created", &"o-1", None).await?;
/// subscription.stop().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct EventBus {
    pub(crate) config: Arc<BusConfig>,
    pub(crate) connection: SharedConnection,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) outbox: Option<Arc<Outbox>>,
    metrics: Metrics,
    /// A second connection for calls with long replies, so that no publish waits behind one.
    calls: SharedConnection,
    /// Groups passed to `create_consumer_group`, and the start that was asked for.
    created: Arc<Mutex<BTreeMap<GroupName, Start>>>,
    snapshots: Arc<tokio::sync::Mutex<SnapshotReader>>,
    refusals: RefusalLog,
}

/// Options of an [`EventBus`] before it connects. Made by [`EventBus::builder`].
#[derive(Debug)]
#[must_use = "a bus connects with connect or connect_lazy"]
pub struct EventBusBuilder {
    config: BusConfig,
    metrics: Option<Metrics>,
}

impl EventBusBuilder {
    /// Counts in `metrics`. Default: metrics that are not exported.
    pub fn metrics(mut self, metrics: &Metrics) -> Self {
        self.metrics = Some(metrics.clone());
        self
    }

    /// Connects and pings. With an outbox it succeeds also while Redis is unreachable.
    ///
    /// # Errors
    /// [`Error::OutboxTaken`], [`Error::OutboxForeign`], [`Error::OutboxFile`] about the outbox; [`Error::File`],
    /// [`Error::Connect`], or [`Error::Server`] if the ping is refused; [`Error::MissingPermissions`] if the user may not
    /// enforce the hard cap; [`Error::CannotFsync`] if the server cannot provide the durability. Permissions to publish
    /// are not checked, because a bus may only subscribe: the first publish names those that are missing.
    pub async fn connect(self) -> Result<EventBus, Error> {
        let bus = self.connect_lazy().await?;
        let reached = match bus.ping().await {
            Ok(()) => bus.publisher.check().await,
            Err(error) => Err(error),
        };
        match reached {
            // A service with an outbox also starts during an outage.
            Err(error) if bus.outbox.is_some() && error.is_transient() => {
                let (stream, error) = (bus.stream(), chain(&error));
                tracing::warn!(%stream, %error, "Redis is unreachable; events are stored in the outbox");
            }
            reached => reached?,
        }
        Ok(bus)
    }

    /// Starts to connect in the background and returns at once, for programs that start before Redis does. Connecting is
    /// retried until it succeeds. Each publish returns the errors that [`connect`](Self::connect) would have returned.
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
    /// use eventbus::{EventBus, Metrics, config::BusConfig};
    ///
    /// let mut registry = prometheus_client::registry::Registry::default();
    /// let metrics = Metrics::register(&mut registry);
    /// let bus = EventBus::builder(BusConfig::from_env()?).metrics(&metrics).connect_lazy().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::OutboxTaken`], [`Error::OutboxForeign`] or [`Error::OutboxFile`] about the outbox.
    pub async fn connect_lazy(self) -> Result<EventBus, Error> {
        let Self { config, metrics } = self;
        let metrics = &metrics.unwrap_or_else(|| Metrics::register(&mut Registry::default()));
        // Below the limit of a call, so that the connection's own time-out detects and replaces a silent connection.
        let of = |limit: Duration, name| (limit * 4 / 5, metrics.of_connection(name));
        let (limit, counts) = of(PUBLISH_TIMEOUT, "publish");
        let connection = SharedConnection::start(config.redis.clone(), limit, counts);
        let (limit, counts) = of(CALL_TIMEOUT, "call");
        let calls = connection.beside(limit, counts);
        connection.begin();
        let publisher = Arc::new(Publisher::start(&config, &connection, metrics));
        let outbox = match &config.outbox {
            Some(outbox) => {
                let sender = OrderedSender::new(&config, publisher.clone(), metrics);
                let counts = metrics.of_outbox(&config.stream);
                let open = Outbox::open(outbox.clone(), &config.stream, sender, counts);
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
            snapshots: Arc::default(),
            refusals: RefusalLog::default(),
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
    /// Connects with the default options and pings.
    ///
    /// # Errors
    /// Those of [`EventBusBuilder::connect`].
    pub async fn connect(config: BusConfig) -> Result<Self, Error> {
        Self::builder(config).connect().await
    }

    /// Returns a builder; its [`connect_lazy`](EventBusBuilder::connect_lazy) has an example.
    pub fn builder(config: BusConfig) -> EventBusBuilder {
        EventBusBuilder { config, metrics: None }
    }

    /// Returns the stream's key.
    #[must_use]
    pub fn stream(&self) -> &StreamKey {
        &self.config.stream
    }

    /// Pings Redis. Once connected it takes at most a fraction of a second, so it suits a readiness probe.
    ///
    /// ```no_run
    /// # async fn f(bus: eventbus::EventBus) {
    /// let is_reachable = bus.ping().await.is_ok();
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Connect`] or [`Error::BreakerOpen`] without a connection, else [`Error::Server`].
    pub async fn ping(&self) -> Result<(), Error> {
        ping(&self.connection).await
    }

    /// Runs `work` on the connection for calls, within [`CALL_TIMEOUT`].
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
