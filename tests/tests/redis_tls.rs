//! TLS: an authority of one's own, client certificates, and what is told where they do not fit.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::path::PathBuf;

use eventbus::config::{BusConfig, CredentialFiles, RedisConfig};
use eventbus::{Answer, EventBus, StreamKey, chain};
use tests::consumer::{Consumer, SOON, settled};
use tests::event_bus::{connect, is_late, publish};
use tests::handler::Handler;
use tests::programs;
use tests::subscriber::{LONG, Running, command, config, drained};
use tests::tls::{Authority, ClientFiles, TlsServer};
use tests::wait;

fn redis(url: &str, files: CredentialFiles) -> RedisConfig {
    RedisConfig::new("REDIS_URL", url, files).unwrap()
}

async fn bus(redis: RedisConfig) -> EventBus {
    connect(BusConfig::new(redis, StreamKey::new("s").unwrap())).await
}

/// Checks that a bus does not connect, with all of `expected` in the words of the error and no key.
async fn refused(url: &str, files: CredentialFiles, expected: &str) {
    let config = BusConfig::new(redis(url, files), StreamKey::new("s").unwrap());
    wait::until(&format!("a refusal that tells {expected}"), LONG, async || {
        let connected = EventBus::connect(config.clone()).await;
        let Err(error) = connected else { panic!("it connects instead: {expected}") };
        let text = format!("{} {error:?}", chain(&error));
        assert!(!text.contains("-----"), "{text}");
        let is_reported = text.contains(expected);
        assert!(is_reported || is_late(&error), "{expected} is not told by: {text}");
        is_reported.then_some(())
    })
    .await;
}

