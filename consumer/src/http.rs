//! Probes and metrics over HTTP.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use eventbus::consume::Readiness;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// How long a request may go on after the end: an idle keep-alive connection must not hold the process.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// `/livez` (the process answers), `/readyz` (200 once the group was found, also in a later outage) and `/metrics`.
pub fn probes(readiness: Readiness, registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(move || async move { ready(&readiness) }))
        .route("/metrics", get(move || async move { metrics(&registry) }))
}

/// Serves `router` until `stop`, and then no longer than a second for requests that have begun.
///
/// # Errors
/// That of the listener.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    let ended = stop.clone();
    let server = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    tokio::select! {
        result = server => result,
        () = async { ended.cancelled().await; tokio::time::sleep(LAST_REQUESTS).await } => Ok(()),
    }
}

fn ready(readiness: &Readiness) -> (StatusCode, &'static str) {
    if readiness.has_connected() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "waiting for group\n")
    }
}

/// The text of all metrics in `registry`, as OpenMetrics.
pub fn metrics(registry: &Registry) -> Response {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot write the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
