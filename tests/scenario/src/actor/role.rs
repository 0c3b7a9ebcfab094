//! The kinds of processes that an actor may be.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crashtrace_test_support::cgroup::Cgroup;

/// A switch of the process's command line.
pub(super) const HOST_PIDS: &str = "--host-pids";

/// Which thread touches.
#[derive(Clone, Copy, Debug)]
pub(super) enum Thread {
    First,
    /// The other one of two, the first of which has ended.
    Tail,
    /// Several of them.
    Any,
}

/// The kind of process that an actor is.
#[derive(Clone, Debug)]
pub struct Role {
    pub(super) comm: Vec<u8>,
    pub(super) child: bool,
    pub(super) oom_score_adj: i16,
    pub(super) at_once: bool,
    pub(super) thread: Thread,
    /// It touches anonymous memory.
    pub(super) anonymous: bool,
    pub(super) args: Vec<OsString>,
}

impl Role {
    pub(super) fn new(comm: impl AsRef<[u8]>, mib: u64) -> Self {
        Self {
            comm: comm.as_ref().to_owned(),
            child: false,
            oom_score_adj: 0,
            at_once: false,
            thread: Thread::First,
            anonymous: true,
            args: ["--mib".to_owned(), mib.to_string()].map(OsString::from).to_vec(),
        }
    }

    /// One that kills another process.
    pub fn kills(comm: &str, pid: u32) -> Self {
        Self::not_anonymous(comm).of_host().with("--kill", pid.to_string())
    }

    /// One that touches no anonymous memory.
    pub fn not_anonymous(comm: &str) -> Self {
        Self { anonymous: false, ..Self::new(comm, 0) }
    }

    pub fn with(mut self, arg: &str, value: impl AsRef<OsStr>) -> Self {
        self.args.extend([arg.into(), value.as_ref().to_owned()]);
        self
    }

    pub fn switch(mut self, arg: &str) -> Self {
        self.args.push(arg.into());
        self
    }

    /// One that touches this much memory when told to.
    pub fn eats(comm: impl AsRef<[u8]>, mib: u64) -> Self {
        Self::new(comm, mib)
    }

    /// One that writes this much to a file.
    pub fn fills(comm: &str, file: &Path, mib: u64) -> Self {
        Self { anonymous: false, ..Self::new(comm, mib) }.with("--fill", file)
    }

    /// One that reads this much of a file.
    pub fn reads(comm: &str, file: &Path, mib: u64) -> Self {
        Self { anonymous: false, ..Self::new(comm, mib) }.with("--read", file)
    }

    /// Writes a limit, and is in the host's pid namespace, as a runtime is.
    pub fn writes(comm: &str, cgroup: &Cgroup, bytes: u64) -> Self {
        let mut write = cgroup.limit_file().into_os_string();
        write.push(format!("={bytes}"));
        Self::new(comm, 0).of_host().with("--write", write)
    }

    /// The first process of its container, whose child does the touching.
    pub fn through_a_child(self) -> Self {
        Self { child: true, ..self }
    }

    /// With this `oom_score_adj`.
    pub fn adj(self, oom_score_adj: i16) -> Self {
        Self { oom_score_adj, ..self }
    }

    /// In the host's pid namespace.
    pub fn of_host(mut self) -> Self {
        self.args.push(HOST_PIDS.into());
        self
    }

    /// Does not wait to be told, and may be dead before it could say a word.
    pub fn at_once(self) -> Self {
        Self { at_once: true, ..self }
    }

    /// With so many threads besides the first, which all touch.
    pub fn threads(self, count: usize) -> Self {
        Self { thread: Thread::Any, ..self }.with("--threads", count.to_string())
    }

    /// Its first thread has ended.
    pub fn headless(mut self) -> Self {
        self.args.push("--headless".into());
        Self { thread: Thread::Tail, ..self }
    }

    /// Forks so many processes that do nothing.
    pub fn forks(self, count: usize) -> Self {
        self.with("--forks", count.to_string())
    }

    /// Runs on one CPU, the same for all such.
    pub fn on_one_cpu(mut self) -> Self {
        self.args.push("--share-cpu".into());
        self
    }

    /// And, once it has eaten, only while the CPU is idle otherwise.
    pub fn when_idle(mut self) -> Self {
        self.args.push("--idle".into());
        self
    }

    /// Takes memory of this NUMA node only.
    pub fn bound_to(self, node: u32) -> Self {
        self.with("--bind", node.to_string())
    }

    /// The name of the thread that touches.
    pub(super) fn thread_comm(&self) -> Option<Vec<u8>> {
        match self.thread {
            Thread::First => Some(self.comm.clone()),
            Thread::Tail => Some(b"tail".to_vec()),
            Thread::Any => None,
        }
    }
}
