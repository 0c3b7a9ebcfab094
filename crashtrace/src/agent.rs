//! The shells of the commands: the only room that knows all the others, with their files, clocks, signals and threads.
//!
//! [`watch()`], [`replay()`], [`doctor()`] and [`unpin()`] each have a file of the same form: it takes the decided configuration, sends lines to the
//! sinks, and returns an error that says what failed.

mod cgroupfs;
mod clock;
mod doctor;
mod flow;
mod hooks;
mod host;
mod journal;
mod kallsyms;
mod kernel_log;
mod loading;
mod memory;
mod metrics;
mod pinning;
mod played;
mod pods;
mod procfs;
mod rehearsal;
mod replay;
mod rights;
mod schedule;
mod second_look;
mod session;
mod signals;
mod unpin;
mod watch;

pub use doctor::doctor;
pub use host::Unusable;
pub use played::{Next, Played};
pub use replay::replay;
pub use unpin::unpin;
pub use watch::watch;
