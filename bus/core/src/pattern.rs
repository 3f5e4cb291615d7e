//! Patterns in which `*` matches any run of characters, the empty one included.

/// Returns `true` if the whole `text` matches `pattern`. Case matters, and every other character matches itself.
///
/// Each part between two `*` is searched once, after the end of the part before it: the first place is as good as any
/// later one, so no choice is ever taken back. The time is linear in the length of both.
///
/// ```
/// use eventbus_core::pattern::matches;
///
/// assert!(matches("shop-*", "shop-eu") && !matches("shop-*", "ship-eu"));
/// ```
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    for part in middle.split('*') {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_any_run_and_the_whole_text_must_match() {
        let cases = [
            ("application.*", "application.state.changed", true),
            ("application.*", "application", false),
            ("*.changed", "application.state.changed", true),
            ("a*b*c", "a.b.b.c", true),
            ("a*b*c", "a.c.b", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*", "anything", true),
            ("*", "", true),
            ("**", "", true),
            ("a**b", "ab", true),
            ("*é*", "café au lait", true),
            ("", "", true),
            ("", "a", false),
            ("user.login", "user.login", true),
            ("user.login", "User.login", false),
            ("user.login", "user.login.failed", false),
        ];
        for (pattern, text, is_match) in cases {
            assert_eq!(matches(pattern, text), is_match, "{pattern:?} on {text:?}");
        }
    }

    #[test]
    fn it_decides_as_the_definition_does_for_all_short_patterns_and_texts() {
        fn defined(pattern: &str, text: &str) -> bool {
            match pattern.as_bytes().first() {
                None => text.is_empty(),
                Some(b'*') => (0..=text.len()).any(|at| defined(&pattern[1..], &text[at..])),
                Some(first) => {
                    text.as_bytes().first() == Some(first) && defined(&pattern[1..], &text[1..])
                }
            }
        }
        let words = |letters: &[char], length: u32| {
            let letters = letters.to_owned();
            (0..letters.len().pow(length)).map(move |number| {
                let digit = |place| number / letters.len().pow(place) % letters.len();
                (0..length).map(|place| letters[digit(place)]).collect::<String>()
            })
        };
        for pattern in (0..=5).flat_map(|length| words(&['a', 'b', '*'], length)) {
            for text in (0..=5).flat_map(|length| words(&['a', 'b'], length)) {
                assert_eq!(matches(&pattern, &text), defined(&pattern, &text), "{pattern} {text}");
            }
        }
    }

    /// Backtracking would need more steps here than the machine can do: the test would not end.
    #[test]
    fn many_stars_on_a_text_of_nothing_but_their_separators_take_linear_time() {
        let pattern = format!("{}end", "*:".repeat(100));
        assert!(!matches(&pattern, &":".repeat(100_000)));
    }
}
