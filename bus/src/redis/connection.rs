//! Connections to Redis, made so that a dead peer is noticed.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, Pipeline, RedisError,
    RedisFuture, RedisResult, TlsCertificates, Value,
};
use tokio::time::Instant;

use crate::config::RedisConfig;
use crate::error::Error;

use super::greeting::{greet, login};

/// How long a connect may take: name look-up, TLS and the first answers included.
const CONNECT: Duration = Duration::from_secs(2);
const SILENT: &str = "the server does not answer within 2s";
/// A server that takes the first bytes of TLS for a command waits for its end.
const SILENT_TLS: &str = "there is no TLS within 2s, as of a server that does not speak it on this port (redis://), or does not answer";
const CLOSED: &str = "the server closed the connection before it answered, as one does that speaks TLS on this port (rediss://)";
/// There is no way to tell anything before TLS is agreed on.
const CLOSED_TLS: &str =
    "the server closed the connection before it answered, as one does that has no connection left";

/// A connection to Redis that no supervisor replaces. Clones share it.
///
/// Commands go out in the order of their calls and may overlap; one behind a blocking read waits with it. It runs any
/// command of the crate `redis`, whose trait it implements.
#[derive(Clone)]
pub struct Connection(MultiplexedConnection);

impl Connection {
    /// Connects with the credentials that are in the files now. Redis has answered on the connection.
    ///
    /// A command that is not answered within `response_timeout` fails. A connection for blocking reads is used for
    /// nothing else and needs a `response_timeout` above its BLOCK.
    ///
    /// # Errors
    /// [`Error::File`] if a credential cannot be read, else [`Error::Connect`]: no way to the server, or its refusal.
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
        let mut conn = Self(connected.map_err(|error| explained(error, is_tls)).map_err(refused)?);
        let greeting = greet(&mut conn, redis.info.redis_settings().db());
        within(began, greeting, SILENT).await.map_err(refused)?;
        Ok(conn)
    }

    /// Changes how long each later command may take.
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

/// A connection that was closed before anything was answered on it, with what that may mean.
fn explained(error: RedisError, is_tls: bool) -> RedisError {
    if !error.is_connection_dropped() || error.is_connection_refusal() {
        return error;
    }
    let text = if is_tls { CLOSED_TLS } else { CLOSED };
    io::Error::new(io::ErrorKind::ConnectionAborted, text).into()
}

/// What `work` results in, in time since `began`; else `silence`.
async fn within<T>(
    began: Instant,
    work: impl Future<Output = RedisResult<T>>,
    silence: &str,
) -> RedisResult<T> {
    tokio::time::timeout_at(began + CONNECT, work)
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
            client_cert: read_pem(cert, "CERTIFICATE").await?,
            client_key: read_pem(key, "PRIVATE KEY").await?,
        }),
        _ => None,
    };
    let root_cert = match &files.ca {
        Some(path) => Some(read_pem(path, "CERTIFICATE").await?),
        None => None,
    };
    Client::build_with_tls(info, TlsCertificates { client_tls, root_cert }).map_err(refused)
}

/// A file that holds a block of this kind. The client takes one without any, and tells of a certificate that nobody
/// signed, or of none.
async fn read_pem(path: &Path, kind: &str) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let bytes = tokio::fs::read(path).await.map_err(failed)?;
    if holds(&bytes, kind) {
        return Ok(bytes);
    }
    let text = format!("it holds no {} in PEM", kind.to_lowercase());
    Err(failed(io::Error::new(io::ErrorKind::InvalidData, text)))
}

/// Whether there is a whole block of this kind, such as `PRIVATE KEY` or, for that, `EC PRIVATE KEY`.
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
    fn a_file_holds_what_has_a_beginning_and_an_end() {
        let cases = [
            ("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", true),
            ("about\n-----BEGIN CERTIFICATE-----\r\nAA==\r\n-----END CERTIFICATE-----", true),
            ("-----BEGIN CERTIFICATE-----\nAA==\n", false),
            ("-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n", false),
            ("", false),
        ];
        for (pem, is_held) in cases {
            assert_eq!(holds(pem.as_bytes(), "CERTIFICATE"), is_held, "{pem}");
        }
    }
}
