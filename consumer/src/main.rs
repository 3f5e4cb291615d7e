//! Programs `consumer run` and `consumer health`.

mod cli;

use std::net::SocketAddr;
use std::process::ExitCode;

use eventbus::chain;
use eventbus_consumer::health;
use eventbus_consumer::health::settings::HealthSettings;
use eventbus_consumer::settings::Settings;
use eventbus_program::{Program, environment, http, signals};
use tokio::net::TcpListener;

use crate::cli::Invocation;

fn main() -> ExitCode {
    match cli::parse() {
        Invocation::Run(flags) => {
            let host_name = environment::host_name();
            Program::run_with_flags(
                &flags,
                |lookup| Settings::from_lookup(lookup, host_name.as_deref()),
                run,
            )
        }
        Invocation::Health(flags) => {
            Program::run_with_flags(&flags, HealthSettings::from_lookup, serve_health)
        }
    }
}

async fn run(settings: Settings) -> Result<(), String> {
    let stop = signals::stop_on_signals()?;
    let listener = listen(settings.listen).await?;
    eventbus_consumer::run(settings, listener, stop).await.map_err(|error| chain(&error))
}

async fn serve_health(settings: HealthSettings) -> Result<(), String> {
    let stop = signals::stop_on_signals()?;
    let listener = listen(settings.listen).await?;
    health::run(settings, listener, stop).await;
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, String> {
    let listener = http::listen(address).await?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "serving HTTP");
    }
    Ok(listener)
}
