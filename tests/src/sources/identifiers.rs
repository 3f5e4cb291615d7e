//! Identifiers in Rust and Lua sources, and the words that they are made of.

use proc_macro2::{TokenStream, TokenTree};

/// An identifier and its line.
pub type Identifier = (String, usize);

/// Collects the identifiers of Rust code, those in the arguments of macros included; comments and texts have none.
#[must_use]
pub fn rust(tokens: TokenStream) -> Vec<Identifier> {
    let mut found = Vec::new();
    collect(tokens, &mut found);
    found
}

fn collect(tokens: TokenStream, found: &mut Vec<Identifier>) {
    for tree in tokens {
        match tree {
            TokenTree::Ident(ident) => found.push((ident.to_string(), ident.span().start().line)),
            TokenTree::Group(group) => collect(group.stream(), found),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// A piece of Lua code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lua {
    /// A name or a keyword.
    Name(String),
    /// A quoted or long text, without its quotes.
    Text(String),
    /// Any other character.
    Sign(char),
}

/// Splits Lua code into pieces with their lines; comments are left out.
#[must_use]
pub fn lua(code: &str) -> Vec<(Lua, usize)> {
    let mut pieces = Vec::new();
    let (mut rest, mut line) = (code, 1);
    while let Some(first) = rest.chars().next() {
        let (piece, length) = lua_piece(rest, first);
        pieces.extend(piece.map(|piece| (piece, line)));
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    pieces
}

fn lua_piece(rest: &str, first: char) -> (Option<Lua>, usize) {
    if let Some(comment) = rest.strip_prefix("--") {
        let length = match long_bracket(comment) {
            Some((_, length)) => length,
            None => comment.find('\n').unwrap_or(comment.len()),
        };
        return (None, length + 2);
    }
    if let Some((text, length)) = long_bracket(rest) {
        return (Some(Lua::Text(text.to_owned())), length);
    }
    if first == '"' || first == '\'' {
        let end = closing_quote(&rest[1..], first);
        return (Some(Lua::Text(rest[1..=end].to_owned())), (end + 2).min(rest.len()));
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if is_part(first) {
        let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let name = (!first.is_ascii_digit()).then(|| Lua::Name(rest[..length].to_owned()));
        return (name, length);
    }
    let piece = (!first.is_whitespace()).then_some(Lua::Sign(first));
    (piece, first.len_utf8())
}

/// The text between `[[` and `]]`, or `[==[` and `]==]`, and the length of it all.
fn long_bracket(rest: &str) -> Option<(&str, usize)> {
    let inner = rest.strip_prefix('[')?;
    let level = inner.len() - inner.trim_start_matches('=').len();
    let text = inner[level..].strip_prefix('[')?;
    let close = format!("]{}]", "=".repeat(level));
    let end = text.find(&close).unwrap_or(text.len());
    Some((&text[..end], (level + 2 + end + close.len()).min(rest.len())))
}

fn closing_quote(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at,
            _ => {}
        }
    }
    text.len().saturating_sub(1)
}

/// Splits an identifier at underscores and at capitals, in lower case: `MOST_EVENTS` and `MostEvents` are both
/// `most events`, and `HTTPServer` is `http server`.
#[must_use]
pub fn words(identifier: &str) -> Vec<String> {
    let mut words = Vec::new();
    for part in identifier.trim_start_matches("r#").split('_') {
        let chars: Vec<char> = part.chars().collect();
        let mut word = String::new();
        for (at, &c) in chars.iter().enumerate() {
            let after_small = at > 0 && !chars[at - 1].is_uppercase();
            let before_small = chars.get(at + 1).is_some_and(|next| next.is_lowercase());
            if c.is_uppercase() && at > 0 && (after_small || before_small) {
                words.push(std::mem::take(&mut word));
            }
            word.extend(c.to_lowercase());
        }
        words.push(word);
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_split_at_underscores_and_capitals() {
        let split = |identifier| words(identifier).join(" ");
        assert_eq!(split("MOST_EVENTS"), "most events");
        assert_eq!(split("wake_at"), "wake at");
        assert_eq!(split("BeatReport"), "beat report");
        assert_eq!(split("HTTPServer"), "http server");
        assert_eq!(split("handler"), "handler");
        assert_eq!(split("r#_die2"), "die2");
    }

    #[test]
    fn texts_and_comments_have_no_identifiers() {
        let code = "/// parked\nfn f() { g!(\"parked\", {parked}); } // parked";
        let found = rust(code.parse().unwrap());
        assert_eq!(found.iter().filter(|(name, _)| name == "parked").count(), 1);
        assert_eq!(found.iter().find(|(name, _)| name == "parked").unwrap().1, 2);
    }

    #[test]
    fn lua_is_split_into_names_texts_and_signs() {
        let code = "local a = \"x\\\"y\" -- b\n--[[ c\n]] d = [=[e]]]=]\nf('g')";
        let pieces = lua(code);
        let name = |name: &str| Lua::Name(name.to_owned());
        let text = |text: &str| Lua::Text(text.to_owned());
        let expected = [
            (name("local"), 1),
            (name("a"), 1),
            (Lua::Sign('='), 1),
            (text("x\\\"y"), 1),
            (name("d"), 3),
            (Lua::Sign('='), 3),
            (text("e]]"), 3),
            (name("f"), 4),
            (Lua::Sign('('), 4),
            (text("g"), 4),
            (Lua::Sign(')'), 4),
        ];
        assert_eq!(pieces, expected);
    }
}
