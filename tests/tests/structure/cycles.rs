//! No module uses one that uses it.

use super::facts::facts;

/// The way out of a cycle.
const WAY_OUT: &str = "Move what both need into a module that uses neither, or pass it as an argument. A parent and \
    its child may use each other; siblings, and modules of the top level, may not.";

#[test]
fn no_modules_import_each_other_in_a_circle() {
    let cycles = &facts().cycles;
    assert!(cycles.is_empty(), "\n\n{}\n\n{WAY_OUT}\n", cycles.join("\n\n"));
}
