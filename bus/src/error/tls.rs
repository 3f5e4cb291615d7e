//! Sentences for errors of TLS and of certificates. The TLS library names most of them by a variant, such as
//! `UnknownIssuer`, and only this text comes through the libraries in between.

use jiff::Timestamp;

const CERTIFICATE: &str = "invalid peer certificate: ";
const ALERT: &str = "received fatal alert: ";

/// Sentences by a part of the error's text, about the certificate of the server.
const CERTIFICATES: [(&str, &str); 15] = [
    (
        "UnknownIssuer",
        "the server's certificate is not signed by an authority that is trusted here: trust the authority that signed it, or have it signed by one that is trusted",
    ),
    (
        "BadSignature",
        "the server's certificate is not signed with the key of the authority that it names: trust the authority that did sign it, which may have the same name and a new key",
    ),
    (
        "CaUsedAsEndEntity",
        "the server's certificate is that of an authority (CA:TRUE), which a server may not use as its own: reissue it with basicConstraints CA:FALSE",
    ),
    (
        "EndEntityUsedAsCa",
        "the server's certificate is signed with one that is not that of an authority: reissue the signing certificate with basicConstraints CA:TRUE",
    ),
    (
        "UnsupportedCertVersion",
        "the server's certificate, or one that signed it, is not X.509 version 3: reissue it as version 3, with the server's names as subjectAltName",
    ),
    ("BadEncoding", "the server's certificate is malformed: reissue it"),
    ("Revoked", "the server's certificate is revoked: replace it"),
    (
        "CriticalExtension",
        "the server's certificate has a critical extension that is not supported: reissue it without",
    ),
    (
        "NameConstraintViolation",
        "the server's certificate has a name that its authority may not sign (nameConstraints): have it signed by another authority",
    ),
    (
        "PathLenConstraintViolated",
        "the chain of the server's certificate has more authorities than one of them allows (pathlen): have it signed by a higher authority",
    ),
    (
        "UnsupportedSignatureAlgorithm",
        "the server's certificate, or one that signed it, has a key or signature that is not supported: reissue it with ECDSA or RSA of 2048 bits or more, and SHA-256",
    ),
    (
        "extended key usage",
        "the server's certificate is not meant for servers: reissue it with extendedKeyUsage serverAuth",
    ),
    (
        "InvalidPurpose",
        "the server's certificate is not meant for servers: reissue it with extendedKeyUsage serverAuth",
    ),
    (
        "MalformedExtensions",
        "the server's certificate has an extension that is malformed: reissue it",
    ),
    (
        "ExtensionValueInvalid",
        "the server's certificate has an extension that is malformed: reissue it",
    ),
];

/// Sentences by the name of the alert with which the server ended the handshake.
const ALERTS: [(&str, &str); 11] = [
    ("CertificateRequired", "the server requires a client certificate"),
    (
        "UnknownCA",
        "the server does not trust the authority that signed the client certificate: use one that is signed by an authority of the server",
    ),
    ("CertificateExpired", "the client certificate has expired: renew it"),
    ("CertificateRevoked", "the client certificate is revoked: replace it"),
    ("BadCertificate", "the server cannot use the client certificate: reissue it"),
    (
        "UnsupportedCertificate",
        "the client certificate is not meant for clients: reissue it with extendedKeyUsage clientAuth",
    ),
    ("CertificateUnknown", "the server refuses the client certificate"),
    ("AccessDenied", "the server refuses the client certificate"),
    (
        "HandshakeFailure",
        "the server shares no cipher suite with this client, or requires a client certificate",
    ),
    ("ProtocolVersion", "the server has neither TLS 1.2 nor TLS 1.3: enable one of them"),
    ("UnrecognisedName", "the server has no certificate for this host name"),
];

/// Returns a sentence for the text of a TLS error, with what is wrong and what to do; `None` for any other text, and for
/// one that is a sentence already.
pub(crate) fn explained(text: &str) -> Option<String> {
    if let Some((_, cause)) = text.split_once(CERTIFICATE) {
        return Some(certificate(cause));
    }
    if let Some((_, alert)) = text.split_once(ALERT) {
        let known = ALERTS.iter().find(|(name, _)| *name == alert);
        let unknown = || format!("the server ended the TLS handshake: {}", words(alert));
        return Some(known.map_or_else(unknown, |(_, sentence)| (*sentence).to_owned()));
    }
    if let Some((_, why)) = text.split_once("peer is incompatible: ") {
        let why = words(why);
        return Some(format!("client and server have no form of TLS in common: {why}"));
    }
    if let Some((_, why)) = text.split_once("peer misbehaved: ") {
        return Some(format!("the server does not keep to the TLS protocol: {}", words(why)));
    }
    let is_garbage = text.contains("received corrupt message of type");
    is_garbage
        .then(|| "the server does not answer in TLS: it may not use TLS on this port".to_owned())
}

