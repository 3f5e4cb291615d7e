//! Signals that stop a program: the first one stops it gracefully, the second one exits at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::run::FAILED;

/// Listens for SIGTERM and SIGINT. The first one cancels the returned token; the second one ends the process with exit
/// status 1.
///
/// # Errors
/// A message for the log, if the system refuses.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn stop_on_signals() -> Result<CancellationToken, String> {
    let terminate = listen(SignalKind::terminate())?;
    let interrupt = listen(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    tokio::spawn(cancel_then_exit(terminate, interrupt, stop.clone()));
    Ok(stop)
}

fn listen(kind: SignalKind) -> Result<Signal, String> {
    signal(kind).map_err(|error| format!("cannot listen for signals: {error}"))
}

async fn cancel_then_exit(mut terminate: Signal, mut interrupt: Signal, stop: CancellationToken) {
    for first in [true, false] {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if first {
            tracing::info!("stopping: finishing the work in flight");
            stop.cancel();
        }
    }
    tracing::warn!("second signal to stop: exiting at once");
    std::process::exit(i32::from(FAILED));
}
