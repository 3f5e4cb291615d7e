//! Usage of public items by other crates: by naming them, or by a signature of what they name.

use std::collections::{BTreeMap, BTreeSet};

use syn::{Expr, Lit, Meta};

use super::Crate;
use super::api::Api;
use super::resolve::{Place, Resolved, Resolver};

/// Usage of the items of an [`Api`].
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// The packages that name an item by a path.
    pub named: BTreeMap<Place, BTreeSet<String>>,
    /// Every identifier in those packages.
    identifiers: BTreeSet<String>,
}

impl Usage {
    /// Collects what `outside`, numbers of the resolver's crates, use of the others.
    #[must_use]
    pub fn of(resolver: &Resolver<'_>, outside: &[usize]) -> Self {
        let mut usage = Self::default();
        for &krate in outside {
            let package = &resolver.crates()[krate].package;
            for (module, references) in resolver.references(krate) {
                let imports = references.imports.iter().map(|import| &import.target.path);
                for path in imports.chain(references.paths.iter().map(|path| &path.path)) {
                    if let Resolved::Item(place, _) = resolver.path(krate, module, path)
                        && !outside.contains(&place.krate)
                    {
                        usage.named.entry(place).or_default().insert(package.clone());
                    }
                }
            }
            let files = resolver.crates()[krate].identifiers.values();
            usage.identifiers.extend(files.flat_map(|names| names.keys().cloned()));
        }
        usage
    }

    /// The items of `api` that nobody uses. An item is used if it is named, or if what is used mentions it: the
    /// signature of a function, and a field, variant or method if that occurs by name.
    #[must_use]
    pub fn unused(&self, api: &Api) -> BTreeSet<Place> {
        let mut used: BTreeSet<&Place> =
            api.items.keys().filter(|place| self.named.contains_key(place)).collect();
        let mut next: Vec<&Place> = used.iter().copied().collect();
        while let Some(place) = next.pop() {
            let Some(item) = api.items.get(place) else { continue };
            for line in item.lines.iter().filter(|line| !line.text.starts_with("impl ")) {
                let occurs = |member: &String| self.identifiers.contains(member);
                if line.member.as_ref().is_none_or(occurs) {
                    next.extend(line.mentions.items.iter().filter(|place| used.insert(place)));
                }
            }
        }
        api.items.keys().filter(|place| !used.contains(place)).cloned().collect()
    }

    /// The paths of fields, variants and methods of used items whose name occurs nowhere outside.
    #[must_use]
    pub fn unused_members(&self, api: &Api) -> Vec<String> {
        let unused = self.unused(api);
        let items = api.items.iter().filter(|(place, _)| !unused.contains(place));
        let lines = items.flat_map(|(_, item)| &item.lines);
        let is_unused = |member: &String| !self.identifiers.contains(member);
        let lines = lines.filter(|line| line.member.as_ref().is_some_and(is_unused));
        lines.map(|line| line.path.clone()).collect()
    }
}

/// The Rust examples in the documentation of a crate, each as a crate. One that does not parse is left out.
#[must_use]
pub fn doc_examples(krate: &Crate) -> Vec<Crate> {
    let mut texts = Vec::new();
    for module in krate.modules.values() {
        let mut docs = Docs::default();
        for attribute in &module.attributes {
            syn::visit::Visit::visit_attribute(&mut docs, attribute);
        }
        for item in &module.items {
            syn::visit::Visit::visit_item(&mut docs, item);
        }
        texts.extend(examples(&docs.text));
    }
    let whole = |text: String| match Crate::parsed("doc example", &text) {
        Some(krate) => Some(krate),
        None => Crate::parsed("doc example", &format!("async fn example() {{ {text} }}")),
    };
    texts.into_iter().filter_map(whole).collect()
}

#[derive(Default)]
struct Docs {
    text: String,
}

impl<'ast> syn::visit::Visit<'ast> for Docs {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let Meta::NameValue(meta) = &attribute.meta else { return };
        let Expr::Lit(value) = &meta.value else { return };
        if let (true, Lit::Str(text)) = (meta.path.is_ident("doc"), &value.lit) {
            self.text += &text.value();
            self.text.push('\n');
        }
    }
}

/// The code between lines of three backticks, without the marks of hidden lines.
fn examples(docs: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut fence: Option<bool> = None;
    for line in docs.lines().map(str::trim_start) {
        if let Some(language) = line.strip_prefix("```") {
            let is_rust = !["text", "sh", "json", "yaml", "lua"].contains(&language.trim());
            fence = match fence {
                Some(_) => None,
                None => Some(is_rust),
            };
            if fence == Some(true) {
                found.push(String::new());
            }
        } else if fence == Some(true) {
            let code = line.strip_prefix("# ").unwrap_or(if line == "#" { "" } else { line });
            let example = found.last_mut().expect("the fence began one");
            example.push_str(code);
            example.push('\n');
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUS: &str = "
        pub mod bus {
            use super::{Inner, Lost, Page, Report};
            /// ```
            /// use bus::bus::by_example;
            /// # by_example();
            /// ```
            pub struct Bus { pub page: Page }
            impl std::ops::Deref for Bus { type Target = Inner; }
            impl Bus { pub fn read(&self) -> Report {} pub fn never(&self) -> Lost {} }
        }
        pub struct Inner; pub struct Page; pub struct Report; pub struct Lost;
        pub fn by_macro() {} pub fn by_nobody() {} pub fn looks() {}";

    const USER: &str =
        "use bus::bus::Bus; fn f(b: &Bus) { b.read(); g!(bus::by_macro()); looks(); }";

    fn usage() -> (Api, Usage) {
        let mut crates =
            vec![Crate::parsed("bus", BUS).unwrap(), Crate::parsed("user", USER).unwrap()];
        let examples = doc_examples(&crates[0]);
        assert_eq!(examples.len(), 1);
        crates.extend(examples);
        let resolver = Resolver::new(&crates, true);
        (Api::of(&resolver, "bus"), Usage::of(&resolver, &[1, 2]))
    }

    #[test]
    fn what_nobody_names_and_no_used_signature_mentions_is_unused() {
        let (api, usage) = usage();
        let unused = usage.unused(&api);
        let unused: Vec<&str> = unused.iter().map(|place| &*place.name).collect();
        assert_eq!(unused, ["Lost", "Page", "by_nobody", "looks"]);
        assert_eq!(usage.unused_members(&api), ["bus::bus::Bus::page", "bus::bus::Bus::never"]);
    }

    #[test]
    fn an_example_of_the_documentation_is_a_use() {
        let crates = [Crate::parsed("bus", BUS).unwrap()];
        let example = &doc_examples(&crates[0])[0];
        let resolver = Resolver::new(std::slice::from_ref(example), true);
        let references: Vec<_> = resolver.references(0).collect();
        assert_eq!(references[0].1.imports[0].target.path, ["bus", "bus", "by_example"]);
    }
}
