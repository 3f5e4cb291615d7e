//! Signatures as one line of text, independent of how the source breaks, spaces and imports.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;

use super::resolve::{Place, Resolved, Resolver};

/// Items mentioned in a signature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mentions {
    /// Items of these crates.
    pub items: BTreeSet<Place>,
    /// Whole paths into other crates than the standard library: `redis::aio::MultiplexedConnection`.
    pub foreign: BTreeSet<String>,
}

/// Renders tokens of one module.
pub struct Renderer<'a, 'b> {
    resolver: &'a Resolver<'b>,
    krate: usize,
    module: &'a [String],
    /// Items mentioned in everything rendered.
    pub mentions: Mentions,
}

impl<'a, 'b> Renderer<'a, 'b> {
    /// Makes a renderer of what the module `module` of the crate `krate` contains.
    #[must_use]
    pub fn new(resolver: &'a Resolver<'b>, krate: usize, module: &'a [String]) -> Self {
        Self { resolver, krate, module, mentions: Mentions::default() }
    }

    /// Renders code: names of items and of the standard library by their last part, others with their whole path.
    pub fn code(&mut self, code: impl ToTokens) -> String {
        let mut line = Line::default();
        self.tokens(code.to_token_stream(), &mut line);
        line.text.trim_end().trim_end_matches(',').to_owned()
    }

    fn tokens(&mut self, tokens: TokenStream, line: &mut Line) {
        let trees: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while let Some(tree) = trees.get(at) {
            at += 1;
            match tree {
                TokenTree::Ident(ident) if line.text.ends_with('\'') => {
                    line.text += &ident.to_string()
                }
                TokenTree::Ident(ident) => {
                    let mut path = vec![ident.to_string()];
                    while let Some(next) = segment(&trees[at..]) {
                        path.push(next);
                        at += 3;
                    }
                    let is_label = is_colon(trees.get(at)) && !is_colon(trees.get(at + 1));
                    let name =
                        if is_label && path.len() == 1 { path.remove(0) } else { self.name(path) };
                    line.word(&name);
                }
                TokenTree::Punct(punct) => {
                    let double = |c: char| matches!(trees.get(at), Some(TokenTree::Punct(next)) if next.as_char() == c);
                    match punct.as_char() {
                        '-' if double('>') => {
                            line.text += " -> ";
                            at += 1;
                        }
                        ':' if double(':') => {
                            line.text += "::";
                            at += 1;
                        }
                        sign => line.sign(sign),
                    }
                }
                TokenTree::Literal(literal) => line.word(&literal.to_string()),
                TokenTree::Group(group) => {
                    let (open, close) = match group.delimiter() {
                        Delimiter::Parenthesis => ("(", ")"),
                        Delimiter::Bracket => ("[", "]"),
                        Delimiter::Brace => (" { ", " }"),
                        Delimiter::None => ("", ""),
                    };
                    line.text += open;
                    self.tokens(group.stream(), line);
                    let text = line.text.trim_end().trim_end_matches(',').len();
                    line.text.truncate(text);
                    line.text += close;
                }
            }
        }
    }

    fn name(&mut self, path: Vec<String>) -> String {
        match self.resolver.path(self.krate, self.module, &path) {
            Resolved::Item(place, rest) => {
                let names = std::iter::once(place.name.clone()).chain(rest);
                let name = names.collect::<Vec<_>>().join("::");
                self.mentions.items.insert(place);
                name
            }
            Resolved::Module(..) => path.join("::"),
            Resolved::Elsewhere(path) if path.len() == 1 || path[0] == "Self" => path.join("::"),
            Resolved::Elsewhere(path) if ["std", "core", "alloc"].contains(&path[0].as_str()) => {
                let ambiguous = ["Error", "Result"].contains(&path[path.len() - 1].as_str());
                path[path.len() - if ambiguous { 2 } else { 1 }..].join("::")
            }
            Resolved::Elsewhere(path) => {
                // `T::Item` of a type parameter is no path into another crate.
                if path[0].starts_with(|c: char| c.is_lowercase()) {
                    self.mentions.foreign.insert(path.join("::"));
                }
                path.join("::")
            }
        }
    }
}

/// The next name of a path, where `::` and a name follow.
fn segment(trees: &[TokenTree]) -> Option<String> {
    match trees {
        [a, b, TokenTree::Ident(ident), ..] if is_colon(Some(a)) && is_colon(Some(b)) => {
            Some(ident.to_string())
        }
        _ => None,
    }
}

fn is_colon(tree: Option<&TokenTree>) -> bool {
    matches!(tree, Some(TokenTree::Punct(punct)) if punct.as_char() == ':')
}

#[derive(Default)]
struct Line {
    text: String,
}

impl Line {
    fn word(&mut self, word: &str) {
        self.part_words();
        self.text += word;
    }

    fn sign(&mut self, sign: char) {
        match sign {
            '=' | '+' | '|' => {
                self.text.truncate(self.text.trim_end().len());
                self.text += &format!(" {sign} ");
            }
            ',' | ':' | ';' => self.text += &format!("{sign} "),
            '&' | '*' | '?' | '!' | '\'' | '#' => {
                self.part_words();
                self.text.push(sign);
            }
            _ => self.text.push(sign),
        }
    }

    fn part_words(&mut self) {
        let ends_word = |c: char| c.is_alphanumeric() || "_>)]".contains(c);
        if self.text.ends_with(ends_word) {
            self.text.push(' ');
        }
    }
}
