//! The command line: a flag for every setting, which overrides the environment variable of the same name.

use clap::{Arg, ArgAction, ArgMatches, Command};
use eventbus_operator::settings::{SETTINGS, Setting};

const LOGGING: [Setting; 2] = [
    (
        "RUST_LOG",
        "Which log lines are written, such as info or eventbus_operator=debug [default: info]",
    ),
    ("LOG_FORMAT", "text or json [default: text]"),
];

/// What was asked for on the command line.
pub enum Invocation {
    /// `operator run`
    Run(Flags),
    /// `operator crd`
    Crd,
}

/// The flags of `operator run`.
pub struct Flags {
    /// Whether to check the settings only.
    pub check: bool,
    flags: ArgMatches,
}

impl Flags {
    /// A setting's value: of its flag, else of the environment.
    pub fn lookup(&self, name: &str) -> Option<String> {
        let flag = self.flags.try_get_one::<String>(name).ok().flatten().cloned();
        flag.or_else(|| of_environment(name))
    }
}

/// Reads the command line; prints help, version and mistakes, and ends the process then (0, or 2 for a mistake).
pub fn parse() -> Invocation {
    let mut matches = command().get_matches();
    let (name, flags) = matches.remove_subcommand().expect("clap requires a subcommand");
    match name.as_str() {
        "run" => Invocation::Run(Flags { check: flags.get_flag("check"), flags }),
        "crd" => Invocation::Crd,
        other => unreachable!("clap knows no subcommand {other}"),
    }
}

/// The name of this host, where it has one.
#[expect(clippy::disallowed_methods, reason = "the edge where settings enter the program")]
pub fn host_name() -> Option<String> {
    let of_pod = std::env::var("HOSTNAME").ok();
    let of_linux = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = of_pod.or_else(of_linux)?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// A variable of the environment. What is not UTF-8 is made so, and refused later.
#[expect(clippy::disallowed_methods, reason = "the edge where settings enter the program")]
fn of_environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

fn command() -> Command {
    let run = Command::new("run").about("Reconcile EventConsumerGroups until told to stop");
    let crd = Command::new("crd").about("Print the CustomResourceDefinition as YAML");
    Command::new("operator")
        .about("Turns EventConsumerGroups into Redis consumer groups and consumer Deployments")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_flags(run))
        .subcommand(crd)
}

fn with_flags(command: Command) -> Command {
    let check = Arg::new("check").long("check").action(ArgAction::SetTrue);
    let command = command
        .after_help(
            "Each flag can be given as an environment variable: --lease-name as LEASE_NAME.",
        )
        .arg(
            check
                .help("Check the settings and the endpoints, say what is wrong with them, and end"),
        );
    SETTINGS.iter().chain(&LOGGING).fold(command, |command, &(name, help)| {
        // The command line is described once and lives as long as the process.
        let long: &'static str = name.to_ascii_lowercase().replace('_', "-").leak();
        // A value such as -1 is the setting's to judge, not the command line's.
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
            ["operator", "run", "--endpoints-file", "/e", "--status-writes-per-second", "-1"];
        let matches = command().try_get_matches_from(args).unwrap();
        let (_, flags) = matches.subcommand().unwrap();
        let value = |name: &str| flags.get_one::<String>(name).map(String::as_str);
        assert_eq!(value("ENDPOINTS_FILE"), Some("/e"));
        assert_eq!(value("STATUS_WRITES_PER_SECOND"), Some("-1"));
        assert_eq!(value("LEASE_NAME"), None);
    }

    #[test]
    fn the_command_line_has_no_mistake_of_its_own() {
        command().debug_assert();
    }
}
