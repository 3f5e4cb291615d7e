//! Health service: an HTTP answer with the state of Redis and of every consumer group.

mod metrics;
pub mod settings;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use eventbus::observe::health::{Report, Reports, reports};
use eventbus_program::http;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::LAST_REQUESTS;

use self::settings::HealthSettings;

/// Answers `GET /api/health/events` and `/health/events`, `/livez`, `/readyz` and `/metrics` until `stop`.
///
/// Each request reads a snapshot from Redis over one connection. Concurrent requests share one snapshot.
pub async fn run(settings: HealthSettings, listener: TcpListener, stop: CancellationToken) {
    let (reports, reporter) = reports(settings.redis, settings.stream, settings.groups);
    tokio::select! {
        () = http::serve(listener, router(reports), LAST_REQUESTS, stop) => {}
        never = reporter.run() => match never {},
    }
}

fn router(reports: Reports) -> Router {
    Router::new()
        .route("/api/health/events", get(events))
        .route("/health/events", get(events))
        .with_state(reports.clone())
        .merge(http::probes(
            get(ready).with_state(reports.clone()),
            get(show_metrics).with_state(reports),
        ))
}

/// Answers 200 also while Redis is unreachable; the body reports it.
async fn events(State(reports): State<Reports>) -> Result<Response, StatusCode> {
    let report = report(&reports).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(&*report)).into_response())
}

async fn ready(State(reports): State<Reports>) -> Result<&'static str, (StatusCode, String)> {
    let report = report(&reports).await.map_err(|status| (status, "shutting down\n".to_owned()))?;
    let unreachable = |error: &String| (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"));
    report.seen.as_ref().map(|_| "ok\n").map_err(unreachable)
}

async fn show_metrics(State(reports): State<Reports>) -> Result<Response, StatusCode> {
    Ok(http::metrics(&metrics::registry(&*report(&reports).await?)))
}

/// Returns a report, or 503 if the service ends before there is one.
async fn report(reports: &Reports) -> Result<Arc<Report>, StatusCode> {
    reports.report().await.ok_or(StatusCode::SERVICE_UNAVAILABLE)
}
