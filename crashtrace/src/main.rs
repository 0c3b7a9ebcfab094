//! The `crashtrace` command.
fn main() {}
