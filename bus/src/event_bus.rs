//! The bus as one value: a stream on a Redis, to publish to, to subscribe to and to look at.

use std::sync::Arc;

use prometheus_client::registry::Registry;

use crate::config::BusConfig;
use crate::connect::SharedConnection;
use crate::error::Error;
use crate::metrics::{Metrics, StreamMetrics};
use crate::names::StreamKey;
use crate::publish::PUBLISH_TIMEOUT;

/// One stream on one Redis. Clones share the connection, which is made anew after a failure.
#[derive(Clone)]
pub struct EventBus {
    pub(crate) config: Arc<BusConfig>,
    pub(crate) published: StreamMetrics,
    pub(crate) connection: SharedConnection,
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
    /// [`Error::File`], [`Error::Connect`], or [`Error::Server`] where the ping is refused.
    pub async fn connect_with_metrics(config: BusConfig, metrics: &Metrics) -> Result<Self, Error> {
        // Below the limit of a publish, so that a silent connection is noticed, and replaced, by its own time-out.
        let connection = SharedConnection::new(config.redis.clone(), PUBLISH_TIMEOUT * 4 / 5);
        let published = metrics.of_stream(&config.stream);
        let bus = Self { config: Arc::new(config), published, connection };
        bus.ping().await?;
        Ok(bus)
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
        let (number, mut conn) = self.connection.open().await?;
        let answer = redis::cmd("PING").exec_async(&mut conn).await;
        let endpoint = self.connection.endpoint();
        let failed = |source| Error::Server { operation: "ping Redis", endpoint, source };
        self.connection.judge(number, answer.map_err(failed)).await
    }
}
