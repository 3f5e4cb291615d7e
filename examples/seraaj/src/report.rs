//! Report on a running platform, from real requests and real reads.

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
/// Time limit of an event's way to all groups.
const GROUPS_TIMEOUT: Duration = Duration::from_secs(20);
const POLL_EVERY: Duration = Duration::from_millis(50);

/// Platform to check.
pub struct Platform {
    /// URL of the service applications.
    pub applications: String,
    /// URL of the service matching.
    pub matching: String,
    /// URL of the bff.
    pub bff: String,
    /// Event file of the service applications.
    pub events_file: PathBuf,
    /// Duration of the speed measurement in seconds; `None` for no measurement.
    pub seconds: Option<u32>,
}

/// Results of the checks. `Display` writes JSON.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Time of the report.
    pub timestamp: Timestamp,
    /// `true` if Redis answered.
    pub redis_connected: bool,
    /// `true` if the events of a request were in the file and in Redis with the same IDs.
    pub dual_publishing: bool,
    /// By group: `true` if it exists and soon acknowledged everything, without new dead letters.
    pub consumer_groups: BTreeMap<String, bool>,
    /// Path on which the bff reported Redis and the groups as healthy; `None` if it did not.
    pub health_endpoint: Option<&'static str>,
    /// `true` if an application was found in the stream, delivered to the service that is the handler of the group
    /// `applications`, and acknowledged; and if the service matching answered.
    pub e2e_test_passing: bool,
    /// Speed, if it was measured.
    #[serde(flatten)]
    pub speed: Option<Speed>,
    /// Build profile of this program, which affects the speed: `release` or `debug`.
    pub build: &'static str,
}

impl Report {
    /// Checks `platform`. Failed checks are part of the report.
    ///
    /// # Errors
    /// A message for the log, if the checks could not be started.
    pub async fn make(config: BusConfig, platform: Platform) -> Result<Self, String> {
        // It fails if a provider is installed already, which is as good.
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = reqwest::Client::builder().no_proxy().timeout(GROUPS_TIMEOUT).build();
        let client = client.map_err(|error| format!("cannot create an HTTP client: {error}"))?;
        let metrics = Metrics::register(&mut Registry::default());
        // The directory of the outbox belongs to a service.
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

    /// Returns `true` if all checks passed. The speed has to be measured, but need not reach a bound.
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

/// Places in which the events of an application were found.
#[derive(Default)]
struct Published {
    in_redis: bool,
    /// Also in the file, with the same IDs.
    in_both: bool,
}

struct Trial {
    client: reqwest::Client,
    bus: EventBus,
    platform: Platform,
}

impl Trial {
    /// Submits an application and searches for its events.
    async fn is_published(&self) -> Published {
        let types = [APPLICATION_CREATED, APPLICATION_SUBMITTED];
        let Some((since, application)) = self.send().await else { return Published::default() };
        let redis = self.ids_soon_in_redis(since, &application, types).await;
        let file = self.ids_in_file(&application, types).await;
        let in_redis = redis.len() == types.len();
        Published { in_redis, in_both: in_redis && file == redis }
    }

    /// Submits an application. Returns the last entry ID of the stream before it, and the application's ID.
    async fn send(&self) -> Option<(EntryId, String)> {
        let since = self.bus.get_stream_info().await.ok()?.last_generated;
        let url = format!("{}/api/applications", self.platform.applications);
        let body = json!({"volunteerId": "report", "opportunityId": "library"});
        let answer = self.client.post(url).json(&body).send().await.ok()?;
        let answer: Value = answer.error_for_status().ok()?.json().await.ok()?;
        Some((since, answer["applicationId"].as_str()?.to_owned()))
    }

    /// Returns the IDs of the application's events in the file, in the order of `types`.
    async fn ids_in_file(&self, application: &str, types: [&str; 2]) -> Vec<String> {
        let text = tokio::fs::read_to_string(&self.platform.events_file).await.unwrap_or_default();
        let of = |event: &Event, event_type: &str| {
            event.event_type == event_type && event.payload["applicationId"] == application
        };
        let found = types.map(|event_type| read(&text).find(|event| of(event, event_type)));
        found.into_iter().flatten().map(|event| event.id).collect()
    }

    /// Returns the IDs of the application's events in Redis after `since`, once all are there: a service may send them a
    /// little later.
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
                tokio::time::sleep(POLL_EVERY).await;
            }
        };
        timeout(GROUPS_TIMEOUT, all).await.unwrap_or_default()
    }

    async fn ids_in_redis(
        &self,
        since: EntryId,
        application: &str,
        types: [&str; 2],
    ) -> Vec<String> {
        // A group without a declaration gets events of all types.
        let Ok(group) = GroupName::new("report") else { return Vec::new() };
        let page = async |from| self.bus.get_events_since(&group, from).await.ok();
        let (mut from, mut found) = (since, [None, None]);
        while let Some(page) = page(from).await {
            for event in page.events {
                let is_ours =
                    event.payload().json().is_ok_and(|p| p["applicationId"] == application);
                let place = types.iter().position(|known| *known == event.event_type());
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

    /// Returns `true` if `group` exists and soon has acknowledged everything.
    async fn settles(&self, group: &GroupName) -> bool {
        let settled = async {
            loop {
                match self.bus.get_consumer_group_info(group).await {
                    Ok(None) => return false,
                    Ok(Some(info)) if info.lag == Some(0) && info.pending == 0 => return true,
                    _ => tokio::time::sleep(POLL_EVERY).await,
                }
            }
        };
        timeout(GROUPS_TIMEOUT, settled).await.unwrap_or(false)
    }

    /// Returns the number of dead letters by group, as the bff reports it.
    async fn dead_letters(&self) -> BTreeMap<String, u64> {
        let answer = self.health().await.unwrap_or_default();
        let of = |group: GroupName| {
            let number = &answer["consumer_groups"][group.as_str()]["dead_letters"];
            Some((group.to_string(), number.as_u64()?))
        };
        groups().into_iter().filter_map(of).collect()
    }

    /// Returns the number of events that the service applications received as a handler.
    async fn received(&self) -> Option<u64> {
        let url = format!("{}/metrics", self.platform.applications);
        let page = self.client.get(url).send().await.ok()?.text().await.ok()?;
        let line = |line: &str| line.strip_prefix("seraaj_events_received_total ")?.parse().ok();
        page.lines().find_map(line)
    }

    /// Returns `true` if the service matching answers.
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
