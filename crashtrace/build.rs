//! Builds the kernel object (see below).
fn main() {}
