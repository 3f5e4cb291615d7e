//! HTTP server of every program: probes, metrics, and the program's own routes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Routes `/livez`, which answers 200, `/readyz` and `/metrics`. Merge it with the program's own routes.
pub fn probes(ready: MethodRouter, metrics: MethodRouter) -> Router {
    Router::new().route("/livez", get(ok)).route("/readyz", ready).route("/metrics", metrics)
}

/// Answers 200 with `ok`.
pub async fn ok() -> &'static str {
    "ok\n"
}

/// Returns a route for `/readyz` that answers 200 while `is_ready`, else 503 and `waiting for <waiting_for>`.
pub fn ready_while(
    is_ready: impl Fn() -> bool + Clone + Send + Sync + 'static,
    waiting_for: &'static str,
) -> MethodRouter {
    get(move || async move {
        if is_ready() {
            (StatusCode::OK, "ok\n".to_owned())
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {waiting_for}\n"))
        }
    })
}

/// Returns a route for `/metrics` that answers with the metrics in `registry`.
pub fn metrics_of(registry: Arc<Registry>) -> MethodRouter {
    get(move || async move { metrics(&registry) })
}

/// Encodes the metrics in `registry` as OpenMetrics text.
#[must_use]
pub fn metrics(registry: &Registry) -> Response {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot encode the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Opens a listener on `address`.
///
/// # Errors
/// A message for the log.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| format!("cannot listen on {address}: {error}"))
}

/// Serves `router` until `stop`. Requests that have begun by then may take at most `last_requests` longer, so that an idle
/// keep-alive connection does not keep the process running.
///
/// # Errors
/// The error of the listener.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    last_requests: Duration,
    stop: CancellationToken,
) -> io::Result<()> {
    let ended = stop.clone();
    let server = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    tokio::select! {
        result = server => result,
        () = async { ended.cancelled().await; tokio::time::sleep(last_requests).await } => Ok(()),
    }
}
