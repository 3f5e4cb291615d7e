//! One word for one thing: what STYLE 10 replaces is no part of an identifier.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use tests::sources::identifiers::{Lua, lua, words};
use tests::sources::packages::{relative, root};
use tests::sources::scripts::files;

use super::facts::facts;

/// Words that are not used.
struct Banned {
    words: &'static [&'static str],
    /// The field's word.
    say: &'static str,
    /// The packages in which no identifier has one of the words any more. Add a package once it is clean; the test
    /// prints which are. `EVERYWHERE` is all packages, those to come included.
    clean: &'static [&'static str],
}

/// All packages.
const EVERYWHERE: [&str; 1] = ["*"];

const TABLE: [Banned; 21] = [
    Banned {
        words: &["bury", "buries", "buried", "burial", "burials", "burying"],
        say: "dead-letter",
        clean: &[
            "eventbus",
            "eventbus-api",
            "eventbus-consumer",
            "eventbus-core",
            "eventbus-operator",
            "eventbus-program",
            "examples",
            "seraaj",
            "tests",
        ],
    },
    Banned {
        words: &["park", "parks", "parked", "parking"],
        say: "delay, delayed",
        clean: &[
            "eventbus",
            "eventbus-api",
            "eventbus-consumer",
            "eventbus-core",
            "eventbus-operator",
            "eventbus-program",
            "examples",
            "seraaj",
            "tests",
        ],
    },
    Banned {
        words: &["hand", "hands"],
        say: "in flight",
        clean: &[
            "eventbus",
            "eventbus-api",
            "eventbus-consumer",
            "eventbus-program",
            "examples",
            "seraaj",
        ],
    },
    Banned {
        words: &["held"],
        say: "in flight",
        clean: &[
            "eventbus-api",
            "eventbus-consumer",
            "eventbus-core",
            "eventbus-program",
            "examples",
            "seraaj",
        ],
    },
    Banned {
        words: &["beat", "beats", "beaten", "beating"],
        say: "heartbeat",
        clean: &[
            "eventbus",
            "eventbus-api",
            "eventbus-consumer",
            "eventbus-core",
            "eventbus-operator",
            "eventbus-program",
            "examples",
            "seraaj",
        ],
    },
    Banned {
        words: &["sweep", "sweeps", "swept", "sweeping"],
        say: "snapshot",
        clean: &[
            "eventbus-api",
            "eventbus-consumer",
            "eventbus-core",
            "eventbus-program",
            "examples",
            "seraaj",
        ],
    },
    Banned {
        words: &["keeper", "keepers"],
        say: "trimmer",
        clean: &[
            "eventbus",
            "eventbus-api",
            "eventbus-consumer",
            "eventbus-core",
            "eventbus-operator",
            "eventbus-program",
            "examples",
            "seraaj",
            "tests",
        ],
    },
    Banned {
        words: &["arrow", "arrows"],
        say: "dependency",
        clean: &[
            "eventbus",
            "eventbus-api",
            "eventbus-consumer",
            "eventbus-core",
            "eventbus-operator",
            "eventbus-program",
            "examples",
            "seraaj",
            "tests",
        ],
    },
    Banned {
        words: &["house"],
        say: "workspace, layout",
        clean: &[
            "eventbus",
            "eventbus-api",
            "eventbus-consumer",
            "eventbus-core",
            "eventbus-operator",
            "eventbus-program",
            "examples",
            "seraaj",
            "tests",
        ],
    },
    Banned {
        words: &["wanted"],
        say: "desired",
        clean: &["eventbus-consumer", "eventbus-program", "examples"],
    },
    Banned {
        words: &["standing"],
        say: "current",
        clean: &[
            "eventbus-api",
            "eventbus-consumer",
            "eventbus-program",
            "examples",
            "seraaj",
            "tests",
        ],
    },
    Banned {
        words: &["guarded"],
        say: "the kind of the value: parsed, or invalid",
        clean: &[
            "eventbus",
            "eventbus-api",
            "eventbus-consumer",
            "eventbus-core",
            "eventbus-program",
            "examples",
            "seraaj",
        ],
    },
    Banned {
        words: &["wake", "wakes", "woken", "waking"],
        say: "requeue",
        clean: &["eventbus-api", "eventbus-consumer", "eventbus-program", "examples", "seraaj"],
    },
    Banned {
        words: &["die", "dice"],
        say: "jitter, random",
        clean: &[
            "eventbus-api",
            "eventbus-consumer",
            "eventbus-operator",
            "eventbus-program",
            "examples",
            "seraaj",
        ],
    },
    Banned {
        words: &["most"],
        say: "max",
        clean: &["eventbus-api", "eventbus-consumer", "eventbus-program", "examples"],
    },
    Banned {
        words: &["told", "tell", "tells"],
        say: "report, reported",
        clean: &["eventbus-api", "eventbus-program", "examples"],
    },
    Banned {
        words: &["said", "say", "says"],
        say: "logged",
        clean: &["eventbus-api", "eventbus-consumer", "eventbus-program", "examples"],
    },
    Banned {
        words: &["link", "links", "linked"],
        say: "connection",
        clean: &[
            "eventbus",
            "eventbus-api",
            "eventbus-consumer",
            "eventbus-core",
            "eventbus-operator",
            "eventbus-program",
            "examples",
            "seraaj",
            "tests",
        ],
    },
    Banned {
        words: &["look", "looks", "looker", "looked"],
        say: "snapshot, check, read",
        clean: &["eventbus-api", "eventbus-program", "examples"],
    },
    Banned {
        words: &["rights"],
        say: "permissions",
        clean: &[
            "eventbus-api",
            "eventbus-consumer",
            "eventbus-core",
            "eventbus-operator",
            "eventbus-program",
            "examples",
            "seraaj",
        ],
    },
    Banned {
        words: &["trouble", "troubles"],
        say: "failure",
        clean: &[
            "eventbus",
            "eventbus-api",
            "eventbus-consumer",
            "eventbus-core",
            "eventbus-program",
            "examples",
            "seraaj",
        ],
    },
];

