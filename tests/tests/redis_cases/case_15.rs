//! The forms of a date in `Retry-After`.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
use tests::consumer::{Consumer, publish, settled};
use tests::raw_handler::{Act, RawHandler, Settings};
use tests::redis::RedisServer;

/// The three forms of RFC 9110, section 5.6.7, and spellings of them that servers send.
const FORMS: [&str; 6] = [
    "%a, %d %b %Y %H:%M:%S GMT",
    "%A, %d-%b-%y %H:%M:%S GMT",
    "%a %b %e %H:%M:%S %Y",
    "%A, %d-%b-%y %H:%M:%S gmt",
    "%a %b %d %H:%M:%S %Y",
    "%a, %d %b %Y %H:%M:%S +0000",
];

#[expect(clippy::disallowed_methods, reason = "the dates are those of the consumer's clock")]
fn refusal(form: &str) -> Act {
    // The header loses the fraction of a second.
    let at = (Timestamp::now() + Duration::from_secs(4)).to_zoned(TimeZone::UTC);
    let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: ";
    Act::Send(format!("{head}{}\r\n\r\n", at.strftime(form)).into_bytes())
}

#[tokio::test]
async fn case_15_a_date_in_each_of_its_forms_lengthens_the_wait() {
    let handler = RawHandler::start(Settings::default(), |call| {
        let form: usize = std::str::from_utf8(&call.body).unwrap().parse().unwrap();
        if call.header("x-event-attempt") == "1" { refusal(FORMS[form]) } else { Act::done() }
    });
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    for form in 0..FORMS.len() {
        publish(&mut conn, "user.login", &form.to_string()).await;
    }
    let _consumer = Consumer::start(&server, &handler.url(), &[]);

    settled(&mut conn).await;

    for (number, form) in FORMS.iter().enumerate() {
        let waits = handler.waits(&number.to_string());
        // Without a hint, a delayed entry waits for a second at most.
        let at_least = Duration::from_millis(2_900);
        assert!(matches!(waits[..], [wait] if wait >= at_least), "{form}: {waits:?}");
    }
}
