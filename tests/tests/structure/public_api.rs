//! The public API of the library: it changes on purpose, and holds what others use.

use std::collections::BTreeSet;

use super::facts::{Facts, Listing, RENEW, facts, renews};

/// Every public item of the library.
const LISTING: Listing = Listing::new("public-api.txt");

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
