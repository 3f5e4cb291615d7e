//! The lines of one public item.

use std::collections::{BTreeMap, BTreeSet};

use quote::ToTokens;
use syn::{
    Attribute, Fields, FnArg, ImplItem, Item, ItemImpl, Pat, Signature, TraitItem, Type, Visibility,
};

use super::super::is_test;
use super::super::references::attributes;
use super::super::render::{Mentions, Renderer};
use super::super::resolve::{Place, Resolved, Resolver, name};
use super::Line;

/// An `impl` block and the module that has it.
pub(super) struct Implementation<'a> {
    krate: usize,
    module: &'a [String],
    block: &'a ItemImpl,
}

/// Collects the `impl` blocks of every type, those in tests excluded.
pub(super) fn implementations<'a>(
    resolver: &Resolver<'a>,
) -> BTreeMap<Place, Vec<Implementation<'a>>> {
    let mut all: BTreeMap<Place, Vec<Implementation<'_>>> = BTreeMap::new();
    for (krate, found) in resolver.crates().iter().enumerate() {
        if found.ident.is_none() {
            continue;
        }
        for (path, module) in found.modules.iter().filter(|(_, module)| !module.test) {
            for item in &module.items {
                let Item::Impl(block) = item else { continue };
                let Type::Path(named) = &*block.self_ty else { continue };
                if is_test(&block.attrs) {
                    continue;
                }
                let names: Vec<String> =
                    named.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
                if let Resolved::Item(place, _) = resolver.path(krate, path, &names) {
                    let implementation = Implementation { krate, module: path, block };
                    all.entry(place).or_default().push(implementation);
                }
            }
        }
    }
    all
}

/// The name of an item that is declared with plain `pub`, or of an exported macro.
pub(super) fn public_name(item: &Item) -> Option<String> {
    let visibility = match item {
        Item::Const(item) => &item.vis,
        Item::Enum(item) => &item.vis,
        Item::Fn(item) => &item.vis,
        Item::Static(item) => &item.vis,
        Item::Struct(item) => &item.vis,
        Item::Trait(item) => &item.vis,
        Item::Type(item) => &item.vis,
        Item::Macro(item) => {
            let exported = |attribute: &Attribute| attribute.path().is_ident("macro_export");
            let is_exported = item.attrs.iter().any(exported);
            return item.ident.as_ref().filter(|_| is_exported).map(ToString::to_string);
        }
        _ => return None,
    };
    if matches!(visibility, Visibility::Public(_)) { name(item) } else { None }
}

/// Lists one item under its public path.
pub(super) fn lines(
    resolver: &Resolver<'_>,
    place: &Place,
    path: &str,
    implementations: &[Implementation<'_>],
) -> Vec<Line> {
    let mut lister = Lister { resolver, path, lines: Vec::new() };
    let module = &resolver.crates()[place.krate].modules[&place.module];
    let at = (place.krate, place.module.as_slice());
    let is_it = |item: &&Item| name(item).as_ref() == Some(&place.name);
    let mut traits = BTreeMap::new();
    for item in module.items.iter().filter(is_it).filter(|item| !is_test(attributes(item))) {
        lister.item(at, item);
        traits
            .extend(derived(attributes(item)).into_iter().map(|name| (name, Mentions::default())));
    }
    for implementation in implementations {
        lister.implementation(implementation, &mut traits);
    }
    if !traits.is_empty() {
        let names: Vec<&str> = traits.keys().map(String::as_str).collect();
        let text = format!("impl {path}: {}", names.join(", "));
        let mut mentions = Mentions::default();
        for found in traits.into_values() {
            mentions.items.extend(found.items);
            mentions.foreign.extend(found.foreign);
        }
        lister.push(None, text, mentions);
    }
    lister.lines
}

/// The traits of `#[derive(…)]`, by their last name.
fn derived(attributes: &[Attribute]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("derive")) {
        let _ = attribute.parse_nested_meta(|meta| {
            names.extend(meta.path.segments.last().map(|segment| segment.ident.to_string()));
            Ok(())
        });
    }
    names
}

fn openness(attributes: &[Attribute]) -> &'static str {
    let open = attributes.iter().any(|attribute| attribute.path().is_ident("non_exhaustive"));
    if open { "#[non_exhaustive] " } else { "" }
}

