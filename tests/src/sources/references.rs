//! The paths that code names: in `use` declarations, in expressions and types, in the arguments of macros.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, TraitItem, UseTree};

use super::is_test;

/// A path as the code has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Its names: `["crate", "names", "StreamKey"]`.
    pub path: Vec<String>,
    /// The line of the file.
    pub line: usize,
}

/// A name that a `use` declaration brings into a module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    /// The name; `*` for all that a module has.
    pub name: String,
    /// Target of the name.
    pub target: Reference,
    /// Declared with plain `pub`.
    pub public: bool,
}

/// References of the items of one module.
#[derive(Clone, Debug, Default)]
pub struct References {
    /// By `use`, those inside functions included.
    pub imports: Vec<Import>,
    /// Everywhere else, names of one segment included.
    pub paths: Vec<Reference>,
}

/// Collects the paths of `items`. Documentation does not count; tests do if `tests` is true.
#[must_use]
pub fn references(items: &[Item], tests: bool) -> References {
    let mut collector = Collector { tests, found: References::default() };
    for item in items {
        collector.visit_item(item);
    }
    collector.found
}

/// Collects the imports of one `use` declaration.
#[must_use]
pub fn imports(item: &syn::ItemUse) -> Vec<Import> {
    let public = matches!(item.vis, syn::Visibility::Public(_));
    let mut found = Vec::new();
    flatten(&item.tree, &mut Vec::new(), public, &mut found);
    found
}

fn flatten(tree: &UseTree, before: &mut Vec<String>, public: bool, found: &mut Vec<Import>) {
    let mut import = |name: String, path: Vec<String>, line: usize| {
        found.push(Import { name, target: Reference { path, line }, public });
    };
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, public, found);
            before.pop();
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, before, public, found);
            }
        }
        UseTree::Name(name) => {
            let (path, own) = joined(before, &name.ident);
            import(own, path, name.ident.span().start().line);
        }
        UseTree::Rename(rename) => {
            let (path, _) = joined(before, &rename.ident);
            import(rename.rename.to_string(), path, rename.ident.span().start().line);
        }
        UseTree::Glob(glob) => {
            import("*".to_owned(), before.clone(), glob.star_token.spans[0].start().line);
        }
    }
}

/// Returns the whole path and the name that it brings: `use a::{self}` brings `a`.
fn joined(before: &[String], ident: &syn::Ident) -> (Vec<String>, String) {
    let mut path = before.to_vec();
    let name = ident.to_string();
    match path.last() {
        Some(module) if name == "self" => {
            let module = module.clone();
            (path, module)
        }
        _ => {
            path.push(name.clone());
            (path, name)
        }
    }
}

struct Collector {
    tests: bool,
    found: References,
}

impl Collector {
    fn skips(&self, attributes: &[Attribute]) -> bool {
        !self.tests && is_test(attributes)
    }
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_item(&mut self, item: &'ast Item) {
        if !self.skips(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let skipped = match item {
            ImplItem::Const(item) => self.skips(&item.attrs),
            ImplItem::Fn(item) => self.skips(&item.attrs),
            ImplItem::Type(item) => self.skips(&item.attrs),
            _ => false,
        };
        if !skipped {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        if !matches!(item, TraitItem::Fn(item) if self.skips(&item.attrs)) {
            visit::visit_trait_item(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !self.skips(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        if !self.skips(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if !self.skips(&local.attrs) {
            visit::visit_local(self, local);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.found.imports.extend(imports(item));
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let line = path.segments.first().map_or(0, |segment| segment.ident.span().start().line);
        self.found.paths.push(Reference { path: names, line });
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        visit::visit_macro(self, invocation);
        self.found.paths.extend(paths(&invocation.tokens));
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if attribute.path().is_ident("doc") {
            return;
        }
        if let syn::Meta::List(list) = &attribute.meta {
            self.found.paths.extend(paths(&list.tokens));
        }
    }
}

/// Returns the attributes of an item.
#[must_use]
pub fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Collects the paths in tokens that no parser has read: `a::b`, and `a` unless it follows a dot. Texts that are paths
/// from the root, such as `with = "crate::x"` in an attribute, count.
#[must_use]
pub fn paths(tokens: &TokenStream) -> Vec<Reference> {
    let mut found = Vec::new();
    collect(tokens.clone(), &mut found);
    found
}

fn collect(tokens: TokenStream, found: &mut Vec<Reference>) {
    let mut current: Option<Reference> = None;
    let (mut colons, mut after_dot) = (0, false);
    for tree in tokens {
        match tree {
            TokenTree::Ident(ident) => {
                let (name, line) = (ident.to_string(), ident.span().start().line);
                match current.as_mut() {
                    Some(reference) if colons == 2 => reference.path.push(name),
                    _ => {
                        found.extend(current.take());
                        current = (!after_dot).then(|| Reference { path: vec![name], line });
                    }
                }
                (colons, after_dot) = (0, false);
                continue;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' && colons < 2 => {
                colons += 1;
                continue;
            }
            TokenTree::Punct(punct) => after_dot = punct.as_char() == '.',
            TokenTree::Literal(literal) => found.extend(quoted(&literal)),
            TokenTree::Group(group) => {
                found.extend(current.take());
                collect(group.stream(), found);
                after_dot = after_dot && group.delimiter() == Delimiter::None;
            }
        }
        found.extend(current.take());
        colons = 0;
    }
    found.extend(current);
}

fn quoted(literal: &proc_macro2::Literal) -> Option<Reference> {
    let text = literal.to_string();
    let path = text.strip_prefix('"')?.strip_suffix('"')?;
    let known = ["crate::", "super::", "self::"].iter().any(|start| path.starts_with(start));
    let names: Vec<String> = path.split("::").map(str::to_owned).collect();
    let plain = |name: &String| name.chars().all(|c| c.is_alphanumeric() || c == '_');
    (known && names.iter().all(plain))
        .then(|| Reference { path: names, line: literal.span().start().line })
}
