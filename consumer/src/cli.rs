//! The command line: a flag for every setting, which overrides the environment variable of the same name.

use clap::{Arg, ArgAction, ArgMatches, Command};
use eventbus_consumer::health::settings::HEALTH;
use eventbus_consumer::settings::{REDIS, RUN, Setting};

const LOGGING: [Setting; 2] = [
    ("RUST_LOG", "Which log lines are written, such as info or eventbus=debug [default: info]"),
    ("LOG_FORMAT", "text or json [default: text]"),
];

/// What was asked for on the command line.
pub struct Invocation {
    /// The subcommand.
    pub program: Program,
    /// Whether to check the settings only.
    pub check: bool,
    flags: ArgMatches,
}

/// The program to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `consumer run`
    Run,
    /// `consumer health`
    Health,
}

impl Invocation {
    /// A setting's value: of its flag, else of the environment.
    pub fn lookup(&self, name: &str) -> Option<String> {
        // Not every name has a flag: some are only ever set by Kubernetes.
        let flag = self.flags.try_get_one::<String>(name).ok().flatten().cloned();
        flag.or_else(|| of_environment(name))
    }
}

/// Reads the command line; prints help, version and mistakes, and ends the process then (0, or 2 for a mistake).
pub fn parse() -> Invocation {
    let mut matches = command().get_matches();
    let (name, flags) = matches.remove_subcommand().expect("clap requires a subcommand");
    let program = match name.as_str() {
        "run" => Program::Run,
        "health" => Program::Health,
        other => unreachable!("clap knows no subcommand {other}"),
    };
    Invocation { program, check: flags.get_flag("check"), flags }
}

/// The name of this host, if it has one: the consumer's name where none is set.
#[expect(clippy::disallowed_methods, reason = "the edge where settings enter the program")]
pub fn host_name() -> Option<String> {
    let of_pod = std::env::var("HOSTNAME").ok();
    let of_linux = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let of_command = || {
        let output = std::process::Command::new("hostname").output().ok()?;
        String::from_utf8(output.stdout).ok()
    };
    let name = of_pod.or_else(of_linux).or_else(of_command)?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// A variable of the environment. What is not UTF-8 is made so, and refused later.
#[expect(clippy::disallowed_methods, reason = "the edge where settings enter the program")]
fn of_environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

fn command() -> Command {
    let run = Command::new("run").about("Hand the events of a consumer group to a handler");
    let health = Command::new("health").about("Answer how a stream and its consumer groups stand");
    Command::new("consumer")
        .about("The shared consumer of a consumer group on a Redis stream")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_flags(run, RUN.iter().chain(&REDIS).chain(&LOGGING)))
        .subcommand(with_flags(health, HEALTH.iter().chain(&REDIS).chain(&LOGGING)))
}

fn with_flags<'a>(command: Command, settings: impl Iterator<Item = &'a Setting>) -> Command {
    let check = Arg::new("check").long("check").action(ArgAction::SetTrue);
    let command = command
        .after_help(
            "Each flag can be given as an environment variable: --event-group as EVENT_GROUP.",
        )
        .arg(check.help("Check the settings, say what is wrong with them, and end"));
    settings.fold(command, |command, &(name, help)| {
        // The command line is described once and lives as long as the process.
        let long: &'static str = name.to_ascii_lowercase().replace('_', "-").leak();
        // A value such as $ or -1 is the setting's to judge, not the command line's.
        let arg = Arg::new(name).long(long).value_name("VALUE").allow_hyphen_values(true);
        command.arg(arg.help(help))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_named_as_its_environment_variable_in_kebab_case() {
        let args =
            ["consumer", "run", "--delivery-backoff-jitter-percent", "5", "--event-start", "$"];
        let matches = command().try_get_matches_from(args).unwrap();
        let (_, flags) = matches.subcommand().unwrap();
        let value = |name: &str| flags.get_one::<String>(name).map(String::as_str);
        assert_eq!(value("DELIVERY_BACKOFF_JITTER_PERCENT"), Some("5"));
        assert_eq!(value("EVENT_START"), Some("$"));
        assert_eq!(value("EVENT_GROUP"), None);
    }

    #[test]
    fn the_command_line_has_no_mistake_of_its_own() {
        command().debug_assert();
    }
}