/// Returns `true` if the server's certificate is not trusted, which other authorities would change.
pub(crate) fn is_untrusted(text: &str) -> bool {
    text.split_once(CERTIFICATE)
        .is_some_and(|(_, cause)| ["UnknownIssuer", "BadSignature"].contains(&cause))
}

/// Returns `true` if the server refused the client, most likely for its certificate.
pub(crate) fn is_refusal(text: &str) -> bool {
    text.contains(ALERT)
}

fn certificate(cause: &str) -> String {
    if let Some(date) = date_after(cause, "not valid after ") {
        return format!(
            "the server's certificate, or one that signed it, expired at {date}: renew it, or set this machine's clock if that is wrong"
        );
    }
    if let Some(date) = date_after(cause, "not valid before ") {
        return format!(
            "the server's certificate, or one that signed it, is not valid before {date}: wait until then, or set this machine's clock if that is wrong"
        );
    }
    if let Some((_, names)) = cause.split_once("not valid for name ") {
        return for_other_names(names);
    }
    let known = CERTIFICATES.iter().find(|(part, _)| cause.contains(part));
    let unknown = || format!("the server's certificate cannot be used: {}", words(cause));
    known.map_or_else(unknown, |(_, sentence)| (*sentence).to_owned())
}

/// Reads `"a"; certificate is only valid for DnsName("b") or IpAddress(192.0.2.1)`.
fn for_other_names(text: &str) -> String {
    let (name, others) = text.split_once("; certificate is ").unwrap_or((text, ""));
    let name = name.trim_matches('"');
    let others = match others.strip_prefix("only valid for ") {
        Some(others) => format!("but for {}", names(others)),
        None => "and has no subjectAltName".to_owned(),
    };
    format!(
        "the server's certificate is not for {name}, {others}: connect by a name that it has, or reissue it with the subjectAltName {name}"
    )
}

fn names(text: &str) -> String {
    text.replace("DnsName(", "").replace("IpAddress(", "").replace([')', '"'], "")
}

fn date_after(text: &str, words: &str) -> Option<Timestamp> {
    let (_, rest) = text.split_once(words)?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Timestamp::from_second(digits.parse().ok()?).ok()
}

/// Writes the name of a variant in words: `Other(OtherError(TrailingData(Time)))` is `trailing data`.
fn words(text: &str) -> String {
    let name = text.trim_start_matches("Other(OtherError(");
    let name = name.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or(name);
    let mut words = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && words.chars().last().is_some_and(|c| c.is_ascii_lowercase()) {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_told_with_what_is_wrong_and_what_to_do() {
        let cases = [
            ("UnknownIssuer", "trust the authority that signed it"),
            ("BadSignature", "may have the same name and a new key"),
            ("Other(OtherError(CaUsedAsEndEntity))", "reissue it with basicConstraints CA:FALSE"),
            ("Other(OtherError(UnsupportedCertVersion))", "reissue it as version 3"),
            (
                "certificate expired: verification time 9 (UNIX), but certificate is not valid after 8 (1 seconds ago)",
                "expired at 1970-01-01T00:00:08Z: renew it",
            ),
            (
                "certificate not valid yet: verification time 8 (UNIX), but certificate is not valid before 9 (1 seconds in future)",
                "not valid before 1970-01-01T00:00:09Z",
            ),
            (
                r#"certificate not valid for name "a"; certificate is only valid for DnsName("b") or IpAddress(192.0.2.1)"#,
                "is not for a, but for b or 192.0.2.1: connect",
            ),
            (
                r#"certificate not valid for name "a"; certificate is not valid for any names (according to its subjectAltName extension)"#,
                "is not for a, and has no subjectAltName: connect",
            ),
            (
                "certificate does not allow extended key usage for server authentication, allows client authentication",
                "extendedKeyUsage serverAuth",
            ),
            (
                "UnsupportedSignatureAlgorithmContext { signature_algorithm_id: [42], supported_algorithms: [] }",
                "ECDSA or RSA",
            ),
            ("Other(OtherError(TrailingData(Time)))", "cannot be used: trailing data"),
            (
                "Other(OtherError(MaximumPathDepthExceeded))",
                "cannot be used: maximum path depth exceeded",
            ),
        ];
        for (cause, expected) in cases {
            let sentence = explained(&format!("invalid peer certificate: {cause}")).unwrap();
            assert!(sentence.starts_with("the server's certificate"), "{sentence}");
            assert!(sentence.contains(expected), "{sentence}");
            assert_eq!(explained(&sentence), None, "it is explained once");
        }
    }

    #[test]
    fn an_alert_of_the_server_is_a_sentence() {
        let sentence = |alert: &str| explained(&format!("received fatal alert: {alert}")).unwrap();
        assert_eq!(sentence("CertificateRequired"), "the server requires a client certificate");
        assert_eq!(sentence("InternalError"), "the server ended the TLS handshake: internal error");
    }

    #[test]
    fn another_text_is_left_as_it_is() {
        for text in ["Connection refused (os error 111)", "certificate", "OOM: why"] {
            assert_eq!(explained(text), None);
        }
    }
}
