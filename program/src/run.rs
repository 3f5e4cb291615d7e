//! Running a program: settings, logs, runtime, exit status.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use eventbus::config::Lookup;

use crate::flags::Flags;
use crate::logging::Logging;
use crate::termination;

/// Exit status of a failure at run time.
pub(crate) const FAILED: u8 = 1;
/// Exit status of invalid settings.
const INVALID_SETTINGS: u8 = 2;

/// Start parameters of a program.
pub struct Program<'a> {
    /// Source of the settings.
    pub lookup: Lookup<'a>,
    /// `true` to check the settings and exit.
    pub check: bool,
    /// Default of `RUST_LOG`.
    pub log_filter: &'static str,
}

impl Program<'_> {
    /// Runs a program with the settings from its flags. The default of `RUST_LOG` is `info`.
    ///
    /// `read` and `work` are those of [`run`](Self::run).
    pub fn run_with_flags<S, E: Display>(
        flags: &Flags,
        read: impl FnOnce(Lookup<'_>) -> Result<S, Vec<E>>,
        work: impl AsyncFnOnce(S) -> Result<(), String>,
    ) -> ExitCode {
        let lookup = |name: &str| flags.lookup(name);
        Program { lookup: &lookup, check: flags.check(), log_filter: "info" }.run(read, work)
    }

    /// Reads the settings of logs and program, sets up the logs and a runtime, and awaits `work`.
    ///
    /// Returns 0 after a clean stop; 1 if `work` failed, whose message is logged; 2 if `read` or the settings of the logs
    /// failed: all messages are then written to standard error, one per line. In a container, the messages are its
    /// termination message, too.
    pub fn run<S, E: Display>(
        self,
        read: impl FnOnce(Lookup<'_>) -> Result<S, Vec<E>>,
        work: impl AsyncFnOnce(S) -> Result<(), String>,
    ) -> ExitCode {
        let logging = Logging::from_lookup(self.lookup, self.log_filter);
        let (logging, settings) = match (logging, read(self.lookup)) {
            (Ok(logging), Ok(settings)) => (logging, settings),
            (logging, settings) => {
                let of_logs = logging.err().into_iter().flatten().map(|error| error.to_string());
                let of_program =
                    settings.err().into_iter().flatten().map(|error| error.to_string());
                let errors = of_logs.chain(of_program).collect::<Vec<_>>().join("\n");
                // A check beside a running program is not the end of its container.
                if !self.check {
                    termination::report(&errors);
                }
                return refuse(&errors);
            }
        };
        if self.check {
            return ExitCode::SUCCESS;
        }
        logging.start();
        match start(settings, work) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!("{error}");
                termination::report(&error);
                ExitCode::from(FAILED)
            }
        }
    }
}

/// Writes the errors to standard error, because the logs are not set up yet and their settings may be the invalid ones.
fn refuse(errors: &str) -> ExitCode {
    // If standard error is closed, the exit status reports the failure.
    writeln!(io::stderr().lock(), "{errors}").ok();
    ExitCode::from(INVALID_SETTINGS)
}

fn start<S>(settings: S, work: impl AsyncFnOnce(S) -> Result<(), String>) -> Result<(), String> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| format!("cannot start the runtime: {error}"))?;
    runtime.block_on(work(settings))
}
