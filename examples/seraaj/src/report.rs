//! The report on a running platform, computed from real requests and real reads.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use eventbus::config::BusConfig;
use eventbus::{EntryId, GroupName, Metrics};
use eventbus::{EventBus, chain};
use futures::future::join_all;
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::bff::groups;
use crate::event_types::{APPLICATION_CREATED, APPLICATION_SUBMITTED};
use crate::file_publisher::{Event, read};
use crate::publishing::now;

mod speed;

pub use speed::Speed;

const HEALTH: &str = "/api/health/events";
/// How long an event may take to all groups.
const SOON: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(50);

/// What is to be tried.
pub struct Platform {
    /// URL of the service applications.
    pub applications: String,
    /// URL of the service matching.
    pub matching: String,
    /// URL of the bff.
    pub bff: String,
    /// The file of events of the service applications.
    pub events_file: PathBuf,
    /// Seconds for which events are published to measure the speed; `None`: it is not measured.
    pub seconds: Option<u32>,
}

/// What was seen. As text it is JSON.
#[derive(Debug, Serialize)]
pub struct Report {
    /// When.
    pub timestamp: Timestamp,
    /// Whether Redis answered.
    pub redis_connected: bool,
    /// Whether the events of a request stood in the file and in Redis with the same IDs.
    pub dual_publishing: bool,
    /// By the groups' names, whether each stood and soon had acknowledged everything, without a dead letter more.
    pub consumer_groups: BTreeMap<String, bool>,
    /// The path under which the bff told that Redis and the groups are well; `None` where it did not.
    pub health_endpoint: Option<&'static str>,
    /// Whether an application that was sent was seen in the stream, came to the service as the handler of the group
    /// `applications`, and was acknowledged by it; and the service matching answered.
    pub e2e_test_passing: bool,
    /// Where it was measured.
    #[serde(flatten)]
    pub speed: Option<Speed>,
    /// How this program was built, which decides those numbers: `release` or `debug`.
    pub build: &'static str,
}

impl Report {
    /// Tries `platform`. What does not work is told in the report.
    ///
    /// # Errors
    /// Why nothing could be tried at all.
    pub async fn make(config: BusConfig, platform: Platform) -> Result<Self, String> {
        // An error is one only if somebody else has done it already, which is as good.
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = reqwest::Client::builder().no_proxy().timeout(SOON).build();
        let client = client.map_err(|error| format!("cannot make an HTTP client: {error}"))?;
        let metrics = Metrics::register(&mut Registry::default());
        // The services have outboxes; this looks only.
        let mut without = config;
        without.outbox = None;
        let bus = EventBus::builder(without.clone())
            .metrics(&metrics)
            .connect_lazy()
            .await
            .map_err(|error| chain(&error))?;
        let trial = Trial { client, bus, platform };

        let redis_connected = trial.bus.ping().await.is_ok();
        let before = trial.dead_letters().await;
        let received = trial.received().await;
        // Without Redis there is nothing to wait for.
        let is_published =
            if redis_connected { trial.is_published().await } else { Published::default() };
        let matches = trial.matches().await;
        let settled = groups().into_iter().map(async |group| {
            let is_settled = redis_connected && trial.settles(&group).await;
            (group, is_settled)
        });
        let settled = join_all(settled).await;
        let after = trial.dead_letters().await;
        let handled = received.is_some() && trial.received().await > received;
        let settled: BTreeMap<String, bool> = settled
            .into_iter()
            .map(|(group, is_settled)| {
                let name = group.to_string();
                let is_dead = after.get(&name) > before.get(&name);
                (name, is_settled && !is_dead)
            })
            .collect();
        let speed = match trial.platform.seconds {
            Some(seconds) => Some(Speed::measure(without, seconds).await),
            None => None,
        };
        Ok(Self {
            timestamp: now(),
            redis_connected,
            dual_publishing: is_published.in_both,
            health_endpoint: trial.is_healthy().await.then_some(HEALTH),
            e2e_test_passing: is_published.in_redis
                && matches
                && handled
                && settled["applications"],
            consumer_groups: settled,
            speed,
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
        })
    }

    /// Returns whether all is as it should be. The speed has to be measured, not to reach a bound.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.redis_connected
            && self.dual_publishing
            && self.consumer_groups.values().all(|settled| *settled)
            && self.health_endpoint.is_some()
            && self.e2e_test_passing
            && self.speed.as_ref().is_none_or(Speed::is_complete)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string_pretty(self).map_err(|_| fmt::Error)?)
    }
}

/// Where the events of an application were seen.
#[derive(Default)]
struct Published {
    in_redis: bool,
    /// In the file too, with the same IDs.
    in_both: bool,
}

struct Trial {
    client: reqwest::Client,
    bus: EventBus,
    platform: Platform,
}

