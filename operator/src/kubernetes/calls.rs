//! Calls of the API server with a time limit.

use std::future::Future;
use std::time::Duration;

use crate::error::Error;

/// Time limit of one call. Together with the renew deadline it does not exceed the lease's duration, so that a call that
/// began while this replica was the leader ends before another replica leads.
pub const LIMIT: Duration = Duration::from_secs(5);

/// Awaits `call`, for at most [`LIMIT`].
///
/// # Errors
/// [`Error::Kube`] and [`Error::Silent`], which name the operation and its subject.
pub async fn within<T>(
    operation: &'static str,
    subject: &str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    let subject = || subject.to_owned();
    match tokio::time::timeout(LIMIT, call).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(source)) => {
            Err(Error::Kube { operation, subject: subject(), source: Box::new(source) })
        }
        Err(_) => Err(Error::Silent { operation, subject: subject(), limit: LIMIT }),
    }
}
