//! `operator run` and `operator crd`: settings, logs, signals and the exit status around the library.

mod cli;
mod logging;

use std::io::{self, Write};
use std::process::ExitCode;

use eventbus::error::chain;
use eventbus_operator::endpoints::Endpoints;
use eventbus_operator::error::Error;
use eventbus_operator::run::Operator;
use eventbus_operator::settings::Settings;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{Flags, Invocation};
use crate::logging::Logging;

/// The program failed at run time.
const FAILED: u8 = 1;
/// The settings are wrong.
const WRONG_SETTINGS: u8 = 2;

fn main() -> ExitCode {
    match cli::parse() {
        Invocation::Crd => print_definition(),
        Invocation::Run(flags) => run(&flags),
    }
}

fn print_definition() -> ExitCode {
    match io::stdout().write_all(eventbus_api::yaml().as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that saw enough, such as `head`, closes the pipe.
        Err(_) => ExitCode::from(FAILED),
    }
}

fn run(flags: &Flags) -> ExitCode {
    let lookup = |name: &str| flags.lookup(name);
    let (logging, settings) = (Logging::from_lookup(&lookup), Settings::from_lookup(&lookup));
    let (logging, settings) = match (logging, settings) {
        (Ok(logging), Ok(settings)) => (logging, settings),
        (logging, settings) => {
            let errors = [logging.err(), settings.err()].into_iter().flatten().flatten();
            return refuse(errors.map(|error| error.to_string()));
        }
    };
    let endpoints = match endpoints(&settings) {
        Ok(endpoints) => endpoints,
        Err(errors) => {
            let name = format!("ENDPOINTS_FILE={:?}", settings.endpoints_file);
            return refuse(errors.into_iter().map(|error| format!("{name}: {error}")));
        }
    };
    if flags.check {
        return ExitCode::SUCCESS;
    }
    logging.start();
    match start(settings, endpoints) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(FAILED)
        }
    }
}

fn endpoints(settings: &Settings) -> Result<Endpoints, Vec<String>> {
    let path = &settings.endpoints_file;
    let text = std::fs::read_to_string(path).map_err(|error| vec![error.to_string()])?;
    Endpoints::parse(&text, &|file| file.exists())
}

/// One line for each wrong setting; the logs may not be set up yet, and the settings of the logs may be the wrong ones.
fn refuse(errors: impl Iterator<Item = String>) -> ExitCode {
    let mut stderr = io::stderr().lock();
    for error in errors {
        // Where standard error is closed, the exit status still tells.
        writeln!(stderr, "{error}").ok();
    }
    ExitCode::from(WRONG_SETTINGS)
}

fn start(settings: Settings, endpoints: Endpoints) -> Result<(), String> {
    let runtime =
        tokio::runtime::Runtime::new().map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let terminate = listen_for(SignalKind::terminate())?;
        let interrupt = listen_for(SignalKind::interrupt())?;
        tokio::spawn(stop_on_signal(terminate, interrupt, stop.clone()));
        let kubernetes = kube::Config::infer()
            .await
            .map_err(|error| chain(&Error::Configuration(Box::new(error))))?;
        let address = settings.listen;
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| format!("cannot listen on {address}: {error}"))?;
        let operator = Operator { settings, endpoints, kubernetes, identity: identity() };
        operator.run(listener, stop).await.map_err(|error| error.told())
    })
}

/// The pod's name tells people who leads; time and process tell two starts of one name apart.
#[expect(clippy::disallowed_methods, reason = "two starts differ by their time")]
fn identity() -> String {
    let name = cli::host_name().unwrap_or_else(|| "operator".to_owned());
    let started = jiff::Timestamp::now().as_nanosecond();
    format!("{name}_{started:x}_{}", std::process::id())
}

fn listen_for(kind: SignalKind) -> Result<Signal, String> {
    signal(kind).map_err(|error| format!("cannot listen for signals: {error}"))
}

/// The first signal asks for an end in good order; the second one does not wait for it.
async fn stop_on_signal(mut terminate: Signal, mut interrupt: Signal, stop: CancellationToken) {
    for first in [true, false] {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if first {
            tracing::info!("asked to stop: finishing what is in hand");
            stop.cancel();
        }
    }
    tracing::warn!("asked to stop again: leaving at once");
    std::process::exit(i32::from(FAILED));
}
