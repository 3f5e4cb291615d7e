//! A publisher and two consumers, and what was published and handled.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eventbus::admin::Connection;
use eventbus::config::{BusConfig, CredentialFiles, RedisConfig};
use eventbus::consume::SubscriberConfig;
use eventbus::{Answer, Delivery, Error, EventBus, Metrics, NewEvent, Payload};
use prometheus_client::registry::Registry;
use tests::event_bus::in_time;
use tests::proxy::TcpProxy;
use tests::redis::RedisServer;
use tests::subscriber::{LONG, Running, config};
use tests::wait;
use tokio::sync::watch;

/// How often each event was handled, by the ID that its publisher gave it.
type Handled = Arc<Mutex<BTreeMap<String, u32>>>;

pub struct Flow {
    pub bus: EventBus,
    pub consumers: Vec<Running>,
    /// IDs of the events that Redis confirmed.
    pub confirmed: BTreeSet<String>,
    calls: Calls,
    next: u32,
}

/// What the handlers of a flow share.
#[derive(Clone)]
struct Calls {
    begun: Handled,
    handled: Handled,
    is_paused: Arc<watch::Sender<bool>>,
}

pub fn quick() -> SubscriberConfig {
    let mut config = config();
    config.delivery.lease = Duration::from_secs(1);
    config
}

impl Calls {
    fn consumer(&self, redis: RedisConfig, config: SubscriberConfig) -> Running {
        let calls = self.clone();
        Running::start(redis, config, move |delivery: Arc<Delivery>| {
            let calls = calls.clone();
            async move {
                let id = delivery.event.event_id().to_owned();
                *calls.begun.lock().unwrap().entry(id.clone()).or_default() += 1;
                calls.is_paused.subscribe().wait_for(|is_paused| !is_paused).await.unwrap();
                *calls.handled.lock().unwrap().entry(id.clone()).or_default() += 1;
                Answer::Done
            }
        })
    }
}

/// The server as it is reached through a proxy.
pub fn through(proxy: &TcpProxy) -> RedisConfig {
    let url = format!("redis://{}", proxy.address());
    RedisConfig::new("url", &url, CredentialFiles::default()).unwrap()
}

pub async fn proxy_to(server: &RedisServer) -> TcpProxy {
    TcpProxy::start(SocketAddr::from(([127, 0, 0, 1], server.port()))).await
}

/// A number of the server's statistics, such as `total_connections_received`.
pub async fn statistic(conn: &mut Connection, name: &str) -> u64 {
    let info: String = redis::cmd("INFO").arg("stats").query_async(conn).await.unwrap();
    let mut pairs = info.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(key, _)| *key == name).unwrap().1.parse().unwrap()
}

impl Flow {
    /// All connected and settled, after a first event.
    pub async fn start(redis: RedisConfig) -> Self {
        Self::start_with(redis, quick()).await
    }

    /// The same, with these settings of its consumers.
    pub async fn start_with(redis: RedisConfig, config: SubscriberConfig) -> Self {
        let mut flow = Self::without_consumers(redis.clone()).await;
        flow.consumers =
            (0..2).map(|_| flow.calls.consumer(redis.clone(), config.clone())).collect();
        for consumer in &flow.consumers {
            wait::until("a consumer has found the group", LONG, async || {
                consumer.readiness.has_connected().then_some(())
            })
            .await;
        }
        flow.publish(1).await;
        flow.all_are_handled().await;
        flow
    }

    /// The publisher alone; who handles its events is the test's affair.
    pub async fn without_consumers(redis: RedisConfig) -> Self {
        let calls = Calls {
            begun: Handled::default(),
            handled: Handled::default(),
            is_paused: Arc::new(watch::Sender::new(false)),
        };
        let metrics = Metrics::register(&mut Registry::default());
        let bus = EventBus::builder(BusConfig::new(redis, quick().stream))
            .metrics(&metrics)
            .connect_lazy()
            .await
            .unwrap();
        Self { bus, consumers: Vec::new(), confirmed: BTreeSet::new(), calls, next: 0 }
    }

    /// Handlers that are called answer no more until [`Flow::release`].
    pub fn hold(&self) {
        self.calls.is_paused.send_replace(true);
    }

    /// Handlers answer, those that were held too.
    pub fn release(&self) {
        self.calls.is_paused.send_replace(false);
    }

    /// Waits until so many events are in the hands of handlers that answer nothing.
    pub async fn are_in_flight(&self, count: usize) {
        wait::until("handlers have events in hand", LONG, async || {
            let begun = self.calls.begun.lock().unwrap().len();
            (begun - self.calls.handled.lock().unwrap().len() >= count).then_some(())
        })
        .await;
    }

    /// Tries once; a failure may have been published all the same.
    pub async fn try_publish(&mut self) -> Result<(), Error> {
        let id = format!("e-{}", self.next);
        self.next += 1;
        self.publish_as(id).await
    }

    /// Tries until Redis answers in time, and returns the error with which it refuses the event.
    pub async fn refusal(&mut self) -> Error {
        in_time(async || self.try_publish().await).await.unwrap_err()
    }

    async fn publish_as(&mut self, id: String) -> Result<(), Error> {
        let mut event = NewEvent::new("t", Payload::from_value(&self.next).unwrap());
        event.id = Some(id.clone());
        self.bus.publish_event(event).await?;
        self.confirmed.insert(id);
        Ok(())
    }

    /// Publishes so many, each as often as it takes.
    pub async fn publish(&mut self, count: u32) {
        for _ in 0..count {
            let id = format!("e-{}", self.next);
            self.next += 1;
            wait::within("an event is published", LONG, async {
                while let Err(error) = self.publish_as(id.clone()).await {
                    // A file that is being replaced may be missing for a moment.
                    let is_known = error.is_transient() || error.is_auth();
                    assert!(is_known || matches!(error, Error::File { .. }), "{error:?}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
            .await;
        }
    }

    pub async fn all_are_handled(&self) {
        wait::until("what was confirmed is handled", LONG, async || {
            self.missing().is_empty().then_some(())
        })
        .await;
    }

    /// Confirmed, and not handled.
    pub fn missing(&self) -> Vec<String> {
        let handled = self.calls.handled.lock().unwrap();
        self.confirmed.iter().filter(|id| !handled.contains_key(*id)).cloned().collect()
    }

    /// Calls of a handler beyond the first of each event.
    pub fn repeats(&self) -> u32 {
        self.calls.begun.lock().unwrap().values().map(|times| times - 1).sum()
    }
}