/// A crate and a module of it.
type At<'a> = (usize, &'a [String]);

struct Lister<'a, 'b> {
    resolver: &'a Resolver<'b>,
    path: &'a str,
    lines: Vec<Line>,
}

impl Lister<'_, '_> {
    fn push(&mut self, member: Option<String>, text: String, mentions: Mentions) {
        let path = match &member {
            Some(member) => format!("{}::{member}", self.path),
            None => self.path.to_owned(),
        };
        self.lines.push(Line { path, member, text, mentions });
    }

    fn item(&mut self, at: At<'_>, item: &Item) {
        let path = self.path;
        let mut render = Renderer::new(self.resolver, at.0, at.1);
        let text = match item {
            Item::Const(item) => format!("const {path}: {}", render.code(&item.ty)),
            Item::Static(item) => format!("static {path}: {}", render.code(&item.ty)),
            Item::Fn(item) => signature(&mut render, path, &item.sig),
            Item::Macro(_) => format!("macro {path}"),
            Item::Type(item) => {
                let generics = render.code(&item.generics);
                format!("type {path}{generics} = {}", render.code(&item.ty))
            }
            Item::Trait(item) => {
                let (generics, bounds) =
                    (render.code(&item.generics), render.code(&item.supertraits));
                let colon = if bounds.is_empty() { "" } else { ": " };
                format!("trait {path}{generics}{colon}{bounds}")
            }
            Item::Enum(item) => {
                let (open, generics) = (openness(&item.attrs), render.code(&item.generics));
                format!("{open}enum {path}{generics}")
            }
            Item::Struct(item) => {
                let (open, generics) = (openness(&item.attrs), render.code(&item.generics));
                let fields = struct_fields(&mut render, &item.fields, !open.is_empty());
                format!("{open}struct {path}{generics}{fields}")
            }
            _ => return,
        };
        self.push(None, text, render.mentions);
        match item {
            Item::Struct(item) => self.fields(at, &item.fields),
            Item::Enum(item) => self.variants(at, item),
            Item::Trait(item) => self.trait_items(at, item),
            _ => {}
        }
    }

    fn fields(&mut self, at: At<'_>, fields: &Fields) {
        let Fields::Named(fields) = fields else { return };
        for field in fields.named.iter().filter(|field| matches!(field.vis, Visibility::Public(_)))
        {
            let name = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
            let mut render = Renderer::new(self.resolver, at.0, at.1);
            let text = format!("field {}::{name}: {}", self.path, render.code(&field.ty));
            self.push(Some(name), text, render.mentions);
        }
    }

    fn variants(&mut self, at: At<'_>, item: &syn::ItemEnum) {
        for variant in &item.variants {
            let name = variant.ident.to_string();
            let mut render = Renderer::new(self.resolver, at.0, at.1);
            let mut field = |field: &syn::Field| {
                let ty = render.code(&field.ty);
                field.ident.as_ref().map_or(ty.clone(), |name| format!("{name}: {ty}"))
            };
            let fields: Vec<String> = variant.fields.iter().map(&mut field).collect();
            let fields = match &variant.fields {
                Fields::Unit => String::new(),
                Fields::Unnamed(_) => format!("({})", fields.join(", ")),
                Fields::Named(_) => format!(" {{ {} }}", fields.join(", ")),
            };
            let open = openness(&variant.attrs);
            let text = format!("{open}variant {}::{name}{fields}", self.path);
            self.push(Some(name), text, render.mentions);
        }
    }

    fn trait_items(&mut self, at: At<'_>, item: &syn::ItemTrait) {
        let path = self.path;
        for item in &item.items {
            let mut render = Renderer::new(self.resolver, at.0, at.1);
            let (name, text) = match item {
                TraitItem::Fn(item) => {
                    let name = item.sig.ident.to_string();
                    let text = signature(&mut render, &format!("{path}::{name}"), &item.sig);
                    let kind = if item.default.is_some() { "provided" } else { "required" };
                    (name, format!("{kind} {text}"))
                }
                TraitItem::Const(item) => {
                    let (name, ty) = (item.ident.to_string(), render.code(&item.ty));
                    let text = format!("const {path}::{name}: {ty}");
                    (name, text)
                }
                TraitItem::Type(item) => {
                    let (name, bounds) = (item.ident.to_string(), render.code(&item.bounds));
                    let text = format!("type {path}::{name}: {bounds}");
                    (name, text)
                }
                _ => continue,
            };
            self.push(Some(name), text, render.mentions);
        }
    }

