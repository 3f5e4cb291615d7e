//! Applications of volunteers for opportunities.
//!
//! - `POST /api/applications` takes `volunteerId` and `opportunityId`, and answers 201 with the application.
//! - `PATCH /api/applications/{id}` takes a `status` and answers with the application.
//! - `GET /api/applications/{id}` answers with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use bus::event::types::{APPLICATION_CREATED, APPLICATION_STATE_CHANGED, APPLICATION_SUBMITTED};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::input::{Fields, Refusal};
use crate::service::{Publishing, now};

/// What an application can come to.
const STATUSES: [&str; 5] = ["submitted", "reviewed", "accepted", "rejected", "withdrawn"];
/// Applications that are kept; the oldest beyond that are forgotten, for this is an example without a database.
const KEPT: usize = 100_000;

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Application {
    application_id: String,
    volunteer_id: String,
    opportunity_id: String,
    status: &'static str,
    created_at: Timestamp,
}

struct Applications {
    publishing: Publishing,
    /// By their IDs, which are in the order of time. Held while a change is written to the file, so that the file
    /// tells the changes of an application in their order; not while the bus is told.
    known: Mutex<BTreeMap<String, Application>>,
}

/// The service's own routes.
pub fn router(publishing: Publishing) -> Router {
    let applications = Applications { publishing, known: Mutex::default() };
    Router::new()
        .route("/api/applications", post(create))
        .route("/api/applications/{id}", get(show).patch(change))
        .with_state(Arc::new(applications))
}

async fn create(
    State(this): State<Arc<Applications>>,
    fields: Fields,
) -> Result<(StatusCode, Json<Application>), Refusal> {
    let (volunteer_id, opportunity_id) =
        (fields.text("volunteerId")?, fields.text("opportunityId")?);
    let (application_id, status) = (new_id(), "submitted");
    let application =
        Application { application_id, volunteer_id, opportunity_id, status, created_at: now() };
    let publishing = this.publishing.clone();
    publishing.finish(async move { this.submit(application).await }).await
}

async fn show(
    State(this): State<Arc<Applications>>,
    Path(id): Path<String>,
) -> Result<Json<Application>, Refusal> {
    let known = this.known.lock().await;
    known.get(&id).cloned().map(Json).ok_or_else(|| Refusal::unknown("application"))
}

async fn change(
    State(this): State<Arc<Applications>>,
    Path(id): Path<String>,
    fields: Fields,
) -> Result<Json<Application>, Refusal> {
    let status = status(&fields.text("status")?)?;
    let publishing = this.publishing.clone();
    publishing.finish(async move { this.change(&id, status).await }).await
}

impl Applications {
    async fn submit(
        &self,
        application: Application,
    ) -> Result<(StatusCode, Json<Application>), Refusal> {
        let time = application.created_at;
        let payload = |status, time_name: &str| told_of(&application, status, (time_name, time));
        let created = payload("created", "createdAt");
        let submitted = payload("submitted", "submittedAt");
        let events = vec![
            self.publishing.event(APPLICATION_CREATED, created, time),
            self.publishing.event(APPLICATION_SUBMITTED, submitted, time),
        ];
        let recorded = {
            let mut known = self.known.lock().await;
            let recorded = self.publishing.record(events).await?;
            known.insert(application.application_id.clone(), application.clone());
            if known.len() > KEPT {
                known.pop_first();
            }
            recorded
        };
        self.publishing.send(recorded).await;
        Ok((StatusCode::CREATED, Json(application)))
    }

    /// Gives an application another status; the one that it has is no change, and no event.
    async fn change(&self, id: &str, status: &'static str) -> Result<Json<Application>, Refusal> {
        let (application, recorded) = {
            let mut known = self.known.lock().await;
            let application = known.get_mut(id).ok_or_else(|| Refusal::unknown("application"))?;
            if application.status == status {
                return Ok(Json(application.clone()));
            }
            let (from, time) = (application.status, now());
            let payload =
                json!({"applicationId": id, "from": from, "status": status, "changedAt": time});
            let event = self.publishing.event(APPLICATION_STATE_CHANGED, payload, time);
            let recorded = self.publishing.record(vec![event]).await?;
            application.status = status;
            (application.clone(), recorded)
        };
        self.publishing.send(recorded).await;
        Ok(Json(application))
    }
}

fn told_of(application: &Application, status: &str, time: (&str, Timestamp)) -> Value {
    json!({
        "applicationId": application.application_id,
        "volunteerId": application.volunteer_id,
        "opportunityId": application.opportunity_id,
        "status": status,
        time.0: time.1,
    })
}

fn status(text: &str) -> Result<&'static str, Refusal> {
    let known = STATUSES.into_iter().find(|status| *status == text);
    known.ok_or_else(|| Refusal::bad(format!("status must be one of {}", STATUSES.join(", "))))
}

/// An ID of something new, later in order than those before it.
#[expect(clippy::disallowed_methods, reason = "the edge where things get their IDs")]
pub(crate) fn new_id() -> String {
    Uuid::now_v7().to_string()
}
