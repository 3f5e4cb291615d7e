//! A redis-server of a test's own: free port, own directory, gone with the test.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use eventbus::admin::Connection;
use eventbus::config::{CredentialFiles, RedisConfig};
use tempfile::TempDir;

use crate::subscriber::LONG;
use crate::wait;
use crate::watchdog::Watchdog;

/// Milliseconds within which a server is ready, its data read from disk.
const START: u64 = 60_000;
/// Milliseconds between two looks whether it is.
const TRY: u64 = 5;

/// A running, stopped or halted redis-server; it is killed when this is dropped.
///
/// The program is the one that the environment variable `REDIS_SERVER` names, by its path or as one on `PATH`; default
/// `redis-server`. Valkey will do: it takes the same options. `make test-servers` sets it.
pub struct RedisServer {
    process: Option<(Child, Watchdog)>,
    port: u16,
    dir: TempDir,
    options: Vec<String>,
}

impl RedisServer {
    /// Starts a server that keeps nothing on disk and answers PING.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with options such as `["--appendonly", "yes"]`.
    #[must_use]
    pub fn start_with(options: &[&str]) -> Self {
        let options = options.iter().map(ToString::to_string).collect();
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let mut server = Self { process: None, port: free_port(), dir, options };
        // Somebody else may take the port between the look and the start.
        for _ in 0..5 {
            if server.try_start() {
                return server;
            }
            server.port = free_port();
        }
        panic!("redis-server does not start:\n{}", server.log());
    }

    /// The port on 127.0.0.1; it stays the same over [`RedisServer::stop`] and [`RedisServer::restart`].
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's URL, without credentials.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The server as the library is told of it.
    #[must_use]
    pub fn config(&self) -> RedisConfig {
        RedisConfig::new("REDIS_URL", &self.url(), CredentialFiles::default())
            .expect("the URL is right")
    }

    /// A new connection that waits long for its answers, on a busy machine too.
    pub async fn connection(&self) -> Connection {
        self.connection_to(&self.url()).await
    }

    /// A new connection as `user`.
    pub async fn connection_as(&self, user: &str, password: &str) -> Connection {
        self.connection_to(&format!("redis://{user}:{password}@127.0.0.1:{}", self.port)).await
    }

    async fn connection_to(&self, url: &str) -> Connection {
        let redis = RedisConfig::new("REDIS_URL", url, CredentialFiles::default());
        Connection::open(&redis.expect("the URL is right"), LONG)
            .await
            .expect("the server takes connections")
    }

    /// Ends the server at once, as a crash does; what was not on disk is lost.
    pub fn stop(&mut self) {
        // The watchdog goes last: its process has to be gone by then.
        if let Some((mut child, _watchdog)) = self.process.take() {
            child.kill().expect("the server can be killed");
            child.wait().expect("the server can be awaited");
        }
    }

    /// Asks the server to end, as Kubernetes does, and waits until it has; what it keeps on disk is there then.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn terminate(&mut self) {
        self.signal("TERM");
        let (mut child, _watchdog) = self.process.take().expect("the server runs");
        for _ in 0..START / TRY {
            if child.try_wait().expect("the server can be awaited").is_some() {
                return;
            }
            thread::sleep(Duration::from_millis(TRY));
        }
        child.kill().expect("the server can be killed");
        panic!("redis-server does not end:\n{}", self.log());
    }

    /// Starts it again after [`RedisServer::stop`], on the same port and directory.
    pub fn restart(&mut self) {
        self.stop();
        assert!(self.try_start(), "redis-server does not start again:\n{}", self.log());
    }

    /// Restarts the server without waiting: it loads its data while the test continues.
    pub fn begin_restart(&mut self) {
        self.stop();
        self.spawn();
    }

    /// Waits until it has read its data, after [`RedisServer::begin_restart`].
    ///
    /// # Panics
    /// If it ends instead, or takes too long.
    pub async fn ready(&mut self) {
        let port = self.port;
        let (child, _) = self.process.as_mut().expect("the server was started");
        wait::until("redis-server is ready", Duration::from_millis(START), async || {
            let ended = child.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "redis-server does not start again: {ended:?}");
            answers(port, child.id()).then_some(())
        })
        .await;
    }

    /// Halts the server: connections stay open, nothing is answered.
    ///
    /// # Panics
    /// If it does not halt in time.
    pub fn pause(&self) {
        self.signal("STOP");
        let pid = self.process.as_ref().expect("the server runs").0.id();
        for _ in 0..START / TRY {
            if is_halted(pid) {
                return;
            }
            thread::sleep(Duration::from_millis(TRY));
        }
        panic!("redis-server does not halt");
    }

    /// Lets a halted server go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.as_ref().expect("the server runs").0.id();
        // `kill` is part of every shell, and not always a program.
        let status = Command::new("sh").arg("-c").arg(format!("kill -{signal} {pid}")).status();
        assert!(status.expect("there is a shell").success(), "cannot send {signal}");
    }

    fn try_start(&mut self) -> bool {
        let port = self.port;
        let child = self.spawn();
        for _ in 0..START / TRY {
            if child.try_wait().expect("a child can be asked").is_some() {
                return false;
            }
            if answers(port, child.id()) {
                return true;
            }
            thread::sleep(Duration::from_millis(TRY));
        }
        false
    }

    fn spawn(&mut self) -> &mut Child {
        let log = File::create(self.dir.path().join("log")).expect("the directory can be written");
        let program = program();
        let child = Command::new(&program)
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", ""])
            .arg("--dir")
            .arg(self.dir.path())
            .args(&self.options)
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("a file can be opened twice"))
            .stdout(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let watchdog = Watchdog::over(child.id());
        &mut self.process.insert((child, watchdog)).0
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}

#[expect(clippy::disallowed_methods, reason = "whoever runs the tests chooses the server")]
fn program() -> PathBuf {
    std::env::var_os("REDIS_SERVER").map_or_else(|| "redis-server".into(), PathBuf::from)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Returns `true` if every thread of the process is stopped by a signal, as far as the system reports.
fn is_halted(pid: u32) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    let mut states = tasks.flatten().filter_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
        // Behind the program's name, which is in parentheses.
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
    });
    states.all(|state| state == 'T')
}

/// Returns `true` if the server with process id `pid` is ready on `port`, which another server may use.
fn answers(port: u16, pid: u32) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\nINFO server\r\nQUIT\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    let process = format!("process_id:{pid}\r\n");
    ask().is_ok_and(|answer: String| answer.starts_with("+PONG") && answer.contains(&process))
}
