//! The first commands on a connection.
//!
//! The client tells of a refused AUTH no more than that, and drops what a server says before it was asked: a server with
//! no connection left would be one with a wrong password, or one that is silent. To HELLO it tells the answer as it is.
//! But it knows HELLO only as the beginning of RESP3, from which [`greet`] goes back.

use std::path::Path;

use redis::aio::ConnectionLike;
use redis::{ProtocolVersion, RedisConnectionInfo, RedisResult, Value};

use crate::config::RedisConfig;
use crate::error::Error;

/// What the client is to begin with: HELLO, with the credentials that stand in the files now, else in the URL.
///
/// # Errors
/// [`Error::File`] if one cannot be read.
pub(super) async fn login(redis: &RedisConfig) -> Result<RedisConnectionInfo, Error> {
    let (url, files) = (redis.info.redis_settings(), &redis.files);
    // Redis 7.0 knows no CLIENT SETINFO, and a restricted user may not be allowed it.
    let mut settings =
        RedisConnectionInfo::default().set_skip_set_lib_name().set_protocol(ProtocolVersion::RESP3);
    let username = match &files.username {
        Some(path) => Some(read_line(path).await?),
        None => url.username().map(str::to_owned),
    };
    let password = match &files.password {
        Some(path) => Some(read_line(path).await?),
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

/// Goes back to RESP2, in whose form replies are read, chooses the database, and has Redis answer: a server that loads
/// its data lets everybody log in.
///
/// # Errors
/// What Redis answered to the first command that it refused.
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
        // A user without the right to ping may have all the others.
        Err(error) if error.code() != Some("NOPERM") => Err(error.clone()),
        _ => Ok(()),
    }
}

/// Editors and `kubectl create secret --from-file` leave a line end that is no part of a credential.
async fn read_line(path: &Path) -> Result<String, Error> {
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|source| Error::File { path: path.to_owned(), source })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
