//! Calls of the API server, each with an end.

use std::future::Future;
use std::time::Duration;

use crate::error::Error;

/// How long one call may take. Together with the renew deadline it is no longer than the lease's duration: a call that
/// began while this replica was the leader is over before another one is.
pub const LIMIT: Duration = Duration::from_secs(5);

/// Awaits `call`, no longer than [`LIMIT`].
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
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => {
            Err(Error::Kube { operation, subject: subject(), source: Box::new(source) })
        }
        Err(_) => Err(Error::Silent { operation, subject: subject(), limit: LIMIT }),
    }
}
