//! The public API of a crate: all that other crates can name, with re-exports followed to what they stand for.

mod item;

use std::collections::{BTreeMap, BTreeSet};

use syn::{Item, Visibility};

use super::is_test;
use super::references::imports;
use super::render::Mentions;
use super::resolve::{Place, Resolved, Resolver};

/// The public API of one crate.
#[derive(Clone, Debug, Default)]
pub struct Api {
    /// The public modules but the root, by the path that other crates use.
    pub modules: BTreeSet<String>,
    /// The items, each once: types, functions, constants, traits and macros.
    pub items: BTreeMap<Place, PublicItem>,
    /// Further paths of items, re-exports of what other crates define, and of variants.
    pub aliases: BTreeSet<String>,
}

/// An item that other crates can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicItem {
    /// Its path, the shortest if there are several.
    pub path: String,
    /// Itself, then its public fields, variants, methods and the traits it has.
    pub lines: Vec<Line>,
}

/// One line of the listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The path of what the line shows.
    pub path: String,
    /// The name of the member; `None`: the item itself, or the traits that it has.
    pub member: Option<String>,
    /// The line.
    pub text: String,
    /// Items mentioned in it.
    pub mentions: Mentions,
}

impl Api {
    /// Collects the public API of the crate with the name `ident` among those of `resolver`.
    ///
    /// # Panics
    /// If there is no such crate.
    #[must_use]
    pub fn of(resolver: &Resolver<'_>, ident: &str) -> Self {
        let crates = resolver.crates();
        let is_it = |krate: &super::Crate| krate.ident.as_deref() == Some(ident);
        let krate = crates.iter().position(is_it);
        let krate = krate.unwrap_or_else(|| panic!("the workspace has no library {ident}"));
        let mut walk = Walk { resolver, paths: BTreeMap::new(), api: Self::default() };
        walk.module(ident, krate, &[]);
        walk.finish()
    }

    /// The listing: one line for each item, field, variant and method, sorted by path.
    #[must_use]
    pub fn listing(&self) -> Vec<String> {
        let mut lines: Vec<(&str, &str)> = Vec::new();
        for item in self.items.values() {
            lines.extend(item.lines.iter().map(|line| (line.path.as_str(), line.text.as_str())));
        }
        let mut listing: Vec<(String, String)> = Vec::new();
        listing.extend(lines.into_iter().map(|(path, text)| (path.to_owned(), text.to_owned())));
        listing.extend(self.modules.iter().map(|path| (path.clone(), format!("mod {path}"))));
        listing.extend(self.aliases.iter().map(|text| {
            let path = text.trim_start_matches("use ").split(' ').next().unwrap_or_default();
            (path.to_owned(), text.clone())
        }));
        listing.sort();
        listing.into_iter().map(|(_, text)| text).collect()
    }
}

struct Walk<'a, 'b> {
    resolver: &'a Resolver<'b>,
    /// Every public path of each item.
    paths: BTreeMap<Place, BTreeSet<String>>,
    api: Api,
}

impl Walk<'_, '_> {
    /// Collects what the module `module` shows under the public path `path`.
    fn module(&mut self, path: &str, krate: usize, module: &[String]) {
        let all = &self.resolver.crates()[krate].modules;
        for (child, found) in all.range(module.to_vec()..) {
            if !child.starts_with(module) {
                break;
            }
            if child.len() == module.len() + 1 && found.public && !found.test {
                self.public_module(&format!("{path}::{}", child[module.len()]), krate, child);
            }
        }
        let Some(found) = all.get(module) else { return };
        for item in &found.items {
            if is_test(attributes(item)) {
                continue;
            }
            match item {
                Item::Use(item) => self.uses(path, (krate, module), item),
                item => {
                    if let Some(name) = item::public_name(item) {
                        let place = Place { krate, module: module.to_vec(), name };
                        let path = format!("{path}::{}", place.name);
                        self.paths.entry(place).or_default().insert(path);
                    }
                }
            }
        }
    }

    fn public_module(&mut self, path: &str, krate: usize, module: &[String]) {
        if self.api.modules.insert(path.to_owned()) {
            self.module(path, krate, module);
        }
    }