impl Trial {
    /// Sends an application, and looks where its events are.
    async fn is_published(&self) -> Published {
        let types = [APPLICATION_CREATED, APPLICATION_SUBMITTED];
        let Some((since, application)) = self.send().await else { return Published::default() };
        let redis = self.ids_soon_in_redis(since, &application, types).await;
        let file = self.ids_in_file(&application, types).await;
        let in_redis = redis.len() == types.len();
        Published { in_redis, in_both: in_redis && file == redis }
    }

    /// Sends an application; answers the stream's end before it, and its ID.
    async fn send(&self) -> Option<(EntryId, String)> {
        let since = self.bus.get_stream_info().await.ok()?.last_generated;
        let url = format!("{}/api/applications", self.platform.applications);
        let body = json!({"volunteerId": "report", "opportunityId": "library"});
        let answer = self.client.post(url).json(&body).send().await.ok()?;
        let answer: Value = answer.error_for_status().ok()?.json().await.ok()?;
        Some((since, answer["applicationId"].as_str()?.to_owned()))
    }

    /// The IDs of the application's events of `types`, in the order of the types.
    async fn ids_in_file(&self, application: &str, types: [&str; 2]) -> Vec<String> {
        let text = tokio::fs::read_to_string(&self.platform.events_file).await.unwrap_or_default();
        let of = |event: &Event, event_type: &str| {
            event.event_type == event_type && event.payload["applicationId"] == application
        };
        let found = types.map(|wanted| read(&text).find(|event| of(event, wanted)));
        found.into_iter().flatten().map(|event| event.id).collect()
    }

    /// Alike, of the events after `since`, as soon as all are there: a service may send them a little later.
    async fn ids_soon_in_redis(
        &self,
        since: EntryId,
        application: &str,
        types: [&str; 2],
    ) -> Vec<String> {
        let all = async {
            loop {
                let ids = self.ids_in_redis(since, application, types).await;
                if ids.len() == types.len() {
                    return ids;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        timeout(SOON, all).await.unwrap_or_default()
    }

    async fn ids_in_redis(
        &self,
        since: EntryId,
        application: &str,
        types: [&str; 2],
    ) -> Vec<String> {
        // A group that nobody declares is shown events of all types.
        let Ok(group) = GroupName::new("report") else { return Vec::new() };
        let page = async |from| self.bus.get_events_since(&group, from).await.ok();
        let (mut from, mut found) = (since, [None, None]);
        while let Some(page) = page(from).await {
            for event in page.events {
                let is_ours =
                    event.payload().json().is_ok_and(|p| p["applicationId"] == application);
                let place = types.iter().position(|wanted| *wanted == event.event_type());
                if let Some(place) = place.filter(|_| is_ours) {
                    found[place] = Some(event.event_id().to_owned());
                }
            }
            if !page.more {
                break;
            }
            from = page.next;
        }
        found.into_iter().flatten().collect()
    }

    /// Whether `group` is there and soon has acknowledged all that there is.
    async fn settles(&self, group: &GroupName) -> bool {
        let settled = async {
            loop {
                match self.bus.get_consumer_group_info(group).await {
                    Ok(None) => return false,
                    Ok(Some(info)) if info.lag == Some(0) && info.pending == 0 => return true,
                    _ => tokio::time::sleep(LOOK).await,
                }
            }
        };
        timeout(SOON, settled).await.unwrap_or(false)
    }

    /// Dead letters by group, as the bff tells them.
    async fn dead_letters(&self) -> BTreeMap<String, u64> {
        let answer = self.health().await.unwrap_or_default();
        let of = |group: GroupName| {
            let told = &answer["consumer_groups"][group.as_str()]["dead_letters"];
            Some((group.to_string(), told.as_u64()?))
        };
        groups().into_iter().filter_map(of).collect()
    }

    /// Events that the service applications has got as a handler.
    async fn received(&self) -> Option<u64> {
        let url = format!("{}/metrics", self.platform.applications);
        let page = self.client.get(url).send().await.ok()?.text().await.ok()?;
        let line = |line: &str| line.strip_prefix("seraaj_events_received_total ")?.parse().ok();
        page.lines().find_map(line)
    }

    /// Whether the service matching suggests something.
    async fn matches(&self) -> bool {
        let url = format!("{}/api/matching/quick", self.platform.matching);
        let answer = self.client.post(url).json(&json!({"volunteerId": "report"})).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    async fn health(&self) -> Option<Value> {
        let url = format!("{}{HEALTH}", self.platform.bff);
        self.client.get(url).send().await.ok()?.json().await.ok()
    }

    async fn is_healthy(&self) -> bool {
        let Some(answer) = self.health().await else { return false };
        let is_ok = |group: &GroupName| answer["consumer_groups"][group.as_str()]["status"] == "ok";
        answer["redis_connected"] == true && groups().iter().all(is_ok)
    }
}
