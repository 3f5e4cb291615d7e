//! Expansion of a container's environment, as the kubelet does it before the program sees it.

use std::collections::BTreeMap;

/// Returns `value` as the kubelet expands it: `$$` is a dollar sign, `$(NAME)` the value of a variable that is defined
/// before this one, and any other text is kept, an unknown `$(NAME)` too. The rule is that of the API documentation of
/// `EnvVar.value`.
#[must_use]
pub fn expanded(value: &str, defined: &BTreeMap<String, String>) -> String {
    let (mut text, mut rest) = (String::new(), value);
    while let Some(at) = rest.find('$') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            text.push('$');
            rest = after;
        } else if let Some((name, after)) =
            rest.strip_prefix('(').and_then(|inner| inner.split_once(')'))
        {
            match defined.get(name) {
                Some(variable) => text.push_str(variable),
                None => text.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            text.push('$');
        }
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dollar_sign_is_doubled_or_begins_a_variable() {
        let defined = BTreeMap::from([("HOME".to_owned(), "/home/app".to_owned())]);
        let cases = [
            ("plain", "plain"),
            ("$(HOME)/x", "/home/app/x"),
            ("$$(HOME)", "$(HOME)"),
            ("$(UNKNOWN)", "$(UNKNOWN)"),
            ("a$$b", "a$b"),
            ("a$$$$b", "a$$b"),
            ("a$b$", "a$b$"),
            ("$(HOME", "$(HOME"),
        ];
        for (value, expected) in cases {
            assert_eq!(expanded(value, &defined), expected, "{value}");
        }
    }
}
