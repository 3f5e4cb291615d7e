//! What a server says of itself: version, mode, role.

/// A server's own account of itself, from INFO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// Its version, such as `7.0.15`; of Valkey its own, not the Redis version that it is compatible with.
    pub version: String,
    /// `redis` or `valkey`.
    pub name: String,
    /// `standalone`, `sentinel` or `cluster`.
    pub mode: String,
    /// `master` or `slave`.
    pub role: String,
    /// New at each start of the server.
    pub run_id: String,
}

impl ServerInfo {
    /// Returns `true` for a replica, which refuses every write and may be behind.
    #[must_use]
    pub fn is_replica(&self) -> bool {
        self.role == "slave"
    }

    /// Returns `true` if the server is new enough for this library: Redis 7.0, Valkey 7.2. An unknown version may be.
    #[must_use]
    pub fn is_supported(&self) -> bool {
        self.version.is_empty() || self.number() >= if self.is_valkey() { (7, 2) } else { (7, 0) }
    }

    /// Returns `true` if a lag that the server reports is right: Redis 8.0, Valkey 8.1. Older ones count entries that
    /// were trimmed away.
    #[must_use]
    pub fn reports_true_lag(&self) -> bool {
        self.number() >= if self.is_valkey() { (8, 1) } else { (8, 0) }
    }

    fn is_valkey(&self) -> bool {
        self.name == "valkey"
    }

    /// Major and minor; what is no number counts as 0, the oldest.
    fn number(&self) -> (u32, u32) {
        let mut parts = self.version.split('.').map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }

    /// Reads the sections `server` and `replication` of INFO. Fields that are missing are left empty.
    #[must_use]
    pub fn parse(info: &str) -> Self {
        let field = |name: &str| {
            info.lines()
                .filter_map(|line| line.split_once(':'))
                .find_map(|(key, value)| (key == name).then(|| value.trim().to_owned()))
        };
        let text = |name| field(name).unwrap_or_default();
        let valkey = field("valkey_version");
        Self {
            name: if valkey.is_some() { "valkey" } else { "redis" }.to_owned(),
            version: valkey.unwrap_or_else(|| text("redis_version")),
            mode: field("server_mode").unwrap_or_else(|| text("redis_mode")),
            role: text("role"),
            run_id: text("run_id"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str, version: &str) -> ServerInfo {
        ServerInfo { name: name.into(), version: version.into(), ..ServerInfo::default() }
    }

    #[test]
    fn valkey_is_known_by_its_own_version_not_by_the_one_it_resembles() {
        let info = "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n\
            server_mode:standalone\r\nrun_id:ab\r\n# Replication\r\nrole:slave\r\n";
        let parsed = ServerInfo::parse(info);
        assert_eq!((parsed.name.as_str(), parsed.version.as_str()), ("valkey", "9.1.2"));
        assert_eq!((parsed.mode.as_str(), parsed.run_id.as_str()), ("standalone", "ab"));
        assert!(parsed.is_replica());
    }

    #[test]
    fn a_reported_lag_is_believed_from_redis_8_and_valkey_8_1_on() {
        let believed = ["8.0.0", "8.6.3", "10.0.1"].map(|v| server("redis", v).reports_true_lag());
        assert_eq!(believed, [true; 3]);
        let doubted = [("redis", "7.4.9"), ("valkey", "8.0.4"), ("redis", "?")];
        assert_eq!(doubted.map(|(n, v)| server(n, v).reports_true_lag()), [false; 3]);
    }

    #[test]
    fn servers_older_than_redis_7_or_valkey_7_2_are_not_supported() {
        assert!(
            server("redis", "7.0.0").is_supported() && server("valkey", "7.2.0").is_supported()
        );
        assert!(
            !server("redis", "6.2.14").is_supported() && !server("valkey", "7.1.0").is_supported()
        );
    }
}
