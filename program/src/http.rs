//! HTTP server of every program: probes, metrics, and the program's own routes.

mod connections;
mod server;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::server::Limits;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Routes `/livez`, which answers 200, `/readyz` and `/metrics`. Merge it with the program's own routes.
pub fn probes(ready: MethodRouter, metrics: MethodRouter) -> Router {
    Router::new().route("/livez", get(ok)).route("/readyz", ready).route("/metrics", metrics)
}

/// Answers 200 with `ok`.
pub async fn ok() -> &'static str {
    "ok\n"
}

/// Returns a route for `/readyz` that answers 200 while `is_ready`, else 503 and `waiting for <waiting_for>`.
pub fn ready_while(
    is_ready: impl Fn() -> bool + Clone + Send + Sync + 'static,
    waiting_for: &'static str,
) -> MethodRouter {
    get(move || async move {
        if is_ready() {
            (StatusCode::OK, "ok\n".to_owned())
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {waiting_for}\n"))
        }
    })
}

/// Returns a route for `/metrics` that answers with the metrics in `registry`.
pub fn metrics_of(registry: Arc<Registry>) -> MethodRouter {
    get(move || async move { metrics(&registry) })
}

/// Encodes the metrics in `registry` as OpenMetrics text.
#[must_use]
pub fn metrics(registry: &Registry) -> Response {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot encode the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Opens a listener on `address`. On `[::]` it takes IPv4 too; where the host has no IPv6, it takes IPv4 alone.
///
/// # Errors
/// A message for the log.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, String> {
    let listener = listen_by(bind, address).and_then(TcpListener::from_std);
    listener.map_err(|error| format!("cannot listen on {address}: {error}"))
}

fn listen_by<T>(bind: impl Fn(SocketAddr) -> io::Result<T>, address: SocketAddr) -> io::Result<T> {
    match bind(address) {
        Err(error)
            if address.ip() == Ipv6Addr::UNSPECIFIED
                && error.kind() != io::ErrorKind::AddrInUse
                && error.kind() != io::ErrorKind::PermissionDenied =>
        {
            let ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            tracing::info!(%error, "there is no IPv6 here; listening on IPv4");
            bind(ipv4)
        }
        result => result,
    }
}

/// Binds a socket. The host's setting for IPv6 sockets does not count: `net.ipv6.bindv6only` would refuse IPv4.
fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Serves `router` until `stop`. Requests that have begun by then may take at most `last_requests` longer, so that an idle
/// keep-alive connection does not keep the process running.
///
/// Clients cannot exhaust the program: a request's header may take 10 s and have 16 KiB, its body and the work on it 30 s;
/// a connection that does nothing is closed; of 256 connections the oldest without a request makes room for another one,
/// and 128 requests may be in work at once, besides those for `/livez`, `/readyz` and `/metrics`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    last_requests: Duration,
    stop: CancellationToken,
) {
    server::serve(listener, router, Limits::default(), last_requests, stop).await;
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn case_05_an_unspecified_address_is_reached_by_both_families() {
        let listener = listen("[::]:0".parse().unwrap()).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "::1"] {
            TcpStream::connect((host, port)).unwrap_or_else(|error| panic!("{host}: {error}"));
        }
    }

    #[test]
    fn case_05_where_there_is_no_ipv6_it_listens_on_ipv4() {
        let without_ipv6 = |kind| {
            move |address: SocketAddr| match address {
                SocketAddr::V6(_) => Err(io::Error::from(kind)),
                SocketAddr::V4(address) => Ok(address.to_string()),
            }
        };
        let listen = |kind, address: &str| listen_by(without_ipv6(kind), address.parse().unwrap());
        for kind in [io::ErrorKind::Unsupported, io::ErrorKind::AddrNotAvailable] {
            assert_eq!(listen(kind, "[::]:9090").unwrap(), "0.0.0.0:9090");
            assert!(listen(kind, "[::1]:9090").is_err());
        }
        assert!(listen(io::ErrorKind::AddrInUse, "[::]:9090").is_err());
    }
}
