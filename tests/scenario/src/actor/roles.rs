//! Roles that take the node's memory, or make allocations that may fail.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::actor::{Actor, Role};

impl Role {
    /// Takes the node's memory until so much is free, and keeps it.
    pub fn takes_node_memory(comm: &str, leave_mib: u64) -> Self {
        Self::not_anonymous(comm).with("--leave", leave_mib.to_string())
    }

    /// Then frees half of it in blocks of this order, and leaves no larger free block.
    pub fn fragments_node_memory(comm: &str, leave_mib: u64, order: u32) -> Self {
        Self::takes_node_memory(comm, leave_mib).with("--fragment", order.to_string())
    }

    /// When it is killed, all of its memory is free before another process allocates, which could have another one killed.
    pub fn urgent(self) -> Self {
        self.switch("--urgent")
    }

    /// Makes so many allocations of this order.
    pub fn allocates(comm: &str, order: u32, count: u64) -> Self {
        Self::allocates_kind(comm, "contiguous", count).with("--order", order.to_string())
    }

    /// Makes atomic allocations until so many failed, and frees them at once.
    pub fn allocates_atomic(comm: &str, count: u64) -> Self {
        Self::allocates_kind(comm, "atomic", count)
    }

    /// Makes allocations that are charged to its cgroup, until so many failed.
    pub fn allocates_charged(comm: &str, count: u64) -> Self {
        Self::allocates_kind(comm, "charged", count)
    }

    /// Makes so many allocations of some 2 MiB at once that are charged to its cgroup.
    pub fn allocates_charged_at_once(comm: &str, count: u64) -> Self {
        Self::allocates_kind(comm, "charged-at-once", count)
    }

    /// Makes so many allocations of `vmalloc`, each larger than memory.
    pub fn allocates_virtual(comm: &str, count: u64) -> Self {
        Self::allocates_kind(comm, "virtual", count)
    }

    /// Tries so often to have memory that a limit refuses before the kernel allocates any.
    pub fn is_refused(comm: &str, count: u64) -> Self {
        Self::allocates_kind(comm, "refused", count)
    }

    /// Fills so much of pipes.
    pub fn fills_pipes(comm: &str, mib: u64) -> Self {
        Self::holds(comm, "pipes", mib)
    }

    /// Writes so much to stream sockets from which nothing is read.
    pub fn fills_unix_sockets(comm: &str, mib: u64) -> Self {
        Self::holds(comm, "unix-sockets", mib)
    }

    /// Sends datagrams of so much that no process receives.
    pub fn queues_datagrams(comm: &str, mib: u64) -> Self {
        Self::holds(comm, "datagrams", mib)
    }

    /// Has so much of page tables.
    pub fn has_page_tables(comm: &str, mib: u64) -> Self {
        Self::holds(comm, "page-tables", mib)
    }

    fn holds(comm: &str, what: &str, mib: u64) -> Self {
        Self::not_anonymous(comm).with("--hold", what).with("--hold-mib", mib.to_string())
    }

    /// Makes so many empty files in this directory.
    pub fn makes_files(comm: &str, dir: &Path, count: u64) -> Self {
        Self::not_anonymous(comm).with("--files-in", dir).with("--files", count.to_string())
    }

    /// What it touches does not compress.
    pub fn incompressible(self) -> Self {
        self.switch("--random")
    }

    /// Makes BPF maps of 16 MiB that are charged to its cgroup, until so many could not be made.
    pub fn allocates_bpf_maps(comm: &str, count: u64) -> Self {
        Self::allocates_kind(comm, "bpf-maps", count)
    }

    fn allocates_kind(comm: &str, what: &str, count: u64) -> Self {
        Self::not_anonymous(comm).with("--allocate", what).with("--count", count.to_string())
    }

    /// Is the load of a busy node for so long.
    pub fn is_busy(comm: &str, seconds: u64) -> Self {
        Self::not_anonymous(comm).with("--busy", seconds.to_string())
    }
}

impl Actor {
    /// Its anonymous memory.
    pub fn anonymous_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))
            .with_context(|| format!("cannot read the status of {self}"))?;
        let kib = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.split_whitespace().next());
        let kib: u64 = kib.context("a status without RssAnon")?.parse().context("RssAnon is no number")?;
        Ok(kib * 1024)
    }

    /// Has it make its allocations, and waits until it is done. Returns how many failed.
    pub fn allocate(&mut self) -> Result<u64> {
        self.go()?;
        let done = self.event("done")?;
        done["failed"].as_u64().with_context(|| format!("{self} made no allocation: {done}"))
    }
}
