//! A publisher and two consumers, and what was published and handled.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::EventBus;
use bus::config::{BusConfig, CredentialFiles, RedisConfig};
use bus::delivery::{Answer, Delivery};
use bus::error::Error;
use bus::event::{NewEvent, Payload};
use bus::metrics::Metrics;
use bus::subscribe::SubscriberConfig;
use prometheus_client::registry::Registry;
use tests::proxy::TcpProxy;
use tests::redis::RedisServer;
use tests::subscriber::{LONG, Running, config};
use tests::wait;

/// How often each event was handled, by the ID that its publisher gave it.
type Handled = Arc<Mutex<BTreeMap<String, u32>>>;

pub struct Flow {
    pub bus: EventBus,
    pub consumers: Vec<Running>,
    /// IDs of the events that Redis confirmed.
    pub confirmed: BTreeSet<String>,
    handled: Handled,
    next: u32,
}

pub fn quick() -> SubscriberConfig {
    let mut config = config();
    config.delivery.lease = Duration::from_secs(1);
    config
}

fn consumer(redis: RedisConfig, handled: &Handled) -> Running {
    let handled = handled.clone();
    Running::start(redis, quick(), move |delivery: Arc<Delivery>| {
        *handled.lock().unwrap().entry(delivery.event.event_id.clone()).or_default() += 1;
        std::future::ready(Answer::Done)
    })
}

/// The server as it is reached through a proxy.
pub fn through(proxy: &TcpProxy) -> RedisConfig {
    let url = format!("redis://{}", proxy.address());
    RedisConfig::new("url", &url, CredentialFiles::default()).unwrap()
}

pub async fn proxy_to(server: &RedisServer) -> TcpProxy {
    TcpProxy::start(SocketAddr::from(([127, 0, 0, 1], server.port()))).await
}

impl Flow {
    /// All connected and settled, after a first event.
    pub async fn start(redis: RedisConfig) -> Self {
        let handled = Handled::default();
        let metrics = Metrics::register(&mut Registry::default());
        let bus =
            EventBus::open(BusConfig::new(redis.clone(), quick().stream), &metrics).await.unwrap();
        let consumers = (0..2).map(|_| consumer(redis.clone(), &handled)).collect();
        let mut flow = Self { bus, consumers, confirmed: BTreeSet::new(), handled, next: 0 };
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

    /// Tries once; a failure may have been published all the same.
    pub async fn try_publish(&mut self) -> Result<(), Error> {
        let id = format!("e-{}", self.next);
        self.next += 1;
        self.publish_as(id).await
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
            tokio::time::timeout(LONG, async {
                while let Err(error) = self.publish_as(id.clone()).await {
                    assert!(error.is_transient() || error.is_auth(), "{error:?}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
            .await
            .expect("an event is published in time");
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
        let handled = self.handled.lock().unwrap();
        self.confirmed.iter().filter(|id| !handled.contains_key(*id)).cloned().collect()
    }

    /// Calls of a handler beyond the first of each event.
    pub fn repeats(&self) -> u32 {
        self.handled.lock().unwrap().values().map(|times| times - 1).sum()
    }
}
