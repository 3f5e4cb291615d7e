//! Graph of the modules of a crate that use each other, and its cycles.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;

use super::packages::relative;
use super::references::Reference;
use super::resolve::{Resolved, Resolver};
use super::{Crate, Module, ModulePath};

/// A place in the code where one module names another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Evidence {
    /// The module in whose file it is.
    pub module: ModulePath,
    /// The path as it is written, and its line.
    pub reference: Reference,
}

/// Sibling modules and who names whom: `edges[a][b]` are the places where `a`, or a module below it, names `b`.
#[derive(Debug, Default)]
pub struct Siblings {
    /// For each module, the siblings it uses with the places.
    pub edges: BTreeMap<String, BTreeMap<String, Vec<Evidence>>>,
}

/// Modules that use each other in a circle: each reaches every other one.
#[derive(Debug, PartialEq, Eq)]
pub struct Cycle {
    /// The module whose children they are.
    pub parent: ModulePath,
    /// All modules that are part of it.
    pub members: Vec<String>,
    /// A shortest way round, each step with one place.
    pub way: Vec<(String, String, Evidence)>,
    /// Every edge between the members with one place, and how many places there are.
    pub edges: Vec<(String, String, Evidence, usize)>,
}

/// Collects, for each module with children, which of them use each other.
///
/// A parent that uses its child, or a child its parent, is no edge. A name that a parent re-exports from a child
/// counts as a use of that child.
#[must_use]
pub fn siblings(resolver: &Resolver<'_>, krate: usize) -> BTreeMap<ModulePath, Siblings> {
    let mut all: BTreeMap<ModulePath, Siblings> = BTreeMap::new();
    for (module, references) in resolver.references(krate) {
        let imports = references.imports.iter().map(|import| &import.target);
        for reference in imports.chain(references.paths.iter().filter(|path| path.path.len() > 1)) {
            let used = match resolver.path(krate, module, &reference.path) {
                Resolved::Module(other, used) if other == krate => used,
                Resolved::Item(place, _) if place.krate == krate => place.module,
                _ => continue,
            };
            // What the module it names takes from elsewhere is an edge of that module.
            let path = resolver.spelled_out(krate, module, &reference.path);
            let used = named(&resolver.crates()[krate].modules, module, &path).unwrap_or(used);
            let common = module.iter().zip(&used).take_while(|(a, b)| a == b).count();
            if common == module.len() || common == used.len() {
                continue;
            }
            let siblings = all.entry(module[..common].to_vec()).or_default();
            let evidence = Evidence { module: module.to_vec(), reference: reference.clone() };
            let from = siblings.edges.entry(module[common].clone()).or_default();
            from.entry(used[common].clone()).or_default().push(evidence);
        }
    }
    all
}

/// The module that a path names by its own words, unless that is a module around the one that names it.
fn named(
    modules: &BTreeMap<ModulePath, Module>,
    module: &[String],
    path: &[String],
) -> Option<ModulePath> {
    let (mut at, mut names) = match path.first().map(String::as_str) {
        Some("crate") => (Vec::new(), &path[1..]),
        Some("self") => (module.to_vec(), &path[1..]),
        Some("super") => (module.to_vec(), path),
        _ => return None,
    };
    while names.first().is_some_and(|name| name == "super") {
        at.pop();
        names = &names[1..];
    }
    for name in names {
        at.push(name.clone());
        if !modules.contains_key(&at) {
            at.pop();
            break;
        }
    }
    (!module.starts_with(&at)).then_some(at)
}

impl Siblings {
    /// Finds the cycles among these children of `parent`.
    #[must_use]
    pub fn cycles(&self, parent: &[String]) -> Vec<Cycle> {
        let mut seen = BTreeSet::new();
        let mut cycles = Vec::new();
        for start in self.edges.keys() {
            if seen.contains(start) {
                continue;
            }
            let reached = self.reached(start);
            let back = |other: &&String| self.reached(other).contains(start);
            let members: BTreeSet<String> = reached.iter().filter(back).cloned().collect();
            if members.contains(start) {
                seen.extend(members.iter().cloned());
                cycles.push(self.cycle(parent, members));
            }
        }
        cycles
    }

    fn uses(&self, module: &str) -> impl Iterator<Item = (&String, &Vec<Evidence>)> {
        self.edges.get(module).into_iter().flatten()
    }

