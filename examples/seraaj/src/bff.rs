//! What the platform's pages talk to: volunteers, and the health of the event bus.
//!
//! - `POST /api/volunteers` takes a `name` and answers 201 with the volunteer's ID.
//! - `POST /api/login` takes a `volunteerId` and a `password`. This example keeps no passwords: any will do.
//! - `GET /api/health/events` and `/health/events` tell how Redis and the groups are, with 200 also while Redis is away.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use eventbus::GroupName;
use eventbus::observe::health::Reports;
use serde_json::{Value, json};

use crate::applications::new_id;
use crate::event_types::{USER_LOGIN, VOLUNTEER_REGISTERED};
use crate::input::{Fields, Refusal};
use crate::publishing::{Publishing, now};

/// The groups of the platform's services, which are told of even while they are missing.
pub const GROUPS: [&str; 3] = ["applications", "matching", "bff"];
/// Volunteers that are kept; the oldest beyond that are forgotten, for this is an example without a database.
const KEPT: usize = 10_000;

struct Bff {
    publishing: Publishing,
    reports: Reports,
    /// By their IDs, which are in the order of time.
    volunteers: Mutex<BTreeSet<String>>,
}

/// [`GROUPS`] as names.
///
/// # Panics
/// Never: they are names.
#[must_use]
pub fn groups() -> BTreeSet<GroupName> {
    GROUPS.map(|name| GroupName::new(name).expect("it is a name of a group")).into()
}

/// The service's own routes; `reports` answers for its health.
pub fn router(publishing: Publishing, reports: Reports) -> Router {
    let bff = Bff { publishing, reports, volunteers: Mutex::default() };
    Router::new()
        .route("/api/volunteers", post(register))
        .route("/api/login", post(log_in))
        .route("/api/health/events", get(health))
        .route("/health/events", get(health))
        .with_state(Arc::new(bff))
}

impl Bff {
    fn volunteers(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.volunteers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn register(
    State(this): State<Arc<Bff>>,
    fields: Fields,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    // The name is the platform's affair, and none of those who read its events.
    fields.text("name")?;
    let (id, time) = (new_id(), now());
    let told = json!({"volunteerId": id, "registeredAt": time});
    let event = this.publishing.event(VOLUNTEER_REGISTERED, told.clone(), time);
    this.publishing.publish(event).await?;
    let mut volunteers = this.volunteers();
    volunteers.insert(id);
    if volunteers.len() > KEPT {
        volunteers.pop_first();
    }
    Ok((StatusCode::CREATED, Json(told)))
}

async fn log_in(State(this): State<Arc<Bff>>, fields: Fields) -> Result<Json<Value>, Refusal> {
    let (id, time) = (fields.text("volunteerId")?, now());
    fields.text("password")?;
    if !this.volunteers().contains(&id) {
        return Err(Refusal::unknown("volunteer"));
    }
    let told = json!({"volunteerId": id, "loggedInAt": time});
    this.publishing.publish(this.publishing.event(USER_LOGIN, told.clone(), time)).await?;
    Ok(Json(told))
}

async fn health(State(this): State<Arc<Bff>>) -> Result<Response, StatusCode> {
    let report = this.reports.report().await.ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(&*report)).into_response())
}
