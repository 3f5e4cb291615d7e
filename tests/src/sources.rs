//! The sources of the workspace, read with `syn`: modules, references between them, the public API, identifiers.

pub mod api;
pub mod docs;
pub mod graph;
pub mod identifiers;
pub mod packages;
pub mod references;
pub mod render;
pub mod resolve;
pub mod scripts;
pub mod usage;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::TokenStream;
use syn::{Attribute, Item, ItemMod, Visibility};

/// A module's names from the root of its crate; the root itself has none.
pub type ModulePath = Vec<String>;

/// One module of a crate, from a file of its own or inline.
pub struct Module {
    /// The file that holds it.
    pub file: PathBuf,
    /// Its items, those of child modules excluded.
    pub items: Vec<Item>,
    /// Its inner attributes, or those on its declaration.
    pub attributes: Vec<Attribute>,
    /// Declared with plain `pub`.
    pub public: bool,
    /// Under `#[cfg(test)]`, itself or a module above it.
    pub test: bool,
}

/// The modules of one target of a package: its library, a program, an example, a test or a benchmark.
pub struct Crate {
    /// The package's name, such as `eventbus-operator`.
    pub package: String,
    /// The name that other crates use in paths, such as `eventbus_operator`; of a library only.
    pub ident: Option<String>,
    /// Every module, the root at the empty path.
    pub modules: BTreeMap<ModulePath, Module>,
    /// The identifiers of every file, with the first line of each.
    pub identifiers: BTreeMap<PathBuf, BTreeMap<String, usize>>,
}

impl Crate {
    /// Reads the crate whose root is `root` from its files.
    ///
    /// # Panics
    /// If a file is missing or does not parse: the compiler would refuse it, too.
    #[must_use]
    pub fn read(package: &str, ident: Option<&str>, root: &Path) -> Self {
        let mut reader = Reader::default();
        let file = reader.parse(root);
        reader.finish(package, ident, root, file)
    }

    /// Makes a crate from the text of its root, in which every module is inline; `None` if the text does not parse.
    #[must_use]
    pub fn parsed(package: &str, text: &str) -> Option<Self> {
        let mut reader = Reader::default();
        let file = reader.parsed(Path::new("text.rs"), text).ok()?;
        Some(reader.finish(package, Some(package), Path::new("text.rs"), file))
    }
}

/// Collects modules, following `mod` declarations into their files.
#[derive(Default)]
struct Reader {
    modules: BTreeMap<ModulePath, Module>,
    identifiers: BTreeMap<PathBuf, BTreeMap<String, usize>>,
}

impl Reader {
    fn parse(&mut self, path: &Path) -> syn::File {
        let text = fs::read_to_string(path)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
        self.parsed(path, &text).unwrap_or_else(|error| {
            panic!("{}:{}: {error}", path.display(), error.span().start().line)
        })
    }

    fn parsed(&mut self, path: &Path, text: &str) -> syn::Result<syn::File> {
        let tokens: TokenStream = text.parse()?;
        let names = self.identifiers.entry(path.to_owned()).or_default();
        for (name, line) in identifiers::rust(tokens.clone()) {
            names.entry(name).or_insert(line);
        }
        syn::parse2(tokens)
    }

    fn finish(mut self, package: &str, ident: Option<&str>, root: &Path, file: syn::File) -> Crate {
        let folder = root.parent().expect("a file has a folder").to_owned();
        let module = Module {
            file: root.to_owned(),
            items: Vec::new(),
            attributes: file.attrs,
            public: true,
            test: false,
        };
        self.module(Vec::new(), module, file.items, &folder);
        let Self { modules, identifiers } = self;
        Crate { package: package.to_owned(), ident: ident.map(str::to_owned), modules, identifiers }
    }

    /// Adds `module` with those of `items` that are no modules, and its children, whose files are in `folder`.
    fn module(&mut self, path: ModulePath, mut module: Module, items: Vec<Item>, folder: &Path) {
        for item in items {
            let Item::Mod(child) = item else {
                module.items.push(item);
                continue;
            };
            let mut path = path.clone();
            path.push(child.ident.to_string());
            let test = module.test || is_test(&child.attrs);
            self.child(path, child, Child { test, file: &module.file, folder });
        }
        self.modules.insert(path, module);
    }

    fn child(&mut self, path: ModulePath, child: ItemMod, parent: Child<'_>) {
        let name = child.ident.to_string();
        let (file, items, inner) = match child.content {
            Some((_, items)) => (parent.file.to_owned(), items, Vec::new()),
            None => {
                let plain = parent.folder.join(format!("{name}.rs"));
                let in_folder = parent.folder.join(&name).join("mod.rs");
                let file = if plain.is_file() { plain } else { in_folder };
                let parsed = self.parse(&file);
                (file, parsed.items, parsed.attrs)
            }
        };
        let mut attributes = child.attrs;
        attributes.extend(inner);
        let public = matches!(child.vis, Visibility::Public(_));
        let module = Module { file, items: Vec::new(), attributes, public, test: parent.test };
        self.module(path, module, items, &parent.folder.join(name));
    }
}

/// Properties that a child module inherits from the module that declares it.
struct Child<'a> {
    test: bool,
    file: &'a Path,
    folder: &'a Path,
}

/// Returns true for what is compiled in tests alone: `#[test]`, `#[cfg(test)]` and `#[cfg(all(test, …))]`.
#[must_use]
pub fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        let last = path.segments.last().map(|segment| segment.ident.to_string());
        if last.as_deref() == Some("test") {
            return true;
        }
        let tokens = match &attribute.meta {
            syn::Meta::List(list) if path.is_ident("cfg") => list.tokens.to_string(),
            _ => return false,
        };
        let mut words = tokens.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.clone().any(|word| word == "test")
            && !words.any(|word| word == "not" || word == "any")
    })
}
