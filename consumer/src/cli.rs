//! Command line of the consumer.

use clap::Command;
use eventbus_consumer::health::settings::HEALTH;
use eventbus_consumer::settings::{REDIS, RUN};
use eventbus_program::flags::{Flags, with_flags};
use eventbus_program::logging::LOGGING;

const CHECK: &str = "Check the settings, print every invalid one, and exit";
const AFTER_HELP: &str =
    "Each flag can be given as an environment variable: --event-group as EVENT_GROUP.";

/// Command of the command line, with its flags.
pub enum Invocation {
    /// `consumer run`
    Run(Flags),
    /// `consumer health`
    Health(Flags),
}

/// Parses the command line. Prints help, version or errors and exits then, with status 0, or 2 for an error.
pub fn parse() -> Invocation {
    let mut matches = command().get_matches();
    let (name, flags) = matches.remove_subcommand().expect("clap requires a subcommand");
    match name.as_str() {
        "run" => Invocation::Run(Flags::new(flags)),
        "health" => Invocation::Health(Flags::new(flags)),
        other => unreachable!("clap knows no subcommand {other}"),
    }
}

fn command() -> Command {
    let run = Command::new("run").about("Deliver the events of a consumer group to a handler");
    let health = Command::new("health")
        .about("Serve the health of a stream and its consumer groups over HTTP");
    let (run, health) = (run.after_help(AFTER_HELP), health.after_help(AFTER_HELP));
    Command::new("consumer")
        .about("Shared consumer of a consumer group on a Redis stream")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_flags(run, CHECK, RUN.iter().chain(&REDIS).chain(&LOGGING)))
        .subcommand(with_flags(health, CHECK, HEALTH.iter().chain(&REDIS).chain(&LOGGING)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_valid() {
        command().debug_assert();
    }
}
