//! Client of the API server: it notices frozen connections, and records the answers to watches.

use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, Response, Uri};
use jiff::Timestamp;
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::Service;
use tower::layer::layer_fn;

use crate::error::Error;
use crate::metrics::Metrics;

/// Time for the end of a watch request to arrive after its time limit. The watches of the library wait as long.
const SILENCE: Duration = Duration::from_secs(5);

/// Creates a client with connections of its own, for watches that end after `watch`.
///
/// # Errors
/// [`Error::Configuration`].
pub(crate) fn client(
    mut config: Config,
    watch: Duration,
    metrics: &Metrics,
) -> Result<Client, Error> {
    // The client would retry for 15 minutes; reconciles and watches have retries of their own.
    config.default_retry = false;
    // Load balancers freeze quiet connections without closing them, and may answer the keepalive of TCP themselves. A
    // request gets a connection that has been silent for less than this, and waits no longer than this for an answer.
    config.read_timeout = Some(watch + SILENCE);
    config.reset_reader_on_write = true;
    let builder =
        ClientBuilder::try_from(config).map_err(|error| Error::Configuration(Box::new(error)))?;
    let metrics = metrics.clone();
    let recorded = layer_fn(move |requests| Recorded { requests, metrics: metrics.clone() });
    Ok(builder.with_layer(&recorded).build())
}

/// Requests of which the time of each answer to a watch is recorded. Every watch is requested again at its time limit,
/// so that the recorded time moves where nothing changes, too.
struct Recorded<S> {
    requests: S,
    metrics: Metrics,
}

impl<S, B> Service<Request<Body>> for Recorded<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.requests.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let watched = watched(request.uri());
        let (answer, metrics) = (self.requests.call(request), self.metrics.clone());
        Box::pin(async move {
            let answer = answer.await?;
            if let Some((namespace, resource)) = watched.filter(|_| answer.status().is_success()) {
                metrics.watch_seen(&namespace, &resource, wall_clock());
            }
            Ok(answer)
        })
    }
}

/// Returns the namespace, empty for all, and the resource that a request watches; `None` if it is no watch.
fn watched(uri: &Uri) -> Option<(String, String)> {
    uri.query()?.split('&').find(|parameter| *parameter == "watch=true")?;
    let mut segments = uri.path().split('/');
    let resource = segments.next_back()?.to_owned();
    let namespace = segments.skip_while(|segment| *segment != "namespaces").nth(1);
    Some((namespace.unwrap_or_default().to_owned(), resource))
}

#[expect(clippy::disallowed_methods, reason = "the metric is a time on the clock of the wall")]
fn wall_clock() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use crate::settings::WATCH;

    use super::*;

    #[test]
    fn case_10_a_frozen_watch_and_then_a_frozen_request_are_noticed_within_a_minute() {
        assert!(2 * (WATCH + SILENCE) < Duration::from_secs(55));
    }

    #[test]
    fn case_10_a_watch_is_known_by_its_uri() {
        let of = |uri: &'static str| {
            let watched = watched(&Uri::from_static(uri));
            watched.map(|(namespace, resource)| format!("{namespace}/{resource}"))
        };
        for (uri, expected) in [
            ("/apis/apps/v1/namespaces/shop/deployments?&watch=true&a=b", Some("shop/deployments")),
            ("/apis/apps/v1/deployments?watch=true", Some("/deployments")),
            ("/apis/apps/v1/namespaces/shop/deployments?watch=truely", None),
            ("/apis/apps/v1/namespaces/shop/deployments", None),
        ] {
            assert_eq!(of(uri).as_deref(), expected, "{uri}");
        }
    }
}
