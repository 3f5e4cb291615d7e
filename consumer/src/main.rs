//! `consumer run` and `consumer health`: settings, logs, signals and the exit status around the library.

mod cli;
mod logging;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use eventbus::chain;
use eventbus::config::{Lookup, SettingError};
use eventbus_consumer::health;
use eventbus_consumer::health::settings::HealthSettings;
use eventbus_consumer::settings::Settings;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{Invocation, Program};
use crate::logging::Logging;

/// The program failed at run time.
const FAILED: u8 = 1;
/// The settings are wrong.
const WRONG_SETTINGS: u8 = 2;

/// A program with its settings.
#[expect(clippy::large_enum_variant, reason = "there is one in a process, and it is moved once")]
enum Work {
    Run(Settings),
    Health(HealthSettings),
}

fn main() -> ExitCode {
    let invocation = cli::parse();
    let lookup = |name: &str| invocation.lookup(name);
    let (logging, work) = match (Logging::from_lookup(&lookup), settings(&invocation, &lookup)) {
        (Ok(logging), Ok(work)) => (logging, work),
        (logging, work) => {
            let errors = [logging.err(), work.err()].into_iter().flatten().flatten();
            return refuse(errors);
        }
    };
    if invocation.check {
        return ExitCode::SUCCESS;
    }
    logging.start();
    match start(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(FAILED)
        }
    }
}

fn settings(invocation: &Invocation, lookup: Lookup<'_>) -> Result<Work, Vec<SettingError>> {
    match invocation.program {
        Program::Run => Settings::from_lookup(lookup, cli::host_name().as_deref()).map(Work::Run),
        Program::Health => HealthSettings::from_lookup(lookup).map(Work::Health),
    }
}

/// One line for each wrong setting; the logs may not be set up yet, and the settings of the logs may be the wrong ones.
fn refuse(errors: impl Iterator<Item = SettingError>) -> ExitCode {
    let mut stderr = io::stderr().lock();
    for error in errors {
        // Where standard error is closed, the exit status still tells.
        writeln!(stderr, "{error}").ok();
    }
    ExitCode::from(WRONG_SETTINGS)
}

fn start(work: Work) -> Result<(), String> {
    let runtime =
        tokio::runtime::Runtime::new().map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let terminate = listen_for(SignalKind::terminate())?;
        let interrupt = listen_for(SignalKind::interrupt())?;
        tokio::spawn(stop_on_signal(terminate, interrupt, stop.clone()));
        let listener = bind(work.listen()).await?;
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "serving HTTP");
        }
        work.run(listener, stop).await
    })
}

impl Work {
    fn listen(&self) -> SocketAddr {
        match self {
            Self::Run(settings) => settings.listen,
            Self::Health(settings) => settings.listen,
        }
    }

    async fn run(self, listener: TcpListener, stop: CancellationToken) -> Result<(), String> {
        match self {
            Self::Run(settings) => eventbus_consumer::run(settings, listener, stop)
                .await
                .map_err(|error| chain(&error)),
            Self::Health(settings) => {
                let served = health::run(settings, listener, stop).await;
                served.map_err(|error| format!("cannot serve the health of the stream: {error}"))
            }
        }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| format!("cannot listen on {address}: {error}"))
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
