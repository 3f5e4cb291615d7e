//! HTTP handler.

use std::error::Error as _;
use std::time::Duration;

use eventbus::{Answer, Delivery};
use prometheus_client::metrics::counter::Counter;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{ClientBuilder, Request, Response};
use tower::util::MapResponseLayer;

use super::answer::{self, Reply};
use super::dial::{CheckedResolver, DialPolicy, HandlerUrl};
use super::request::{self, Format};
use super::reuse::{self, Failure};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Many servers close an idle connection after five seconds; a request must not race with that.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Maximum size of the part of a reply's body that is read, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// Settings of the HTTP handler.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// `HANDLER_URL`.
    pub url: HandlerUrl,
    /// `HANDLER_FORMAT`.
    pub format: Format,
    /// Addresses that the URL's host name may resolve to.
    pub policy: DialPolicy,
}

/// HTTP client for one handler. Dropping a call cancels it; the subscriber sets the time limit.
#[derive(Clone, Debug)]
pub struct HttpHandler {
    client: reqwest::Client,
    /// The same without a pool: each request has a connection of its own.
    unpooled: reqwest::Client,
    settings: HttpSettings,
    omitted_fields: Counter,
}

impl HttpHandler {
    /// Creates the client: no redirects, no proxy, only checked addresses. `omitted_fields` counts the fields of entries that
    /// a request cannot hold.
    ///
    /// # Errors
    /// The client's own error if its TLS cannot be set up.
    pub fn new(settings: HttpSettings, omitted_fields: Counter) -> Result<Self, reqwest::Error> {
        // The client panics without a provider; a second installation is refused and does no harm.
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = client_builder(settings.policy)?
            .connector_layer(MapResponseLayer::new(reuse::record_created))
            .build()?;
        let unpooled = client_builder(settings.policy)?.pool_max_idle_per_host(0).build()?;
        Ok(Self { client, unpooled, settings, omitted_fields })
    }

    /// Sends one event to the handler and returns its answer.
    pub async fn handle(&self, delivery: &Delivery) -> Answer {
        let request = request::build(delivery, self.settings.format);
        self.omitted_fields.inc_by(request.omitted_fields);
        let url = self.settings.url.url().clone();
        let call = self.client.post(url).headers(request.headers).body(request.body);
        let sent = match call.build() {
            Ok(call) => self.send(call).await,
            Err(error) => Err(error),
        };
        match sent {
            Ok(response) => answered(response).await,
            Err(error) => retry("cannot call the handler", error),
        }
    }

    /// Sends a request, and once more on a new connection if the pool's was closed: that says nothing about the event. The
    /// handler may see the request twice, as it may see each event.
    async fn send(&self, call: Request) -> Result<Response, reqwest::Error> {
        let repeat = call.try_clone().expect("a body in memory can be cloned");
        match reuse::send(&self.client, call).await {
            Ok(response) => Ok(response),
            Err(Failure { is_stale_connection: true, .. }) => self.unpooled.execute(repeat).await,
            Err(Failure { error, .. }) => Err(error),
        }
    }
}

fn client_builder(policy: DialPolicy) -> Result<ClientBuilder, reqwest::Error> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("eventbus-consumer/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        // A proxy from the environment would resolve names by itself, past our check.
        .no_proxy()
        .dns_resolver(CheckedResolver(policy))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT);
    with_authorities(builder)
}

/// Uses the system's certificate authorities, or the built-in ones if the image has none: the client cannot be built without.
fn with_authorities(builder: ClientBuilder) -> Result<ClientBuilder, reqwest::Error> {
    if !rustls_native_certs::load_native_certs().certs.is_empty() {
        return Ok(builder);
    }
    let built_in = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    let built_in: Result<Vec<_>, _> = built_in.map(|c| reqwest::Certificate::from_der(c)).collect();
    Ok(builder.tls_certs_only(built_in?))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge that reads the clock for Retry-After dates"
)]
async fn answered(mut response: Response) -> Answer {
    let mut body = Vec::new();
    while body.len() <= MAX_BODY {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            // The missing part could have requested a retry.
            Err(error) => return retry("the handler's answer was cut off", error),
        }
    }
    let is_cut = body.len() > MAX_BODY;
    body.truncate(MAX_BODY);
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let reply = Reply {
        status: response.status().as_u16(),
        retry_after: header(RETRY_AFTER),
        content_type: header(CONTENT_TYPE),
        is_encoded: header(CONTENT_ENCODING)
            .is_some_and(|encoding| !matches!(&*encoding.to_ascii_lowercase(), "" | "identity")),
        body: &body,
        is_cut,
    };
    answer::judge(&reply, jiff::Timestamp::now())
}

/// The URL is left out of the reason: path and query may hold a token.
fn retry(what: &str, error: reqwest::Error) -> Answer {
    let error = error.without_url();
    let cause = error.source().map(eventbus::chain).unwrap_or_else(|| error.to_string());
    Answer::Retry { after: None, reason: format!("{what}: {cause}") }
}
