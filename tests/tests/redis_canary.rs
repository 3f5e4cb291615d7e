//! A password and a payload that must turn up nowhere but where they belong: every log line and span, error, metric and
//! `Debug` output of a bus under all kinds of trouble is looked through for them.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write;
use std::sync::{Arc, Mutex};

use eventbus::admin::Connection;
use eventbus::config::{BusConfig, CredentialFiles, RedisConfig};
use eventbus::consume::Subscriber;
use eventbus::{
    Answer, Delivery, EntryId, Error, EventBus, GroupName, Metrics, NewEvent, Payload,
    RedisFailure, StreamEvent, StreamKey, chain,
};
use prometheus_client::registry::Registry;
use tests::event_bus::{connect, connect_with_metrics, in_time, published};
use tests::letters;
use tests::redis::RedisServer;
use tests::subscriber::{LONG, command, config, drained};
use tests::wait;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

const PASSWORD: &str = "canary-of-a-password";
const CONTENT: &str = "canary-of-a-payload";

/// All texts that the library wrote, in log lines, errors, metrics and debug output.
#[derive(Clone, Default)]
struct Record(Arc<Mutex<Vec<u8>>>);

impl Record {
    fn debug(&self, value: &impl Debug) {
        self.text(&format!("{value:?}\n{value:#?}"));
    }

    fn error(&self, error: &Error) {
        self.text(&format!("{error}\n{}\n{error:?}\n{error:#?}", chain(error)));
    }

    fn text(&self, text: &str) {
        writeln!(&mut &*self, "{text}").unwrap();
    }

