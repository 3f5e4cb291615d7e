//! What the tests of this folder read, once for all of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use tests::sources::api::Api;
use tests::sources::docs::{Documented, questions};
use tests::sources::packages::{Target, relative, root, targets};
use tests::sources::resolve::Resolver;
use tests::sources::usage::{Usage, doc_examples};
use tests::sources::{Crate, graph};

/// The library whose public API is listed.
const LIBRARY: &str = "eventbus";

/// The packages that are the library: what they use of each other is no use by somebody else.
const INSIDE: [&str; 2] = [LIBRARY, "eventbus-core"];

/// The facts about all sources of the workspace.
#[derive(Default)]
pub struct Facts {
    /// Every import cycle, described.
    pub cycles: Vec<String>,
    /// The public API of the library, and which of it is used.
    pub api: Api,
    pub usage: Usage,
    /// For each package, the public items whose documentation begins with a question.
    pub questions: BTreeMap<String, Vec<Documented>>,
    /// For each package, its identifiers with the first place of each.
    pub identifiers: BTreeMap<String, BTreeMap<String, String>>,
}

/// Reads all sources at the first call. What `syn` reads stays in one thread; these facts do not have to.
pub fn facts() -> &'static Facts {
    static FACTS: OnceLock<Facts> = OnceLock::new();
    FACTS.get_or_init(|| {
        let targets = targets();
        let mut crates: Vec<Crate> = targets.iter().map(Target::read).collect();
        let mut facts = Facts::default();
        for (target, krate) in targets.iter().zip(&crates) {
            note_identifiers(&mut facts, krate);
            let found = facts.questions.entry(krate.package.clone()).or_default();
            if target.kind == "lib" {
                found.extend(questions(krate));
            }
        }
        facts.cycles = cycles(&crates);
        let is_inside = |krate: &Crate| INSIDE.contains(&krate.package.as_str());
        let libraries = crates.iter().filter(|krate| is_inside(krate) && krate.ident.is_some());
        let examples: Vec<Crate> = libraries.flat_map(doc_examples).collect();
        crates.extend(examples);
        let resolver = Resolver::new(&crates, true);
        let outside = crates.iter().enumerate();
        let outside = outside.filter(|(_, krate)| !(is_inside(krate) && krate.ident.is_some()));
        let outside: Vec<usize> = outside.map(|(number, _)| number).collect();
        facts.api = Api::of(&resolver, LIBRARY);
        facts.usage = Usage::of(&resolver, &outside);
        facts
    })
}

fn note_identifiers(facts: &mut Facts, krate: &Crate) {
    let all = facts.identifiers.entry(krate.package.clone()).or_default();
    for (file, names) in &krate.identifiers {
        for (name, line) in names {
            let place = || format!("{}:{line}", relative(file).display());
            all.entry(name.clone()).or_insert_with(place);
        }
    }
}

fn cycles(crates: &[Crate]) -> Vec<String> {
    let resolver = Resolver::new(crates, false);
    let mut found = Vec::new();
    for (number, krate) in crates.iter().enumerate() {
        for (parent, siblings) in graph::siblings(&resolver, number) {
            let cycles = siblings.cycles(&parent);
            found.extend(cycles.iter().map(|cycle| cycle.describe(krate)));
        }
    }
    found
}

/// A listing that is kept beside this folder.
pub struct Listing(&'static str);

impl Listing {
    /// Names a file in `tests/listings`.
    pub const fn new(file: &'static str) -> Self {
        Self(file)
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        root().join("tests/listings").join(self.0)
    }

    /// What it holds, without lines that begin with `# `.
    pub fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path()).unwrap_or_default();
        text.lines().filter(|line| !line.starts_with("# ")).map(str::to_owned).collect()
    }

    /// Writes it, below a line that says what it is.
    pub fn write(&self, title: &str, lines: &[String]) {
        fs::create_dir_all(root().join("tests/listings")).unwrap();
        let text = format!("# {title}\n# Renew: {RENEW}\n{}\n", lines.join("\n"));
        fs::write(self.path(), text).unwrap();
    }
}

/// The command that renews the listings.
pub const RENEW: &str = "make listings";

/// Returns true where the listings are to be written anew instead of compared.
#[expect(clippy::disallowed_methods, reason = "whoever runs the tests asks for it")]
pub fn renews() -> bool {
    std::env::var_os("RENEW_LISTINGS").is_some()
}
