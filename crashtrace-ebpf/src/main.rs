//! The kernel object.
fn main() {}
