//! Backend for the frontend: volunteers, and the health of the event bus.
//!
//! - `POST /api/volunteers` accepts a `name` and answers 201 with the volunteer's ID.
//! - `POST /api/login` accepts a `volunteerId` and a `password`. This example stores no passwords and accepts any.
//! - `GET /api/health/events` and `/health/events` answer with the health of Redis and of the groups, with status 200 also
//!   while Redis is unreachable.

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

/// Groups of the platform's services, which are reported even while they are missing.
pub const GROUPS: [&str; 3] = ["applications", "matching", "bff"];
/// Maximum number of volunteers in memory. The oldest ones beyond it are dropped: this example has no database.
const MAX_VOLUNTEERS: usize = 10_000;

struct Bff {
    publishing: Publishing,
    reports: Reports,
    /// IDs, in the order of time.
    volunteers: Mutex<BTreeSet<String>>,
}

/// Returns [`GROUPS`] as names.
///
/// # Panics
/// Never: they are valid names.
#[must_use]
pub fn groups() -> BTreeSet<GroupName> {
    GROUPS.map(|name| GroupName::new(name).expect("it is a valid name of a group")).into()
}

/// Returns the service's own routes; `reports` reads the health of the bus.
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
    // The name is personal data, which the event's consumers do not need.
    fields.text("name")?;
    let (id, time) = (new_id(), now());
    let payload = json!({"volunteerId": id, "registeredAt": time});
    let event = this.publishing.event(VOLUNTEER_REGISTERED, payload.clone(), time);
    this.publishing.publish(event).await?;
    let mut volunteers = this.volunteers();
    volunteers.insert(id);
    if volunteers.len() > MAX_VOLUNTEERS {
        volunteers.pop_first();
    }
    Ok((StatusCode::CREATED, Json(payload)))
}

async fn log_in(State(this): State<Arc<Bff>>, fields: Fields) -> Result<Json<Value>, Refusal> {
    let (id, time) = (fields.text("volunteerId")?, now());
    fields.text("password")?;
    if !this.volunteers().contains(&id) {
        return Err(Refusal::unknown("volunteer"));
    }
    let payload = json!({"volunteerId": id, "loggedInAt": time});
    this.publishing.publish(this.publishing.event(USER_LOGIN, payload.clone(), time)).await?;
    Ok(Json(payload))
}

async fn health(State(this): State<Arc<Bff>>) -> Result<Response, StatusCode> {
    let report = this.reports.report().await.ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(&*report)).into_response())
}
