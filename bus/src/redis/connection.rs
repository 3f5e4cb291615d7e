//! Connections to Redis that detect a dead peer.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, Pipeline, RedisError,
    RedisFuture, RedisResult, TlsCertificates, Value,
};
use tokio::time::Instant;

use crate::config::{CredentialFiles, RedisConfig};
use crate::error::{Error, tls};

use super::greeting::{greet, login};

/// Time limit of a connect: name look-up, TLS and the first replies included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const SILENT: &str = "the server does not answer within 2s";
/// A server without TLS reads the first bytes of the handshake as an incomplete command and waits for the rest.
const SILENT_TLS: &str = "no TLS handshake within 2s: the server does not answer, or does not use TLS on this port (then use redis://)";
const CLOSED: &str = "the server closed the connection before it answered: it may use TLS on this port (then use rediss://)";
const CA_FILE: &str = "REDIS_CA_FILE";
const CERT_FILE: &str = "REDIS_CERT_FILE";
const KEY_FILE: &str = "REDIS_KEY_FILE";
/// Part of redis-rs' text for a client certificate and key that the TLS library does not accept.
const UNUSABLE: &str = "Unable to build client with TLS parameters provided";
/// A server cannot send an error before the TLS handshake is complete.
const CLOSED_TLS: &str = "the server closed the connection before it answered: it may have reached its maximum number of clients";

/// Connection to Redis that is not replaced after a failure. Clones share it.
///
/// Commands are sent in the order of their calls and may overlap; a command behind a blocking read waits for it. The
/// connection runs any command of the crate `redis`, whose trait it implements.
#[derive(Clone)]
pub struct Connection(MultiplexedConnection);

impl Connection {
    /// Connects with the credentials that the files have now, and waits for the first answer of Redis, at most 2 s.
    ///
    /// A command that is not answered within `response_timeout` fails. Blocking reads need a connection of their own with
    /// a `response_timeout` above their BLOCK.
    ///
    /// # Errors
    /// [`Error::File`] if a credential cannot be read, else [`Error::Connect`]: the server is unreachable or refused the
    /// connection.
    pub async fn open(redis: &RedisConfig, response_timeout: Duration) -> Result<Self, Error> {
        let refused = |source: redis::RedisError| Error::Connect {
            endpoint: redis.endpoint(),
            source: source.into(),
        };
        let client = client(redis).await?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(Some(response_timeout));
        let is_tls = matches!(redis.info.addr(), ConnectionAddr::TcpTls { .. });
        let began = now();
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        let silence = if is_tls { SILENT_TLS } else { SILENT };
        let connected = within(began, connecting, silence).await;
        let mut conn = Self(connected.map_err(|error| explained(error, redis)).map_err(refused)?);
        let greeting = greet(&mut conn, redis.info.redis_settings().db());
        within(began, greeting, SILENT).await.map_err(refused)?;
        Ok(conn)
    }

    /// Sets the time limit of each later command.
    pub(crate) fn set_response_timeout(&mut self, response_timeout: Duration) {
        self.0.set_response_timeout(response_timeout);
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        self.0.req_packed_command(cmd)
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.0.req_packed_commands(cmd, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.0.get_db()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

/// Replaces the error of a connection that was closed before any answer with one that names the likely cause, and an error
/// of TLS with a sentence and the files that it is about.
fn explained(error: RedisError, redis: &RedisConfig) -> RedisError {
    let is_tls = matches!(redis.info.addr(), ConnectionAddr::TcpTls { .. });
    if let Some(text) = is_tls.then(|| tls_text(&error.to_string(), &redis.files)).flatten() {
        return io::Error::new(io::ErrorKind::InvalidData, text).into();
    }
    if !error.is_connection_dropped() || error.is_connection_refusal() {
        return error;
    }
    let text = if is_tls { CLOSED_TLS } else { CLOSED };
    io::Error::new(io::ErrorKind::ConnectionAborted, text).into()
}

fn tls_text(error: &str, files: &CredentialFiles) -> Option<String> {
    let named = |setting: &str, path: &Option<PathBuf>| match path {
        Some(path) => format!("{setting} is {}", path.display()),
        None => format!("{setting} is not set"),
    };
    let (ca, cert) = (named(CA_FILE, &files.ca), named(CERT_FILE, &files.cert));
    if let Some((_, cause)) = error.split_once(UNUSABLE) {
        let key = named(KEY_FILE, &files.key);
        let wrong = match cause {
            _ if cause.contains("KeyMismatch") => "the private key is not that of the certificate",
            _ if cause.contains("private key") => {
                "the private key is none of RSA, ECDSA and Ed25519"
            }
            _ => "the certificate is malformed",
        };
        return Some(format!("cannot use the client certificate: {wrong} ({cert}, {key})"));
    }
    let sentence = tls::explained(error)?;
    if tls::is_untrusted(error) {
        return Some(format!("{sentence} ({ca})"));
    }
    if tls::is_refusal(error) {
        return Some(format!("{sentence} ({cert})"));
    }
    Some(sentence)
}

/// Runs `work` until [`CONNECT_TIMEOUT`] after `began`, then fails with the message `silence`.
async fn within<T>(
    began: Instant,
    work: impl Future<Output = RedisResult<T>>,
    silence: &str,
) -> RedisResult<T> {
    tokio::time::timeout_at(began + CONNECT_TIMEOUT, work)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, silence).into()))
}

