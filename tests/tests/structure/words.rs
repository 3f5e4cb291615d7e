//! One word for one thing: what STYLE 10 replaces is no part of an identifier.

use std::collections::BTreeMap;
use std::fs;

use tests::sources::identifiers::{Lua, lua, words};
use tests::sources::packages::{relative, root};
use tests::sources::scripts::files;

use super::facts::facts;

/// Words that are no part of an identifier.
struct Banned {
    words: &'static [&'static str],
    /// The field's word.
    term: &'static str,
    /// The packages that still have one of the words in an identifier: remove a package once it has none.
    left_in: &'static [&'static str],
}

const TABLE: [Banned; 24] = [
    Banned {
        words: &["bury", "buries", "buried", "burial", "burials", "burying"],
        term: "dead-letter",
        left_in: &[],
    },
    Banned { words: &["park", "parks", "parked", "parking"], term: "delay, delayed", left_in: &[] },
    Banned { words: &["hand", "hands"], term: "in flight", left_in: &[] },
    Banned { words: &["held"], term: "in flight", left_in: &[] },
    Banned { words: &["beat", "beats", "beaten", "beating"], term: "heartbeat", left_in: &[] },
    Banned { words: &["sweep", "sweeps", "swept", "sweeping"], term: "snapshot", left_in: &[] },
    Banned { words: &["keeper", "keepers"], term: "trimmer", left_in: &[] },
    Banned { words: &["arrow", "arrows"], term: "dependency", left_in: &[] },
    Banned { words: &["house"], term: "workspace, layout", left_in: &[] },
    Banned { words: &["wanted"], term: "desired", left_in: &[] },
    Banned { words: &["standing"], term: "current", left_in: &[] },
    Banned { words: &["guarded"], term: "the kind of the value: parsed, or invalid", left_in: &[] },
    Banned { words: &["wake", "wakes", "woken", "waking"], term: "requeue", left_in: &[] },
    Banned { words: &["die", "dice"], term: "jitter, random", left_in: &[] },
    Banned { words: &["most"], term: "max", left_in: &[] },
    Banned { words: &["told", "tell", "tells"], term: "report, reported", left_in: &[] },
    Banned { words: &["said", "say", "says"], term: "logged", left_in: &[] },
    Banned { words: &["link", "links", "linked"], term: "connection", left_in: &[] },
    Banned {
        words: &["look", "looks", "looker", "looked"],
        term: "snapshot, check, read",
        left_in: &["eventbus-core"],
    },
    Banned { words: &["rights"], term: "permissions", left_in: &[] },
    Banned { words: &["trouble", "troubles"], term: "failure", left_in: &[] },
    Banned { words: &["away"], term: "unreachable", left_in: &[] },
    Banned { words: &["stands", "stand", "stood"], term: "exists, is", left_in: &[] },
    Banned { words: &["patience", "doubt", "nap"], term: "wait, timeout, error", left_in: &[] },
];

/// Identifiers that others chose, by package: with the reason.
const EXCEPTIONS: [(&str, &str, &str); 5] = [
    ("eventbus", "hard_link", "the file system's term"),
    ("eventbus-program", "is_unicast_link_local", "the standard library's name"),
    ("eventbus-program", "is_link_local", "as that of the standard library"),
    ("eventbus-program", "link_local", "a kind of address"),
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
fn no_identifier_has_a_word_for_which_there_is_a_better_one() {
    let (mut found, mut clean) = (Vec::new(), Vec::new());
    for (package, names) in identifiers() {
        for row in &TABLE {
            let named = names.iter().filter(|(name, _)| !is_exception(&package, name));
            let bad: Vec<String> = named
                .filter_map(|(name, place)| Some((banned(name, row)?, name, place)))
                .map(|(word, name, place)| format!("{place}: {name}: {}, not {word}", row.term))
                .collect();
            match row.left_in.contains(&package.as_str()) {
                true if bad.is_empty() => clean.push(format!("{package}: {}", row.words[0])),
                true => {}
                false => found.extend(bad),
            }
        }
    }
    assert!(
        found.is_empty(),
        "identifiers with words that STYLE 10 replaces:\n{}\nRename them; if the name is somebody else's, list it in \
         EXCEPTIONS with the reason.",
        found.join("\n")
    );
    assert!(clean.is_empty(), "remove these from the table, they are clean:\n{}", clean.join("\n"));
}

#[test]
fn the_table_and_its_exceptions_name_what_exists() {
    let all = identifiers();
    for (package, identifier, _) in EXCEPTIONS {
        let exists = all.get(package).is_some_and(|names| names.contains_key(identifier));
        let needed = TABLE.iter().any(|row| banned(identifier, row).is_some());
        assert!(exists && needed, "{package}: {identifier} needs no exception any more");
    }
    for package in TABLE.iter().flat_map(|row| row.left_in) {
        assert!(all.contains_key(*package), "the table names {package}, which does not exist");
    }
}

#[test]
fn a_banned_word_is_found_as_a_part_of_a_name_but_not_in_a_sentence() {
    let row = Banned { words: &["park", "parked"], term: "delayed", left_in: &[] };
    assert_eq!(banned("MAX_PARKED", &row), Some("parked"));
    assert_eq!(banned("ParkRequest", &row), Some("park"));
    assert_eq!(banned("spark", &row), None);
    assert_eq!(banned("what_is_parked_is_counted", &row), None);
}
