//! What is read and taken, and by how many workers.

use super::{Output, Pool, Story, done, entry, started, taken};

fn takes(outputs: &[Output]) -> Option<usize> {
    outputs.iter().find_map(|output| match output {
        Output::Take { count, .. } => Some(*count),
        _ => None,
    })
}

#[test]
fn a_retry_is_begun_before_the_next_one_is_taken() {
    let mut story = Story::reading(4, 4);
    story.read((1..=4).map(entry).collect());
    story.read((5..=8).map(entry).collect());
    story.after(1);
    story.on(done(1));
    let outputs = story.taken(Pool::Parked, vec![taken(20, 2)]);
    assert_eq!((takes(&outputs), started(&outputs)), (None, vec![(20, 2)]));
}
