//! The first commands on a connection. They are sent here and not by the client, which of any refusal of AUTH tells no
//! more than that it was one: a server without room or without its data is no wrong password.

use std::io;
use std::path::Path;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, RedisResult};

use crate::config::RedisConfig;
use crate::error::Error;

/// What a closed connection may mean before anything was answered on it.
const CLOSED: &str = "the server closed the connection before it answered, as one does that speaks TLS on this port (rediss://) or has no connection left";

/// Who logs in, and where to.
pub(super) struct Greeting {
    /// User name, where there is one, and password.
    credentials: Option<Vec<String>>,
    database: i64,
}

impl Greeting {
    /// What the files say now, else the URL.
    ///
    /// # Errors
    /// [`Error::File`] if one cannot be read.
    pub async fn read(redis: &RedisConfig) -> Result<Self, Error> {
        let settings = redis.info.redis_settings();
        let username = match &redis.files.username {
            Some(path) => Some(read_line(path).await?),
            None => settings.username().map(str::to_owned),
        };
        let password = match &redis.files.password {
            Some(path) => Some(read_line(path).await?),
            None => settings.password().map(str::to_owned),
        };
        let credentials = password.map(|password| username.into_iter().chain([password]).collect());
        Ok(Self { credentials, database: settings.db() })
    }

    /// Logs in, chooses the database, and has Redis answer: a server that hangs still lets everybody connect.
    ///
    /// # Errors
    /// What Redis answered to the first command that it refused; the others are not sent, for a server without room
    /// answers once and closes.
    pub async fn send(&self, conn: &mut MultiplexedConnection) -> RedisResult<()> {
        for command in self.commands() {
            command.exec_async(conn).await.map_err(explained)?;
        }
        match redis::cmd("PING").exec_async(conn).await {
            // A user without the right to ping may have all the others.
            Err(error) if error.code() == Some("NOPERM") => Ok(()),
            result => result.map_err(explained),
        }
    }

    fn commands(&self) -> Vec<Cmd> {
        let mut commands = Vec::new();
        if let Some(credentials) = &self.credentials {
            let mut auth = redis::cmd("AUTH");
            auth.arg(credentials);
            commands.push(auth);
        }
        if self.database != 0 {
            let mut select = redis::cmd("SELECT");
            select.arg(self.database);
            commands.push(select);
        }
        commands
    }
}

fn explained(error: RedisError) -> RedisError {
    if error.is_connection_dropped() {
        io::Error::new(io::ErrorKind::ConnectionAborted, CLOSED).into()
    } else {
        error
    }
}

/// Editors and `kubectl create secret --from-file` leave a line end that is no part of a credential.
async fn read_line(path: &Path) -> Result<String, Error> {
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|source| Error::File { path: path.to_owned(), source })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
