//! The example platform under a steady load, while Redis goes away and comes back: its requests do not notice.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use eventbus::config::BusConfig;
use eventbus::{EventBus, GroupName, StreamKey};
use tests::consumer::{Consumer, STREAM};
use tests::event_bus::connect;
use tests::handler::Handler;
use tests::programs::Running;
use tests::redis::RedisServer;
use tests::seraaj::load::{Answer, Load, Services, subject};
use tests::seraaj::{EventsFile, FileEvent, Service};
use tests::wait;

/// How long a request may take whatever Redis does: 250 ms for each of its two events, and ten times that for a busy
/// machine.
const BOUND: Duration = Duration::from_secs(5);
/// So many requests are answered before and after an outage, and as many that began during it. A second has 50.
const REQUESTS: usize = 150;
const LONG: Duration = Duration::from_secs(60);
const GROUPS: [&str; 3] = ["applications", "matching", "bff"];
/// The group of the example consumer.
const PRINTER: &str = "printer";

struct Platform {
    server: RedisServer,
    file: EventsFile,
    bus: EventBus,
    services: Arc<Services>,
    handlers: [Handler; 3],
    consumers: [Consumer; 3],
    printer: Running,
}

/// What was seen of an outage.
struct Seen {
    answers: Vec<Answer>,
    file: Vec<FileEvent>,
    /// By group, how often each event ID came to its handler.
    received: BTreeMap<&'static str, HashMap<String, u64>>,
    /// Events that the services say the bus did not take, neither Redis nor outbox.
    failures: u64,
    printed: Vec<String>,
}

impl Platform {
    async fn start() -> Self {
        let server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
        let (url, file) = (server.url(), EventsFile::new());
        let config = BusConfig::new(server.config(), StreamKey::new(STREAM).unwrap());
        let bus = connect(config).await;
        let path = file.path();
        let service = async |name| {
            let outbox = file.outbox(name);
            let settings = [
                ("REDIS_OUTBOX_DIR", outbox.to_str().unwrap()),
                ("REDIS_HARD_MAX_ENTRIES", "100000"),
                ("REDIS_OVERFLOW", "drop-oldest"),
            ];
            Service::start(name, &url, &path, &settings).await
        };
        let (applications, matching, bff) =
            tokio::join!(service("applications"), service("matching"), service("bff"));
        let handlers = GROUPS.map(|_| Handler::start());
        let consumers = [0, 1, 2].map(|at| {
            Consumer::start(&server, &handlers[at].url(), &[("EVENT_GROUP", GROUPS[at])])
        });
        let settings = [("REDIS_URL", url.as_str()), ("REDIS_STREAM_NAME", STREAM)];
        let printer = Running::start("seraaj", &["consumer", "--group", PRINTER], &settings);
        let services = Arc::new(Services { applications, matching, bff });
        let platform = Self { server, file, bus, services, handlers, consumers, printer };
        platform.settled().await;
        platform
    }

    /// Ends a group's consumer at once, and starts another in its place.
    fn kill_consumer(&mut self, at: usize) {
        let handler = self.handlers[at].url();
        self.consumers[at] =
            Consumer::start(&self.server, &handler, &[("EVENT_GROUP", GROUPS[at])]);
    }

    /// Waits until the services have sent all that they have, and every group has acknowledged it.
    async fn settled(&self) {
        wait::until("the outboxes are empty", LONG, async || {
            (self.waiting().await == 0).then_some(())
        })
        .await;
        for group in GROUPS.into_iter().chain([PRINTER]) {
            let name = GroupName::new(group).unwrap();
            wait::until(&format!("the group {group} has acknowledged all"), LONG, async || {
                let info = self.bus.get_consumer_group_info(&name).await.ok()??;
                (info.lag == Some(0) && info.pending == 0).then_some(())
            })
            .await;
        }
    }

    /// Events in the outboxes that Redis has not taken yet.
    async fn waiting(&self) -> u64 {
        self.sum("eventbus_outbox_waiting_events").await
    }

    /// The sum of a metric of all services.
    async fn sum(&self, metric: &str) -> u64 {
        let Services { applications, matching, bff } = &*self.services;
        let mut sum = 0;
        for service in [applications, matching, bff] {
            sum += service.metric(metric).await.unwrap_or(0);
        }
        sum
    }

    /// Lets `outage` take Redis away, waits until requests that began meanwhile are answered, and lets `back` bring it back.
    async fn without_redis(
        &mut self,
        load: &Load,
        outage: impl AsyncFnOnce(&mut Self),
        back: impl AsyncFnOnce(&mut Self),
    ) {
        outage(self).await;
        answered(load).await;
        assert!(self.waiting().await > 0, "Redis was not away");
        back(self).await;
    }

