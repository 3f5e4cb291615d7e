//! Matching of volunteers and opportunities.
//!
//! - `POST /api/matching/quick` accepts a `volunteerId` and answers with `matches`, the best first.
//! - `POST /api/matching/{opportunityId}/apply` accepts a `volunteerId` and answers 201 with the application's ID.

use std::cmp::Reverse;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::{Value, json};

use crate::applications::new_id;
use crate::event_types::{MATCH_SUGGESTION_APPLIED, MATCH_SUGGESTIONS_GENERATED};
use crate::input::{Fields, Id, Refusal};
use crate::publishing::{Publishing, now};

/// Opportunities to apply for.
const OPPORTUNITIES: [&str; 6] =
    ["beach-clean-up", "food-bank", "library", "reading-aloud", "sea-rescue", "tree-planting"];
/// Maximum number of matches in an answer.
const MAX_MATCHES: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Match {
    opportunity_id: &'static str,
    /// 0 to 100.
    score: u32,
}

/// Returns the service's own routes.
pub fn router(publishing: Publishing) -> Router {
    Router::new()
        .route("/api/matching/quick", post(suggest))
        .route("/api/matching/{opportunity_id}/apply", post(apply))
        .with_state(publishing)
}

async fn suggest(
    State(publishing): State<Publishing>,
    fields: Fields,
) -> Result<Json<Value>, Refusal> {
    let (volunteer_id, time) = (fields.text("volunteerId")?, now());
    let matches = generate_quick_matches(&volunteer_id);
    let payload = json!({
        "volunteerId": volunteer_id,
        "matchCount": matches.len(),
        "matches": matches,
        "generatedAt": time,
    });
    publishing
        .publish(publishing.event(MATCH_SUGGESTIONS_GENERATED, payload.clone(), time))
        .await?;
    Ok(Json(payload))
}

async fn apply(
    State(publishing): State<Publishing>,
    Id(opportunity_id): Id,
    fields: Fields,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let (volunteer_id, time) = (fields.text("volunteerId")?, now());
    if !OPPORTUNITIES.contains(&opportunity_id.as_str()) {
        return Err(Refusal::unknown("opportunity"));
    }
    let payload = json!({
        "volunteerId": volunteer_id,
        "opportunityId": opportunity_id,
        "applicationId": new_id(),
        "appliedAt": time,
    });
    publishing.publish(publishing.event(MATCH_SUGGESTION_APPLIED, payload.clone(), time)).await?;
    Ok((StatusCode::CREATED, Json(payload)))
}

/// Returns the best matches of a volunteer, always the same ones. The score is only a hash of volunteer and opportunity
/// (FNV-1a).
fn generate_quick_matches(volunteer_id: &str) -> Vec<Match> {
    let score = |opportunity: &str| {
        let bytes = volunteer_id.bytes().chain(opportunity.bytes());
        bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
            % 101
    };
    let mut matches = OPPORTUNITIES
        .map(|opportunity_id| Match { opportunity_id, score: score(opportunity_id) })
        .to_vec();
    matches.sort_by_key(|found| Reverse(found.score));
    matches.truncate(MAX_MATCHES);
    matches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volunteer_gets_the_best_three_first() {
        let matches = generate_quick_matches("v-1");
        assert_eq!(matches.len(), 3);
        assert!(matches.is_sorted_by_key(|found| Reverse(found.score)), "{matches:?}");
        assert_eq!(matches, generate_quick_matches("v-1"));
    }
}
