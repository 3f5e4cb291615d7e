//! The limits, each with a server of a short one and raw clients.

use std::net::SocketAddr;

use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Deadline of every wait.
const SOON: Duration = Duration::from_secs(30);
/// Time that no test waits for.
const NEVER: Duration = Duration::from_secs(600);

/// No limit that a test reaches.
const WIDE: Limits = Limits {
    header_time: NEVER,
    header_size: 16 * 1024,
    request_time: NEVER,
    idle_time: NEVER,
    connections: 1_000,
    requests: 1_000,
};

/// Serves `/livez`, `/work`, which never answers, `/body`, which reads the body, and `/large`, which answers 64 MiB.
async fn start(limits: Limits) -> SocketAddr {
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/work", get(std::future::pending::<()>))
        .route("/body", post(async |body: String| body))
        .route("/large", get(async || vec![b'x'; 64 * 1024 * 1024]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, router, limits, Duration::ZERO, CancellationToken::new()));
    address
}

/// A connection on which `text` was sent.
async fn sent(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// All that is read until the connection is closed; a reset ends it like a close.
async fn rest(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut text)).await;
    read.expect("the server closes the connection").ok();
    String::from_utf8_lossy(&text).into_owned()
}

fn request(method: &str, path: &str, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: h\r\n{more}\r\n")
}

/// The answer to a request on a connection of its own.
async fn answer(address: SocketAddr, path: &str) -> String {
    rest(sent(address, &request("GET", path, "Connection: close\r\n")).await).await
}

async fn assert_alive(address: SocketAddr) {
    let answer = answer(address, "/livez").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_header_that_does_not_end_in_time_closes_its_connection() {
    let address = start(Limits { header_time: Duration::from_millis(50), ..WIDE }).await;
    let unfinished = "GET /livez HTTP/1.1\r\nHost: h\r\n";
    for begun in ["", "GET", unfinished] {
        rest(sent(address, begun).await).await;
    }
}

#[tokio::test]
async fn a_connection_without_another_request_in_time_is_closed() {
    let address = start(Limits { header_time: Duration::from_secs(1), ..WIDE }).await;
    let kept = rest(sent(address, &request("GET", "/livez", "")).await).await;
    assert!(kept.starts_with("HTTP/1.1 200"), "{kept}");
}

#[tokio::test]
async fn a_header_that_is_too_large_is_refused_before_it_ends() {
    let address = start(WIDE).await;
    let filler = "x".repeat(1_000);
    let many: String = (0..20).map(|n| format!("x-{n}: {filler}\r\n")).collect();
    for begun in [many, format!("x: {}", "x".repeat(20_000))] {
        let text = format!("GET /livez HTTP/1.1\r\nHost: h\r\n{begun}");
        let answer = rest(sent(address, &text).await).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    let fits: String = (0..15).map(|n| format!("x-{n}: {filler}\r\n")).collect();
    let text = request("GET", "/livez", &format!("Connection: close\r\n{fits}"));
    assert!(rest(sent(address, &text).await).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_request_whose_body_or_work_does_not_end_in_time_is_ended() {
    let address = start(Limits { request_time: Duration::from_millis(50), ..WIDE }).await;
    assert!(answer(address, "/work").await.starts_with("HTTP/1.1 408"));
    let half = format!("{}half", request("POST", "/body", "Content-Length: 8\r\n"));
    assert!(rest(sent(address, &half).await).await.starts_with("HTTP/1.1 408"));
    assert_alive(address).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_loses_its_connection() {
    let address =
        start(Limits { idle_time: Duration::from_millis(50), connections: 1, ..WIDE }).await;
    let stream = sent(address, &request("GET", "/large", "")).await;
    stream.readable().await.unwrap();
    // The server ends the answer by itself: nobody else asks for the connection's place.
    let ended = async {
        let mut error = None;
        while error.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            error = stream.take_error().unwrap();
            if error.is_none() && stream.try_write(b"x").is_err() {
                break;
            }
        }
    };
    tokio::time::timeout(SOON, ended).await.expect("the connection is closed");
}

#[tokio::test]
async fn connections_without_a_request_make_room_for_a_new_one() {
    let address = start(Limits { connections: 8, ..WIDE }).await;
    let mut unfinished = Vec::new();
    for _ in 0..100 {
        unfinished.push(sent(address, "GET /livez HTTP/1.1\r\n").await);
        assert_alive(address).await;
    }
    let first = unfinished.remove(0);
    assert_eq!(rest(first).await, "");
    let mut last = unfinished.pop().unwrap();
    last.write_all(b"Host: h\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(rest(last).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn requests_in_work_are_not_ended_for_others_and_the_probes_have_a_place_beside_them() {
    let address = start(Limits { connections: 4, requests: 4, ..WIDE }).await;
    let work = request("GET", "/work", "");
    let mut working = Vec::new();
    for _ in 0..4 {
        working.push(sent(address, &work).await);
    }
    let refused = async { while !answer(address, "/work").await.starts_with("HTTP/1.1 503") {} };
    tokio::time::timeout(SOON, refused).await.expect("a fifth one is refused");
    for _ in 0..10 {
        assert_alive(address).await;
    }
    for stream in working {
        assert_eq!(stream.try_read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}

#[tokio::test]
async fn a_stop_waits_for_the_requests_in_work_and_for_nobody_else() {
    let (begun, may_end) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let gates = (begun.clone(), may_end.clone());
    let work = async move || {
        gates.0.add_permits(1);
        gates.1.acquire().await.unwrap().forget();
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let router = Router::new().route("/work", get(work));
    let serving = tokio::spawn(serve(listener, router, WIDE, NEVER, stop.clone()));
    let idle = sent(address, "").await;
    let working = sent(address, &request("GET", "/work", "")).await;
    tokio::time::timeout(SOON, begun.acquire())
        .await
        .expect("the request is in work")
        .unwrap()
        .forget();
    stop.cancel();
    assert_eq!(rest(idle).await, "");
    may_end.add_permits(1);
    assert!(rest(working).await.starts_with("HTTP/1.1 200"));
    tokio::time::timeout(SOON, serving).await.expect("the server ends").unwrap();
}