/// Waits until `consumer health`, started with these settings, answers with this text.
async fn health(settings: &[(&str, &str)], expected: &str) {
    let program = programs::Running::start("consumer", &["health"], settings);
    let address = wait::until("the service tells its address", SOON, async || {
        let output = program.output();
        let (_, rest) = output.split_once("serving HTTP address=")?;
        // The line may not be written to its end yet.
        rest.split_once('\n').map(|(address, _)| address.trim().to_owned())
    });
    let url = format!("http://{}/api/health/events", address.await);
    let client = reqwest::Client::builder().no_proxy().timeout(SOON).build().unwrap();
    wait::until(&format!("it tells {expected}"), SOON, async || {
        let report = client.get(&url).send().await.unwrap().text().await.unwrap();
        report.contains(expected).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_speaks_tls_with_an_own_authority_and_a_client_certificate() {
    let own = Authority::new();
    let (server, client, handler) =
        (TlsServer::start(&own).await, ClientFiles::of(&own), Handler::start());
    let redis = redis(&server.url(), client.all());
    let bus = bus(redis.clone()).await;
    publish(&bus, "t", 1).await;
    let subscriber = Running::start(redis, config(), async |_| Answer::Done);
    let mut conn = server.plain.connection().await;
    drained(&mut conn).await;
    assert_eq!(subscriber.seen.times().keys().collect::<Vec<_>>(), ["1"]);
    subscriber.stop().await.unwrap();

    let (url, files) = (server.url(), ["ca.crt", "tls.crt", "tls.key"].map(|f| client.path(f)));
    let [ca, cert, key] = files.each_ref().map(|file| file.to_str().unwrap());
    let tls = [
        ("REDIS_URL", url.as_str()),
        ("REDIS_CA_FILE", ca),
        ("REDIS_CERT_FILE", cert),
        ("REDIS_KEY_FILE", key),
    ];
    let consumer = Consumer::start(&server.plain, &handler.url(), &tls);
    publish(&bus, "t", 2).await;
    assert_eq!(handler.received(1).await[0].body, "2");
    settled(&mut conn).await;
    drop(consumer);
    let length: u64 = redis::cmd("XLEN").arg("s").query_async(&mut conn).await.unwrap();
    let beside = [("REDIS_STREAM_NAME", "s"), ("HEALTH_GROUPS", "g"), ("LISTEN", "127.0.0.1:0")];
    let expected = format!(r#""redis_connected":true,"stream_length":{length}"#);
    health(&[tls.as_slice(), &beside].concat(), &expected).await;
}

#[tokio::test]
async fn a_server_or_a_client_that_is_not_trusted_is_told_as_that() {
    let (own, other) = (Authority::new(), Authority::new());
    let (server, client) = (TlsServer::start(&own).await, ClientFiles::of(&own));
    let (url, files) = (server.url(), client.all());
    bus(redis(&url, files.clone())).await;
    refused(
        &url,
        CredentialFiles { ca: None, ..files.clone() },
        "certificate is not signed by an authority that is trusted here",
    )
    .await;
    let another = CredentialFiles { ca: Some(other.ca()), ..files.clone() };
    refused(&url, another, "not signed with the key of the authority that it names").await;
    let name = url.replace("127.0.0.1", "localhost");
    refused(&name, files.clone(), "certificate is not for localhost, but for 127.0.0.1").await;
    let nobody = CredentialFiles { cert: None, key: None, ..files.clone() };
    refused(&url, nobody, "the server requires a client certificate").await;
    let stranger = ClientFiles::of(&other);
    let foreign = CredentialFiles { ca: files.ca, ..stranger.all() };
    refused(&url, foreign, "does not trust the authority that signed the client certificate").await;
}

#[tokio::test]
async fn a_port_of_the_other_kind_is_told_as_what_it_may_be() {
    let own = Authority::new();
    let (server, client) = (TlsServer::start(&own).await, ClientFiles::of(&own));
    let plain_to_tls = server.url().replace("rediss:", "redis:");
    refused(
        &plain_to_tls,
        CredentialFiles::default(),
        "it may use TLS on this port (then use rediss://)",
    )
    .await;
    let tls_to_plain = server.plain.url().replace("redis:", "rediss:");
    refused(&tls_to_plain, client.all(), "does not use TLS on this port (then use redis://)").await;
}

#[tokio::test]
async fn a_file_that_is_missing_or_garbled_is_named_and_not_shown() {
    let own = Authority::new();
    let (server, client) = (TlsServer::start(&own).await, ClientFiles::of(&own));
    let garble = |name: &str| {
        let whole = std::fs::read(client.path(name)).unwrap();
        std::fs::write(client.path("garbled"), &whole[..whole.len() / 2]).unwrap();
        client.path("garbled")
    };
    let missing = PathBuf::from("/nowhere/tls");
    type Put = fn(&mut CredentialFiles, PathBuf);
    let places: [(&str, Put, &str, &str); 3] = [
        ("ca.crt", |files, path| files.ca = Some(path), "certificate", "REDIS_CA_FILE"),
        ("tls.crt", |files, path| files.cert = Some(path), "certificate", "REDIS_CERT_FILE"),
        ("tls.key", |files, path| files.key = Some(path), "private key", "REDIS_KEY_FILE"),
    ];
    for (name, put, kind, setting) in places {
        let with = |path| {
            let mut files = client.all();
            put(&mut files, path);
            files
        };
        refused(
            &server.url(),
            with(missing.clone()),
            &format!("cannot read /nowhere/tls ({setting}): No such"),
        )
        .await;
        let expected = format!("garbled ({setting}): the file has no {kind} in PEM");
        refused(&server.url(), with(garble(name)), &expected).await;
    }
}

#[tokio::test]
async fn files_that_are_replaced_serve_the_next_connection() {
    let (old, new) = (Authority::new(), Authority::new());
    let (server, client) = (TlsServer::start(&old).await, ClientFiles::of(&old));
    let redis = redis(&server.url(), client.all());
    let bus = bus(redis.clone()).await;
    let subscriber = Running::start(redis, config(), async |_| Answer::Done);
    publish(&bus, "t", 1).await;
    let handled = async |payload| {
        wait::until("the subscriber gets it", LONG, async || {
            subscriber.seen.times().contains_key(payload).then_some(())
        })
        .await;
    };
    handled("1").await;
    server.trust(&new).await;
    let kill = "CLIENT KILL TYPE normal SKIPME yes";
    command(&mut server.plain.connection().await, kill).await;
    let error = wait::until("the old files are refused", LONG, async || {
        let error = bus.publish("t", &2, None).await.err()?;
        chain(&error).contains("certificate").then_some(error)
    });
    assert!(error.await.is_transient());
    client.replace(&new);
    // Of files that are being replaced, one may be read by half.
    wait::until("the new files are taken", LONG, async || bus.publish("t", &3, None).await.ok())
        .await;
    handled("3").await;
    subscriber.stop().await.unwrap();
}
