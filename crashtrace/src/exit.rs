//! The program's exit codes.

/// Done, or stopped by a signal, or the reader has closed standard output.
pub const OK: u8 = 0;
/// Failed; the message says what.
pub const FAILED: u8 = 1;
/// Wrong usage; clap's own.
pub const USAGE: u8 = 2;
/// `why`: nothing is wrong with the pod. The same as [`USAGE`]: then standard output is empty, and here it is not.
pub const NOTHING_WRONG: u8 = 2;
/// `doctor`: works here, but does not see everything.
pub const DEGRADED: u8 = 3;
/// `doctor`, `watch`: cannot watch this kernel, or not with these rights.
pub const UNUSABLE: u8 = 4;
