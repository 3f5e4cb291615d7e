//! Resolution of paths: through imports and re-exports to the module that defines an item, across the workspace's crates.

use std::collections::{BTreeMap, BTreeSet};

use syn::Item;

use super::references::{Import, References, references};
use super::{Crate, ModulePath};

/// The place of an item: its crate, its module and its name there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Number of the crate.
    pub krate: usize,
    /// The module that defines it.
    pub module: ModulePath,
    /// Its name.
    pub name: String,
}

/// Result of resolving a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// To a module of these crates.
    Module(usize, ModulePath),
    /// To an item, and perhaps on to a variant or an associated function of it.
    Item(Place, Vec<String>),
    /// Out of these crates, or to a name that is none of an item: a local variable, a type parameter, a primitive type.
    Elsewhere(Vec<String>),
}

/// The names that one module has.
#[derive(Debug, Default)]
struct Names {
    items: BTreeSet<String>,
    imports: BTreeMap<String, Import>,
    globs: Vec<Import>,
}

/// Crates whose paths lead to each other.
pub struct Resolver<'a> {
    crates: &'a [Crate],
    idents: BTreeMap<&'a str, usize>,
    names: Vec<BTreeMap<&'a [String], Names>>,
    references: Vec<BTreeMap<&'a [String], References>>,
}

/// Imports lead to imports at most this many times: a guard against `use a as b; use b as a;`.
const MAX_STEPS: usize = 32;

impl<'a> Resolver<'a> {
    /// Reads the names of all modules; what only tests have counts if `tests` is true.
    #[must_use]
    pub fn new(crates: &'a [Crate], tests: bool) -> Self {
        let idents = crates.iter().enumerate();
        let idents = idents.filter_map(|(number, krate)| Some((krate.ident.as_deref()?, number)));
        let mut resolver =
            Self { crates, idents: idents.collect(), names: Vec::new(), references: Vec::new() };
        for krate in crates {
            let (mut names, mut all) = (BTreeMap::new(), BTreeMap::new());
            for (path, module) in &krate.modules {
                if module.test && !tests {
                    continue;
                }
                let found = references(&module.items, tests);
                names.insert(path.as_slice(), Names::new(&module.items, &found));
                all.insert(path.as_slice(), found);
            }
            resolver.names.push(names);
            resolver.references.push(all);
        }
        resolver
    }

    /// The crates, by the numbers that places have.
    #[must_use]
    pub fn crates(&self) -> &'a [Crate] {
        self.crates
    }

    /// The paths of every module of a crate.
    pub fn references(&self, krate: usize) -> impl Iterator<Item = (&'a [String], &References)> {
        self.references[krate].iter().map(|(path, found)| (*path, found))
    }

    /// Follows a path that code in `module` names.
    #[must_use]
    pub fn path(&self, krate: usize, module: &[String], path: &[String]) -> Resolved {
        self.follow(krate, module, path, MAX_STEPS)
    }

    /// Follows the path of an import of `module`, which names other modules and crates, never the import itself.
    #[must_use]
    pub fn import(&self, krate: usize, module: &[String], path: &[String]) -> Resolved {
        let own = self.names[krate].get(module).and_then(|names| names.imports.get(path.first()?));
        match own {
            Some(_) if path.len() == 1 => match self.idents.get(path[0].as_str()) {
                Some(other) => Resolved::Module(*other, Vec::new()),
                None => Resolved::Elsewhere(path.to_vec()),
            },
            _ => self.path(krate, module, path),
        }
    }

    /// Returns a path with its first name replaced by what the module imports under that name, if it does.
    #[must_use]
    pub fn spelled_out(&self, krate: usize, module: &[String], path: &[String]) -> Vec<String> {
        let names = self.names[krate].get(module);
        let import = names.and_then(|names| names.imports.get(path.first()?));
        match import {
            Some(import) if import.target.path.first() != path.first() => {
                [import.target.path.as_slice(), &path[1..]].concat()
            }
            _ => path.to_vec(),
        }
    }

    fn follow(&self, krate: usize, module: &[String], path: &[String], steps: usize) -> Resolved {
        let elsewhere = || Resolved::Elsewhere(path.to_vec());
        let Some((first, rest)) = path.split_first() else { return elsewhere() };
        match first.as_str() {
            "crate" => self.descend(krate, &[], rest, steps),
            "self" => self.descend(krate, module, rest, steps),
            "super" => match module.split_last() {
                Some((_, parent)) if rest.first().is_some_and(|next| next == "super") => {
                    self.follow(krate, parent, rest, steps)
                }
                Some((_, parent)) => self.descend(krate, parent, rest, steps),
                None => elsewhere(),
            },
            _ => self
                .named(krate, module, path, steps)
                .or_else(|| {
                    let other = *self.idents.get(first.as_str())?;
                    Some(self.descend(other, &[], rest, steps))
                })
                .unwrap_or_else(elsewhere),
        }
    }

    /// Goes down from a module by the names of a path.
    fn descend(&self, krate: usize, module: &[String], path: &[String], steps: usize) -> Resolved {
        if path.is_empty() {
            return Resolved::Module(krate, module.to_vec());
        }
        self.named(krate, module, path, steps).unwrap_or_else(|| {
            let place = Place { krate, module: module.to_vec(), name: path[0].clone() };
            Resolved::Item(place, path[1..].to_vec())
        })
    }

    /// Follows a path whose first name the module itself has; `None` if it has no such name.
    fn named(
        &self,
        krate: usize,
        module: &[String],
        path: &[String],
        steps: usize,
    ) -> Option<Resolved> {
        let steps = steps.checked_sub(1)?;
        let (first, rest) = path.split_first()?;
        let names = self.names[krate].get(module)?;
        let child = [module, std::slice::from_ref(first)].concat();
        let child = self.names[krate].contains_key(child.as_slice()).then_some(child);
        // A function may have the name of the module that defines it; then `module::name` is the module.
        if let (Some(child), false) = (&child, rest.is_empty()) {
            return Some(self.descend(krate, child, rest, steps));
        }
        if names.items.contains(first) {
            let place = Place { krate, module: module.to_vec(), name: first.clone() };
            return Some(Resolved::Item(place, rest.to_vec()));
        }
        if let Some(import) = names.imports.get(first) {
            let whole = [import.target.path.as_slice(), rest].concat();
            if whole.first() != Some(first) {
                return Some(self.follow(krate, module, &whole, steps));
            }
            // `use serde_json;` and `use name::name;` begin with a crate or a child, not with themselves.
            let target = match &child {
                Some(child) => Some((krate, child.as_slice())),
                None => self.idents.get(first.as_str()).map(|other| (*other, &[][..])),
            };
            return Some(match target {
                Some((krate, module)) => self.descend(krate, module, &whole[1..], steps),
                None => Resolved::Elsewhere(whole),
            });
        }
        if let Some(child) = child {
            return Some(Resolved::Module(krate, child));
        }
        names.globs.iter().find_map(|glob| {
            let Resolved::Module(krate, module) =
                self.follow(krate, module, &glob.target.path, steps)
            else {
                return None;
            };
            self.named(krate, &module, path, steps)
        })
    }
}