    /// Adds the public methods of an inherent block, or the trait that the block implements.
    fn implementation(
        &mut self,
        implementation: &Implementation<'_>,
        traits: &mut BTreeMap<String, Mentions>,
    ) {
        let &Implementation { krate, module, block } = implementation;
        if let Some((_, implemented, _)) = &block.trait_ {
            let mut render = Renderer::new(self.resolver, krate, module);
            let name = render.code(implemented);
            for item in &block.items {
                let ImplItem::Type(item) = item else { continue };
                let mut render = Renderer::new(self.resolver, krate, module);
                let (of, ty) = (render.code(&item.ident), render.code(&item.ty));
                let text = format!("type {}::{of} = {ty}  [impl {name}]", self.path);
                self.push(None, text, render.mentions);
            }
            traits.insert(name, render.mentions);
            return;
        }
        for item in &block.items {
            let mut render = Renderer::new(self.resolver, krate, module);
            let (visibility, name, text) = match item {
                ImplItem::Fn(item) if !is_test(&item.attrs) => {
                    let name = item.sig.ident.to_string();
                    let text = signature(&mut render, &format!("{}::{name}", self.path), &item.sig);
                    (&item.vis, name, text)
                }
                ImplItem::Const(item) => {
                    let (name, ty) = (item.ident.to_string(), render.code(&item.ty));
                    let text = format!("const {}::{name}: {ty}", self.path);
                    (&item.vis, name, text)
                }
                _ => continue,
            };
            if !matches!(visibility, Visibility::Public(_)) {
                continue;
            }
            let bounds = render.code(&block.generics);
            let bounds =
                if bounds.contains(':') { format!("  [impl{bounds}]") } else { String::new() };
            self.push(Some(name), text + &bounds, render.mentions);
        }
    }
}

/// Shows what a literal of the struct needs: `{ .. }` where a field is private or more may come.
fn struct_fields(render: &mut Renderer<'_, '_>, fields: &Fields, open: bool) -> String {
    let is_public = |field: &syn::Field| matches!(field.vis, Visibility::Public(_));
    match fields {
        Fields::Unit => String::new(),
        Fields::Named(fields) if open || !fields.named.iter().all(is_public) => {
            " { .. }".to_owned()
        }
        Fields::Named(_) => " { all fields }".to_owned(),
        Fields::Unnamed(fields) => {
            let mut parts = Vec::new();
            for field in &fields.unnamed {
                let public = is_public(field);
                parts.push(if public { render.code(&field.ty) } else { "_".to_owned() });
            }
            format!("({})", parts.join(", "))
        }
    }
}

/// Renders a function; that a parameter is `mut` is no part of what callers see.
fn signature(render: &mut Renderer<'_, '_>, path: &str, signature: &Signature) -> String {
    let mut signature = signature.clone();
    for input in &mut signature.inputs {
        match input {
            FnArg::Receiver(receiver) if receiver.reference.is_none() => receiver.mutability = None,
            FnArg::Typed(input) => {
                if let Pat::Ident(pattern) = &mut *input.pat {
                    pattern.mutability = None;
                }
            }
            FnArg::Receiver(_) => {}
        }
    }
    let qualifiers = [
        signature.constness.as_ref().map(ToTokens::to_token_stream),
        signature.asyncness.as_ref().map(ToTokens::to_token_stream),
        signature.unsafety.as_ref().map(ToTokens::to_token_stream),
    ];
    let qualifiers: String =
        qualifiers.into_iter().flatten().map(|tokens| format!("{tokens} ")).collect();
    let (generics, inputs) = (render.code(&signature.generics), render.code(&signature.inputs));
    let output = render.code(&signature.output);
    let condition = render.code(&signature.generics.where_clause);
    let mut text = format!("{qualifiers}fn {path}{generics}({inputs})");
    for part in [output.trim(), condition.as_str()].into_iter().filter(|part| !part.is_empty()) {
        text = format!("{text} {part}");
    }
    text
}
