//! Certificates and files of TLS that cannot be used: each is told in a sentence, with what to do.

use std::path::PathBuf;

use eventbus::config::{BusConfig, CredentialFiles, RedisConfig};
use eventbus::{EventBus, StreamKey, chain};
use tests::event_bus::{connect, is_late};
use tests::subscriber::LONG;
use tests::tls::{Authority, Certificate, ClientFiles, TlsServer};
use tests::wait;

fn config(url: &str, files: CredentialFiles) -> BusConfig {
    let redis = RedisConfig::new("REDIS_URL", url, files).unwrap();
    BusConfig::new(redis, StreamKey::new("s").unwrap())
}

/// The error of connecting with these files, once the server was in time. It shows no name of a variant and no key.
async fn refusal(url: &str, files: CredentialFiles) -> String {
    let config = config(url, files);
    let text = wait::until("the connection is refused", LONG, async || {
        let error = EventBus::connect(config.clone()).await.expect_err("it does not connect");
        (!is_late(&error)).then(|| chain(&error))
    })
    .await;
    let names = text.split(|c: char| !c.is_ascii_alphanumeric());
    let is_variant = |name: &str| {
        let (first, rest) = name.split_at(name.len().min(1));
        first.chars().all(|c| c.is_ascii_uppercase())
            && rest.chars().any(|c| c.is_ascii_lowercase())
            && rest.chars().any(|c| c.is_ascii_uppercase())
    };
    // The names of X.509's own fields begin with a lower-case letter.
    let variants: Vec<&str> = names.filter(|name| is_variant(name)).collect();
    assert!(variants.is_empty() && !text.contains("-----"), "{variants:?}: {text}");
    text
}

#[tokio::test]
async fn case_16_a_certificate_of_the_server_that_cannot_be_used_is_told_with_what_to_do() {
    let own = Authority::new();
    let (server, client) = (TlsServer::start(&own).await, ClientFiles::of(&own));
    let own_ca = own.self_signed("alone");
    let cases: [(Certificate, PathBuf, &str); 7] = [
        (own_ca.clone(), own_ca.cert, "reissue it with basicConstraints CA:FALSE"),
        (
            own.issue_with("ca-true", "basicConstraints=CA:TRUE"),
            own.ca(),
            "reissue it with basicConstraints CA:FALSE",
        ),
        (own.issue_version_1("old"), own.ca(), "reissue it as version 3"),
        (
            own.issue_between("past", "20200101000000Z", "20200102000000Z"),
            own.ca(),
            "expired at 2020-01-02T00:00:00Z: renew it",
        ),
        (
            own.issue_between("future", "20480101000000Z", "20480102000000Z"),
            own.ca(),
            "is not valid before 2048-01-01T00:00:00Z: wait",
        ),
        (
            own.issue_with("for-clients", "extendedKeyUsage=clientAuth"),
            own.ca(),
            "reissue it with extendedKeyUsage serverAuth",
        ),
        (
            own.issue("elsewhere", "DNS:redis.example"),
            own.ca(),
            "is not for 127.0.0.1, but for redis.example: connect by a name that it has",
        ),
    ];
    for (certificate, ca, expected) in cases {
        server.show(&certificate).await;
        let text = refusal(&server.url(), CredentialFiles { ca: Some(ca), ..client.all() }).await;
        let begin = format!(
            "cannot connect to Redis at {}/0: the server's certificate",
            &server.url()[9..]
        );
        assert!(text.starts_with(&begin) && text.contains(expected), "{expected}: {text}");
    }
}

#[tokio::test]
async fn case_16_an_authority_that_is_not_trusted_is_told_with_the_file_of_those_that_are() {
    let (own, other) = (Authority::new(), Authority::new());
    let (server, client) = (TlsServer::start(&own).await, ClientFiles::of(&own));
    let text = refusal(&server.url(), CredentialFiles { ca: None, ..client.all() }).await;
    assert!(text.ends_with("(REDIS_CA_FILE is not set)"), "{text}");
    let files = CredentialFiles { ca: Some(other.ca()), ..client.all() };
    let text = refusal(&server.url(), files).await;
    let end = format!("(REDIS_CA_FILE is {})", other.ca().display());
    assert!(text.contains("the authority that it names") && text.ends_with(&end), "{text}");
}

