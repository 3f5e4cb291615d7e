//! Consumers as processes of their own on one handler, a publisher, and the service that tells of their health.

use std::collections::BTreeMap;

use serde_json::Value;
use tests::consumer::{Consumer, SOON};
use tests::handler::{Handler, Request};
use tests::programs::Running;
use tests::redis::RedisServer;
use tests::wait;

use crate::flow::Flow;

pub struct Fleet {
    pub handler: Handler,
    pub flow: Flow,
    pub consumers: Vec<Consumer>,
}

impl Fleet {
    /// A publisher and a handler, and nobody between them yet.
    pub async fn empty(server: &RedisServer) -> Self {
        let flow = Flow::without_consumers(server.config()).await;
        Self { handler: Handler::start(), flow, consumers: Vec::new() }
    }

    /// With so many consumers, all with these changes to their settings, after a first event.
    pub async fn start(server: &RedisServer, consumers: usize, changes: &[(&str, &str)]) -> Self {
        let mut fleet = Self::empty(server).await;
        for _ in 0..consumers {
            fleet.add(server, changes);
        }
        for consumer in &fleet.consumers {
            consumer.ready().await;
        }
        fleet.flow.publish(1).await;
        fleet.all_are_handled().await;
        fleet
    }

    /// Starts another consumer, and does not wait for it.
    pub fn add(&mut self, server: &RedisServer, changes: &[(&str, &str)]) -> &Consumer {
        self.consumers.push(Consumer::start(server, &self.handler.url(), changes));
        self.consumers.last().unwrap()
    }

    /// The requests for each event, by its ID.
    pub fn requests(&self) -> BTreeMap<String, Vec<Request>> {
        let mut requests = BTreeMap::<_, Vec<_>>::new();
        for request in self.handler.requests() {
            requests.entry(request.header("idempotency-key").to_owned()).or_default().push(request);
        }
        requests
    }

    /// The attempts of one event, in the order in which they came.
    pub fn attempts(&self, id: &str) -> Vec<String> {
        let requests = self.requests();
        let of_event = requests.get(id).into_iter().flatten();
        of_event.map(|request| request.header("x-event-attempt").to_owned()).collect()
    }

    /// Waits until the handler got all that was confirmed.
    pub async fn all_are_handled(&self) {
        wait::until("what was confirmed is handled", SOON, async || {
            let requests = self.requests();
            self.flow.confirmed.iter().all(|id| requests.contains_key(id)).then_some(())
        })
        .await;
    }

    /// Requests beyond the first of each event.
    pub fn repeats(&self) -> usize {
        self.requests().values().map(|requests| requests.len() - 1).sum()
    }

    /// Waits until one of the consumers has logged this.
    pub async fn has_logged(&self, text: &str) {
        let check = async || {
            self.consumers.iter().any(|consumer| consumer.output().contains(text)).then_some(())
        };
        let waited =
            tokio::time::timeout(SOON, wait::until("a consumer logs it", 2 * SOON, check)).await;
        let outputs = || self.consumers.iter().map(Consumer::output).collect::<Vec<_>>().join("\n");
        assert!(waited.is_ok(), "no consumer logs {text:?}\n{}", outputs());
    }
}

/// `consumer health` for stream `s` and group `g`.
pub struct Health {
    program: Running,
    client: reqwest::Client,
}

impl Health {
    pub fn start(server: &RedisServer) -> Self {
        let url = server.url();
        let settings = [
            ("REDIS_URL", url.as_str()),
            ("REDIS_STREAM_NAME", "s"),
            ("HEALTH_GROUPS", "g"),
            ("LISTEN", "127.0.0.1:0"),
        ];
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = reqwest::Client::builder().no_proxy().timeout(SOON).build().unwrap();
        Self { program: Running::start("consumer", &["health"], &settings), client }
    }

    async fn events(&self) -> Value {
        let address = wait::until("the service tells its address", SOON, async || {
            let output = self.program.output();
            let (_, rest) = output.split_once("serving HTTP address=")?;
            // The line may not be written to its end yet.
            rest.split_once('\n').map(|(address, _)| address.trim().to_owned())
        })
        .await;
        let url = format!("http://{address}/api/health/events");
        let response = self.client.get(url).send().await.unwrap();
        assert_eq!(response.status(), 200);
        serde_json::from_str(&response.text().await.unwrap()).unwrap()
    }

    /// Waits until the answer has this text at a path such as `/consumer_groups/g/status`.
    pub async fn reports(&self, path: &str, text: &str) {
        wait::until(&format!("{path} is {text:?}"), SOON, async || {
            (self.events().await.pointer(path)? == text).then_some(())
        })
        .await;
    }
}