    /// All that `start` uses, directly or not; itself if it is part of a cycle.
    fn reached(&self, start: &str) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut next = vec![start.to_owned()];
        while let Some(module) = next.pop() {
            for (used, _) in self.uses(&module) {
                if reached.insert(used.clone()) {
                    next.push(used.clone());
                }
            }
        }
        reached
    }

    fn cycle(&self, parent: &[String], members: BTreeSet<String>) -> Cycle {
        let inside = |used: &&String| members.contains(*used);
        let ways = members.iter().map(|start| self.way_round(start));
        let way = ways.min_by_key(Vec::len).unwrap_or_default();
        let edges = members.iter().flat_map(|from| {
            let uses = self.uses(from).filter(|(used, _)| inside(used));
            uses.map(|(used, places)| (from.clone(), used.clone(), first(places), places.len()))
        });
        Cycle {
            parent: parent.to_vec(),
            way,
            edges: edges.collect(),
            members: members.into_iter().collect(),
        }
    }

    /// A shortest way from `start` back to it.
    fn way_round(&self, start: &str) -> Vec<(String, String, Evidence)> {
        let mut before: BTreeMap<String, String> = BTreeMap::new();
        let mut next = VecDeque::from([start.to_owned()]);
        while let Some(module) = next.pop_front() {
            for (used, _) in self.uses(&module) {
                if !before.contains_key(used) {
                    before.insert(used.clone(), module.clone());
                    next.push_back(used.clone());
                }
            }
        }
        let mut way = Vec::new();
        let mut at = start.to_owned();
        while let Some(from) = before.get(&at) {
            way.push((from.clone(), at.clone(), first(&self.edges[from][&at])));
            at.clone_from(from);
            if at == start {
                break;
            }
        }
        way.reverse();
        way
    }
}

/// The place to show: an import if there is one, else the first.
fn first(places: &[Evidence]) -> Evidence {
    places[0].clone()
}

impl Cycle {
    /// Describes the cycle for people, with the lines of the sources.
    #[must_use]
    pub fn describe(&self, krate: &Crate) -> String {
        let mut lines = vec![self.title(krate)];
        for (from, to, evidence) in &self.way {
            lines.push(format!("  {from} -> {to}: {}", evidence.describe(krate)));
        }
        let other = self
            .edges
            .iter()
            .filter(|(from, to, ..)| !self.way.iter().any(|(a, b, _)| a == from && b == to));
        for (from, to, evidence, count) in other {
            let place = evidence.describe(krate);
            lines.push(format!("    also {from} -> {to} ({count}): {place}"));
        }
        lines.join("\n")
    }

    fn title(&self, krate: &Crate) -> String {
        let Self { parent, members, .. } = self;
        let place = if parent.is_empty() { "top level".to_owned() } else { parent.join("::") };
        let members = members.join(", ");
        let count = self.members.len();
        format!("{} ({place}): {count} modules import each other: {members}", krate.package)
    }
}

impl Evidence {
    /// `file:line: the line`.
    #[must_use]
    pub fn describe(&self, krate: &Crate) -> String {
        let file = &krate.modules[&self.module].file;
        let line = self.reference.line;
        let text = fs::read_to_string(file).unwrap_or_default();
        let text = text.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim();
        let path = self.reference.path.join("::");
        format!("{}:{line}: {path}  [{text}]", relative(file).display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cycles(text: &str) -> Vec<Cycle> {
        let crates = [Crate::parsed("bus", text).unwrap()];
        let resolver = Resolver::new(&crates, false);
        let all = siblings(&resolver, 0);
        all.iter().flat_map(|(parent, siblings)| siblings.cycles(parent)).collect()
    }

    fn steps(cycle: &Cycle) -> Vec<String> {
        cycle.way.iter().map(|(from, to, _)| format!("{from} -> {to}")).collect()
    }

    #[test]
    fn modules_that_import_each_other_are_a_cycle_with_its_shortest_way() {
        let found = cycles(
            "mod a { use crate::b::B; use crate::c::C; }
            mod b { use super::a; pub struct B; }
            mod c { fn f() -> crate::b::B { crate::b::B } pub struct C; }
            mod d { use crate::a; }",
        );
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].members, ["a", "b", "c"]);
        assert_eq!(steps(&found[0]), ["a -> b", "b -> a"]);
        assert_eq!(found[0].way[0].2.reference.line, 1);
        assert_eq!(found[0].edges.len(), 4);
    }

    #[test]
    fn a_cycle_between_siblings_below_the_top_is_found_and_one_with_the_parent_is_none() {
        let found = cycles(
            "mod a {
                use b::B;
                pub struct A;
                mod b { use super::A; use super::c::C; pub struct B; }
                mod c { use crate::a::A; use crate::a::b; pub struct C; }
            }",
        );
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].parent, ["a"]);
        assert_eq!(steps(&found[0]), ["b -> c", "c -> b"]);
    }

    #[test]
    fn a_name_that_the_parent_re_exports_is_a_use_of_the_child_that_has_it() {
        let found = cycles(
            "pub use b::B;
            mod a { use crate::B; pub struct A; }
            mod b { use crate::a::A; pub struct B; }",
        );
        assert_eq!(steps(&found[0]), ["a -> b", "b -> a"]);
    }

    #[test]
    fn macros_and_texts_of_attributes_count_and_tests_and_documentation_do_not() {
        let found = cycles(
            "mod a { fn f() { g!(x => crate::b::B); } }
            mod b { #[serde(with = \"crate::a::module\")] pub struct B; }
            mod c { use crate::d::D; }
            /// See [`C`](crate::c::C).
            mod d {
                #[cfg(test)]
                use crate::c;
                #[cfg(test)]
                mod tests { use crate::c::C; }
                pub struct D;
            }",
        );
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].members, ["a", "b"]);
    }
}
