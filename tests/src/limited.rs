//! A host before a real server that refuses every command beyond a size, as managed hosts and proxies do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use eventbus::config::{CredentialFiles, RedisConfig};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::redis::RedisServer;

/// Answer of the host to a command that is too large.
#[derive(Clone, Debug)]
pub enum TooLarge {
    /// An error with this text, and the real server's EXECABORT to the end of its transaction.
    Answer(&'static str),
    /// None: the host closes the connection.
    Close,
}

/// A host on a free port of 127.0.0.1; it ends when this is dropped.
pub struct LimitedHost {
    address: SocketAddr,
    limit: Arc<AtomicUsize>,
    refused: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

/// Limit that the connections of a host share.
#[derive(Clone)]
struct Gate {
    limit: Arc<AtomicUsize>,
    refused: Arc<AtomicU64>,
    too_large: TooLarge,
}

impl LimitedHost {
    /// Passes commands of at most `limit` bytes on to `server`.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start(server: &RedisServer, limit: usize, too_large: TooLarge) -> Self {
        let target = SocketAddr::from(([127, 0, 0, 1], server.port()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (limit, refused) = (Arc::new(AtomicUsize::new(limit)), Arc::new(AtomicU64::new(0)));
        let gate = Gate { limit: limit.clone(), refused: refused.clone(), too_large };
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A connection ends with either side.
                tokio::spawn(serve(client, target, gate.clone()));
            }
        });
        Self { address, limit, refused, task }
    }

    /// The host as the library is told of it.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn config(&self) -> RedisConfig {
        let url = format!("redis://{}", self.address);
        RedisConfig::new("REDIS_URL", &url, CredentialFiles::default()).expect("the URL is right")
    }

    /// Commands of up to `limit` bytes pass from now on.
    pub fn allow(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Commands that it refused so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Drop for LimitedHost {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes on one command and its answer after the other.
async fn serve(client: TcpStream, target: SocketAddr, gate: Gate) -> Option<()> {
    let server = TcpStream::connect(target).await.ok()?;
    let (from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let (mut from_client, mut from_server) =
        (BufReader::new(from_client), BufReader::new(from_server));
    loop {
        let command = value(&mut from_client).await?;
        let is_refused = command.len() > gate.limit.load(Ordering::Relaxed);
        if !is_refused {
            to_server.write_all(&command).await.ok()?;
            to_client.write_all(&value(&mut from_server).await?).await.ok()?;
            continue;
        }
        gate.refused.fetch_add(1, Ordering::Relaxed);
        let TooLarge::Answer(error) = gate.too_large else { return None };
        // An incomplete command aborts a transaction as a refused one does.
        to_server.write_all(b"*1\r\n$4\r\nXADD\r\n").await.ok()?;
        value(&mut from_server).await?;
        to_client.write_all(format!("-{error}\r\n").as_bytes()).await.ok()?;
    }
}

/// Reads one value of Redis' protocol, nested ones included.
async fn value(from: &mut BufReader<OwnedReadHalf>) -> Option<Vec<u8>> {
    let (mut bytes, mut missing) = (Vec::new(), 1_usize);
    while missing > 0 {
        missing -= 1;
        let start = bytes.len();
        if from.read_until(b'\n', &mut bytes).await.ok()? == 0 {
            return None;
        }
        let line = std::str::from_utf8(&bytes[start..]).ok()?.trim_end();
        let (kind, number) = (line.chars().next()?, line.get(1..)?.parse::<usize>());
        match (kind, number) {
            ('*' | '~' | '>', Ok(count)) => missing += count,
            ('%', Ok(count)) => missing += 2 * count,
            ('$' | '=' | '!', Ok(length)) => {
                let text = bytes.len();
                bytes.resize(text + length + 2, 0);
                from.read_exact(&mut bytes[text..]).await.ok()?;
            }
            _ => {}
        }
    }
    Some(bytes)
}
