//! A TCP proxy between a program and its server, which can fail as a network does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Direction in which bytes pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passes {
    Everything,
    /// Bytes of the client pass, bytes of the server do not.
    Requests,
    Nothing,
}

/// Limit of replies of Redis, in bytes, and its effect on larger ones.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum LargeReplies {
    /// The connection ends instead.
    Cut(usize),
    /// An error comes instead.
    Refused(usize),
}

/// Receive buffer of a throttled connection to the server: the system would hold megabytes for it.
const SMALL_BUFFER: u32 = 16 * 1024;

/// A proxy on a free port of 127.0.0.1; it ends when this is dropped.
pub struct TcpProxy {
    address: SocketAddr,
    target: Arc<watch::Sender<SocketAddr>>,
    passes: Arc<watch::Sender<Passes>>,
    cuts: Arc<watch::Sender<u64>>,
    strandings: Arc<AtomicU64>,
    accepted: Arc<AtomicU64>,
    line: Arc<watch::Sender<Line>>,
    task: JoinHandle<()>,
}

/// Limits of what a new connection carries from the server.
#[derive(Clone, Copy, Default)]
struct Line {
    bytes_per_second: Option<u32>,
    large: Option<LargeReplies>,
}

/// Switch that lets bytes of a connection pass or holds them back.
#[derive(Clone)]
struct Valve {
    passes: watch::Receiver<Passes>,
    strandings: Arc<AtomicU64>,
    /// Strandings before the connection was made.
    before: u64,
    line: Line,
}

impl Valve {
    fn is_stranded(&self) -> bool {
        self.strandings.load(Ordering::Relaxed) > self.before
    }
}

impl TcpProxy {
    /// Passes everything on to `target`.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let target = Arc::new(watch::Sender::new(target));
        let passes = Arc::new(watch::Sender::new(Passes::Everything));
        let cuts = Arc::new(watch::Sender::new(0));
        let strandings = Arc::new(AtomicU64::new(0));
        let accepted = Arc::new(AtomicU64::new(0));
        let line = Arc::new(watch::Sender::new(Line::default()));
        let (to, open, cut) = (target.clone(), passes.clone(), cuts.clone());
        let (stranding, count) = (strandings.clone(), accepted.clone());
        let lines = line.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let (target, mut cut) = (*to.borrow(), cut.subscribe());
                let (passes, strandings) = (open.subscribe(), stranding.clone());
                let before = strandings.load(Ordering::Relaxed);
                let valve = Valve { passes, strandings, before, line: *lines.borrow() };
                tokio::spawn(async move {
                    tokio::select! {
                        // What is let through in the same moment does not come through.
                        biased;
                        _ = cut.changed() => {}
                        () = pass_on(client, target, valve) => {}
                    }
                });
            }
        });
        Self { address, target, passes, cuts, strandings, accepted, line, task }
    }

    /// Returns its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections stay open, and nothing comes through any more.
    pub fn fall_silent(&self) {
        self.passes.send_replace(Passes::Nothing);
    }

    /// Connections stay open, the server hears the client, and the client does not hear the server.
    pub fn hold_replies(&self) {
        self.passes.send_replace(Passes::Requests);
    }

    /// Everything comes through again, what was held back first.
    pub fn resume(&self) {
        self.passes.send_replace(Passes::Everything);
    }

    /// The connections that there are stay open and never carry a byte again; new ones are passed on.
    pub fn strand(&self) {
        self.strandings.fetch_add(1, Ordering::Relaxed);
    }

    /// New connections are passed on to `target`; those that there are stay where they are.
    pub fn lead_to(&self, target: SocketAddr) {
        self.target.send_replace(target);
    }

    /// New connections carry so many bytes of the server in a second.
    pub fn throttle(&self, bytes_per_second: u32) {
        self.line.send_modify(|line| line.bytes_per_second = Some(bytes_per_second));
    }

    /// New connections do this to large replies of a server that speaks Redis' protocol.
    pub fn limit_replies(&self, large: LargeReplies) {
        self.line.send_modify(|line| line.large = Some(large));
    }

    /// Connections that it was asked for so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// All connections end, with what was under way; new ones are passed on.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(client: TcpStream, target: SocketAddr, valve: Valve) {
    let socket = TcpSocket::new_v4().expect("a socket can be made");
    if valve.line.bytes_per_second.is_some() {
        socket.set_recv_buffer_size(SMALL_BUFFER).expect("a socket has a buffer");
    }
    // Where nobody listens, the client finds its connection closed.
    let Ok(server) = socket.connect(target).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let back = valve.clone();
    let requests = copy(from_client, to_server, valve, |passes| passes != Passes::Nothing);
    match back.line.large {
        None => {
            let replies = copy(from_server, to_client, back, |passes| passes == Passes::Everything);
            tokio::join!(requests, replies);
        }
        // A reply that is cut ends both directions.
        Some(large) => tokio::select! {
            () = requests => {}
            () = copy_replies(from_server, to_client, large) => {}
        },
    }
}

/// Passes whole replies on, but for large ones.
async fn copy_replies(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    large: LargeReplies,
) {
    let (LargeReplies::Cut(max) | LargeReplies::Refused(max)) = large;
    let mut buffer = Vec::new();
    while let Ok(1..) = from.read_buf(&mut buffer).await {
        while let Some(length) = reply_length(&buffer) {
            let reply: Vec<u8> = buffer.drain(..length).collect();
            let sent = match large {
                _ if reply.len() <= max => to.write_all(&reply).await,
                LargeReplies::Cut(_) => return,
                LargeReplies::Refused(_) => to.write_all(b"-ERR the reply is too large\r\n").await,
            };
            if sent.is_err() {
                return;
            }
        }
    }
}

/// Returns the length of the first reply; `None` if it is not whole.
fn reply_length(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|end| end == b"\r\n")? + 2;
    let number = || std::str::from_utf8(&bytes[1..line - 2]).ok()?.parse::<usize>().ok();
    let parts = match bytes[0] {
        b'$' => {
            return number()
                .map_or(Some(line), |n| Some(line + n + 2).filter(|end| *end <= bytes.len()));
        }
        b'*' => number().unwrap_or(0),
        _ => 0,
    };
    (0..parts).try_fold(line, |at, _| Some(at + reply_length(bytes.get(at..)?)?))
}

async fn copy(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut valve: Valve,
    is_open: impl Fn(Passes) -> bool,
) {
    let is_reply = !is_open(Passes::Requests);
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let is_open = valve.passes.wait_for(|passes| is_open(*passes)).await.is_ok();
        if valve.is_stranded() {
            // Whatever comes, nobody hears of it, the end of the other side included.
            return std::future::pending().await;
        }
        if !is_open || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        if let Some(rate) = valve.line.bytes_per_second.filter(|_| is_reply) {
            let count = u32::try_from(count).expect("a buffer is small");
            tokio::time::sleep(Duration::from_secs(1) * count / rate).await;
        }
    }
    if valve.is_stranded() {
        return std::future::pending().await;
    }
    to.shutdown().await.ok();
}
