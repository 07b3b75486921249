//! the softlabel program: run experiments from recipes.
fn main() {}
