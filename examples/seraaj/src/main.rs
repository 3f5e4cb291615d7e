//! `seraaj applications`, `matching` and `bff` are the services, `consumer` reads their events, `report` tries it all.
//!
//! `REDIS_URL`, `REDIS_STREAM_NAME` and the other settings of the library say where the events go.

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

/// The volunteer platform Seraaj in small.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    program: Work,
}

#[derive(Subcommand)]
enum Work {
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

fn main() -> ExitCode {
    let Arguments { program } = Arguments::parse();
    let start = Program { lookup: &environment::variable, check: false, log_filter: "info" };
    start.run(BusConfig::from_lookup, async |config| match program {
        Work::Applications(settings) => serve(Service::Applications, config, settings).await,
        Work::Matching(settings) => serve(Service::Matching, config, settings).await,
        Work::Bff(settings) => serve(Service::Bff, config, settings).await,
        Work::Consumer { group } => read(config, group).await,
        Work::Report(settings) => report(config, settings).await,
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
    // Where standard output is closed, the exit status remains.
    writeln!(io::stdout(), "{report}").ok();
    if report.is_good() { Ok(()) } else { Err("the report has failures".to_owned()) }
}
