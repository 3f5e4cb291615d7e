//! URLs of handlers, and the addresses that they may lead to. The operator and the consumer parse them by the same code,
//! so that what one accepts the other does not refuse.
//!
//! A user who may set a handler's URL must not reach addresses through the pod that only the pod can reach: cloud
//! metadata, the pod's own ports, the API server.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Url;

/// Metadata services of cloud providers outside of the link-local ranges, which return secrets without authentication.
const METADATA: [IpAddr; 3] = [
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];
/// Maximum size of a URL in bytes.
const MAX_URL: usize = 2048;
const FORM: &str = "must be a URL such as http://notifier.default.svc/events";

/// Dial policy. Link-local, multicast, unspecified, reserved and metadata addresses are always refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialPolicy {
    /// `true` if loopback addresses are allowed: for a sidecar, and on a laptop.
    pub allow_loopback: bool,
    /// Service address of the API server, which is refused.
    pub api_server: Option<IpAddr>,
}

impl DialPolicy {
    /// Returns the reason for refusing `address`; `None` if it is allowed. An IPv4 address within an IPv6 address is checked
    /// as itself.
    #[must_use]
    pub fn refusal(&self, address: IpAddr) -> Option<&'static str> {
        let address = unwrapped(address);
        let link_local = match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
        if link_local {
            Some("a link-local address")
        } else if METADATA.contains(&address) || in_metadata_network(address) {
            Some("the address of a cloud provider's metadata")
        } else if address.is_unspecified() || in_this_network(address) {
            Some("an unspecified address")
        } else if address.is_multicast() || broadcast {
            Some("a multicast address")
        } else if is_reserved(address) {
            Some("a reserved address")
        } else if address.is_loopback() && !self.allow_loopback {
            Some("a loopback address (HANDLER_ALLOW_LOOPBACK=true allows it)")
        } else if self.api_server.map(unwrapped) == Some(address) {
            Some("the API server's address")
        } else {
            None
        }
    }
}

/// Returns `true` for networks with services such as those of [`METADATA`]: `192.0.0.0/24` and `fd00:ec2::/32`.
fn in_metadata_network(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[..3] == [192, 0, 0],
        IpAddr::V6(v6) => v6.segments()[..2] == [0xfd00, 0xec2],
    }
}

/// Returns `true` for Teredo (`2001::/32`) and site-local addresses (`fec0::/10`), which no handler has. Not for
/// `240.0.0.0/4`: some clusters use it for pods.
fn is_reserved(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.segments()[..2] == [0x2001, 0] || v6.segments()[0] & 0xffc0 == 0xfec0)
}

/// Returns `true` for `0.0.0.0/8`, "this network", which some systems treat as this host.
fn in_this_network(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 0)
}

/// Returns the IPv4 address within a mapped, translated, compatible, NAT64 or 6to4 IPv6 address, else the address itself.
fn unwrapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let from = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => address,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low] => from(high, low),
        [0x2002, high, low, ..] => from(high, low),
        _ => address,
    }
}

/// URL of a handler: `http` or `https`, with a host and without credentials. A numeric address is already checked.
#[derive(Clone, PartialEq, Eq)]
pub struct HandlerUrl(Url);

impl HandlerUrl {
    /// Parses a URL and checks it against `policy`.
    ///
    /// # Errors
    /// A sentence about the allowed form, without the URL, which may contain a password.
    pub fn parse(text: &str, policy: &DialPolicy) -> Result<Self, String> {
        if text.len() > MAX_URL {
            return Err(format!("must have at most {MAX_URL} bytes"));
        }
        if text.contains('\0') {
            return Err("must not contain a NUL character".to_owned());
        }
        let url = Url::parse(text).map_err(|error| format!("{FORM}: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(FORM.to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not contain a user name or password, because everybody who may read the setting can read it".to_owned());
        }
        let host = url.host_str().ok_or(FORM)?.trim_matches(['[', ']']).trim_end_matches('.');
        let address = match host.parse::<IpAddr>() {
            Ok(address) => Some(address),
            Err(_) if host == "localhost" || host.ends_with(".localhost") => {
                Some(IpAddr::V4(Ipv4Addr::LOCALHOST))
            }
            Err(_) => None,
        };
        if let Some(why) = address.and_then(|address| policy.refusal(address)) {
            return Err(format!("must not lead to {why}"));
        }
        Ok(Self(url))
    }

    /// Returns the URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Returns host and port, for logs: path and query may contain a token.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.0.authority()
    }
}

