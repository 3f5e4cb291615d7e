//! Facts of a server: version, mode, role.

/// Facts of a server, from INFO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// Version, such as `7.0.15`; for Valkey its own version, not the compatible Redis version.
    pub version: String,
    /// Product: `redis` or `valkey`.
    pub name: String,
    /// Mode: `standalone`, `sentinel` or `cluster`.
    pub mode: String,
    /// Role: `master` or `slave`.
    pub role: String,
    /// Run ID, which is new at each start of the server.
    pub run_id: String,
}

impl ServerInfo {
    /// Returns `true` for a replica, which refuses writes and may lag behind its primary.
    #[must_use]
    pub fn is_replica(&self) -> bool {
        self.role == "slave"
    }

    /// Returns `true` if this library supports the server's version: Redis 7.0, Valkey 7.2 and later. An unknown
    /// version counts as supported.
    #[must_use]
    pub fn is_supported(&self) -> bool {
        self.version.is_empty() || self.number() >= if self.is_valkey() { (7, 2) } else { (7, 0) }
    }

    /// Returns `true` if the lag that the server reports is correct: Redis 8.0, Valkey 8.1 and later. Older servers
    /// count trimmed entries too.
    #[must_use]
    pub fn reports_true_lag(&self) -> bool {
        self.number() >= if self.is_valkey() { (8, 1) } else { (8, 0) }
    }

    fn is_valkey(&self) -> bool {
        self.name == "valkey"
    }

    /// Returns major and minor version; a part that is not a number counts as 0.
    fn number(&self) -> (u32, u32) {
        let mut parts = self.version.split('.').map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }

    /// Parses the sections `server` and `replication` of INFO. Missing fields are left empty.
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
    fn valkey_has_its_own_version_not_the_compatible_one() {
        let info = "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n\
            server_mode:standalone\r\nrun_id:ab\r\n# Replication\r\nrole:slave\r\n";
        let parsed = ServerInfo::parse(info);
        assert_eq!((parsed.name.as_str(), parsed.version.as_str()), ("valkey", "9.1.2"));
        assert_eq!((parsed.mode.as_str(), parsed.run_id.as_str()), ("standalone", "ab"));
        assert!(parsed.is_replica());
    }

    #[test]
    fn a_reported_lag_is_correct_from_redis_8_and_valkey_8_1_on() {
        let correct = ["8.0.0", "8.6.3", "10.0.1"].map(|v| server("redis", v).reports_true_lag());
        assert_eq!(correct, [true; 3]);
        let incorrect = [("redis", "7.4.9"), ("valkey", "8.0.4"), ("redis", "?")];
        assert_eq!(incorrect.map(|(n, v)| server(n, v).reports_true_lag()), [false; 3]);
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
