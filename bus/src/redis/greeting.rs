//! The first commands on a connection.
//!
//! redis-rs hides the server's reason for a failed AUTH and discards an error sent before the first command, so "max
//! number of clients reached" would look like a wrong password or a time-out. HELLO returns the error unchanged. redis-rs
//! sends HELLO only to start RESP3; [`greet`] then switches back to RESP2.

use std::path::Path;

use redis::aio::ConnectionLike;
use redis::{ProtocolVersion, RedisConnectionInfo, RedisResult, Value};

use crate::config::RedisConfig;
use crate::error::Error;

/// Returns the settings for a connection that starts with HELLO, with the credentials of the files, else of the URL.
///
/// # Errors
/// [`Error::File`] if a file cannot be read.
pub(super) async fn login(redis: &RedisConfig) -> Result<RedisConnectionInfo, Error> {
    let (url, files) = (redis.info.redis_settings(), &redis.files);
    // Redis 7.0 has no CLIENT SETINFO, and a restricted user may have no permission for it.
    let mut settings =
        RedisConnectionInfo::default().set_skip_set_lib_name().set_protocol(ProtocolVersion::RESP3);
    let username = match &files.username {
        Some(path) => Some(read_line(path, "REDIS_USERNAME_FILE").await?),
        None => url.username().map(str::to_owned),
    };
    let password = match &files.password {
        Some(path) => Some(read_line(path, "REDIS_PASSWORD_FILE").await?),
        None => url.password().map(str::to_owned),
    };
    if let Some(username) = username {
        settings = settings.set_username(username);
    }
    if let Some(password) = password {
        settings = settings.set_password(password);
    }
    Ok(settings)
}

/// Switches to RESP2, in which replies are parsed, selects the database, and pings: a server that is still loading its
/// data accepts a login, but no ping.
///
/// # Errors
/// Greets the server and selects the database. Returns the error of the first command that Redis refused.
pub(super) async fn greet(
    conn: &mut (impl ConnectionLike + Send),
    database: i64,
) -> RedisResult<()> {
    let mut pipe = redis::pipe();
    pipe.cmd("HELLO").arg(2);
    if database != 0 {
        pipe.cmd("SELECT").arg(database);
    }
    pipe.cmd("PING").ignore_errors();
    let answers: Vec<RedisResult<Value>> = pipe.query_async(conn).await?;
    let (ping, before) = answers.split_last().expect("a PING is answered");
    for answer in before {
        answer.clone()?;
    }
    match ping {
        // A user without permission for PING may have permission for all other commands.
        Err(error) if error.code() != Some("NOPERM") => Err(error.clone()),
        _ => Ok(()),
    }
}

/// Reads a credential without its trailing line end, which editors and `kubectl create secret --from-file` add.
async fn read_line(path: &Path, setting: &'static str) -> Result<String, Error> {
    let text = tokio::fs::read_to_string(path).await.map_err(|source| Error::File {
        path: path.to_owned(),
        setting,
        source,
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