impl fmt::Debug for HandlerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HandlerUrl({})", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: DialPolicy = DialPolicy {
        allow_loopback: false,
        api_server: Some(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1))),
    };
    const LAPTOP: DialPolicy = DialPolicy { allow_loopback: true, api_server: None };

    #[test]
    fn addresses_that_only_the_pod_can_reach_are_refused() {
        for text in [
            "169.254.169.254",
            "169.254.0.1",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
            "127.0.0.1",
            "127.8.9.1",
            "::1",
            "10.96.0.1",
            "::ffff:169.254.169.254",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "::ffff:0:169.254.169.254",
            "::ffff:0:127.0.0.1",
            "::ffff:0:10.96.0.1",
            "64:ff9b:1::169.254.169.254",
            "64:ff9b:1:2:3:4:127.0.0.1",
            "fd00:ec2::23",
            "fd00:ec2:ffff::1",
            "192.0.0.192",
            "fec0::1",
            "feff::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        ] {
            assert!(STRICT.refusal(text.parse().unwrap()).is_some(), "{text}");
        }
    }

    #[test]
    fn services_pods_and_public_addresses_may_be_dialled() {
        for text in [
            "10.96.0.2",
            "240.0.0.1",
            "10.244.1.7",
            "192.0.1.1",
            "192.168.1.1",
            "8.8.8.8",
            "fd00::1",
            "fd00:ec3::1",
            "2001:1::1",
            "2001:db8::1",
            "::ffff:0:10.244.1.7",
            "64:ff9b:1::10.244.1.7",
            "64:ff9b:2::127.0.0.1",
        ] {
            assert_eq!(STRICT.refusal(text.parse().unwrap()), None, "{text}");
        }
    }

    #[test]
    fn an_address_is_refused_as_what_it_is() {
        for (text, why) in [
            ("fd00:ec2::23", "the address of a cloud provider's metadata"),
            ("192.0.0.192", "the address of a cloud provider's metadata"),
            ("255.255.255.255", "a multicast address"),
            ("fec0::1", "a reserved address"),
            ("2001::1", "a reserved address"),
            ("::ffff:0:127.0.0.1", "a loopback address (HANDLER_ALLOW_LOOPBACK=true allows it)"),
        ] {
            assert_eq!(STRICT.refusal(text.parse().unwrap()), Some(why), "{text}");
        }
    }

    #[test]
    fn loopback_alone_is_opened_by_its_setting() {
        for (text, allowed) in [("127.0.0.1", true), ("::1", true), ("169.254.169.254", false)] {
            assert_eq!(LAPTOP.refusal(text.parse().unwrap()).is_none(), allowed, "{text}");
        }
    }

    #[test]
    fn a_numeric_address_is_checked_in_every_notation() {
        for url in [
            "http://169.254.169.254/latest",
            "http://2852039166/",
            "http://0xa9.0xfe.0xa9.0xfe/",
            "http://0251.0376.0251.0376/",
            "http://[fe80::1]/",
            "http://[::ffff:169.254.169.254]:80/",
            "http://localhost:8080/",
            "http://localhost./",
            "http://x.localhost/",
            "http://127.1/",
        ] {
            assert!(HandlerUrl::parse(url, &STRICT).is_err(), "{url}");
        }
    }

    #[test]
    fn a_url_of_another_scheme_or_with_credentials_is_refused() {
        let long = format!("http://h/{}", "a".repeat(2048));
        for url in
            ["", "h/events", "ftp://h/", "file:///etc/passwd", "http://u:p@h/", "http://", &long]
        {
            assert!(HandlerUrl::parse(url, &LAPTOP).is_err(), "{url}");
        }
    }

    #[test]
    fn the_path_of_a_handler_is_not_shown() {
        let url = HandlerUrl::parse("https://h:8443/events?token=hunter2", &STRICT).unwrap();
        assert_eq!(format!("{url:?}"), "HandlerUrl(h:8443)");
    }

    #[test]
    fn case_11_a_url_with_a_wrong_port_is_refused_with_the_reason() {
        for url in ["http://notifier:99999/e", "http://h:8080:9090/e", "http://h:80a/"] {
            let refusal = HandlerUrl::parse(url, &STRICT).unwrap_err();
            assert_eq!(refusal, format!("{FORM}: invalid port number"), "{url}");
        }
        let refusal = HandlerUrl::parse("http://localhost:3000/e", &STRICT).unwrap_err();
        assert!(refusal.starts_with("must not lead to a loopback address"), "{refusal}");
    }

    #[test]
    fn case_11_a_url_that_no_environment_can_carry_is_refused() {
        assert!(HandlerUrl::parse("http://h/a\0b", &LAPTOP).is_err());
        let characters = format!("http://h/{}", "é".repeat(1_500));
        assert!(characters.chars().count() < MAX_URL);
        assert!(HandlerUrl::parse(&characters, &LAPTOP).is_err());
    }
}
