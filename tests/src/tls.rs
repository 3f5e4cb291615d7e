//! Certificates of a test's own authorities, and a server that speaks TLS with them.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use eventbus::config::CredentialFiles;
use tempfile::TempDir;

use crate::redis::RedisServer;
use crate::subscriber::command;

/// Certificate authority. Dropping it deletes its files.
pub struct Authority(TempDir);

/// A certificate and its key, both PEM.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The file with the certificate.
    pub cert: PathBuf,
    /// The file with the key.
    pub key: PathBuf,
}

impl Authority {
    /// A new one, which nobody trusts yet.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        // The machine's own settings add extensions, and some of them twice.
        let bare = "[req]\ndistinguished_name = name\n[name]\n";
        std::fs::write(dir.path().join("openssl.cnf"), bare).expect("the directory can be written");
        let authority = Self(dir);
        authority.make("ca", &["-addext", "basicConstraints=critical,CA:TRUE"]);
        authority
    }

    /// Its own certificate: what those are given who are to trust it.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Signs a certificate for `name`, such as `IP:127.0.0.1` or `DNS:redis`.
    #[must_use]
    pub fn issue(&self, file: &str, name: &str) -> Certificate {
        let (ca, key) = (self.ca(), self.path("ca.key"));
        let name = format!("subjectAltName={name}");
        let signed = ["-CA", text(&ca), "-CAkey", text(&key), "-addext", &name];
        self.make(file, &signed);
        self.certificate(file)
    }

    /// Signs a certificate for 127.0.0.1 with one more extension, such as `basicConstraints=CA:TRUE`.
    #[must_use]
    pub fn issue_with(&self, file: &str, extension: &str) -> Certificate {
        let (ca, key) = (self.ca(), self.path("ca.key"));
        let name = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", extension];
        self.make(file, &[&["-CA", text(&ca), "-CAkey", text(&key)], name.as_slice()].concat());
        self.certificate(file)
    }

    /// Makes a certificate for 127.0.0.1 that is its own authority.
    #[must_use]
    pub fn self_signed(&self, file: &str) -> Certificate {
        let is_ca = ["-addext", "basicConstraints=critical,CA:TRUE"];
        self.make(file, &[&["-addext", "subjectAltName=IP:127.0.0.1"], is_ca.as_slice()].concat());
        self.certificate(file)
    }

    /// Signs a certificate for 127.0.0.1 that is valid from `start` to `end`, such as `20200101000000Z`.
    #[must_use]
    pub fn issue_between(&self, file: &str, start: &str, end: &str) -> Certificate {
        let request = self.request(file);
        std::fs::write(self.path("index"), "").expect("the directory can be written");
        let dir = text(self.0.path());
        let section = format!(
            "[ca]\ndefault_ca=own\n[own]\ndatabase={dir}/index\nnew_certs_dir={dir}\ndefault_md=sha256\npolicy=any\n\
             rand_serial=yes\ncopy_extensions=copy\n[any]\ncommonName=supplied\n"
        );
        std::fs::write(self.path("ca.cnf"), section).expect("the directory can be written");
        let (config, own) = (self.path("ca.cnf"), self.certificate(file));
        let (ca, key) = (self.ca(), self.path("ca.key"));
        openssl(&[
            "ca",
            "-batch",
            "-notext",
            "-config",
            text(&config),
            "-cert",
            text(&ca),
            "-keyfile",
            text(&key),
            "-in",
            text(&request),
            "-out",
            text(&own.cert),
            "-startdate",
            start,
            "-enddate",
            end,
        ]);
        own
    }

    /// Signs a certificate of X.509 version 1, which has no extensions.
    #[must_use]
    pub fn issue_version_1(&self, file: &str) -> Certificate {
        let (request, own) = (self.request(file), self.certificate(file));
        let (ca, key) = (self.ca(), self.path("ca.key"));
        let sign = [
            "x509",
            "-req",
            "-in",
            text(&request),
            "-CA",
            text(&ca),
            "-CAkey",
            text(&key),
            "-set_serial",
            "1",
            "-out",
            text(&own.cert),
        ];
        // Openssl 3.2 and later make version 3 without this option, which earlier ones do not have.
        if !succeeds(&[sign.as_slice(), &["-x509v1"]].concat()) {
            openssl(&sign);
        }
        own
    }

    fn request(&self, file: &str) -> PathBuf {
        let (config, request, key) = (
            self.path("openssl.cnf"),
            self.path(&format!("{file}.csr")),
            self.certificate(file).key,
        );
        openssl(&[
            "req",
            "-new",
            "-nodes",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-subj",
            &format!("/CN={file}"),
            "-config",
            text(&config),
            "-out",
            text(&request),
            "-keyout",
            text(&key),
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ]);
        request
    }

    fn certificate(&self, file: &str) -> Certificate {
        Certificate {
            cert: self.path(&format!("{file}.pem")),
            key: self.path(&format!("{file}.key")),
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn make(&self, file: &str, options: &[&str]) {
        let (config, own) = (self.path("openssl.cnf"), self.certificate(file));
        let subject = format!("/CN={file}");
        let common = [
            "req",
            "-x509",
            "-days",
            "2",
            "-nodes",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-subj",
            &subject,
            "-config",
            text(&config),
            "-out",
            text(&own.cert),
            "-keyout",
            text(&own.key),
        ];
        openssl(&[common.as_slice(), options].concat());
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// A server with a second port, on which it speaks TLS and demands certificates; the plain one is for the test's hand.
pub struct TlsServer {
    /// The server, with its plain port.
    pub plain: RedisServer,
    port: u16,
}

impl TlsServer {
    /// Starts one that shows a certificate of `authority` for 127.0.0.1, and takes clients with certificates of its.
    pub async fn start(authority: &Authority) -> Self {
        let mut server = Self { plain: RedisServer::start(), port: 0 };
        server.trust(authority).await;
        let mut conn = server.plain.connection().await;
        command(&mut conn, "CONFIG SET tls-auth-clients yes").await;
        // Somebody else may take the port between the look and the setting.
        for _ in 0..5 {
            server.port = free_port();
            let mut set = ::redis::cmd("CONFIG");
            set.arg("SET").arg("tls-port").arg(server.port);
            if set.exec_async(&mut conn).await.is_ok() {
                return server;
            }
        }
        panic!("the server does not listen for TLS");
    }

    /// From now on it shows a new certificate of `authority`, and takes no clients but those with certificates of its.
    pub async fn trust(&self, authority: &Authority) {
        let own = authority.issue("server", "IP:127.0.0.1");
        let mut set = ::redis::cmd("CONFIG");
        set.arg("SET").arg("tls-cert-file").arg(text(&own.cert));
        set.arg("tls-key-file").arg(text(&own.key));
        set.arg("tls-ca-cert-file").arg(text(&authority.ca()));
        let mut conn = self.plain.connection().await;
        set.exec_async(&mut conn).await.expect("the server can read its certificates");
    }

    /// From now on it shows this certificate; the clients that it takes stay the same.
    pub async fn show(&self, own: &Certificate) {
        let mut set = ::redis::cmd("CONFIG");
        set.arg("SET").arg("tls-cert-file").arg(text(&own.cert));
        set.arg("tls-key-file").arg(text(&own.key));
        let mut conn = self.plain.connection().await;
        set.exec_async(&mut conn).await.expect("the server can read its certificate");
    }

    /// The URL of its TLS port.
    #[must_use]
    pub fn url(&self) -> String {
        format!("rediss://127.0.0.1:{}", self.port)
    }
}

/// The files of a client in a directory of its own, as a Secret that is mounted.
pub struct ClientFiles(TempDir);

impl ClientFiles {
    /// Trusts `authority`, with a certificate of its.
    #[must_use]
    pub fn of(authority: &Authority) -> Self {
        let files = Self(tempfile::tempdir().expect("a temporary directory can be made"));
        files.replace(authority);
        files
    }

    /// The same files, of `authority` now.
    pub fn replace(&self, authority: &Authority) {
        let own = authority.issue("client", "DNS:client");
        let sources = [(authority.ca(), "ca.crt"), (own.cert, "tls.crt"), (own.key, "tls.key")];
        for (source, name) in sources {
            std::fs::copy(source, self.path(name)).expect("a file can be copied");
        }
    }

    /// One of `ca.crt`, `tls.crt` and `tls.key`.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// All of them, as the library is told of them.
    #[must_use]
    pub fn all(&self) -> CredentialFiles {
        CredentialFiles {
            ca: Some(self.path("ca.crt")),
            cert: Some(self.path("tls.crt")),
            key: Some(self.path("tls.key")),
            ..CredentialFiles::default()
        }
    }
}

fn openssl(args: &[&str]) {
    let output = Command::new("openssl").args(args).output();
    let output = output.expect("openssl, version 3, is on PATH");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl fails with {args:?}:\n{errors}");
}

fn succeeds(args: &[&str]) -> bool {
    let output = Command::new("openssl").args(args).output();
    output.expect("openssl, version 3, is on PATH").status.success()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary directories have plain names")
}