async fn client(redis: &RedisConfig) -> Result<Client, Error> {
    let refused = |source: redis::RedisError| Error::Connect {
        endpoint: redis.endpoint(),
        source: source.into(),
    };
    let files = &redis.files;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    let info = redis.info.clone().set_redis_settings(login(redis).await?).set_tcp_settings(tcp);
    if !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        return Client::open(info).map_err(refused);
    }
    let client_tls = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => Some(ClientTlsConfig {
            client_cert: read_pem(cert, CERT_FILE, "CERTIFICATE").await?,
            client_key: read_pem(key, KEY_FILE, "PRIVATE KEY").await?,
        }),
        _ => None,
    };
    let root_cert = match &files.ca {
        Some(path) => Some(read_pem(path, CA_FILE, "CERTIFICATE").await?),
        None => None,
    };
    let certificates = TlsCertificates { client_tls, root_cert };
    let failed = |error: RedisError| unreadable(&error, files).unwrap_or_else(|| refused(error));
    Client::build_with_tls(info, certificates).map_err(failed)
}

/// Returns the error for the file that redis-rs could not decode. Its text may quote the file, which may have the key.
fn unreadable(error: &RedisError, files: &CredentialFiles) -> Option<Error> {
    let text = error.to_string();
    let is = |part: &str| text.contains(part);
    let (path, setting, kind) = if is("client certificate") {
        (&files.cert, CERT_FILE, "certificate")
    } else if is("private key") {
        (&files.key, KEY_FILE, "private key")
    } else if is("root certificate") || is("trust anchors") {
        (&files.ca, CA_FILE, "certificate")
    } else {
        return None;
    };
    let text = format!("the file has a {kind} that is damaged");
    let source = io::Error::new(io::ErrorKind::InvalidData, text);
    Some(Error::File { path: path.clone()?, setting, source })
}

/// Reads a PEM file and checks that it has a block of this kind. redis-rs accepts a file without one and later reports
/// an untrusted or missing certificate.
async fn read_pem(path: &Path, setting: &'static str, kind: &str) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::File { path: path.to_owned(), setting, source };
    let bytes = tokio::fs::read(path).await.map_err(failed)?;
    if holds(&bytes, kind) {
        return Ok(bytes);
    }
    let text = format!("the file has no {} in PEM", kind.to_lowercase());
    Err(failed(io::Error::new(io::ErrorKind::InvalidData, text)))
}

/// Returns `true` if there is a whole block of this kind; `PRIVATE KEY` also matches `EC PRIVATE KEY`.
fn holds(pem: &[u8], kind: &str) -> bool {
    let text = String::from_utf8_lossy(pem);
    let is = |line: &str, edge: &str| line.starts_with(edge) && line.contains(kind);
    let mut lines = text.lines();
    lines.any(|line| is(line, "-----BEGIN ")) && lines.any(|line| is(line, "-----END "))
}

#[expect(clippy::disallowed_methods, reason = "the edge that limits a connect")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pem_block_needs_its_first_and_its_last_line() {
        let cases = [
            ("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", true),
            ("about\n-----BEGIN CERTIFICATE-----\r\nAA==\r\n-----END CERTIFICATE-----", true),
            ("-----BEGIN CERTIFICATE-----\nAA==\n", false),
            ("-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n", false),
            ("", false),
        ];
        for (pem, is_block) in cases {
            assert_eq!(holds(pem.as_bytes(), "CERTIFICATE"), is_block, "{pem}");
        }
    }
}
