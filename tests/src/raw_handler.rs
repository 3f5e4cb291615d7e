//! An HTTP handler whose bytes and connections the test decides, where a library's server would put them right.

use std::io::{BufRead, BufReader, Read, Result, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::tls::Certificate;

/// A request that was read whole.
#[derive(Clone, Debug)]
pub struct Call {
    /// Time at which it was read.
    pub at: Instant,
    /// Its number on its connection, from 1.
    pub number: usize,
    /// Request line and headers.
    pub head: String,
    /// Its body.
    pub body: Vec<u8>,
}

impl Call {
    /// A header's text.
    ///
    /// # Panics
    /// If it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        header(&self.head, name).unwrap_or_else(|| panic!("there is no {name} in {}", self.head))
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let pairs = head.lines().filter_map(|line| line.split_once(": "));
    pairs.into_iter().find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
}

/// Action on a request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends these bytes, none maybe, and closes the connection without having announced it.
    Close(Vec<u8>),
}

impl Act {
    /// Answers 200 without a body, and keeps the connection.
    #[must_use]
    pub fn done() -> Self {
        Self::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec())
    }
}

/// The settings of a handler: by default, plain HTTP.
#[derive(Default)]
pub struct Settings {
    /// The certificate to show: HTTPS then.
    pub certificate: Option<Certificate>,
    /// Requests that a connection is good for: when the next comes in, it is closed, and nothing of that is read. 0: no
    /// limit.
    pub max_requests: usize,
}

type Answer = Box<dyn Fn(&Call) -> Act + Send + Sync>;

struct Shared {
    tls: Option<Arc<ServerConfig>>,
    max_requests: usize,
    answer: Answer,
    calls: Mutex<Vec<Call>>,
    is_stopped: AtomicBool,
}

/// A running handler; it accepts nothing more when this is dropped.
pub struct RawHandler {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl RawHandler {
    /// Starts a handler on a free port.
    #[must_use]
    pub fn start(
        settings: Settings,
        answer: impl Fn(&Call) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            tls: settings.certificate.as_ref().map(config),
            max_requests: settings.max_requests,
            answer: Box::new(answer),
            calls: Mutex::default(),
            is_stopped: AtomicBool::new(false),
        });
        let handler = Self { address, shared: shared.clone() };
        thread::spawn(move || {
            for socket in listener.incoming() {
                if shared.is_stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (shared, socket) = (shared.clone(), socket.expect("it takes connections"));
                // A client that goes is no fault of the handler.
                thread::spawn(move || serve(&socket, &shared).ok());
            }
        });
        handler
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/events", self.address)
    }

    /// The requests that were read so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().expect("no lock is poisoned").clone()
    }

    /// The times between the requests with this body.
    #[must_use]
    pub fn waits(&self, body: &str) -> Vec<Duration> {
        let calls = self.calls().into_iter().filter(|call| call.body == body.as_bytes());
        let times: Vec<_> = calls.map(|call| call.at).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

impl Drop for RawHandler {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::Relaxed);
        TcpStream::connect(self.address).ok();
    }
}

fn config(certificate: &Certificate) -> Arc<ServerConfig> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let cert = CertificateDer::from_pem_file(&certificate.cert).expect("the certificate is PEM");
    let key = PrivateKeyDer::from_pem_file(&certificate.key).expect("the key is PEM");
    let config = ServerConfig::builder().with_no_client_auth();
    Arc::new(config.with_single_cert(vec![cert], key).expect("they belong together"))
}

fn serve(socket: &TcpStream, shared: &Shared) -> Result<()> {
    socket.set_nodelay(true)?;
    match &shared.tls {
        None => converse(socket, socket.try_clone()?, shared),
        Some(config) => {
            let session = ServerConnection::new(config.clone()).expect("the settings are right");
            converse(socket, StreamOwned::new(session, socket.try_clone()?), shared)
        }
    }
}

fn converse(socket: &TcpStream, stream: impl Read + Write, shared: &Shared) -> Result<()> {
    let mut stream = BufReader::new(stream);
    for number in 1.. {
        if shared.max_requests > 0 && number > shared.max_requests {
            socket.peek(&mut [0])?;
            break;
        }
        let Some(call) = read(&mut stream, number)? else { break };
        let act = (shared.answer)(&call);
        shared.calls.lock().expect("no lock is poisoned").push(call);
        let (Act::Send(bytes) | Act::Close(bytes)) = &act;
        stream.get_mut().write_all(bytes)?;
        stream.get_mut().flush()?;
        if matches!(act, Act::Close(_)) {
            break;
        }
    }
    Ok(())
}

/// Reads a request; `None` if the client closed the connection.
#[expect(clippy::disallowed_methods, reason = "tests compare when requests came in")]
fn read(stream: &mut impl BufRead, number: usize) -> Result<Option<Call>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Ok(None);
        }
    }
    let length = header(&head, "content-length").map_or(0, |text| text.parse().expect("a number"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Some(Call { at: Instant::now(), number, head, body }))
}
