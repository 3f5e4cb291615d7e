//! A server that speaks Redis' protocol and refuses everything, to hear what is made of an error that a real one gives
//! only in a state that is hard to bring about.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use eventbus::config::{CredentialFiles, RedisConfig};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Answers of the fake server.
#[derive(Clone, Debug)]
pub enum Answers {
    /// Closes each connection at once.
    Nothing,
    /// Answers this error to each command, the login included.
    Error(String),
    /// Accepts every login, and answers this error to each command except PING.
    ErrorAfterLogin(String),
}

/// A fake server on a free port of 127.0.0.1; it ends when this is dropped.
pub struct FakeRedis {
    address: SocketAddr,
    accepted: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl FakeRedis {
    /// Starts one.
    pub async fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let accepted = Arc::new(AtomicU64::new(0));
        let count = accepted.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(client, answers.clone()));
            }
        });
        Self { address, accepted, task }
    }

    /// The server as the library is told of it.
    #[must_use]
    pub fn config(&self) -> RedisConfig {
        let url = format!("redis://{}", self.address);
        RedisConfig::new("REDIS_URL", &url, CredentialFiles::default()).expect("the URL is right")
    }

    /// Connections so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for FakeRedis {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers until the client goes. No argument of a command may have a line end in it.
async fn serve(client: TcpStream, answers: Answers) {
    let (from, mut to) = client.into_split();
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut words = Vec::new();
        // A length and a text for each.
        let count: usize = line.trim_start_matches('*').parse().expect("it is an array");
        for _ in 0..2 * count {
            words.extend(lines.next_line().await.ok().flatten());
        }
        let answer = match (&answers, words.get(1).map(String::as_str)) {
            (Answers::Nothing, _) => return,
            (Answers::ErrorAfterLogin(_), Some("HELLO")) => "*0\r\n".to_owned(),
            (Answers::ErrorAfterLogin(_), Some("PING")) => "+PONG\r\n".to_owned(),
            (Answers::Error(error) | Answers::ErrorAfterLogin(error), _) => format!("-{error}\r\n"),
        };
        if to.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
