//! Server whose clients cannot exhaust the program: limits on time, size and number of what it holds for them.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connections::{Connection, Connections};

/// Routes of the probes and of the metrics, which are answered also when there are too many requests for other routes.
const RESERVED: [&str; 3] = ["/livez", "/readyz", "/metrics"];
/// Pause after a connection could not be accepted and none could be closed in its favour.
const PAUSE: Duration = Duration::from_millis(100);

/// Limits of a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Time for the header of a request, from the connection's start or the end of the last request on.
    pub header_time: Duration,
    /// Size of the header of a request, in bytes.
    pub header_size: usize,
    /// Time for the body of a request and the work on it.
    pub request_time: Duration,
    /// Time for which a connection without a request in work may do nothing, such as to read no answer.
    pub idle_time: Duration,
    /// Number of connections. One more closes the oldest of those without a request in work, so that a new one, which may
    /// be a probe, always has a place.
    pub connections: usize,
    /// Number of requests in work at once, not counting those for [`RESERVED`].
    pub requests: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_time: Duration::from_secs(10),
            header_size: 16 * 1024,
            request_time: Duration::from_secs(30),
            idle_time: Duration::from_secs(30),
            connections: 256,
            requests: 128,
        }
    }
}

/// State that the connections of a server share.
#[derive(Clone)]
struct Shared {
    router: TowerToHyperService<Router>,
    limits: Limits,
    slots: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Serves `router` until `stop`; then waits for the requests in work for at most `last_requests`.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    last_requests: Duration,
    stop: CancellationToken,
) {
    let shared = Shared {
        router: TowerToHyperService::new(router),
        limits,
        slots: Arc::new(Semaphore::new(limits.requests)),
        stop: stop.clone(),
    };
    let (connections, mut tasks) = (Connections::default(), JoinSet::new());
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = tasks.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                if connections.count() >= limits.connections {
                    connections.close_oldest().await;
                }
                tasks.spawn(hold(stream, connections.add(), shared.clone()));
            }
            Err(error) => not_accepted(&error, &connections).await,
        }
    }
    drop(listener);
    let all = async { while tasks.join_next().await.is_some() {} };
    tokio::time::timeout(last_requests, all).await.ok();
}

/// Makes room for the next connection where the process or the host has no descriptor left.
async fn not_accepted(error: &io::Error, connections: &Connections) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        return;
    }
    if !connections.close_oldest().await {
        tracing::warn!(%error, "cannot accept an HTTP connection; retrying");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Serves one connection until it ends or has to.
async fn hold(stream: TcpStream, connection: Connection, shared: Shared) {
    stream.set_nodelay(true).ok();
    let Limits { header_time, header_size, idle_time, .. } = shared.limits;
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(header_time);
    builder.max_buf_size(header_size).max_header_size(header_size);
    let service = service_fn(|request| {
        let work = connection.begin_request();
        let answer = answer(request, shared.clone());
        async move {
            let answer = answer.await;
            drop(work);
            Ok::<_, Infallible>(answer)
        }
    });
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut is_ending = false;
    loop {
        tokio::select! {
            // A connection that has to be closed begins no further request.
            biased;
            () = connection.closed() => return,
            // Its error is the client's: a header that is too long, too slow or malformed.
            _ = serving.as_mut() => return,
            () = shared.stop.cancelled(), if !is_ending => {
                serving.as_mut().graceful_shutdown();
                is_ending = true;
            }
            () = tokio::time::sleep(idle_time) => {
                if connection.is_idle_for(idle_time) {
                    return;
                }
            }
        }
    }
}

async fn answer(request: Request<Incoming>, shared: Shared) -> Response<Body> {
    let refused = |status, text: &'static str| {
        (status, [(header::CONNECTION, "close"), (header::RETRY_AFTER, "1")], text).into_response()
    };
    let is_reserved = RESERVED.contains(&request.uri().path());
    let slot = (!is_reserved).then(|| shared.slots.try_acquire());
    if let Some(Err(_)) = slot {
        return refused(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once; try again\n");
    }
    match tokio::time::timeout(shared.limits.request_time, shared.router.call(request)).await {
        Ok(Ok(response)) => response,
        Err(_) => refused(StatusCode::REQUEST_TIMEOUT, "the request took too long\n"),
    }
}

#[cfg(test)]
mod tests;
