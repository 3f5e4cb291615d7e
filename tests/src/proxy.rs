//! A TCP proxy between a program and its server, which can fail as a network does.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What comes through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passes {
    Everything,
    /// What the client says, and nothing of what the server answers.
    Requests,
    Nothing,
}

/// A proxy on a free port of 127.0.0.1; it ends when this is dropped.
pub struct TcpProxy {
    address: SocketAddr,
    passes: Arc<watch::Sender<Passes>>,
    cuts: Arc<watch::Sender<u64>>,
    task: JoinHandle<()>,
}

impl TcpProxy {
    /// Passes everything on to `target`.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let passes = Arc::new(watch::Sender::new(Passes::Everything));
        let cuts = Arc::new(watch::Sender::new(0));
        let (open, cut) = (passes.clone(), cuts.clone());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (open, mut cut) = (open.subscribe(), cut.subscribe());
                tokio::spawn(async move {
                    tokio::select! {
                        // What is let through in the same moment does not come through.
                        biased;
                        _ = cut.changed() => {}
                        () = pass_on(client, target, open) => {}
                    }
                });
            }
        });
        Self { address, passes, cuts, task }
    }

    /// Where it listens.
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

async fn pass_on(client: TcpStream, target: SocketAddr, passes: watch::Receiver<Passes>) {
    // Where nobody listens, the client finds its connection closed.
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let back = passes.clone();
    tokio::join!(
        copy(from_client, to_server, passes, |passes| passes != Passes::Nothing),
        copy(from_server, to_client, back, |passes| passes == Passes::Everything)
    );
}

async fn copy(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut passes: watch::Receiver<Passes>,
    is_open: impl Fn(Passes) -> bool,
) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let is_open = passes.wait_for(|passes| is_open(*passes)).await.is_ok();
        if !is_open || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    to.shutdown().await.ok();
}
