//! Command line of the operator.

use clap::Command;
use eventbus_operator::settings::SETTINGS;
use eventbus_program::flags::{Flags, with_flags};
use eventbus_program::logging::LOGGING;

const CHECK: &str = "Check the settings and the endpoints, print every invalid one, and exit";

/// Command that was given on the command line.
pub enum Invocation {
    /// `operator run`
    Run(Flags),
    /// `operator crd`
    Crd,
}

/// Parses the command line. After help, version or an error is printed, the process exits (status 0, or 2 for an error).
pub fn parse() -> Invocation {
    let mut matches = command().get_matches();
    let (name, flags) = matches.remove_subcommand().expect("clap requires a subcommand");
    match name.as_str() {
        "run" => Invocation::Run(Flags::new(flags)),
        "crd" => Invocation::Crd,
        other => unreachable!("clap knows no subcommand {other}"),
    }
}

fn command() -> Command {
    let run = Command::new("run")
        .about("Reconcile EventConsumerGroups until SIGTERM or SIGINT")
        .after_help(
            "Each flag can be given as an environment variable: --lease-name as LEASE_NAME.",
        );
    let crd = Command::new("crd").about("Print the CustomResourceDefinition as YAML");
    Command::new("operator")
        .about("Operator that reconciles EventConsumerGroups into Redis consumer groups and consumer Deployments")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_flags(run, CHECK, SETTINGS.iter().chain(&LOGGING)))
        .subcommand(crd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_valid_for_clap() {
        command().debug_assert();
    }
}