#[tokio::test]
async fn case_16_a_client_certificate_that_the_server_refuses_is_told_with_its_file() {
    let own = Authority::new();
    let (server, client) = (TlsServer::start(&own).await, ClientFiles::of(&own));
    let nobody = CredentialFiles { cert: None, key: None, ..client.all() };
    let text = refusal(&server.url(), nobody).await;
    let end = "the server requires a client certificate (REDIS_CERT_FILE is not set)";
    assert!(text.ends_with(end), "{text}");
    let past = own.issue_between("past", "20200101000000Z", "20200102000000Z");
    let end = format!("has expired: renew it (REDIS_CERT_FILE is {})", past.cert.display());
    let files = CredentialFiles { cert: Some(past.cert), key: Some(past.key), ..client.all() };
    let text = refusal(&server.url(), files).await;
    assert!(text.ends_with(&end), "{text}");
}

#[tokio::test]
async fn case_16_a_file_that_cannot_be_decoded_is_named_with_its_setting() {
    let own = Authority::new();
    let (server, client) = (TlsServer::start(&own).await, ClientFiles::of(&own));
    connect(config(&server.url(), client.all())).await;
    let damaged = |name: &str, body: &str| {
        let kind = if name == "tls.key" { "PRIVATE KEY" } else { "CERTIFICATE" };
        let text = format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n");
        std::fs::write(client.path("damaged"), text).unwrap();
        Some(client.path("damaged"))
    };
    for (name, setting) in
        [("ca.crt", "REDIS_CA_FILE"), ("tls.crt", "REDIS_CERT_FILE"), ("tls.key", "REDIS_KEY_FILE")]
    {
        // No base64, and base64 of nothing that it could be.
        for body in ["c2VjcmV0*", "c2VjcmV0"] {
            let mut files = client.all();
            *match name {
                "ca.crt" => &mut files.ca,
                "tls.crt" => &mut files.cert,
                _ => &mut files.key,
            } = damaged(name, body);
            let text = refusal(&server.url(), files).await;
            let path = client.path("damaged");
            assert!(text.contains(setting), "{setting}: {text}");
            assert!(text.contains(path.to_str().unwrap()), "{setting}: {text}");
            assert!(!text.contains("c2Vj"), "{text}");
        }
    }
    let stranger = own.issue("stranger", "DNS:stranger");
    let text =
        refusal(&server.url(), CredentialFiles { key: Some(stranger.key), ..client.all() }).await;
    assert!(text.contains("the private key is not that of the certificate"), "{text}");
}

#[tokio::test]
async fn case_16_an_error_of_an_https_client_is_told_in_the_same_sentences() {
    let (own, other) = (Authority::new(), Authority::new());
    let server = TlsServer::start(&own).await;
    rustls::crypto::ring::default_provider().install_default().ok();
    let pem = std::fs::read(other.ca()).unwrap();
    let trusted = reqwest::Certificate::from_pem(&pem).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([trusted]).build().unwrap();
    let cause = async |url: String| chain(&client.get(url).send().await.unwrap_err());
    let text = cause(server.url().replace("rediss:", "https:")).await;
    assert!(
        text.contains("the authority that it names") && !text.contains("BadSignature"),
        "{text}"
    );
    let plain = TcpEcho::start().await;
    let text = cause(format!("https://127.0.0.1:{}", plain.0)).await;
    assert!(text.contains("the server does not answer in TLS"), "{text}");
}

/// Answers every connection as a server without TLS does.
struct TcpEcho(u16);

impl TcpEcho {
    async fn start() -> Self {
        use tokio::io::AsyncWriteExt;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok();
            }
        });
        Self(port)
    }
}