    fn all(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for &Record {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Record {
    type Writer = &'a Record;

    fn make_writer(&'a self) -> &'a Record {
        self
    }
}

/// Every line and every span of this library, from the least important on.
fn listen(record: &Record) {
    let levels = tracing_subscriber::EnvFilter::new("eventbus=trace");
    let subscriber = tracing_subscriber::fmt().with_env_filter(levels).with_ansi(false);
    subscriber.with_span_events(FmtSpan::FULL).with_writer(record.clone()).init();
}

fn event() -> NewEvent {
    let payload = Payload::from_value(&BTreeMap::from([("text", CONTENT)])).unwrap();
    let mut event = NewEvent::new("application.submitted", payload);
    event.key = Some(format!("{CONTENT}@example.org"));
    event.tracestate = Some(format!("vendor={CONTENT}"));
    event
}

/// As a user with a password, in the URL or in a file.
struct Canary {
    server: RedisServer,
    files: tempfile::TempDir,
}

impl Canary {
    async fn start(options: &[&str]) -> Self {
        let server = RedisServer::start_with(options);
        let mut conn = server.connection().await;
        command(&mut conn, &format!("ACL SETUSER writer on >{PASSWORD} ~* &* +@all")).await;
        Self { server, files: tempfile::tempdir().unwrap() }
    }

    fn by_url(&self, password: &str) -> RedisConfig {
        let url = format!("redis://writer:{password}@127.0.0.1:{}", self.server.port());
        RedisConfig::new("REDIS_URL", &url, CredentialFiles::default()).unwrap()
    }

    fn by_file(&self) -> RedisConfig {
        let path = |name: &str, text: &str| {
            let path = self.files.path().join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        let (username, password) = (path("user", "writer"), path("password", PASSWORD));
        let files = CredentialFiles { username, password, ..CredentialFiles::default() };
        RedisConfig::new("REDIS_URL", &self.server.url(), files).unwrap()
    }

    fn bus(&self, redis: RedisConfig) -> BusConfig {
        let _ = self;
        BusConfig::new(redis, StreamKey::new("s").unwrap())
    }
}

/// Publishes until it works no more, for every reason that there is.
async fn publish(record: &Record, metrics: &Metrics) {
    let mut canary = Canary::start(&["--maxmemory-policy", "noeviction"]).await;
    let mut conn = canary.server.connection().await;
    let config = canary.bus(canary.by_url(PASSWORD));
    record.debug(&config);
    let bus = connect_with_metrics(config, metrics).await;
    published(&bus, event()).await;
    record.debug(&event());

    let failed = async |what: &str| {
        let error = bus.publish_event(event()).await.unwrap_err();
        record.text(what);
        record.error(&error);
    };
    let refused = async |what: &str| {
        record.text(what);
        record.error(&in_time(async || bus.publish_event(event()).await).await.unwrap_err());
    };
    let mut large = event();
    large.payload = Payload::from_value(&vec![CONTENT; 100_000]).unwrap();
    record.error(&bus.publish_event(large).await.unwrap_err());
    let no_json = BTreeMap::from([(vec![1], CONTENT)]);
    record.error(&bus.publish("t", &no_json, None).await.unwrap_err());
    let mut no_type = event();
    no_type.event_type = String::new();
    record.error(&bus.publish_event(no_type).await.unwrap_err());
    command(&mut conn, "CONFIG SET maxmemory 1").await;
    refused("out of memory").await;
    command(&mut conn, "CONFIG SET maxmemory 0").await;
    command(&mut conn, "DEL s").await;
    command(&mut conn, "SET s x").await;
    refused("wrong type").await;
    command(&mut conn, "ACL SETUSER writer -xadd").await;
    refused("no right").await;
    canary.server.pause();
    failed("no answer").await;
    canary.server.resume();
    canary.server.stop();
    failed("no server").await;
    let wrong = canary.bus(canary.by_url(&format!("{PASSWORD}-not")));
    record.error(&EventBus::connect(wrong.clone()).await.err().unwrap());
    canary.server.restart();
    record.error(&EventBus::connect(wrong).await.err().unwrap());
    let by_file = canary.bus(canary.by_file());
    record.debug(&by_file);
    record.error(&EventBus::connect(by_file).await.err().unwrap());
}

/// A server that quotes what it does not understand.
async fn publish_to_a_server_without_the_command(record: &Record) {
    let canary = Canary::start(&["--rename-command", "XADD", ""]).await;
    let bus = connect(canary.bus(canary.by_url(PASSWORD))).await;
    let error = in_time(async || bus.publish_event(event()).await).await.unwrap_err();
    assert!(chain(&error).contains("unknown command"), "{}", chain(&error));
    record.error(&error);
}

async fn add(conn: &mut Connection, fields: &[(&str, &[u8])]) {
    redis::cmd("XADD").arg("s").arg("*").arg(fields).exec_async(conn).await.unwrap();
}

/// Entries that are events, entries that are none, and handlers of every kind.
async fn subscribe(record: &Record, metrics: &Metrics, dead_letters: bool) {
    let canary = Canary::start(&[]).await;
    let mut conn = canary.server.connection().await;
    let broken = format!("{{\"text\": \"{CONTENT}");
    let odd = [CONTENT.as_bytes(), b"\xff"].concat();
    add(&mut conn, &[("type", b"t"), ("payload", broken.as_bytes())]).await;
    add(&mut conn, &[("type", b"t"), ("payload", &odd)]).await;
    add(&mut conn, &[("type", &odd), ("payload", b"{}")]).await;
    add(&mut conn, &[("payload", CONTENT.as_bytes()), (CONTENT, CONTENT.as_bytes())]).await;
    let payload = format!("\"{CONTENT}\"");
    for kind in ["done", "retry", "dead", "panic"] {
        let fields: [(&str, &[u8]); 4] = [
            ("type", kind.as_bytes()),
            ("payload", payload.as_bytes()),
            ("key", CONTENT.as_bytes()),
            ("extra", CONTENT.as_bytes()),
        ];
        add(&mut conn, &fields).await;
    }
    let mut config = config();
    config.delivery.max_attempts = 2;
    if !dead_letters {
        config.dead_letters = None;
    }
    record.debug(&config);
    let subscriber = Subscriber::new(canary.by_file(), config, metrics.clone());
    record.debug(&subscriber);
    let (stop, listener) = (CancellationToken::new(), record.clone());
    let handler = move |delivery: Arc<Delivery>| {
        listener.debug(&delivery);
        let answer = match delivery.event.event_type() {
            "retry" => Answer::retry("not now"),
            "dead" => Answer::dead(format!("its payload is {CONTENT}")),
            "panic" => std::panic::resume_unwind(Box::new(CONTENT)),
            _ => Answer::Done,
        };
        std::future::ready(answer)
    };
    let task = tokio::spawn(subscriber.run(handler, stop.clone()));
    wait::until("the group is there", LONG, async || {
        let groups =
            redis::cmd("XINFO").arg("GROUPS").arg("s").query_async(&mut conn.clone()).await;
        let groups: redis::streams::StreamInfoGroupsReply = groups.ok()?;
        (!groups.groups.is_empty()).then_some(())
    })
    .await;
    drained(&mut conn).await;
    if dead_letters {
        assert_eq!(letters::all(&mut conn).await.len(), 7);
    }
    stop.cancel();
    wait::within("the subscriber ends", 2 * LONG, task).await.unwrap().unwrap();
    read(record, &canary, &mut conn).await;
}

/// Reads what the bus returns about a stream and its groups.
async fn read(record: &Record, canary: &Canary, conn: &mut Connection) {
    let bus = connect(canary.bus(canary.by_file())).await;
    let group = GroupName::new("g").unwrap();
    record.debug(&bus.get_stream_info().await.unwrap());
    record.debug(&bus.get_consumer_group_info(&group).await.unwrap());
    let page = bus.get_events_since(&group, EntryId::ZERO).await.unwrap();
    assert!(!page.events.is_empty() && !page.unreadable.is_empty());
    record.debug(&page);
    let declared = bus.stream().groups_key();
    redis::cmd("HSET").arg(&declared).arg("g").arg(CONTENT).exec_async(conn).await.unwrap();
    record.error(&bus.get_events_since(&group, EntryId::ZERO).await.unwrap_err());
}

fn refuse_settings(record: &Record) {
    let urls = [
        format!("redis://writer:{PASSWORD}@h:port"),
        format!("redis://writer:{PASSWORD}@"),
        format!("redis//writer:{PASSWORD}@h"),
        format!("http://writer:{PASSWORD}@h"),
        format!("redis://writer:{PASSWORD}%zz@h/x"),
        format!("redis-cluster://:{PASSWORD}@h"),
        format!(":{PASSWORD}@h"),
    ];
    for url in urls {
        let error = RedisConfig::new("REDIS_URL", &url, CredentialFiles::default()).unwrap_err();
        record.error(&Error::Settings(eventbus::config::SettingErrors(vec![error])));
    }
}

#[tokio::test]
async fn no_password_and_no_payload_turns_up_where_it_does_not_belong() {
    let record = Record::default();
    listen(&record);
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    publish(&record, &metrics).await;
    publish_to_a_server_without_the_command(&record).await;
    subscribe(&record, &metrics, true).await;
    subscribe(&record, &metrics, false).await;
    refuse_settings(&record);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    record.text(&text);

    let all = record.all();
    let heard = ["a dead letter", "handle{", "publish{", "eventbus_published_total{", "OOM"];
    for word in heard {
        assert!(all.contains(word), "{word} was not heard of");
    }
    let as_numbers = format!("{:?}", CONTENT.as_bytes());
    for canary in [PASSWORD, CONTENT, as_numbers.trim_matches(['[', ']'])] {
        let leaks: Vec<&str> = all.lines().filter(|line| line.contains(canary)).collect();
        assert!(leaks.is_empty(), "{leaks:#?}");
    }
}

#[tokio::test]
async fn of_several_commands_in_one_write_the_first_that_failed_tells_the_code() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    command(&mut conn, "SET s x").await;
    let mut pipe = redis::pipe();
    pipe.cmd("PING").cmd("LPUSH").arg("s").arg("x");
    let error = pipe.query_async::<Vec<redis::Value>>(&mut conn).await.unwrap_err();
    assert_eq!(RedisFailure::from(error).code(), Some("WRONGTYPE"));
}

#[test]
fn an_event_is_shown_without_what_it_tells() {
    let mut fields = vec![(b"type".to_vec(), b"t".to_vec()), (b"payload".to_vec(), b"{}".to_vec())];
    fields.push((b"key".to_vec(), CONTENT.into()));
    fields.push((b"extra".to_vec(), CONTENT.into()));
    let entry = eventbus::RawEntry::new(EntryId::ZERO, fields);
    let event = StreamEvent::decode(&StreamKey::new("s").unwrap(), entry).unwrap();
    assert_eq!(
        format!("{event:?}"),
        "StreamEvent { id: EntryId { ms: 0, seq: 0 }, event_id: \"s/0-0\", event_type: \"t\", \
         timestamp: 1970-01-01T00:00:00Z, payload: Payload(2 bytes), source_service: None, extra: 1, .. }"
    );
}
