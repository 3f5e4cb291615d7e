//! Calls of the scripts. Only the headers of the scripts say in which order they take keys and arguments: a test names them.

use redis::Cmd;

macro_rules! text {
    ($($name:literal),+) => { concat!($(include_str!(concat!("../../../bus/src/scripts/", $name, ".lua"))),+) };
}

const ACKNOWLEDGE: Script = Script(text!("acknowledge"));
const CLAIM: Script = Script(text!("common/attempts", "claim"));
const DEAD_LETTER: Script = Script(text!("common/sums", "dead_letter"));
const DELAY: Script = Script(text!("delay"));
pub const HEARTBEAT: Script =
    Script(text!("common/reply", "common/id", "common/attempts", "common/lease", "heartbeat"));
pub const LEAVE: Script = Script(text!("common/sums", "leave"));
pub const NEXT_IN_ORDER: Script =
    Script(text!("common/reply", "common/attempts", "common/lease", "next_in_order"));
pub const REPLAY: Script = Script(text!("replay"));

/// Entries that `consumer` acknowledges; `delete`: `1` or `0`.
pub fn acknowledge<'a>(consumer: &'a str, delete: &'a str, ids: &[&'a str]) -> Call<'a> {
    ACKNOWLEDGE.by(consumer).with("delete", delete).and_all(ids)
}

/// At most `max` entries of `pool` that `consumer` claims.
pub fn claim<'a>(consumer: &'a str, pool: &'a str, max: &'a str) -> Call<'a> {
    CLAIM.by(consumer).with("pool", pool).with("max", max)
}

/// Entries that `consumer` moves to `pool`: ID, attempts and delay of each.
pub fn delay<'a>(consumer: &'a str, pool: &'a str, entries: &[&'a str]) -> Call<'a> {
    DELAY.by(consumer).with("pool", pool).and_all(entries)
}

/// An entry that `me` stores as a dead letter, with the names and values of the fields `why`.
pub fn dead_letter<'a>(id: &'a str, max_length: &'a str, why: &[&'a str]) -> Call<'a> {
    DEAD_LETTER.by("me").with("id", id).with("max_length", max_length).and_all(why)
}

/// A script's text.
#[derive(Clone, Copy)]
pub struct Script(&'static str);

impl Script {
    /// Begins a call.
    pub fn call<'a>(self) -> Call<'a> {
        Call { script: self, named: Vec::new(), repeated: Vec::new() }
    }

    /// Begins a call as a consumer.
    pub fn by(self, consumer: &str) -> Call<'_> {
        self.call().with("consumer", consumer)
    }

    /// The names in the line `section` of the header, those in braces being repeated.
    fn names(self, section: &str) -> (Vec<&'static str>, Vec<&'static str>) {
        let begin = format!("-- {section}  ");
        let mut lines = self.0.lines().skip_while(|line| !line.starts_with(&begin));
        let first = lines.next().unwrap()[begin.len()..].split(", ");
        let more = lines.take_while(|line| line.starts_with("--     "));
        let more = more.flat_map(|line| line[2..].trim().split(", "));
        let names = first.chain(more).map(|name| name.trim_end_matches(','));
        let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
        let fixed = names.iter().position(|name| name.starts_with('{')).unwrap_or(names.len());
        let repeated = names[fixed..].iter().map(|name| name.trim_matches(['{', '}', '…']));
        (names[..fixed].to_vec(), repeated.collect())
    }
}

/// A script with its arguments by name.
#[derive(Clone)]
pub struct Call<'a> {
    script: Script,
    named: Vec<(&'static str, &'a str)>,
    repeated: Vec<&'a str>,
}

impl<'a> Call<'a> {
    /// Sets a key or an argument; the first value counts.
    pub fn with(mut self, name: &'static str, value: &'a str) -> Self {
        self.named.push((name, value));
        self
    }

    /// Appends arguments that are repeated, in the order of the header.
    pub fn and_all(mut self, values: &[&'a str]) -> Self {
        assert_eq!(values.len() % self.script.names("ARGV").1.len(), 0, "{values:?}");
        self.repeated.extend(values);
        self
    }

    /// The command; keys and arguments that the call does not set are looked up in those of the group.
    pub fn command(&self, keys: &[(&str, &str)], arguments: &[(&str, &str)]) -> Cmd {
        let value = |name: &str, more: &[(&str, &str)]| {
            let mut known = self.named.iter().chain(more).filter(|(known, _)| *known == name);
            known.next().unwrap_or_else(|| panic!("{name} is not set")).1.to_owned()
        };
        let keys: Vec<String> =
            self.script.names("KEYS").0.into_iter().map(|name| value(name, keys)).collect();
        let fixed = self.script.names("ARGV").0.into_iter();
        let mut command = redis::cmd("EVAL");
        command.arg(self.script.0).arg(keys.len()).arg(keys);
        command.arg(fixed.map(|name| value(name, arguments)).collect::<Vec<_>>());
        command.arg(&self.repeated);
        command
    }
}
