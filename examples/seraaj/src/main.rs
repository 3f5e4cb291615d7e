//! Program `seraaj`: `applications`, `matching` and `bff` run the services, `consumer` reads their events, and `report`
//! checks the running platform.
//!
//! `REDIS_URL`, `REDIS_STREAM_NAME` and the library's other settings select Redis and the stream.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use eventbus::config::BusConfig;
use eventbus::{GroupName, chain};
use eventbus_program::{Program, environment, http, signals};
use seraaj::consumer;
use seraaj::file_publisher::FilePublisher;
use seraaj::report::{Platform, Report};
use seraaj::service::{self, Service};

/// Small model of the volunteer platform Seraaj
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service that accepts applications
    Applications(ServiceSettings),
    /// Run the service that suggests opportunities
    Matching(ServiceSettings),
    /// Run the backend for the frontend, with the health of the event bus
    Bff(ServiceSettings),
    /// Print submitted applications and their changes
    Consumer {
        /// Group to read; a missing one is created at the start of the stream
        #[arg(long, default_value = "applications")]
        group: String,
    },
    /// Check the running platform and print a report as JSON; exit with status 1 if a check fails
    Report(ReportSettings),
}

#[derive(Args)]
struct ServiceSettings {
    /// Address to listen on
    #[arg(long, env = "LISTEN", default_value = "[::]:8080")]
    listen: SocketAddr,
    /// The platform's event file; services may share one
    #[arg(long, env = "SERAAJ_EVENTS_FILE", default_value = "seraaj-events.jsonl")]
    events_file: PathBuf,
}

#[derive(Args)]
struct ReportSettings {
    /// URL of the service applications
    #[arg(long, default_value = "http://127.0.0.1:8081")]
    applications: String,
    /// URL of the service matching
    #[arg(long, default_value = "http://127.0.0.1:8082")]
    matching: String,
    /// URL of the bff
    #[arg(long, default_value = "http://127.0.0.1:8083")]
    bff: String,
    /// Event file of the service applications
    #[arg(long, env = "SERAAJ_EVENTS_FILE", default_value = "seraaj-events.jsonl")]
    events_file: PathBuf,
    /// Measure the latency of publishing 1,000 events a second for this number of seconds, and the rate of handling
    /// them, on a stream of its own, which is not deleted
    #[arg(long)]
    speed: Option<u32>,
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let start = Program { lookup: &environment::variable, check: false, log_filter: "info" };
    start.run(BusConfig::from_lookup, async |config| match command {
        Command::Applications(settings) => serve(Service::Applications, config, settings).await,
        Command::Matching(settings) => serve(Service::Matching, config, settings).await,
        Command::Bff(settings) => serve(Service::Bff, config, settings).await,
        Command::Consumer { group } => read(config, group).await,
        Command::Report(settings) => report(config, settings).await,
    })
}

async fn serve(
    service: Service,
    config: BusConfig,
    settings: ServiceSettings,
) -> Result<(), String> {
    let path = settings.events_file.display();
    let no_file = |error| format!("cannot write to {path}: {error}");
    let file = FilePublisher::open(&settings.events_file).map_err(no_file)?;
    let stop = signals::stop_on_signals()?;
    let listener = http::listen(settings.listen).await?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, service = service.name(), "serving HTTP");
    }
    let served = service::run(service, config, file, listener, stop).await;
    served.map_err(|error| format!("cannot serve: {}", chain(&error)))
}

async fn read(config: BusConfig, group: String) -> Result<(), String> {
    let group = GroupName::new(group).map_err(|error| error.to_string())?;
    let stop = signals::stop_on_signals()?;
    consumer::run(config, group, stop).await.map_err(|error| chain(&error))
}

async fn report(config: BusConfig, settings: ReportSettings) -> Result<(), String> {
    let ReportSettings { applications, matching, bff, events_file, speed: seconds } = settings;
    let platform = Platform { applications, matching, bff, events_file, seconds };
    let report = Report::make(config, platform).await?;
    // If standard output is closed, only the exit status reports the result.
    writeln!(io::stdout(), "{report}").ok();
    if report.is_good() { Ok(()) } else { Err("a check of the report failed".to_owned()) }
}
