//! Documentation begins with what an item does or is, not with a question.

use std::collections::BTreeMap;

use tests::sources::packages::relative;

use super::facts::{Listing, RENEW, facts, renews};

/// How many public items of each package still begin with a question.
const ALLOWED: Listing = Listing::new("doc-openings.txt");

/// The numbers of a listing; a package without a line has none.
fn numbers(lines: &[String]) -> BTreeMap<&str, usize> {
    let number = |line: &'_ String| -> Option<(usize, usize)> {
        let at = line.find(' ')?;
        Some((at, line[at + 1..].parse().unwrap()))
    };
    lines.iter().filter_map(|line| number(line).map(|(at, count)| (&line[..at], count))).collect()
}

#[test]
fn no_more_documentation_begins_with_a_question_than_before() {
    let (questions, lines) = (&facts().questions, ALLOWED.lines());
    let allowed = numbers(&lines);
    let mut rises = Vec::new();
    for (package, found) in questions {
        let max = allowed.get(package.as_str()).copied().unwrap_or(0);
        if found.len() > max {
            rises.push(format!("{package}: {} instead of at most {max}:", found.len()));
            rises.extend(found.iter().map(|found| {
                let file = relative(&found.file).display();
                format!("  {file}:{}: {}: {}", found.line, found.item, found.text)
            }));
        }
    }
    let (before, now) = (allowed.values().sum::<usize>(), questions.values().map(Vec::len).sum());
    // Items move between packages with their documentation; the sum may not rise, or the listing must be new.
    if renews() && (before >= now || lines.is_empty()) {
        let counts = questions.iter().map(|(package, found)| format!("{package} {}", found.len()));
        let title = "Public items whose documentation begins with What, Who, Whether, … by package; the goal is 0";
        return ALLOWED.write(title, &counts.collect::<Vec<_>>());
    }
    assert!(
        rises.is_empty(),
        "{}\nBegin with a verb in the third person or a noun: \"Returns …\", \"Position of …\" (STYLE 6). An item that \
         moved from another package takes its number along: {RENEW}",
        rises.join("\n")
    );
}

#[test]
fn a_package_without_a_line_has_no_question_left() {
    assert_eq!(numbers(&["a 3".to_owned()]).get("b"), None);
    assert_eq!(numbers(&["a 3".to_owned()]).get("a"), Some(&3));
}
