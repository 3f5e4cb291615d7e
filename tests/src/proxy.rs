//! A TCP proxy between a program and its server, which can fall silent as a broken network does.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A proxy on a free port of 127.0.0.1; it ends when this is dropped.
pub struct TcpProxy {
    address: SocketAddr,
    passes: Arc<watch::Sender<bool>>,
    task: JoinHandle<()>,
}

impl TcpProxy {
    /// Passes everything on to `target`.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let passes = Arc::new(watch::Sender::new(true));
        let open = passes.subscribe();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, target, open.clone()));
            }
        });
        Self { address, passes, task }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections stay open, and nothing comes through any more.
    pub fn fall_silent(&self) {
        self.passes.send_replace(false);
    }

    /// Everything comes through again, what was held back first.
    pub fn resume(&self) {
        self.passes.send_replace(true);
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(client: TcpStream, target: SocketAddr, open: watch::Receiver<bool>) {
    // Where nobody listens, the client finds its connection closed.
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let back = open.clone();
    tokio::join!(copy(from_client, to_server, open), copy(from_server, to_client, back));
}

async fn copy(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut open: watch::Receiver<bool>,
) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let is_open = open.wait_for(|open| *open).await.is_ok();
        if !is_open || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    to.shutdown().await.ok();
}
