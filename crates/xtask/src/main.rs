//! set-up, demo, test and other chores.
fn main() {}
