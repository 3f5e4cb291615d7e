//! Lua scripts: called by hash, or by text if the server does not have the script yet.

use eventbus_core::names::{GroupName, StreamKey};
use redis::{Cmd, RedisError, RedisResult, Value};

use crate::error::Error;
use crate::redis::Connection;
use crate::redis::reply::Decoded;

/// Arguments of one script: what the `.rs` of each pair implements.
pub(crate) trait Call {
    /// Decoded reply.
    type Reply;

    /// Purpose of the script, as a verb and its object; for errors.
    const OPERATION: &'static str;

    /// Returns the script.
    fn script() -> &'static Script;

    /// Writes keys and arguments in the order of the script's header, under the names there.
    fn write(&self, words: &mut Words);

    /// Decodes the reply.
    fn read(&self, reply: Value) -> Decoded<Self::Reply>;
}

/// Runs a script.
pub(crate) async fn call<C: Call>(
    conn: &mut Connection,
    arguments: &C,
) -> Result<C::Reply, Failure> {
    let mut words = Words::default();
    arguments.write(&mut words);
    let reply = C::script().run(conn, &words).await.map_err(Cause::Redis);
    let decoded = reply.and_then(|reply| arguments.read(reply).map_err(Cause::Reply));
    decoded.map_err(|cause| Failure { operation: C::OPERATION, cause })
}