    /// Lets a load run on through `outage`, and waits until all that came of it has settled.
    async fn seen(&mut self, outage: impl AsyncFnOnce(&mut Self, &Load)) -> Seen {
        let load = Load::start(self.services.clone());
        answered(&load).await;
        outage(self, &load).await;
        answered(&load).await;
        let answers = load.end().await;
        self.settled().await;
        let received = GROUPS.into_iter().zip(&self.handlers).map(|(group, handler)| {
            let mut times = HashMap::new();
            for request in handler.requests() {
                *times.entry(request.header("ce-id").to_owned()).or_default() += 1;
            }
            (group, times)
        });
        let printed = self.printer.output();
        let printed = printed
            .lines()
            .filter_map(|line| line.strip_prefix("New application submitted: ").map(str::to_owned));
        let seen = Seen {
            answers,
            file: self.file.events(),
            received: received.collect(),
            failures: self.sum("seraaj_bus_failures_total").await,
            printed: printed.collect(),
        };
        for consumer in &self.consumers {
            assert!(!consumer.output().contains("panicked"), "{}", consumer.output());
        }
        seen
    }
}

/// Waits until requests that begin from now on are answered.
async fn answered(load: &Load) {
    let begun = load.begun();
    wait::until("requests are answered", LONG, async || {
        (load.answered_since(begun) >= REQUESTS).then_some(())
    })
    .await;
}

impl Seen {
    /// Events of the file that `group` did not get.
    fn missing(&self, group: &str) -> Vec<&FileEvent> {
        let received = &self.received[group];
        self.file.iter().filter(|event| !received.contains_key(&event.id)).collect()
    }

    /// What holds whatever happens to Redis.
    fn assert_undisturbed(&self) {
        self.print();
        let failed: Vec<_> = self.answers.iter().filter(|answer| !answer.is_good()).collect();
        assert!(failed.is_empty(), "{} requests failed, such as {:?}", failed.len(), failed[0]);
        let slowest = self.answers.iter().max_by_key(|answer| answer.took).unwrap();
        assert!(slowest.took < BOUND, "{slowest:?}");

        let in_file: HashSet<_> = self
            .file
            .iter()
            .map(|e| (e.event_type.as_str(), subject(e).unwrap_or_default()))
            .collect();
        for (event_type, subject) in self.answers.iter().flat_map(|answer| &answer.events) {
            assert!(in_file.contains(&(*event_type, subject.as_str())), "{event_type} {subject}");
        }
        let ids: HashSet<&str> = self.file.iter().map(|event| event.id.as_str()).collect();
        assert_eq!(ids.len(), self.file.len(), "an ID stands in the file twice");
        for (group, received) in &self.received {
            let unknown = received.keys().find(|id| !ids.contains(id.as_str()));
            assert_eq!(unknown, None, "{group} got what is not in the file");
        }
        let printed: BTreeSet<_> = self.printed.iter().collect();
        assert_eq!(printed.len(), self.printed.len(), "the consumer printed a repeat");
        assert_eq!(self.failures, 0, "the bus did not take everything");
    }

    /// Every event of the file came to every group, and the consumer printed every application.
    fn assert_nothing_lost(&self) {
        for group in GROUPS {
            let missing = self.missing(group);
            assert!(missing.is_empty(), "{group} lacks {} events: {missing:?}", missing.len());
        }
        let submitted = self.file.iter().filter(|e| e.event_type == "application.submitted");
        let submitted: BTreeSet<_> = submitted.filter_map(subject).collect();
        let printed: BTreeSet<_> = self.printed.iter().map(String::as_str).collect();
        assert_eq!(printed, submitted);
    }

    #[expect(clippy::print_stderr, reason = "the numbers are for whoever runs the test")]
    fn print(&self) {
        let slowest = self.answers.iter().map(|answer| answer.took).max().unwrap();
        let (requests, lines) = (self.answers.len(), self.file.len());
        eprintln!("{requests} requests, the slowest {slowest:?}; {lines} lines in the file");
        eprintln!("{} not taken by the bus; {} lines printed", self.failures, self.printed.len());
        for (group, received) in &self.received {
            let (ids, calls) = (received.len() as u64, received.values().sum::<u64>());
            let (missing, repeats) = (self.missing(group).len(), calls - ids);
            eprintln!("{group}: {ids} IDs, {repeats} repeats, {missing} missing");
        }
    }
}

#[tokio::test]
async fn no_request_notices_that_redis_is_killed_and_every_event_arrives() {
    let mut platform = Platform::start().await;
    let seen = platform
        .seen(async |platform, load| {
            let (outage, back) = (
                async |p: &mut Platform| p.server.stop(),
                async |p: &mut Platform| p.server.restart(),
            );
            platform.without_redis(load, outage, back).await;
        })
        .await;
    seen.assert_undisturbed();
    seen.assert_nothing_lost();
}

