//! Running Lua scripts on the server: by hash, and by text where the server does not know the hash yet.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisResult, Value};

/// A script that ships with this library.
pub(crate) struct Script {
    text: &'static str,
    hash: String,
    by_hash: &'static str,
    by_text: &'static str,
}

impl Script {
    /// A script that may write.
    pub(crate) fn new(text: &'static str) -> Self {
        Self::with_commands(text, "EVALSHA", "EVAL")
    }

    /// A script that only reads: a user with no more than read rights on the keys may run it.
    pub(crate) fn read_only(text: &'static str) -> Self {
        Self::with_commands(text, "EVALSHA_RO", "EVAL_RO")
    }

    fn with_commands(text: &'static str, by_hash: &'static str, by_text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned(), by_hash, by_text }
    }

    /// Runs the script. A server that lost it (a restart, a failover, `SCRIPT FLUSH`) gets the text, which needs no
    /// right to load scripts.
    pub(crate) async fn call(
        &self,
        conn: &mut MultiplexedConnection,
        keys: &[&str],
        args: &[&str],
    ) -> RedisResult<Value> {
        match Self::command(self.by_hash, &self.hash, keys, args).query_async(conn).await {
            Err(error) if error.code() == Some("NOSCRIPT") => {
                Self::command(self.by_text, self.text, keys, args).query_async(conn).await
            }
            result => result,
        }
    }

    fn command(name: &str, script: &str, keys: &[&str], args: &[&str]) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(keys.len()).arg(keys).arg(args);
        command
    }
}
