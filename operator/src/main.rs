//! The operator's program.
fn main() {
    print!("{}", operator::crd::yaml());
}
