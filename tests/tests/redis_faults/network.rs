//! The network falls silent, or loses what the server answers.

use std::sync::Arc;

use eventbus::admin::Connection;
use eventbus::{NewEvent, Payload};
use redis::streams::StreamRangeReply;
use tests::proxy::TcpProxy;
use tests::redis::RedisServer;
use tests::subscriber::{LONG, Running, done_when, drained, pending, xadd};
use tests::wait;
use tokio::sync::Semaphore;

use crate::flow::{Flow, proxy_to, quick, through};
use crate::waits::reader_begins_to_wait;

/// One consumer behind a proxy, whose handler takes a permit for each event.
struct Behind {
    _server: RedisServer,
    proxy: TcpProxy,
    conn: Connection,
    gate: Arc<Semaphore>,
    running: Running,
    /// How many connections there had been at the fault.
    connections: u64,
}

impl Behind {
    async fn start(permits: usize) -> Self {
        let server = RedisServer::start();
        let (proxy, conn) = (proxy_to(&server).await, server.connection().await);
        let gate = Arc::new(Semaphore::new(permits));
        let running = Running::start(through(&proxy), quick(), done_when(&gate));
        Self { _server: server, proxy, conn, gate, running, connections: 0 }
    }

    /// Has an event delivered that does not arrive, because of what `fault` does to the connections; its payload.
    async fn deliver_in_vain(&mut self, fault: fn(&TcpProxy)) -> String {
        let mut number = 0;
        wait::until("an event is delivered in vain", LONG, async || {
            reader_begins_to_wait(&mut self.conn).await;
            number += 1;
            let payload = number.to_string();
            self.connections = self.proxy.accepted();
            fault(&self.proxy);
            xadd(&mut self.conn, &payload).await;
            if pending(&mut self.conn).await == 1 {
                assert!(!self.running.seen.times().contains_key(&payload), "it has arrived");
                return Some(payload);
            }
            // On a busy machine the read may have ended before: once more, then.
            self.restore();
            drained(&mut self.conn).await;
            None
        })
        .await
    }

    /// New connections work.
    fn restore(&self) {
        self.proxy.cut();
        self.proxy.resume();
    }

    /// Waits until the handler was called for this event, and nothing is left; its attempts.
    async fn drains(&mut self, payload: &str) -> Vec<u32> {
        wait::until("the handler is called", LONG, async || {
            self.running.seen.times().contains_key(payload).then_some(())
        })
        .await;
        drained(&mut self.conn).await;
        let seen = self.running.seen.all().into_iter().filter(|(of, _)| of == payload);
        seen.map(|(_, attempt)| attempt).collect()
    }
}

#[tokio::test]
async fn f20_a_reader_notices_a_dead_network_and_its_event_comes_again() {
    let mut behind = Behind::start(1_000).await;
    let payload = behind.deliver_in_vain(TcpProxy::strand).await;
    assert_eq!(behind.drains(&payload).await, [1]);
    let more = behind.proxy.accepted() - behind.connections;
    assert!((2..20).contains(&more), "{more} connections instead of the two");
    behind.running.stop().await.unwrap();
}

#[tokio::test]
async fn f20_a_publisher_on_a_dead_network_is_told_in_time_and_publishes_on_a_new_connection() {
    let server = RedisServer::start();
    let proxy = proxy_to(&server).await;
    let mut flow = Flow::start(through(&proxy)).await;
    proxy.strand();
    // Without a limit of its own it would wait for minutes.
    let result = wait::within("it is told", LONG / 2, flow.try_publish()).await;
    let error = result.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    flow.publish(5).await;
    flow.all_are_handled().await;
}

/// The server takes an event, and the connection ends before its answer; `None` if that took the caller too long.
async fn publish_answered_in_vain(
    flow: &Flow,
    proxy: &TcpProxy,
    conn: &mut Connection,
) -> Option<Vec<String>> {
    let before = length(conn).await;
    proxy.hold_replies();
    let mut event = NewEvent::new("t", Payload::from_value(&1).unwrap());
    let id = format!("x{before}");
    event.id = Some(id.clone());
    let bus = flow.bus.clone();
    let publishing = tokio::spawn(async move { bus.publish_event(event).await });
    wait::until("the server has it", LONG, async || {
        (publishing.is_finished() || length(conn).await > before).then_some(())
    })
    .await;
    proxy.cut();
    proxy.resume();
    publishing.await.unwrap().ok()?;
    let range = redis::cmd("XRANGE").arg("s").arg("-").arg("+").query_async(conn).await;
    let range: StreamRangeReply = range.unwrap();
    let ids = range.ids.into_iter().map(|entry| entry.get::<String>("id").unwrap());
    Some(ids.filter(|of| *of == id).collect())
}

async fn length(conn: &mut Connection) -> u64 {
    redis::cmd("XLEN").arg("s").query_async(conn).await.unwrap()
}

#[tokio::test]
async fn f21_an_event_whose_xadd_was_answered_in_vain_stands_there_twice_under_one_id() {
    let server = RedisServer::start();
    let proxy = proxy_to(&server).await;
    let flow = Flow::start(through(&proxy)).await;
    let mut conn = server.connection().await;
    // On a busy machine the publish may be out of time before it can send the event again.
    let ids = wait::until("the publish succeeds", LONG, async || {
        publish_answered_in_vain(&flow, &proxy, &mut conn).await
    })
    .await;
    assert!(ids.len() == 2 && ids[0] == ids[1], "{ids:?}");
}

#[tokio::test]
async fn f21_an_event_whose_xreadgroup_was_answered_in_vain_comes_again_as_its_first_attempt() {
    let mut behind = Behind::start(1_000).await;
    let payload = behind.deliver_in_vain(TcpProxy::hold_replies).await;
    behind.restore();
    assert_eq!(behind.drains(&payload).await, [1]);
    behind.running.stop().await.unwrap();
}

#[tokio::test]
async fn f21_an_event_whose_xack_was_answered_in_vain_is_not_handled_again() {
    let mut behind = Behind::start(0).await;
    xadd(&mut behind.conn, "1").await;
    wait::until("it is in hand", LONG, async || {
        (behind.running.seen.all().len() == 1).then_some(())
    })
    .await;
    behind.proxy.hold_replies();
    behind.gate.add_permits(9);
    wait::until("the server has acknowledged it", LONG, async || {
        (pending(&mut behind.conn).await == 0).then_some(())
    })
    .await;
    behind.restore();
    // It reads on, and what it has to repeat it repeats.
    xadd(&mut behind.conn, "2").await;
    wait::until("the next one is handled", LONG, async || {
        behind.running.seen.times().contains_key("2").then_some(())
    })
    .await;
    drained(&mut behind.conn).await;
    assert_eq!(behind.running.seen.all(), [("1".to_owned(), 1), ("2".to_owned(), 1)]);
    behind.running.stop().await.unwrap();
}