/// Identifiers that others chose, by package: with the reason.
const EXCEPTIONS: [(&str, &str, &str); 5] = [
    ("eventbus", "hard_link", "the file system's term"),
    ("eventbus-consumer", "is_unicast_link_local", "the standard library's name"),
    ("eventbus-consumer", "is_link_local", "as that of the standard library"),
    ("eventbus-consumer", "link_local", "a kind of address"),
    ("eventbus-operator", "enable_service_links", "a field of Kubernetes"),
];

/// An identifier of more words is a sentence: the name of a test.
const MAX_WORDS: usize = 4;

/// The package that has the scripts.
const SCRIPTS: &str = "eventbus";

/// The banned words of an identifier.
fn banned<'a>(identifier: &str, row: &'a Banned) -> Option<&'a str> {
    let words = words(identifier);
    let mut found = row.words.iter().filter(|word| words.iter().any(|part| part == *word));
    found.next().copied().filter(|_| words.len() <= MAX_WORDS)
}

/// The identifiers of each package, those of its scripts included, with the first place of each.
fn identifiers() -> BTreeMap<String, BTreeMap<String, String>> {
    let mut all = facts().identifiers.clone();
    let in_scripts = all.entry(SCRIPTS.to_owned()).or_default();
    for script in files(&root().join("bus"), "lua") {
        for (piece, line) in lua(&fs::read_to_string(&script).unwrap()) {
            let place = || format!("{}:{line}", relative(&script).display());
            if let Lua::Name(name) = piece {
                in_scripts.entry(name).or_insert_with(place);
            }
        }
    }
    all
}

fn is_exception(package: &str, identifier: &str) -> bool {
    EXCEPTIONS.iter().any(|(of, name, _)| (*of, *name) == (package, identifier))
}

#[test]
#[expect(clippy::print_stdout, reason = "whoever extends the table reads it with --nocapture")]
fn no_identifier_has_a_word_for_which_there_is_a_better_one() {
    let mut found = Vec::new();
    for (package, names) in identifiers() {
        for row in &TABLE {
            let is_banned = row.clean.iter().any(|of| *of == package || EVERYWHERE.contains(of));
            let bad = names.iter().filter(|(name, _)| !is_exception(&package, name));
            let bad: Vec<String> = bad
                .filter_map(|(name, place)| Some((banned(name, row)?, name, place)))
                .map(|(word, name, place)| format!("{place}: {name}: {}, not {word}", row.say))
                .collect();
            if is_banned {
                found.extend(bad);
            } else if bad.is_empty() {
                println!("{package} is clean of {}: add it to the table", row.words.join(", "));
            } else {
                println!("still in {package}:\n  {}", bad.join("\n  "));
            }
        }
    }
    assert!(
        found.is_empty(),
        "identifiers with words that STYLE 10 replaces:\n{}\nRename them; if the name is somebody else's, list it in \
         EXCEPTIONS with the reason.",
        found.join("\n")
    );
}

#[test]
fn the_table_and_its_exceptions_name_what_exists() {
    let all = identifiers();
    for (package, identifier, _) in EXCEPTIONS {
        let exists = all.get(package).is_some_and(|names| names.contains_key(identifier));
        let needed = TABLE.iter().any(|row| banned(identifier, row).is_some());
        assert!(exists && needed, "{package}: {identifier} needs no exception any more");
    }
    let listed: BTreeSet<&str> = TABLE.iter().flat_map(|row| row.clean).copied().collect();
    for package in listed.into_iter().filter(|package| !EVERYWHERE.contains(package)) {
        assert!(all.contains_key(package), "the table names {package}, which does not exist");
    }
}

#[test]
fn a_banned_word_is_found_as_a_part_of_a_name_but_not_in_a_sentence() {
    let row = Banned { words: &["park", "parked"], say: "delayed", clean: &EVERYWHERE };
    assert_eq!(banned("MAX_PARKED", &row), Some("parked"));
    assert_eq!(banned("ParkRequest", &row), Some("park"));
    assert_eq!(banned("spark", &row), None);
    assert_eq!(banned("what_is_parked_is_counted", &row), None);
}
