//! Checks of the URL of a Redis server. A refusal names the invalid part and never shows it.

/// Expected form of a URL.
const SHAPE: &str = "must be redis://host:port/db or rediss://host:port/db";

/// Checks each part of `url`.
///
/// # Errors
/// The expected form, and the first invalid part.
pub(super) fn check(url: &str) -> Result<(), String> {
    let wrong = |part: &str| Err(format!("{SHAPE}; {part}"));
    let Some((scheme, rest)) = url.split_once("://") else {
        return wrong("it has no scheme");
    };
    match scheme {
        "redis" | "rediss" => {}
        "redis-sentinel" | "redis-cluster" => {
            let text =
                "Sentinel and Cluster addresses are not supported yet; use redis:// or rediss://";
            return Err(text.to_owned());
        }
        _ => return wrong("its scheme is neither"),
    }
    if rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return wrong("it contains a space or a line end");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let after = &rest[authority.len()..];
    if after.contains('@') {
        return wrong("'/', '?', '#' in its user name or password must be written %2F, %3F, %23");
    }
    let (credentials, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    check_escapes(credentials).or_else(|()| {
        wrong("a '%' in its user name or password must be written %25, and both must be UTF-8")
    })?;
    check_host(host).or_else(wrong)?;
    check_rest(after).or_else(wrong)
}

/// Checks that each `%` starts a hexadecimal byte, and that the decoded bytes are UTF-8.
fn check_escapes(text: &str) -> Result<(), ()> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = tail;
            continue;
        }
        let digits = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok()).ok_or(())?;
        let is_number = digits.bytes().all(|b| b.is_ascii_hexdigit());
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_number).ok_or(())?);
        rest = &tail[2..];
    }
    std::str::from_utf8(&bytes).map(drop).map_err(drop)
}

fn check_host(text: &str) -> Result<(), &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(address) => {
            let (address, port) =
                address.split_once(']').ok_or("the ']' of its address is missing")?;
            let address: std::net::Ipv6Addr =
                address.parse().map_err(|_| "its host is not an IPv6 address")?;
            if address.is_unspecified() {
                return Err("its host is not an address to connect to");
            }
            (None, port.strip_prefix(':').or(port.is_empty().then_some("")))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), Some("")),
        },
    };
    match host {
        Some("") => return Err("its host is missing"),
        Some("0.0.0.0") => return Err("its host is not an address to connect to"),
        Some(name) if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)) => {
            return Err(
                "its host is neither a name nor an address; an IPv6 address must be in [ ]",
            );
        }
        _ => {}
    }
    let is_port = |port: &str| {
        port.is_empty()
            || port.parse::<u16>().is_ok_and(|number| number > 0 && !port.starts_with('+'))
    };
    if port.is_some_and(is_port) { Ok(()) } else { Err("its port is not a number from 1 to 65535") }
}

/// Checks database, query and fragment.
fn check_rest(text: &str) -> Result<(), &'static str> {
    let (text, fragment) = text.split_once('#').map_or((text, None), |(t, f)| (t, Some(f)));
    let (path, query) = text.split_once('?').map_or((text, None), |(t, q)| (t, Some(q)));
    let database = path.strip_prefix('/').unwrap_or_default();
    // The server checks its own, lower limit of databases when a client connects.
    let is_number = database.bytes().all(|b| b.is_ascii_digit()) && database.len() <= 9;
    if !is_number {
        return Err("its database is not a number");
    }
    // The values that redis-rs accepts. Replies are always parsed as RESP2.
    let protocols = ["protocol=2", "protocol=3", "protocol=resp2", "protocol=resp3"];
    match (fragment, query) {
        (Some("insecure"), _) => Err("it must not switch certificate verification off"),
        (Some(_), _) => Err("'#' is not allowed; in a password it must be written %23"),
        (None, Some(query)) if !protocols.contains(&query) => {
            Err("its query may only be ?protocol=resp2 or ?protocol=resp3")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_invalid_part_is_named() {
        let cases = [
            ("localhost:6379", "it has no scheme"),
            ("http://h", "its scheme is neither"),
            ("REDIS://h", "its scheme is neither"),
            ("redis:// h", "it contains a space or a line end"),
            ("redis://h:6379\n", "it contains a space or a line end"),
            ("redis://u:a/b@h", "'/', '?', '#' in its user name or password must be written"),
            ("redis://u:a?b@h", "'/', '?', '#' in its user name or password must be written"),
            ("redis://u:a#b@h", "'/', '?', '#' in its user name or password must be written"),
            ("redis://u:50%off@h", "a '%' in its user name or password must be written %25"),
            ("redis://u:5%@h", "a '%' in its user name or password must be written %25"),
            ("redis://u:%+1@h", "a '%' in its user name or password must be written %25"),
            ("redis://u:%ff@h", "both must be UTF-8"),
            ("redis://", "its host is missing"),
            ("redis://:6379", "its host is missing"),
            ("redis://u:p@", "its host is missing"),
            ("redis://a,b", "its host is neither a name nor an address"),
            ("redis://fe80::1", "its port is not a number"),
            ("redis://[fe80::1", "the ']' of its address is missing"),
            ("redis://[h]", "its host is not an IPv6 address"),
            ("redis://[::]", "its host is not an address to connect to"),
            ("redis://0.0.0.0", "its host is not an address to connect to"),
            ("redis://h:port", "its port is not a number from 1 to 65535"),
            ("redis://h:65536", "its port is not a number from 1 to 65535"),
            ("redis://h:0", "its port is not a number from 1 to 65535"),
            ("redis://h:+1", "its port is not a number from 1 to 65535"),
            ("redis://[::1]6379", "its port is not a number from 1 to 65535"),
            ("redis://u:hunter2", "its port is not a number from 1 to 65535"),
            ("redis://h/-1", "its database is not a number"),
            ("redis://h/main", "its database is not a number"),
            ("redis://h/0/1", "its database is not a number"),
            ("redis://h?password=x", "its query may only be ?protocol="),
            ("rediss://h/#insecure", "it must not switch certificate verification off"),
            ("redis://h#1", "'#' is not allowed"),
        ];
        for (url, part) in cases {
            let error = check(url).expect_err(url);
            assert!(error.contains(part), "{url}: {error}");
        }
    }

    #[test]
    fn valid_hosts_ports_databases_and_credentials_are_accepted() {
        let valid = [
            "redis://h",
            "redis://h/",
            "redis://h:/",
            "rediss://h.example:6380/2",
            "redis://my_redis-0:6379/15?protocol=resp3",
            "redis://127.0.0.1:1",
            "redis://[::1]:6379/1",
            "redis://:p@h",
            "redis://u:p%40%2F%C3%A4@h/1",
            "redis://u:p@ss@h",
        ];
        for url in valid {
            assert_eq!(check(url), Ok(()), "{url}");
            assert!(redis::IntoConnectionInfo::into_connection_info(url).is_ok(), "{url}");
        }
    }
}
