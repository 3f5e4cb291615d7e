//! Handlers, which process the events of a group.

pub mod answer;
pub mod dial;
pub mod http;
pub mod log;
pub mod request;
mod reuse;

use eventbus::{Answer, Delivery};
use prometheus_client::metrics::counter::Counter;

use self::http::{HttpHandler, HttpSettings};

/// Settings of a handler, by its kind.
#[derive(Clone, Debug)]
pub enum HandlerSettings {
    /// `HANDLER=http`: one HTTP request per event.
    Http(HttpSettings),
    /// `HANDLER=log`: one log line per event.
    Log,
}

impl HandlerSettings {
    /// Returns the value of `HANDLER`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Log => "log",
        }
    }
}

/// Handler of events.
#[derive(Clone, Debug)]
pub enum Handler {
    /// Calls a URL.
    Http(HttpHandler),
    /// Logs a line.
    Log,
}

impl Handler {
    /// Creates the handler, without connecting. `omitted_fields` counts the fields of entries that a request cannot hold.
    ///
    /// # Errors
    /// The error of the HTTP client if its TLS cannot be set up.
    pub fn new(settings: HandlerSettings, omitted_fields: Counter) -> Result<Self, reqwest::Error> {
        match settings {
            HandlerSettings::Http(settings) => {
                HttpHandler::new(settings, omitted_fields).map(Self::Http)
            }
            HandlerSettings::Log => Ok(Self::Log),
        }
    }

    /// Handles one event. The answer decides whether the event is acknowledged, retried or dead-lettered.
    pub async fn handle(&self, delivery: &Delivery) -> Answer {
        match self {
            Self::Http(handler) => handler.handle(delivery).await,
            Self::Log => log::handle(delivery),
        }
    }
}
