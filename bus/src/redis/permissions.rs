//! Permission checks: each command is tried in a form that changes nothing.

use redis::{Cmd, RedisResult, Value};

use crate::redis::Connection;

/// Name that no group, consumer or field has: a command on it changes nothing and is refused for its permissions first.
pub(crate) const NO_NAME: &str = "eventbus:none";
/// Hash that no script has.
pub(crate) const NO_SCRIPT: &str = "0000000000000000000000000000000000000000";

/// Command to try, after its name for error messages.
pub(crate) type Needed = (&'static str, Cmd);

/// Builds a command from its words.
pub(crate) fn command(words: &[&str]) -> Cmd {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command
}

/// Result of trying commands.
pub(crate) struct Tried {
    /// Names of the commands that the user has no permission for.
    pub missing: Vec<&'static str>,
    /// The reply to each command.
    pub answers: Vec<RedisResult<Value>>,
}

/// Tries all commands in one write.
pub(crate) async fn try_all(conn: &mut Connection, needed: Vec<Needed>) -> RedisResult<Tried> {
    let (names, commands): (Vec<_>, Vec<_>) = needed.into_iter().unzip();
    let mut pipe = redis::pipe();
    for command in commands {
        pipe.add_command(command);
    }
    let answers: Vec<RedisResult<Value>> = pipe.ignore_errors().query_async(conn).await?;
    let refused = |answer: &RedisResult<Value>| {
        answer.as_ref().is_err_and(|error| error.code() == Some("NOPERM"))
    };
    let tried = names.into_iter().zip(&answers);
    let missing = tried.filter(|(_, answer)| refused(answer)).map(|(name, _)| name).collect();
    Ok(Tried { missing, answers })
}
