//! An [`EventBus`] on stream `s` of a test's own server.

use eventbus::config::{BusConfig, CredentialFiles, RedisConfig};
use eventbus::{EventBus, GroupName, StreamKey};

use crate::redis::RedisServer;

/// A bus on `server`.
///
/// # Panics
/// If it does not connect.
pub async fn bus_on(server: &RedisServer) -> EventBus {
    let config = BusConfig::new(server.config(), StreamKey::new("s").expect("it is a key"));
    EventBus::connect(config).await.expect("it connects")
}

/// A bus on `server` as a new user, who may do this with the stream and the keys beside it, and ping.
///
/// # Panics
/// If there is no such right, or it does not connect.
pub async fn bus_with_rights(server: &RedisServer, rights: &[&str]) -> EventBus {
    let mut command = ::redis::cmd("ACL");
    command.arg(&["SETUSER", "u", "reset", "on", ">p", "~s", "~{s}:*", "+ping"]).arg(rights);
    let mut conn = server.connection().await;
    command.exec_async(&mut conn).await.expect("there are such rights");
    let url = format!("redis://u:p@127.0.0.1:{}", server.port());
    let redis = RedisConfig::new("REDIS_URL", &url, CredentialFiles::default());
    let stream = StreamKey::new("s").expect("it is a key");
    let config = BusConfig::new(redis.expect("the URL is right"), stream);
    EventBus::connect(config).await.expect("it connects")
}

/// The group of this name.
///
/// # Panics
/// If it is no name of a group.
#[must_use]
pub fn group(name: &str) -> GroupName {
    GroupName::new(name).expect("it is a name")
}
