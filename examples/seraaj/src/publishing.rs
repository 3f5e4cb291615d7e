//! Publishing of a request's events: to the platform's file first, then to the bus.

use std::future::Future;

use jiff::Timestamp;
use tokio_util::task::TaskTracker;

use crate::dual::{DualPublisher, Recorded};
use crate::file_publisher::Event;
use crate::input::Refusal;

/// Publisher of requests' events, with the tasks that publish them. Clones share both.
#[derive(Clone)]
pub struct Publishing {
    pub(crate) publisher: DualPublisher,
    pub(crate) tasks: TaskTracker,
}

impl Publishing {
    /// Creates an event of this service.
    #[must_use]
    pub fn event(&self, event_type: &str, payload: serde_json::Value, time: Timestamp) -> Event {
        self.publisher.event(event_type, payload, time)
    }

    /// Completes `work` also if the client disconnects, so that events in the file are also published to the bus.
    ///
    /// # Panics
    /// If `work` does.
    pub async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        match self.tasks.spawn(work).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is ending, and this caller with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Writes `events` to the platform's file.
    ///
    /// # Errors
    /// [`Refusal::broken`], with the cause in the log.
    pub async fn record(&self, events: Vec<Event>) -> Result<Recorded, Refusal> {
        self.publisher.record(events).await.map_err(|error| {
            tracing::error!(%error, "cannot write to the event file");
            Refusal::broken()
        })
    }

    /// Publishes recorded events to the bus.
    pub async fn send(&self, recorded: Recorded) {
        self.publisher.send(recorded).await;
    }

    /// Writes an event to the file and publishes it to the bus; completes also if the client disconnects.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub async fn publish(&self, event: Event) -> Result<(), Refusal> {
        let this = self.clone();
        let both = async move {
            let recorded = this.record(vec![event]).await?;
            this.send(recorded).await;
            Ok(())
        };
        self.finish(both).await
    }
}

/// Returns the time of a request.
#[expect(clippy::disallowed_methods, reason = "the edge that reads the clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
