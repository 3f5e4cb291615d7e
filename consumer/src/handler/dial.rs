//! Resolver that dials only what the dial policy allows.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

pub use eventbus_program::dial::{DialPolicy, HandlerUrl};

/// Resolver that returns only allowed addresses, so that the checked address is the one that is dialled.
#[derive(Clone, Copy, Debug)]
pub struct CheckedResolver(pub DialPolicy);

/// Host name of which every address is refused.
#[derive(Debug, thiserror::Error)]
#[error("{host} resolves to {why}")]
struct Refused {
    host: String,
    why: &'static str,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses = checked(name.as_str(), found.collect(), &policy)?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Returns the allowed addresses, or an error if there are addresses and all are refused.
fn checked(
    host: &str,
    found: Vec<SocketAddr>,
    policy: &DialPolicy,
) -> Result<Vec<SocketAddr>, Refused> {
    let why = found.iter().find_map(|address| policy.refusal(address.ip()));
    let allowed: Vec<_> =
        found.into_iter().filter(|address| policy.refusal(address.ip()).is_none()).collect();
    match why {
        Some(why) if allowed.is_empty() => Err(Refused { host: host.to_owned(), why }),
        _ => Ok(allowed),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const STRICT: DialPolicy = DialPolicy {
        allow_loopback: false,
        api_server: Some(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1))),
    };

    #[test]
    fn only_the_allowed_addresses_of_a_name_are_dialled() {
        let found = ["169.254.169.254:0", "10.0.0.7:0"].map(|a| a.parse().unwrap()).to_vec();
        let allowed = checked("h", found, &STRICT).unwrap();
        assert_eq!(allowed, ["10.0.0.7:0".parse().unwrap()]);
    }

    #[test]
    fn a_name_with_refused_addresses_only_is_an_error_with_the_reason() {
        let found = vec!["169.254.169.254:0".parse().unwrap()];
        let error = checked("metadata.example", found, &STRICT).unwrap_err();
        assert_eq!(error.to_string(), "metadata.example resolves to a link-local address");
    }
}
