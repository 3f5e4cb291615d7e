//! Detection of requests that failed only because a connection out of the pool was closed.

use std::cell::Cell;
use std::error::Error;
use std::net::SocketAddr;

use axum::http::Extensions;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpInfo};
use reqwest::{Client, Request, Response};

tokio::task_local! {
    /// Local address of the connection that was made for the request of this task.
    static CREATED: Cell<Option<SocketAddr>>;
}

/// Failed request.
#[derive(Debug)]
pub struct Failure {
    /// The client's error.
    pub error: reqwest::Error,
    /// `true` if the request went out on a connection of an earlier request, which ended without an answer. This is a
    /// failure of that connection: servers and load balancers close one when they like, also under a request.
    pub is_stale_connection: bool,
}

/// Records a new connection for the request that waits for it. The client of [`send`] must call this for each connection.
pub fn record_created<C: Connection>(connection: C) -> C {
    // Without a request: it took another connection from the pool in the meantime, and this one is left to the pool.
    CREATED.try_with(|created| created.set(local_address(&connection.connected()))).ok();
    connection
}

/// Sends a request. Dropping the call cancels it.
///
/// # Errors
/// [`Failure`] if no head of an answer came.
pub async fn send(client: &Client, request: Request) -> Result<Response, Failure> {
    let send = async {
        let sent = client.execute(request).await;
        (sent, CREATED.with(Cell::get))
    };
    let (sent, created) = CREATED.scope(Cell::new(None), send).await;
    sent.map_err(|error| Failure {
        is_stale_connection: is_stale_connection(&error, created),
        error,
    })
}

fn is_stale_connection(error: &reqwest::Error, created: Option<SocketAddr>) -> bool {
    let causes = || std::iter::successors(error.source(), |&cause| cause.source());
    let used = causes().find_map(|cause| cause.downcast_ref::<legacy::Error>()?.connect_info());
    let used = used.and_then(local_address);
    let is_reused = used.is_some() && used != created;
    is_reused && causes().any(is_closed)
}

/// Returns `true` for the errors of a connection that is gone, and `false` for those of an answer that is malformed. An
/// answer that ends within its head is among the first: the client has the same error for it as for none.
fn is_closed(cause: &(dyn Error + 'static)) -> bool {
    let http = cause.downcast_ref::<hyper::Error>();
    http.is_some_and(|e| e.is_incomplete_message() || e.is_canceled() || e.is_closed())
        || cause.is::<std::io::Error>()
}

fn local_address(connected: &Connected) -> Option<SocketAddr> {
    let mut extras = Extensions::new();
    connected.get_extras(&mut extras);
    extras.get::<HttpInfo>().map(HttpInfo::local_addr)
}
