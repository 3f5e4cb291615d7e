//! A steady load of requests to all services of the example platform, which keeps what was answered.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

use crate::consumer::SOON;
use crate::wait;

use super::{FileEvent, Service};

/// Requests in a round.
const REQUESTS: usize = 4;
/// Between two rounds: 50 requests a second.
const ROUND: Duration = Duration::from_millis(80);

/// The three services.
pub struct Services {
    /// The service applications.
    pub applications: Service,
    /// The service matching.
    pub matching: Service,
    /// The bff.
    pub bff: Service,
}

/// A load that goes on.
pub struct Load {
    stop: CancellationToken,
    rounds: JoinHandle<Vec<Answer>>,
    progress: Arc<Mutex<Progress>>,
}

/// Rounds that have begun, and the numbers of those that have ended.
#[derive(Default)]
struct Progress {
    begun: usize,
    ended: Vec<usize>,
}

/// Answer to a request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Method and path.
    pub request: &'static str,
    /// The status, or why there is none.
    pub status: Result<u16, String>,
    /// Duration of the request.
    pub took: Duration,
    /// Events that must be in the file: types, and the subject of each.
    pub events: Vec<(&'static str, String)>,
}

impl Answer {
    /// Returns `true` if the request succeeded.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.status.as_ref().is_ok_and(|status| (200..300).contains(status))
    }
}

/// Returns the ID of the event's application, else of its volunteer.
#[must_use]
pub fn subject(event: &FileEvent) -> Option<&str> {
    let field = |name: &str| event.payload[name].as_str();
    field("applicationId").or_else(|| field("volunteerId"))
}

impl Load {
    /// Begins.
    #[must_use]
    pub fn start(services: Arc<Services>) -> Self {
        let (stop, progress) = (CancellationToken::new(), Arc::default());
        let rounds = tokio::spawn(run(services, stop.clone(), Arc::clone(&progress)));
        Self { rounds, stop, progress }
    }

    /// Returns the number of rounds of requests that have begun.
    #[must_use]
    pub fn begun(&self) -> usize {
        locked(&self.progress).begun
    }

    /// Returns the number of answered requests, of the rounds after the first `begun`.
    #[must_use]
    pub fn answered_since(&self, begun: usize) -> usize {
        let progress = locked(&self.progress);
        progress.ended.iter().filter(|number| **number >= begun).count() * REQUESTS
    }

    /// Ends it; all answers, once the last one is there.
    ///
    /// # Panics
    /// If the load did.
    pub async fn end(self) -> Vec<Answer> {
        self.stop.cancel();
        // Each request has a limit of its own, and a round has two in a row.
        let ended = wait::within("the load ends", 3 * SOON, self.rounds).await;
        ended.expect("the load does not panic")
    }
}

/// A round begins when it is due, whether or not those before it have ended.
async fn run(
    services: Arc<Services>,
    stop: CancellationToken,
    progress: Arc<Mutex<Progress>>,
) -> Vec<Answer> {
    let (mut due, mut rounds) = (interval(ROUND), Vec::new());
    while !stop.is_cancelled() {
        due.tick().await;
        let (services, progress, number) = (services.clone(), progress.clone(), rounds.len());
        locked(&progress).begun = number + 1;
        rounds.push(tokio::spawn(async move {
            let answers = round(services, number).await;
            locked(&progress).ended.push(number);
            answers
        }));
    }
    let rounds = join_all(rounds).await.into_iter();
    rounds.flat_map(|answers| answers.expect("a round does not panic")).collect()
}

fn locked(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().expect("nobody panics with it")
}

async fn round(services: Arc<Services>, number: usize) -> [Answer; REQUESTS] {
    let volunteer = format!("v-{number}");
    let body = json!({"volunteerId": volunteer, "opportunityId": "library"});
    let name = json!({"name": volunteer});
    let applying = async {
        let (mut sent, answer) =
            send(&services.applications, "POST /api/applications", &body).await;
        let id = text(&answer, "applicationId");
        sent.events = ["application.created", "application.submitted"]
            .map(|event_type| (event_type, id.clone()))
            .to_vec();
        let path = format!("/api/applications/{id}");
        let began = now();
        let answer = services.applications.try_patch(&path, &json!({"status": "accepted"})).await;
        let took = now() - began;
        let status = answer.map(|(status, _)| status);
        let events = vec![("application.state.changed", id)];
        [sent, Answer { request: "PATCH /api/applications", status, took, events }]
    };
    let matching = async {
        let (mut sent, _) = send(&services.matching, "POST /api/matching/quick", &body).await;
        sent.events = vec![("match.suggestions.generated", volunteer.clone())];
        sent
    };
    let registering = async {
        let (mut sent, answer) = send(&services.bff, "POST /api/volunteers", &name).await;
        sent.events = vec![("volunteer.registered", text(&answer, "volunteerId"))];
        sent
    };
    let ([applied, changed], matched, registered) = tokio::join!(applying, matching, registering);
    [applied, changed, matched, registered]
}

async fn send(service: &Service, request: &'static str, body: &Value) -> (Answer, Value) {
    let (_, path) = request.split_once(' ').expect("a method and a path");
    let began = now();
    let answer = service.try_post(path, body).await;
    let took = now() - began;
    let (status, body) = match answer {
        Ok((status, body)) => (Ok(status), body),
        Err(error) => (Err(error), Value::Null),
    };
    (Answer { request, status, took, events: Vec::new() }, body)
}

fn text(answer: &Value, name: &str) -> String {
    answer[name].as_str().unwrap_or_default().to_owned()
}

#[expect(clippy::disallowed_methods, reason = "tests measure how long an answer takes")]
fn now() -> Instant {
    Instant::now()
}
