//! First words of the documentation of public items.

use std::collections::BTreeSet;
use std::path::PathBuf;

use syn::{Attribute, Expr, ImplItem, Item, Lit, Meta, TraitItem, Visibility};

use super::references::attributes;
use super::resolve::name;
use super::{Crate, is_test};

/// A documented public item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Documented {
    /// Its file.
    pub file: PathBuf,
    /// The line where its documentation begins.
    pub line: usize,
    /// Its name, with that of the item it belongs to.
    pub item: String,
    /// The first line of its documentation.
    pub text: String,
}

/// Words that begin a question or a clause where the documentation should name what the item does or is.
const QUESTIONS: [&str; 7] = ["How", "What", "When", "Where", "Whether", "Who", "Why"];

/// Lists the public items of a crate whose documentation begins with one of `QUESTIONS`: modules, types with fields
/// and variants, functions, methods, constants, traits.
#[must_use]
pub fn questions(krate: &Crate) -> Vec<Documented> {
    let modules = || krate.modules.iter().filter(|(_, module)| !module.test);
    let items = modules().flat_map(|(_, module)| &module.items);
    let public = items.filter(|item| matches!(visibility(item), Some(Visibility::Public(_))));
    let types = public.filter_map(name).collect();
    let mut finder = Finder { file: PathBuf::new(), types, found: Vec::new() };
    for (path, module) in modules() {
        finder.file.clone_from(&module.file);
        if module.public {
            let name = path.last().map_or("the crate", String::as_str);
            finder.documented(&module.attributes, &format!("mod {name}"));
        }
        for item in module.items.iter().filter(|item| !is_test(attributes(item))) {
            finder.item(item);
        }
    }
    finder.found
}

struct Finder {
    file: PathBuf,
    /// The names of all public items, those in private modules included.
    types: BTreeSet<String>,
    found: Vec<Documented>,
}

impl Finder {
    fn documented(&mut self, attributes: &[Attribute], item: &str) {
        let Some((text, line)) = first_line(attributes) else { return };
        let word: String = text.chars().take_while(|c| c.is_alphabetic()).collect();
        if QUESTIONS.contains(&word.as_str()) {
            let (file, item) = (self.file.clone(), item.to_owned());
            self.found.push(Documented { file, line, item, text });
        }
    }

    fn item(&mut self, item: &Item) {
        if let Item::Impl(block) = item {
            return self.methods(block);
        }
        let (Some(name), Some(Visibility::Public(_))) = (name(item), visibility(item)) else {
            return;
        };
        self.documented(attributes(item), &name);
        match item {
            Item::Struct(item) => {
                for field in &item.fields {
                    if let (Some(ident), Visibility::Public(_)) = (&field.ident, &field.vis) {
                        self.documented(&field.attrs, &format!("{name}::{ident}"));
                    }
                }
            }
            Item::Enum(item) => {
                for variant in &item.variants {
                    let name = format!("{name}::{}", variant.ident);
                    self.documented(&variant.attrs, &name);
                    for field in &variant.fields {
                        let ident = field.ident.as_ref().map(ToString::to_string);
                        let name = format!("{name}::{}", ident.unwrap_or_default());
                        self.documented(&field.attrs, &name);
                    }
                }
            }
            Item::Trait(item) => {
                for item in &item.items {
                    if let TraitItem::Fn(item) = item {
                        self.documented(&item.attrs, &format!("{name}::{}", item.sig.ident));
                    }
                }
            }
            _ => {}
        }
    }

    fn methods(&mut self, block: &syn::ItemImpl) {
        let syn::Type::Path(ty) = &*block.self_ty else { return };
        let name = ty.path.segments.last().map(|segment| segment.ident.to_string());
        let Some(name) = name.filter(|name| self.types.contains(name)) else { return };
        for item in &block.items {
            let (visibility, attributes, ident) = match item {
                ImplItem::Fn(item) => (&item.vis, &item.attrs, &item.sig.ident),
                ImplItem::Const(item) => (&item.vis, &item.attrs, &item.ident),
                _ => continue,
            };
            if matches!(visibility, Visibility::Public(_)) && !is_test(attributes) {
                self.documented(attributes, &format!("{name}::{ident}"));
            }
        }
    }
}

/// The visibility of an item that can have one.
#[must_use]
pub fn visibility(item: &Item) -> Option<&Visibility> {
    match item {
        Item::Const(item) => Some(&item.vis),
        Item::Enum(item) => Some(&item.vis),
        Item::Fn(item) => Some(&item.vis),
        Item::Static(item) => Some(&item.vis),
        Item::Struct(item) => Some(&item.vis),
        Item::Trait(item) => Some(&item.vis),
        Item::Type(item) => Some(&item.vis),
        _ => None,
    }
}

/// The first line of documentation that has text, and its number.
fn first_line(attributes: &[Attribute]) -> Option<(String, usize)> {
    attributes.iter().find_map(|attribute| {
        let Meta::NameValue(meta) = &attribute.meta else { return None };
        let Expr::Lit(value) = &meta.value else { return None };
        let Lit::Str(text) = &value.lit else { return None };
        let line = text.value().trim().to_owned();
        (meta.path.is_ident("doc") && !line.is_empty())
            .then(|| (line, attribute.pound_token.spans[0].start().line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documentation_of_public_items_that_begins_with_a_question_is_found() {
        let krate = Crate::parsed(
            "a",
            "/// What it is.
            pub struct S {
                /// Whether it is.
                pub f: bool,
                /// What is private.
                g: bool,
            }
            impl S {
                /// How it goes.
                #[must_use]
                pub fn m(&self) {}
                /// Whatever else goes.
                pub fn n(&self) {}
                /// When nobody calls it.
                pub(crate) fn o(&self) {}
            }
            struct P;
            impl P {
                /// Who is private.
                pub fn p(&self) {}
            }
            /// Returns what there is.
            pub fn f() {}
            pub enum E {
                ///
                /// Who it is.
                V,
            }
            #[cfg(test)]
            mod tests {
                /// Why it is tested.
                pub fn t() {}
            }",
        );
        let found = questions(&krate.unwrap());
        let items: Vec<&str> = found.iter().map(|found| found.item.as_str()).collect();
        assert_eq!(items, ["S", "S::f", "S::m", "E::V"]);
        assert_eq!((found[1].line, found[1].text.as_str()), (3, "Whether it is."));
    }
}
