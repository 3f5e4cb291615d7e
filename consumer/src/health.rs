//! The health service: one answer that tells whether Redis is there and how every consumer group stands.

mod metrics;
pub mod settings;

use std::io;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use eventbus::observe::health::{Looks, Report, looks};
use eventbus_program::http;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::LAST_REQUESTS;

use self::settings::HealthSettings;

/// Answers `GET /api/health/events` and `/health/events`, `/livez`, `/readyz` and `/metrics` until `stop`.
///
/// Redis is asked when somebody asks here, once for all who ask meanwhile, over one connection.
///
/// # Errors
/// That of the listener.
pub async fn run(
    settings: HealthSettings,
    listener: TcpListener,
    stop: CancellationToken,
) -> io::Result<()> {
    let (looks, answering) = looks(settings.redis, settings.stream, settings.groups);
    tokio::select! {
        served = http::serve(listener, router(looks), LAST_REQUESTS, stop) => served,
        never = answering.answer() => match never {},
    }
}

fn router(looks: Looks) -> Router {
    Router::new()
        .route("/api/health/events", get(events))
        .route("/health/events", get(events))
        .with_state(looks.clone())
        .merge(http::probes(
            get(ready).with_state(looks.clone()),
            get(show_metrics).with_state(looks),
        ))
}

/// 200 also while Redis is away: the answer says so.
async fn events(State(looks): State<Looks>) -> Result<Response, StatusCode> {
    let report = look(&looks).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(&*report)).into_response())
}

async fn ready(State(looks): State<Looks>) -> Result<&'static str, (StatusCode, String)> {
    let report = look(&looks).await.map_err(|status| (status, "ending\n".to_owned()))?;
    let away = |error: &String| (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"));
    report.seen.as_ref().map(|_| "ok\n").map_err(away)
}

async fn show_metrics(State(looks): State<Looks>) -> Result<Response, StatusCode> {
    Ok(http::metrics(&metrics::registry(&*look(&looks).await?)))
}

/// 503 where the service ends before there is an answer.
async fn look(looks: &Looks) -> Result<Arc<Report>, StatusCode> {
    looks.take().await.ok_or(StatusCode::SERVICE_UNAVAILABLE)
}
