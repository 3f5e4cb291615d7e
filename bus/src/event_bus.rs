//! The bus as one value: a stream on a Redis, to publish to, to subscribe to and to look at.

use std::sync::Arc;

use prometheus_client::registry::Registry;

use crate::config::BusConfig;
use crate::connect::SharedConnection;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::names::StreamKey;
use crate::publish::{PUBLISH_TIMEOUT, Publisher};

/// One stream on one Redis. Clones share the connection, which is made anew after a failure.
#[derive(Clone)]
pub struct EventBus {
    pub(crate) config: Arc<BusConfig>,
    pub(crate) connection: SharedConnection,
    pub(crate) publisher: Arc<Publisher>,
}

impl EventBus {
    /// Connects, and pings. What it counts is told to nobody.
    ///
    /// # Errors
    /// As [`connect_with_metrics`](Self::connect_with_metrics).
    pub async fn connect(config: BusConfig) -> Result<Self, Error> {
        let metrics = Metrics::register(&mut Registry::default());
        Self::connect_with_metrics(config, &metrics).await
    }

    /// Connects, and pings; counts in `metrics`.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Connect`], or [`Error::Server`] where the ping is refused; [`Error::Rights`] where the
    /// user may not keep the hard cap; [`Error::CannotFsync`] where the server cannot keep the durability.
    pub async fn connect_with_metrics(config: BusConfig, metrics: &Metrics) -> Result<Self, Error> {
        // Below the limit of a publish, so that a silent connection is noticed, and replaced, by its own time-out.
        let connection = SharedConnection::new(config.redis.clone(), PUBLISH_TIMEOUT * 4 / 5);
        ping(&connection).await?;
        let metrics = metrics.of_stream(&config.stream);
        let publisher = Arc::new(Publisher::start(&config, &connection, metrics).await?);
        Ok(Self { config: Arc::new(config), connection, publisher })
    }

    /// The stream.
    #[must_use]
    pub fn stream(&self) -> &StreamKey {
        &self.config.stream
    }

    /// Asks Redis for an answer.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Connect`] without a connection, else [`Error::Server`].
    pub async fn ping(&self) -> Result<(), Error> {
        ping(&self.connection).await
    }
}

async fn ping(connection: &SharedConnection) -> Result<(), Error> {
    let (number, mut conn) = connection.open().await?;
    let answer = redis::cmd("PING").exec_async(&mut conn).await;
    let endpoint = connection.endpoint();
    let failed = |source| Error::Server { operation: "ping Redis", endpoint, source };
    connection.judge(number, answer.map_err(failed)).await
}
