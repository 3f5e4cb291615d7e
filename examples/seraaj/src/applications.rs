//! Applications of volunteers for opportunities.
//!
//! - `POST /api/applications` accepts `volunteerId` and `opportunityId`, and answers 201 with the application.
//! - `PATCH /api/applications/{id}` accepts a `status` and answers with the application.
//! - `GET /api/applications/{id}` answers with the application.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::event_types::{APPLICATION_CREATED, APPLICATION_STATE_CHANGED, APPLICATION_SUBMITTED};
use crate::input::{Fields, Id, Refusal};
use crate::publishing::{Publishing, now};

/// Statuses of an application.
const STATUSES: [&str; 5] = ["submitted", "reviewed", "accepted", "rejected", "withdrawn"];
/// Maximum number of applications in memory. The oldest ones beyond it are dropped: this example has no database.
const MAX_APPLICATIONS: usize = 10_000;

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
    /// By ID; IDs are in the order of time.
    known: Mutex<BTreeMap<String, Known>>,
}

/// Locked until a change is in the file and on the bus, so that both have an application's changes in order.
type Known = Arc<tokio::sync::Mutex<Application>>;

/// Returns the service's own routes.
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
    Id(id): Id,
) -> Result<Json<Application>, Refusal> {
    Ok(Json(this.find(&id)?.lock().await.clone()))
}

async fn change(
    State(this): State<Arc<Applications>>,
    Id(id): Id,
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
        let payload = |status, time_name: &str| payload_of(&application, status, (time_name, time));
        let created = payload("created", "createdAt");
        let submitted = payload("submitted", "submittedAt");
        let events = vec![
            self.publishing.event(APPLICATION_CREATED, created, time),
            self.publishing.event(APPLICATION_SUBMITTED, submitted, time),
        ];
        // No other request knows the ID before this one is answered.
        let recorded = self.publishing.record(events).await?;
        self.publishing.send(recorded).await;
        let known = Arc::new(tokio::sync::Mutex::new(application.clone()));
        self.remember(application.application_id.clone(), known);
        Ok((StatusCode::CREATED, Json(application)))
    }

    /// Changes the status of an application. Its current status is not a change and publishes no event.
    async fn change(&self, id: &str, status: &'static str) -> Result<Json<Application>, Refusal> {
        let known = self.find(id)?;
        let mut application = known.lock().await;
        if application.status == status {
            return Ok(Json(application.clone()));
        }
        let (from, time) = (application.status, now());
        let payload =
            json!({"applicationId": id, "from": from, "status": status, "changedAt": time});
        let event = self.publishing.event(APPLICATION_STATE_CHANGED, payload, time);
        let recorded = self.publishing.record(vec![event]).await?;
        application.status = status;
        self.publishing.send(recorded).await;
        Ok(Json(application.clone()))
    }

    fn find(&self, id: &str) -> Result<Known, Refusal> {
        self.known().get(id).cloned().ok_or_else(|| Refusal::unknown("application"))
    }

    fn remember(&self, id: String, application: Known) {
        let mut known = self.known();
        known.insert(id, application);
        if known.len() > MAX_APPLICATIONS {
            known.pop_first();
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn payload_of(application: &Application, status: &str, time: (&str, Timestamp)) -> Value {
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

/// Returns a new ID, which sorts after earlier ones.
#[expect(clippy::disallowed_methods, reason = "the edge that generates IDs")]
pub(crate) fn new_id() -> String {
    Uuid::now_v7().to_string()
}
