//! Command line of the operator: `operator run` and `operator crd`.

mod cli;

use std::io::{self, Write};
use std::process::ExitCode;

use eventbus::config::Lookup;
use eventbus_operator::kubernetes::configuration;
use eventbus_operator::redis::endpoints::Endpoints;
use eventbus_operator::runtime::Operator;
use eventbus_operator::settings::Settings;
use eventbus_program::{Program, environment, http, signals};

use crate::cli::Invocation;

fn main() -> ExitCode {
    match cli::parse() {
        Invocation::Crd => print_definition(),
        Invocation::Run(flags) => {
            Program::run_with_flags(&flags, read, async |(settings, endpoints)| {
                run(settings, endpoints).await
            })
        }
    }
}

fn print_definition() -> ExitCode {
    match io::stdout().write_all(eventbus_api::yaml().as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader such as `head` may close the pipe early.
        Err(_) => ExitCode::FAILURE,
    }
}

fn read(lookup: Lookup<'_>) -> Result<(Settings, Endpoints), Vec<String>> {
    let settings = Settings::from_lookup(lookup)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let path = &settings.endpoints_file;
    let endpoints = std::fs::read_to_string(path)
        .map_err(|error| vec![error.to_string()])
        .and_then(|text| Endpoints::parse(&text, &|file| file.exists()));
    match endpoints {
        Ok(endpoints) => Ok((settings, endpoints)),
        Err(errors) => {
            let name = format!("ENDPOINTS_FILE={path:?}");
            Err(errors.into_iter().map(|error| format!("{name}: {error}")).collect())
        }
    }
}

async fn run(settings: Settings, endpoints: Endpoints) -> Result<(), String> {
    let stop = signals::stop_on_signals()?;
    let kubernetes = configuration(&environment::variable).await.map_err(|error| error.report())?;
    let listener = http::listen(settings.listen).await?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "serving HTTP");
    }
    let operator = Operator { settings, endpoints, kubernetes, identity: identity() };
    operator.run(listener, stop).await.map_err(|error| error.report())
}

/// Returns the identity of this replica: the pod's name, and the time and process ID because two starts may share it.
#[expect(clippy::disallowed_methods, reason = "two starts differ by their time")]
fn identity() -> String {
    let name = environment::host_name().unwrap_or_else(|| "operator".to_owned());
    let started = jiff::Timestamp::now().as_nanosecond();
    format!("{name}_{started:x}_{}", std::process::id())
}
