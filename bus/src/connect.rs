//! Connections to Redis, made so that a dead peer is noticed.

pub(crate) mod outage;
mod supervised;

use std::path::Path;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{AsyncConnectionConfig, Client, ClientTlsConfig, ProtocolVersion, TlsCertificates};

use crate::config::RedisConfig;
use crate::error::Error;

pub(crate) use supervised::SharedConnection;

/// How long a connect may take, name look-up and TLS included.
const CONNECT: Duration = Duration::from_secs(2);

/// Connects, with the credentials that stand in the files now.
///
/// A command that is not answered within `response_timeout` fails. A connection for blocking reads is used for
/// nothing else and needs a `response_timeout` above its BLOCK: a command sent behind a blocked one waits with it.
///
/// # Errors
/// [`Error::File`] if a credential cannot be read, [`Error::Connect`] otherwise.
pub async fn connect(
    redis: &RedisConfig,
    response_timeout: Duration,
) -> Result<MultiplexedConnection, Error> {
    let refused = |source: redis::RedisError| Error::Connect {
        endpoint: redis.endpoint(),
        source: source.into(),
    };
    let client = client(redis).await?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(response_timeout));
    client.get_multiplexed_async_connection_with_config(&config).await.map_err(refused)
}

async fn client(redis: &RedisConfig) -> Result<Client, Error> {
    let refused = |source: redis::RedisError| Error::Connect {
        endpoint: redis.endpoint(),
        source: source.into(),
    };
    let files = &redis.files;
    // Redis 7.0 knows no CLIENT SETINFO, and a restricted user may not be allowed it.
    // RESP2, whatever the URL says: replies are read in its form.
    let mut settings = redis
        .info
        .redis_settings()
        .clone()
        .set_skip_set_lib_name()
        .set_protocol(ProtocolVersion::RESP2);
    if let Some(path) = &files.username {
        settings = settings.set_username(read_line(path).await?);
    }
    if let Some(path) = &files.password {
        settings = settings.set_password(read_line(path).await?);
    }
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    let info = redis.info.clone().set_redis_settings(settings).set_tcp_settings(tcp);
    if !matches!(info.addr(), redis::ConnectionAddr::TcpTls { .. }) {
        return Client::open(info).map_err(refused);
    }
    let client_tls = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => {
            Some(ClientTlsConfig { client_cert: read(cert).await?, client_key: read(key).await? })
        }
        _ => None,
    };
    let root_cert = match &files.ca {
        Some(path) => Some(read(path).await?),
        None => None,
    };
    Client::build_with_tls(info, TlsCertificates { client_tls, root_cert }).map_err(refused)
}

async fn read(path: &Path) -> Result<Vec<u8>, Error> {
    tokio::fs::read(path).await.map_err(|source| Error::File { path: path.to_owned(), source })
}

/// Editors and `kubectl create secret --from-file` leave a line end that is no part of a credential.
async fn read_line(path: &Path) -> Result<String, Error> {
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|source| Error::File { path: path.to_owned(), source })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
