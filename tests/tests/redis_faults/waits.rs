//! Waiting for what the server tells of itself.

use eventbus::admin::Connection;
use tests::subscriber::LONG;
use tests::wait;

/// A number in a section of `INFO`; `name` is what stands before it. 0 where that is not told.
async fn reported(conn: &mut Connection, section: &str, name: &str) -> u64 {
    let info: String = redis::cmd("INFO").arg(section).query_async(conn).await.unwrap();
    let Some(rest) = info.lines().find_map(|line| line.strip_prefix(name)) else { return 0 };
    rest.split(',').next().unwrap().parse().unwrap()
}

/// Waits until so many clients wait for events.
pub async fn readers_wait(conn: &mut Connection, count: u64) {
    wait::until("readers wait for events", LONG, async || {
        (reported(conn, "clients", "blocked_clients:").await == count).then_some(())
    })
    .await;
}

/// Waits until the only reader has begun to wait for events just now: it goes on to do so for a while.
pub async fn reader_begins_to_wait(conn: &mut Connection) {
    const ENDED: &str = "cmdstat_xreadgroup:calls=";
    readers_wait(conn, 1).await;
    let before = reported(conn, "commandstats", ENDED).await;
    wait::until("a read has ended", LONG, async || {
        (reported(conn, "commandstats", ENDED).await > before).then_some(())
    })
    .await;
    readers_wait(conn, 1).await;
}

/// Waits until the stream has its one group.
pub async fn group_exists(conn: &mut Connection) {
    wait::until("the group is there", LONG, async || {
        let mut info = redis::cmd("XINFO");
        let groups = info.arg("GROUPS").arg("s").query_async::<redis::Value>(conn);
        matches!(groups.await, Ok(redis::Value::Array(groups)) if groups.len() == 1).then_some(())
    })
    .await;
}
