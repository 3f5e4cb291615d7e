//! What can go wrong in the operator: what was tried, on what, and why it failed.

use std::path::PathBuf;
use std::time::Duration;

/// A failed operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The API server refused, or could not be reached.
    #[error("cannot {operation} {subject}")]
    Kube {
        /// A verb and its object, such as `apply Deployment`.
        operation: &'static str,
        /// Which one.
        subject: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server did not answer.
    #[error("cannot {operation} {subject}: no answer within {limit:?}")]
    Silent {
        /// A verb and its object.
        operation: &'static str,
        /// Which one.
        subject: String,
        /// How long was waited.
        limit: Duration,
    },
    /// Another replica may be the leader by now.
    #[error("cannot {operation} {subject}: this replica does not hold the lease")]
    NotLeading {
        /// A verb and its object.
        operation: &'static str,
        /// Which one.
        subject: String,
    },
    /// No Kubernetes is configured, or not in a form that can be read.
    #[error("cannot find out how to reach the Kubernetes API server")]
    Configuration(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The endpoints file cannot be read.
    #[error("cannot read the endpoints file {}", path.display())]
    EndpointsFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The probes and metrics cannot be served.
    #[error("cannot serve HTTP")]
    Http(#[source] std::io::Error),
}

impl Error {
    /// A short fixed word for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Kube { .. } => "kube",
            Self::Silent { .. } => "silent",
            Self::NotLeading { .. } => "not_leading",
            Self::Configuration(_) => "configuration",
            Self::EndpointsFile { .. } => "endpoints_file",
            Self::Http(_) => "http",
        }
    }

    /// Whether what we spoke of is gone, or another one of the same name by now.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self.code(), Some(404 | 409))
    }

    /// The HTTP status of the API server's answer.
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

    /// Writes the error and its causes in one line for people.
    #[must_use]
    pub fn report(&self) -> String {
        if let Self::Kube { source, .. } = self
            && let kube::Error::Api(status) = &**source
        {
            // The cause's own text shows the whole reply.
            return format!("{self}: {}", status.message);
        }
        eventbus::chain(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_api_server_is_reported_in_its_own_words() {
        let status = kube::core::Status::failure("quota exceeded", "Forbidden").with_code(403);
        let source = Box::new(kube::Error::Api(status.boxed()));
        let error = Error::Kube { operation: "apply Deployment", subject: "ns/d".into(), source };
        assert_eq!(error.report(), "cannot apply Deployment ns/d: quota exceeded");
        assert_eq!((error.code(), error.is_gone()), (Some(403), false));
    }
}
