//! Flags of the command line: one for every setting, which overrides the environment variable of the same name.

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::{Setting, environment};

const CHECK: &str = "check";

/// Parsed flags of the command line.
#[derive(Debug)]
pub struct Flags(ArgMatches);

impl Flags {
    /// Creates the flags from the matches of a command that [`with_flags`] made.
    #[must_use]
    pub fn new(matches: ArgMatches) -> Self {
        Self(matches)
    }

    /// Returns a setting's value: its flag's, else the environment's. Settings without a flag are looked up as well.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Option<String> {
        let flag = self.0.try_get_one::<String>(name).ok().flatten().cloned();
        flag.or_else(|| environment::variable(name))
    }

    /// Returns `true` if `--check` was given: the program then only checks its settings.
    #[must_use]
    pub fn check(&self) -> bool {
        self.0.get_flag(CHECK)
    }
}

/// Adds `--check`, described by `check`, and a flag for each of `settings`: the setting's name in kebab case.
#[must_use]
pub fn with_flags<'a>(
    command: Command,
    check: &'static str,
    settings: impl IntoIterator<Item = &'a Setting>,
) -> Command {
    let check = Arg::new(CHECK).long(CHECK).action(ArgAction::SetTrue).help(check);
    settings.into_iter().fold(command.arg(check), |command, &(name, help)| {
        let long = name.to_ascii_lowercase().replace('_', "-");
        // A value such as $ or -1 is checked by the setting, not by clap.
        let arg = Arg::new(name).long(long).value_name("VALUE").allow_hyphen_values(true);
        command.arg(arg.help(help))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: [Setting; 3] = [("EVENT_START", "Start"), ("JITTER", "Jitter"), ("GROUP", "")];

    fn flags(args: &[&str]) -> Flags {
        let command = with_flags(Command::new("p"), "Check", &SETTINGS);
        Flags::new(command.try_get_matches_from(args).unwrap())
    }

    #[test]
    fn a_flag_is_named_as_its_environment_variable_in_kebab_case() {
        let flags = flags(&["p", "--event-start", "$", "--jitter", "-1"]);
        assert_eq!(flags.lookup("EVENT_START").as_deref(), Some("$"));
        assert_eq!(flags.lookup("JITTER").as_deref(), Some("-1"));
        assert!(!flags.check());
    }

    #[test]
    fn a_setting_without_a_flag_on_the_command_line_comes_from_the_environment() {
        let path = environment::variable("PATH");
        assert!(path.is_some());
        assert_eq!(flags(&["p", "--check"]).lookup("PATH"), path);
        assert!(flags(&["p", "--check"]).check());
    }
}
