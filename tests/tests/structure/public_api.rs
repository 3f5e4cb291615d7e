//! The public API of the library: it changes on purpose, and holds what others use.

use std::collections::BTreeSet;

use super::facts::{Facts, Listing, RENEW, facts, renews};

/// Every public item of the library.
const LISTING: Listing = Listing::new("public-api.txt");

/// The most public modules that the library may have beside its root.
const MAX_MODULES: usize = 6;

/// Crates whose versions are no part of what the library promises.
const FOREIGN: [&str; 2] = ["redis", "prometheus_client"];

/// Where a type of them may be in a public signature: the path, the type, and the reason.
const FOREIGN_ALLOWED: [(&str, &str, &str); 3] = [
    (
        "eventbus::Metrics::register",
        "prometheus_client::registry::Registry",
        "registers the metrics with the registry of the program",
    ),
    ("eventbus::RedisFailure", "redis::RedisError", "classifies an error of a client of one's own"),
    (
        "eventbus::admin::Connection",
        "redis::aio::ConnectionLike",
        "lets commands of one's own use a connection of the library",
    ),
];

fn listing(facts: &Facts) -> Vec<String> {
    let counts = format!("{} items, {} modules", facts.api.items.len(), facts.api.modules.len());
    [vec![counts], facts.api.listing()].concat()
}

#[test]
fn the_public_api_is_the_one_that_is_listed() {
    let now = listing(facts());
    if renews() {
        return LISTING.write("The public API of package eventbus", &now);
    }
    let listed = LISTING.lines();
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (listed.iter().collect(), now.iter().collect());
    let gone = listed.iter().filter(|line| !new.contains(line)).map(|line| format!("- {line}"));
    let added = now.iter().filter(|line| !old.contains(line)).map(|line| format!("+ {line}"));
    let changes: Vec<String> = gone.chain(added).collect();
    assert!(
        listed == now,
        "the public API of eventbus is not the one in {}:\n{}\nIf that is meant, renew the listing, and name breaking \
         changes in CHANGELOG.md: {RENEW}",
        LISTING.path().display(),
        changes.join("\n")
    );
}

#[test]
fn the_library_has_few_public_modules() {
    let modules = &facts().api.modules;
    assert!(
        modules.len() <= MAX_MODULES,
        "{} public modules instead of at most {MAX_MODULES}: {modules:?}\nMake modules private and re-export their items \
         from the root or from a public one.",
        modules.len()
    );
}

#[test]
fn no_signature_has_a_type_of_the_clients_but_where_that_is_what_it_is_for() {
    let lines = facts().api.items.values().flat_map(|item| &item.lines);
    let mut found = BTreeSet::new();
    for line in lines {
        let clients = line.mentions.foreign.iter().filter(|path| {
            let first = path.split("::").next().unwrap_or_default();
            FOREIGN.contains(&first)
        });
        found.extend(clients.map(|path| (line.path.as_str(), path.as_str())));
    }
    let allowed = FOREIGN_ALLOWED.map(|(path, foreign, _)| (path, foreign));
    let refused: Vec<_> = found.iter().filter(|found| !allowed.contains(found)).collect();
    assert!(
        refused.is_empty(),
        "types of other crates in public signatures: {refused:#?}\nTake a type of our own, or list the function in \
         FOREIGN_ALLOWED with the reason."
    );
    let idle: Vec<_> = allowed.iter().filter(|allowed| !found.contains(allowed)).collect();
    assert!(idle.is_empty(), "FOREIGN_ALLOWED allows what nothing has: {idle:?}");
}

#[test]
fn every_public_item_is_used_outside_the_library() {
    let facts = facts();
    let unused = facts.usage.unused(&facts.api);
    let unused: Vec<&str> =
        unused.iter().map(|place| facts.api.items[place].path.as_str()).collect();
    assert!(
        unused.is_empty(),
        "public items of eventbus that no other crate, example or doc example uses, by name or through a signature:\n\
         {}\nMake them private, or show them in bus/examples. Members with names that occur nowhere outside, for a \
         second look:\n{}",
        unused.join("\n"),
        facts.usage.unused_members(&facts.api).join("\n")
    );
}
