//! Handlers: where the events of a group go.

pub mod answer;
pub mod dial;
pub mod http;
pub mod log;
pub mod request;

use eventbus::{Answer, Delivery};

use self::http::{HttpHandler, HttpSettings};

/// Which handler, with its settings.
#[derive(Clone, Debug)]
pub enum HandlerSettings {
    /// `HANDLER=http`: an HTTP request an event.
    Http(HttpSettings),
    /// `HANDLER=log`: a log line an event.
    Log,
}

impl HandlerSettings {
    /// The value of `HANDLER`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Log => "log",
        }
    }
}

/// A handler that is ready to take events.
#[derive(Clone, Debug)]
pub enum Handler {
    /// Calls a URL.
    Http(HttpHandler),
    /// Logs a line.
    Log,
}

impl Handler {
    /// Makes the handler ready; connects to nothing.
    ///
    /// # Errors
    /// That of the HTTP client if its TLS cannot be set up.
    pub fn new(settings: HandlerSettings) -> Result<Self, reqwest::Error> {
        match settings {
            HandlerSettings::Http(settings) => Ok(Self::Http(HttpHandler::new(settings)?)),
            HandlerSettings::Log => Ok(Self::Log),
        }
    }

    /// Hands one event over; what comes back decides what becomes of it.
    pub async fn handle(&self, delivery: &Delivery) -> Answer {
        match self {
            Self::Http(handler) => handler.handle(delivery).await,
            Self::Log => log::handle(delivery),
        }
    }
}