impl Names {
    fn new(items: &[Item], references: &References) -> Self {
        let mut names = Self::default();
        names.items.extend(items.iter().filter_map(name));
        for import in &references.imports {
            if import.name == "*" {
                names.globs.push(import.clone());
            } else {
                names.imports.entry(import.name.clone()).or_insert_with(|| import.clone());
            }
        }
        names
    }
}

/// The name that an item has in its module.
#[must_use]
pub fn name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str, module: &str, path: &str) -> Resolved {
        let crates = [Crate::parsed("bus", text).unwrap(), Crate::parsed("core", CORE).unwrap()];
        let split = |path: &str| -> Vec<String> {
            path.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect()
        };
        Resolver::new(&crates, false).path(0, &split(module), &split(path))
    }

    const CORE: &str = "pub mod names { pub struct Key; } pub use names::Key;";

    fn place(krate: usize, module: &str, name: &str) -> Resolved {
        let module = if module.is_empty() { Vec::new() } else { vec![module.to_owned()] };
        Resolved::Item(Place { krate, module, name: name.to_owned() }, Vec::new())
    }

    #[test]
    fn a_path_leads_through_imports_renames_and_other_crates_to_the_definition() {
        let text =
            "mod a { pub use core::Key as Name; pub use super::b::*; } mod b { pub struct B; }
            mod c { use crate::a::{self, Name}; }";
        assert_eq!(resolved(text, "c", "Name"), place(1, "names", "Key"));
        assert_eq!(resolved(text, "c", "a::B"), place(0, "b", "B"));
        assert_eq!(resolved(text, "c", "super::b::B"), place(0, "b", "B"));
        assert_eq!(resolved(text, "c", "a"), Resolved::Module(0, vec!["a".to_owned()]));
    }

    #[test]
    fn a_function_may_have_the_name_of_its_module() {
        let text =
            "mod trim; pub use trim::trim;".replace("mod trim;", "mod trim { pub fn trim() {} }");
        assert_eq!(resolved(&text, "", "crate::trim"), place(0, "trim", "trim"));
        assert_eq!(resolved(&text, "", "trim::trim"), place(0, "trim", "trim"));
    }

    #[test]
    fn a_path_out_of_these_crates_is_spelled_out_and_one_in_a_circle_ends() {
        let text = "use redis::aio::Connection; use b as a; use a as b;";
        let whole = ["redis", "aio", "Connection"].map(str::to_owned);
        assert_eq!(resolved(text, "", "Connection"), Resolved::Elsewhere(whole.to_vec()));
        assert!(matches!(resolved(text, "", "a"), Resolved::Elsewhere(_)));
    }
}
