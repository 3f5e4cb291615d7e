//! An HTTP handler within a test: remembers what it was sent, and answers as it is told.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::consumer::SOON;
use crate::wait;

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Request {
    /// Time of arrival.
    pub at: Instant,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, byte for byte.
    pub body: Bytes,
}

impl Request {
    /// A header's text.
    ///
    /// # Panics
    /// If it is not there or no visible ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("there is no header {name}"));
        value.to_str().expect("the header is ASCII")
    }
}

/// An answer to give.
#[derive(Clone, Debug)]
pub struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Reply {
    /// This status and nothing else.
    #[must_use]
    pub fn status(status: u16) -> Self {
        let status = StatusCode::from_u16(status).expect("it is a status");
        Self { status, headers: HeaderMap::new(), body: String::new() }
    }

    /// With this header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().expect("it is a header's value"));
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(self, body: impl Into<String>) -> Self {
        Self { body: body.into(), ..self }
    }
}

struct Shared {
    requests: Mutex<Vec<Request>>,
    /// The next answers; the last one is given for ever.
    replies: Mutex<VecDeque<Reply>>,
    is_paused: watch::Sender<bool>,
}

/// A port on which nobody listens yet: connections to it are refused, and nobody else can take it.
pub struct Reserved {
    socket: TcpSocket,
    address: SocketAddr,
}

impl Reserved {
    /// A free port on 127.0.0.1.
    #[must_use]
    pub fn port() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket can be made");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("there is a free port");
        let address = socket.local_addr().expect("a bound socket has an address");
        Self { socket, address }
    }

    /// The URL that the handler will have.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }

    /// Starts the handler; it answers 200.
    #[must_use]
    pub fn open(self) -> Handler {
        let shared = Arc::new(Shared {
            requests: Mutex::default(),
            replies: Mutex::new([Reply::status(200)].into()),
            is_paused: watch::Sender::new(false),
        });
        let listener = self.socket.listen(1024).expect("the port can be listened on");
        // An event may be of any size.
        let router = Router::new().fallback(answer).layer(DefaultBodyLimit::disable());
        let router = router.with_state(shared.clone());
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("a server does not end");
        });
        Handler { shared, server, address: self.address }
    }
}

/// A running handler; it ends when this is dropped.
pub struct Handler {
    shared: Arc<Shared>,
    server: JoinHandle<()>,
    address: SocketAddr,
}

impl Handler {
    /// Starts a handler on a free port; it answers 200.
    #[must_use]
    pub fn start() -> Self {
        Reserved::port().open()
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }

    /// Gives these answers from now on, one a request, and the last one for ever.
    pub fn answer(&self, replies: impl IntoIterator<Item = Reply>) {
        *self.shared.replies.lock().expect("no lock is poisoned") = replies.into_iter().collect();
    }

    /// Takes requests and answers none until [`Handler::release`].
    pub fn hold(&self) {
        self.shared.is_paused.send_replace(true);
    }

    /// Answers what was held, and all that comes.
    pub fn release(&self) {
        self.shared.is_paused.send_replace(false);
    }

    /// All requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().expect("no lock is poisoned").clone()
    }

    /// All requests, as soon as there are `number` at least.
    pub async fn received(&self, number: usize) -> Vec<Request> {
        let what = format!("{number} requests came in");
        wait::until(&what, SOON, async || {
            Some(self.requests()).filter(|requests| requests.len() >= number)
        })
        .await
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[expect(clippy::disallowed_methods, reason = "tests compare when requests came in")]
async fn answer(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let request = Request { at: Instant::now(), headers, body };
    shared.requests.lock().expect("no lock is poisoned").push(request);
    let mut is_paused = shared.is_paused.subscribe();
    is_paused.wait_for(|is_paused| !is_paused).await.expect("the sender lives as long as this");
    let reply = {
        let mut replies = shared.replies.lock().expect("no lock is poisoned");
        let last = replies.len() <= 1;
        let next = if last { replies.front().cloned() } else { replies.pop_front() };
        next.expect("there is an answer to give")
    };
    (reply.status, reply.headers, reply.body).into_response()
}