#[tokio::test]
async fn no_request_notices_that_redis_hangs_and_every_event_arrives() {
    let mut platform = Platform::start().await;
    let seen = platform
        .seen(async |platform, load| {
            let (outage, back) = (
                async |p: &mut Platform| p.server.pause(),
                async |p: &mut Platform| p.server.resume(),
            );
            platform.without_redis(load, outage, back).await;
        })
        .await;
    seen.assert_undisturbed();
    seen.assert_nothing_lost();
}

#[tokio::test]
async fn no_request_notices_that_redis_has_no_memory_and_every_event_arrives() {
    let mut platform = Platform::start().await;
    let seen = platform
        .seen(async |platform, load| {
            let (outage, back) = (
                async |p: &mut Platform| set_memory(&p.server, "1").await,
                async |p: &mut Platform| set_memory(&p.server, "0").await,
            );
            platform.without_redis(load, outage, back).await;
        })
        .await;
    seen.assert_undisturbed();
    seen.assert_nothing_lost();
}

async fn set_memory(server: &RedisServer, bytes: &str) {
    let mut command = redis::cmd("CONFIG");
    command.arg("SET").arg("maxmemory").arg(bytes);
    command.exec_async(&mut server.connection().await).await.unwrap();
}

#[tokio::test]
async fn consumers_that_are_killed_under_load_lose_nothing() {
    let mut platform = Platform::start().await;
    let seen = platform
        .seen(async |platform, _| {
            for at in 0..GROUPS.len() {
                // In the middle of their work, so that something is in their hand.
                platform.handlers[at].hold();
                let number = platform.handlers[at].requests().len();
                platform.handlers[at].received(number + 1).await;
                platform.kill_consumer(at);
                platform.handlers[at].release();
            }
        })
        .await;
    seen.assert_undisturbed();
    seen.assert_nothing_lost();
    for group in GROUPS {
        let received = &seen.received[group];
        assert!(received.values().any(|times| *times > 1), "nothing was in the hand of {group}'s");
    }
}

#[tokio::test]
async fn an_emptied_redis_loses_no_more_than_the_groups_had_before_them_and_nothing_afterwards() {
    let mut platform = Platform::start().await;
    let mut backlogs = BTreeMap::new();
    let mut before = 0;
    let seen = platform
        .seen(async |platform, load| {
            for handler in &platform.handlers {
                handler.hold();
            }
            // So that the groups have something before them.
            answered(load).await;
            backlogs = emptied(&platform.server).await;
            before = platform.file.events().len();
            for handler in &platform.handlers {
                handler.release();
            }
        })
        .await;
    seen.assert_undisturbed();
    for (group, backlog) in backlogs {
        let missing = seen.missing(group);
        let names: Vec<_> =
            missing.iter().map(|e| (e.event_type.as_str(), e.id.as_str())).collect();
        print_lost(group, backlog, &names);
        let lost = missing.len() as u64;
        assert!(lost <= backlog, "{group} lacks {names:?}, had {backlog} before it");
        let later = seen.file[before..]
            .iter()
            .filter(|event| missing.iter().any(|missing| missing.id == event.id));
        assert_eq!(later.count() as u64, 0, "{group} lacks what was published afterwards");
    }
}

/// Empties the server; by group, how many events it had before it, undelivered or pending, at that moment.
async fn emptied(server: &RedisServer) -> BTreeMap<&'static str, u64> {
    let mut pipe = redis::pipe();
    pipe.atomic().cmd("XINFO").arg("GROUPS").arg(STREAM).cmd("FLUSHALL").ignore();
    let (groups,): (Vec<HashMap<String, redis::Value>>,) =
        pipe.query_async(&mut server.connection().await).await.unwrap();
    let number = |value: &redis::Value| match value {
        redis::Value::Int(number) => u64::try_from(*number).unwrap(),
        other => panic!("the server does not know: {other:?}"),
    };
    let backlog = |group: &&'static str| {
        let is_it = |info: &&HashMap<String, redis::Value>| {
            info["name"] == redis::Value::BulkString(group.as_bytes().to_vec())
        };
        let info = groups.iter().find(is_it).unwrap();
        (*group, number(&info["lag"]) + number(&info["pending"]))
    };
    GROUPS.iter().map(backlog).collect()
}

#[expect(clippy::print_stderr, reason = "the names are for whoever runs the test")]
fn print_lost(group: &str, backlog: u64, names: &[(&str, &str)]) {
    eprintln!("{group} had {backlog} before it, and lost {}: {names:?}", names.len());
}