    fn uses(&mut self, path: &str, (krate, module): (usize, &[String]), item: &syn::ItemUse) {
        if !matches!(item.vis, Visibility::Public(_)) {
            return;
        }
        for import in imports(item) {
            let path = format!("{path}::{}", import.name);
            let target = &import.target.path;
            match self.resolver.import(krate, module, target) {
                Resolved::Module(krate, module) if import.name == "*" => {
                    self.module(path.trim_end_matches("::*"), krate, &module);
                }
                Resolved::Module(krate, module) => self.public_module(&path, krate, &module),
                Resolved::Item(place, rest) if rest.is_empty() => {
                    self.paths.entry(place).or_default().insert(path);
                }
                Resolved::Item(..) | Resolved::Elsewhere(_) => {
                    self.api.aliases.insert(format!("use {path} = {}", target.join("::")));
                }
            }
        }
    }

    fn finish(mut self) -> Api {
        let impls = item::implementations(self.resolver);
        for (place, paths) in self.paths {
            let mut paths: Vec<String> = paths.into_iter().collect();
            paths.sort_by_key(|path| (path.matches("::").count(), path.clone()));
            let path = paths.remove(0);
            for other in paths {
                self.api.aliases.insert(format!("use {other} = {path}"));
            }
            let impls = impls.get(&place).map_or(&[][..], Vec::as_slice);
            let lines = item::lines(self.resolver, &place, &path, impls);
            self.api.items.insert(place, PublicItem { path, lines });
        }
        self.api
    }
}

fn attributes(item: &Item) -> &[syn::Attribute] {
    super::references::attributes(item)
}

#[cfg(test)]
mod tests {
    use super::super::Crate;
    use super::*;

    const BUS: &str = "
        pub mod config;
        mod inner {
            use redis::aio::Connection;
            use std::time::Duration;
            use crate::config::Config;

            #[derive(Clone, Debug)]
            pub struct Bus { pub name: String, secret: u8 }
            impl Bus {
                pub async fn open(mut config: Config, at: &mut Connection) -> std::io::Result<Self> { todo() }
                pub(crate) fn hidden(&self) {}
                fn wait<F>(&self) where F: Send {}
                pub const LIMIT: Duration = Duration::ZERO;
            }
            impl std::str::FromStr for Bus { type Err = crate::Refused; fn from_str(_: &str) -> Result<Self, Self::Err> { todo() } }
            impl From<u8> for Bus { fn from(_: u8) -> Self { todo() } }
            pub struct Unseen;
        }
        pub use inner::Bus;
        pub struct Refused;
        pub use core::Key as Name;
        #[cfg(test)]
        pub fn in_tests() {}";

    const CONFIG: &str =
        "pub mod config { #[non_exhaustive] pub enum Config { Plain, Of(u8), With { a: [u8; 2] } }
        pub use super::inner::Bus; }";

    const CORE: &str = "pub struct Key(u8); impl Key { pub fn get<'a, T: Into<u8>>(&'a self, of: T) -> &'a u8 { } }";

    fn api() -> Api {
        let bus = BUS.replace("pub mod config;", CONFIG);
        let crates = [Crate::parsed("bus", &bus).unwrap(), Crate::parsed("core", CORE).unwrap()];
        Api::of(&Resolver::new(&crates, false), "bus")
    }

    #[test]
    fn the_listing_has_what_is_public_with_its_shortest_path_and_its_other_ones() {
        let expected = [
            "impl bus::Bus: Clone, Debug, From<u8>, FromStr",
            "struct bus::Bus { .. }",
            "type bus::Bus::Err = Refused  [impl FromStr]",
            "const bus::Bus::LIMIT: Duration",
            "field bus::Bus::name: String",
            "async fn bus::Bus::open(config: Config, at: &mut redis::aio::Connection) -> io::Result<Self>",
            "struct bus::Name(_)",
            "fn bus::Name::get<'a, T: Into<u8>>(&'a self, of: T) -> &'a u8",
            "struct bus::Refused",
            "mod bus::config",
            "use bus::config::Bus = bus::Bus",
            "#[non_exhaustive] enum bus::config::Config",
            "variant bus::config::Config::Of(u8)",
            "variant bus::config::Config::Plain",
            "variant bus::config::Config::With { a: [u8; 2] }",
        ];
        assert_eq!(api().listing(), expected);
        assert_eq!(api().items.len(), 4);
    }

    #[test]
    fn a_signature_mentions_items_and_paths_into_other_crates() {
        let api = api();
        let lines = api.items.values().flat_map(|item| &item.lines);
        let open = lines.filter(|line| line.path == "bus::Bus::open").collect::<Vec<_>>();
        let foreign: Vec<&String> = open[0].mentions.foreign.iter().collect();
        assert_eq!(foreign, ["redis::aio::Connection"]);
        let items: Vec<&str> = open[0].mentions.items.iter().map(|place| &*place.name).collect();
        assert_eq!(items, ["Config"]);
    }
}
