//! Errors of the operator: the operation, its subject and the cause.

use std::path::PathBuf;
use std::time::Duration;

/// Failed operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Call that the API server rejected, or that did not reach it.
    #[error("cannot {operation} {subject}")]
    Kube {
        /// Verb and object, such as `apply Deployment`.
        operation: &'static str,
        /// Namespace and name of the object.
        subject: String,
        /// Cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// Call without a response within the time limit.
    #[error("cannot {operation} {subject}: no response within {limit:?}")]
    Silent {
        /// Verb and object.
        operation: &'static str,
        /// Namespace and name of the object.
        subject: String,
        /// Time limit.
        limit: Duration,
    },
    /// Write that was not made, because another replica may be the leader.
    #[error("cannot {operation} {subject}: this replica does not hold the lease")]
    NotLeading {
        /// Verb and object.
        operation: &'static str,
        /// Namespace and name of the object.
        subject: String,
    },
    /// Kubernetes client that cannot be configured: no kubeconfig and no service account, or invalid ones.
    #[error("cannot configure the Kubernetes client")]
    Configuration(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Endpoints file that cannot be read.
    #[error("cannot read the endpoints file {}", path.display())]
    EndpointsFile {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// Returns a short constant name for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Kube { .. } => "kube",
            Self::Silent { .. } => "silent",
            Self::NotLeading { .. } => "not_leading",
            Self::Configuration(_) => "configuration",
            Self::EndpointsFile { .. } => "endpoints_file",
        }
    }

    /// Returns true if the object does not exist any more, or has been changed or replaced since it was read.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self.code(), Some(404 | 409))
    }

    /// Returns the HTTP status of the API server's response, if there is one.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Kube { source, .. } => match &**source {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns the error and its causes as one line for people.
    #[must_use]
    pub fn report(&self) -> String {
        if let Self::Kube { source, .. } = self
            && let kube::Error::Api(status) = &**source
        {
            // The text of the cause would show the whole response.
            return format!("{self}: {}", status.message);
        }
        eventbus::chain(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_by_the_api_server_is_reported_with_its_message() {
        let status = kube::core::Status::failure("quota exceeded", "Forbidden").with_code(403);
        let source = Box::new(kube::Error::Api(status.boxed()));
        let error = Error::Kube { operation: "apply Deployment", subject: "ns/d".into(), source };
        assert_eq!(error.report(), "cannot apply Deployment ns/d: quota exceeded");
        assert_eq!((error.code(), error.is_gone()), (Some(403), false));
    }
}
