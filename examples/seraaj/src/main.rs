//! `seraaj applications`, `matching` and `bff` are the services, `consumer` reads their events, `report` tries it all.
//!
//! `REDIS_URL`, `REDIS_STREAM_NAME` and the other settings of the library say where the events go.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use eventbus::config::{BusConfig, SettingError};
use eventbus::{GroupName, chain};
use seraaj::consumer;
use seraaj::file_publisher::FilePublisher;
use seraaj::report::{self, Report};
use seraaj::service::{self, Service};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// The volunteer platform Seraaj in small.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    program: Program,
}

#[derive(Subcommand)]
enum Program {
    /// Run the service that takes applications.
    Applications(ServiceSettings),
    /// Run the service that suggests opportunities.
    Matching(ServiceSettings),
    /// Run the service in front of the other two, with the health of the event bus.
    Bff(ServiceSettings),
    /// Print what happens to applications.
    Consumer {
        /// The group to read, from the beginning of the stream where it is missing.
        #[arg(long, default_value = "applications")]
        group: String,
    },
    /// Try the running platform, and print as JSON what came of it; exit with 1 if anything is not as it should be.
    Report(ReportSettings),
}

#[derive(Args)]
struct ServiceSettings {
    /// Address to listen on.
    #[arg(long, env = "LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// The platform's file of events; services may share one.
    #[arg(long, env = "SERAAJ_EVENTS_FILE", default_value = "seraaj-events.jsonl")]
    events_file: PathBuf,
}

#[derive(Args)]
struct ReportSettings {
    /// Where the service applications is.
    #[arg(long, default_value = "http://127.0.0.1:8081")]
    applications: String,
    /// Where the service matching is.
    #[arg(long, default_value = "http://127.0.0.1:8082")]
    matching: String,
    /// Where the bff is.
    #[arg(long, default_value = "http://127.0.0.1:8083")]
    bff: String,
    /// The file of events of the service applications.
    #[arg(long, env = "SERAAJ_EVENTS_FILE", default_value = "seraaj-events.jsonl")]
    events_file: PathBuf,
    /// Measure how long publishing takes, at 1,000 events a second for so many seconds, and how fast they are handled,
    /// on a stream of its own, which is left behind.
    #[arg(long)]
    speed: Option<u32>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    logs.with_writer(io::stderr).init();
    let config = match BusConfig::from_lookup(&of_environment) {
        Ok(config) => config,
        Err(errors) => return refuse(&errors),
    };
    let result = match arguments.program {
        Program::Applications(settings) => serve(Service::Applications, config, settings).await,
        Program::Matching(settings) => serve(Service::Matching, config, settings).await,
        Program::Bff(settings) => serve(Service::Bff, config, settings).await,
        Program::Consumer { group } => read(config, group).await,
        Program::Report(settings) => return tell(config, settings).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// A variable of the environment. What is not UTF-8 is made so, and refused later.
#[expect(clippy::disallowed_methods, reason = "the edge where settings enter the program")]
fn of_environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

fn refuse(errors: &[SettingError]) -> ExitCode {
    errors.iter().for_each(|error| tracing::error!("{error}"));
    ExitCode::from(2)
}

async fn serve(
    service: Service,
    config: BusConfig,
    settings: ServiceSettings,
) -> Result<(), String> {
    let path = settings.events_file.display();
    let no_file = |error| format!("cannot write to {path}: {error}");
    let file = FilePublisher::open(&settings.events_file).map_err(no_file)?;
    let no_listener = |error| format!("cannot listen on {}: {error}", settings.listen);
    let listener = TcpListener::bind(settings.listen).await.map_err(no_listener)?;
    let stop = stop_on_signal()?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, service = service.name(), "serving HTTP");
    }
    let served = service::run(service, config, file, listener, stop).await;
    served.map_err(|error| format!("cannot serve: {}", chain(&error)))
}

async fn read(config: BusConfig, group: String) -> Result<(), String> {
    let group = GroupName::new(group).map_err(|error| error.to_string())?;
    let stop = stop_on_signal()?;
    consumer::run(config, group, stop).await.map_err(|error| chain(&error))
}

async fn tell(config: BusConfig, settings: ReportSettings) -> ExitCode {
    let ReportSettings { applications, matching, bff, events_file, speed: seconds } = settings;
    let report = Report::make(
        config,
        report::Platform { applications, matching, bff, events_file, seconds },
    );
    let report = match report.await {
        Ok(report) => report,
        Err(error) => {
            tracing::error!("{error}");
            return ExitCode::FAILURE;
        }
    };
    // Where standard output is closed, the exit status still tells.
    writeln!(io::stdout(), "{report}").ok();
    if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Cancelled by the first signal to end.
fn stop_on_signal() -> Result<CancellationToken, String> {
    let listen = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
    let (mut terminate, mut interrupt) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopped.cancel();
    });
    Ok(stop)
}
