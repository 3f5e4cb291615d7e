//! Waiting for a condition or for the end of some work, with a deadline.

use std::time::Duration;

/// Between two looks at the condition.
const INTERVAL: Duration = Duration::from_millis(10);

/// Repeats `probe` until it returns something, and returns that.
///
/// # Panics
/// If it finds nothing within `limit`; `what` says what was waited for.
pub async fn until<T>(what: &str, limit: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    };
    within(what, limit, found).await
}

/// Awaits `work` with a deadline.
///
/// # Panics
/// If it takes longer than `limit`; `what` says what was waited for.
pub async fn within<T>(what: &str, limit: Duration, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(limit, work).await;
    done.unwrap_or_else(|_| panic!("not within {limit:?}: {what}"))
}