/// Keys and arguments of a call, each with its name in the header of the script.
#[derive(Debug, Default)]
pub(crate) struct Words {
    keys: Vec<(&'static str, String)>,
    args: Vec<(&'static str, String)>,
}

impl Words {
    /// Appends a key.
    pub(crate) fn key(&mut self, name: &'static str, key: impl ToString) -> &mut Self {
        self.keys.push((name, key.to_string()));
        self
    }

    /// Appends an argument.
    pub(crate) fn arg(&mut self, name: &'static str, value: impl ToString) -> &mut Self {
        self.args.push((name, value.to_string()));
        self
    }
}

/// Failure of a script: what Redis answered, or a reply of an unknown form.
#[derive(Debug)]
pub(crate) struct Failure {
    operation: &'static str,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Redis(RedisError),
    /// Part of the reply that is missing or malformed.
    Reply(&'static str),
}

impl Failure {
    /// Returns the error of an operation on a stream.
    pub(crate) fn on_stream(self, stream: &StreamKey) -> Error {
        let (operation, stream) = (self.operation, stream.clone());
        match self.cause {
            Cause::Redis(source) => Error::Stream { operation, stream, source: source.into() },
            Cause::Reply(missing) => Error::Reply { operation, stream, missing },
        }
    }

    /// Returns the error of an operation on a group of a stream.
    pub(crate) fn on_group(self, stream: &StreamKey, group: &GroupName) -> Error {
        let (operation, stream, group) = (self.operation, stream.clone(), group.clone());
        match self.cause {
            Cause::Redis(source) => {
                Error::Group { operation, stream, group, source: source.into() }
            }
            Cause::Reply(missing) => Error::Reply { operation, stream, missing },
        }
    }

    /// Returns the client's error; one of its own for a reply of an unknown form.
    pub(crate) fn into_redis(self) -> RedisError {
        match self.cause {
            Cause::Redis(source) => source,
            Cause::Reply(missing) => {
                (redis::ErrorKind::UnexpectedReturnType, "the reply has no", missing.to_owned())
                    .into()
            }
        }
    }
}

/// A script that ships with this library.
pub(crate) struct Script {
    text: &'static str,
    hash: String,
    by_hash: &'static str,
    by_text: &'static str,
}

impl Script {
    /// Creates a script that may write.
    pub(crate) fn new(text: &'static str) -> Self {
        Self::with_commands(text, "EVALSHA", "EVAL")
    }

    /// Creates a script that only reads: a user with read permission on the keys may run it.
    pub(crate) fn read_only(text: &'static str) -> Self {
        Self::with_commands(text, "EVALSHA_RO", "EVAL_RO")
    }

    fn with_commands(text: &'static str, by_hash: &'static str, by_text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned(), by_hash, by_text }
    }

    /// Runs the script by its hash, or by its text if the server has lost it (a restart, a failover, `SCRIPT FLUSH`).
    /// Needs no permission for `SCRIPT LOAD`.
    async fn run(&self, conn: &mut Connection, words: &Words) -> RedisResult<Value> {
        let by_hash = Self::command(self.by_hash, &self.hash, words);
        let reply = match by_hash.query_async(conn).await {
            Err(error) if error.code() == Some("NOSCRIPT") => {
                Self::command(self.by_text, self.text, words).query_async(conn).await
            }
            result => result,
        };
        reply.map_err(with_code)
    }

    fn command(name: &str, script: &str, words: &Words) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(words.keys.len());
        for (_, word) in words.keys.iter().chain(&words.args) {
            command.arg(word);
        }
        command
    }
}

/// Adds the code `NOPERM` to an error about a missing permission inside a script. Such an error can be recognised only
/// by its text, which differs between Redis 7.0 and later servers.
fn with_code(error: RedisError) -> RedisError {
    const TEXTS: [&str; 2] = ["user executing the script can't", "ACL failure in script"];
    let text = error.detail().unwrap_or_default();
    let is_permission =
        error.code() == Some("ERR") && TEXTS.iter().any(|known| text.contains(known));
    if is_permission {
        redis::make_extension_error("NOPERM".to_owned(), Some(text.to_owned()))
    } else {
        error
    }
}

/// Checks that a call names its keys and arguments as the header of its script does, and in that order.
#[cfg(test)]
pub(crate) fn assert_as_documented<C: Call>(arguments: &C) {
    let mut words = Words::default();
    arguments.write(&mut words);
    for (section, written) in [("KEYS", &words.keys), ("ARGV", &words.args)] {
        let mut names = written.iter().map(|(name, _)| *name);
        let header = header(C::script().text, section);
        let (fixed, repeated) = header.split_once('{').unwrap_or((&header, ""));
        let list = |text: &str| -> Vec<String> {
            let names = text.trim_end_matches("}…").split(',').map(str::trim);
            names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
        };
        let (fixed, repeated) = (list(fixed), list(repeated));
        let first: Vec<&str> = names.by_ref().take(fixed.len()).collect();
        assert_eq!(first, fixed, "{section} of the script to {}", C::OPERATION);
        let rest: Vec<&str> = names.collect();
        if repeated.is_empty() {
            assert_eq!(rest, [""; 0], "{section} of the script to {}", C::OPERATION);
        } else {
            assert!(!rest.is_empty(), "nothing is repeated in {section} to {}", C::OPERATION);
            for chunk in rest.chunks(repeated.len()) {
                assert_eq!(chunk, repeated, "{section} of the script to {}", C::OPERATION);
            }
        }
    }
}

/// The names after `-- KEYS` or `-- ARGV` in a script, over the lines that are indented below.
#[cfg(test)]
fn header(text: &str, section: &str) -> String {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(&format!("-- {section}  ")));
    let first = lines.next().map_or("", |line| &line["-- KEYS  ".len()..]);
    let more = lines.take_while(|line| line.starts_with("--       ")).map(|line| &line[2..]);
    std::iter::once(first).chain(more).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_permission_inside_a_script_has_the_code_of_one_outside() {
        let converted = |text: &str| {
            with_code(redis::make_extension_error("ERR".to_owned(), Some(text.to_owned())))
        };
        for text in [
            "The user executing the script can't run this command or subcommand script: 5a",
            "ACL failure in script: User u has no permissions to run the 'hget' command",
        ] {
            assert_eq!(converted(text).code(), Some("NOPERM"));
            assert_eq!(converted(text).detail(), Some(text));
        }
        assert_eq!(converted("Error running script: syntax").code(), Some("ERR"));
    }
}
