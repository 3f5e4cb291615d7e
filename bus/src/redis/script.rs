//! Running Lua scripts on the server: by hash, and by text where the server does not know the hash yet.

use crate::redis::Connection;
use redis::{Cmd, RedisError, RedisResult, Value};

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
        conn: &mut Connection,
        keys: &[&str],
        args: &[&str],
    ) -> RedisResult<Value> {
        let answer =
            match Self::command(self.by_hash, &self.hash, keys, args).query_async(conn).await {
                Err(error) if error.code() == Some("NOSCRIPT") => {
                    Self::command(self.by_text, self.text, keys, args).query_async(conn).await
                }
                result => result,
            };
        answer.map_err(with_code)
    }

    fn command(name: &str, script: &str, keys: &[&str], args: &[&str]) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(keys.len()).arg(keys).arg(args);
        command
    }
}

/// A missing right inside a script is told by its text alone: by one text on Redis 7.0, by another on later servers.
fn with_code(error: RedisError) -> RedisError {
    const TEXTS: [&str; 2] = ["user executing the script can't", "ACL failure in script"];
    let text = error.detail().unwrap_or_default();
    let is_right = error.code() == Some("ERR") && TEXTS.iter().any(|known| text.contains(known));
    if is_right {
        redis::make_extension_error("NOPERM".to_owned(), Some(text.to_owned()))
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_inside_a_script_has_the_code_of_one_outside() {
        let told = |text: &str| {
            with_code(redis::make_extension_error("ERR".to_owned(), Some(text.to_owned())))
        };
        for text in [
            "The user executing the script can't run this command or subcommand script: 5a",
            "ACL failure in script: User u has no permissions to run the 'hget' command",
        ] {
            assert_eq!(told(text).code(), Some("NOPERM"));
            assert_eq!(told(text).detail(), Some(text));
        }
        assert_eq!(told("Error running script: syntax").code(), Some("ERR"));
    }
}
