//! Publishing for a request: to the platform's file first, then to the bus.

use std::future::Future;

use jiff::Timestamp;
use tokio_util::task::TaskTracker;

use crate::dual::{DualPublisher, Recorded};
use crate::file_publisher::Event;
use crate::input::Refusal;

/// Publishes what a request has come to; clones share all.
#[derive(Clone)]
pub struct Publishing {
    pub(crate) publisher: DualPublisher,
    pub(crate) tasks: TaskTracker,
}

impl Publishing {
    /// An event of this service.
    #[must_use]
    pub fn event(&self, event_type: &str, payload: serde_json::Value, time: Timestamp) -> Event {
        self.publisher.event(event_type, payload, time)
    }

    /// Does `work` to its end, also when the client has gone away: what stands in the file is told to the bus.
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
            tracing::error!(%error, "cannot write to the file of events");
            Refusal::broken()
        })
    }

    /// Tells the bus.
    pub async fn send(&self, recorded: Recorded) {
        self.publisher.send(recorded).await;
    }

    /// Both, to their end.
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

/// The time of a request.
#[expect(clippy::disallowed_methods, reason = "the edge where requests get their time")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
