//! Processes that take much, or ask for what there is not.

use std::fs;

use anyhow::{Context as _, Result};

use crate::actor::{Actor, Role};

impl Role {
    /// One that takes the node's memory until so much is free, and keeps it.
    pub fn hoards(comm: &str, leave_mib: u64) -> Self {
        Self::not_anonymous(comm).with("--leave", leave_mib.to_string())
    }

    /// One that then gives half of it back, in pieces of 2^order pages. Of larger ones there are none when it is done.
    pub fn fragments(comm: &str, leave_mib: u64, order: u32) -> Self {
        Self::hoards(comm, leave_mib).with("--pieces", order.to_string())
    }

    /// And that is killed in one go: nobody finds half of its memory in use still, and has another process killed.
    pub fn urgent(self) -> Self {
        self.switch("--urgent")
    }

    /// One that asks so often for 2^order pages.
    pub fn asks(comm: &str, order: u32, count: u64) -> Self {
        Self::asks_for(comm, "contiguous", count).with("--order", order.to_string())
    }

    /// One that asks for pages without a wait, until so many requests were refused, and gives them back at once.
    pub fn asks_atomic(comm: &str, count: u64) -> Self {
        Self::asks_for(comm, "atomic", count)
    }

    /// One that asks for pages that are charged to its cgroup, until so many requests were refused.
    pub fn asks_charged(comm: &str, count: u64) -> Self {
        Self::asks_for(comm, "charged", count)
    }

    /// One that asks so often for some 2 MiB at once that are charged to its cgroup.
    pub fn asks_charged_at_once(comm: &str, count: u64) -> Self {
        Self::asks_for(comm, "charged-at-once", count)
    }

    /// One that asks so often for more memory in one piece of `vmalloc` than there is.
    pub fn asks_virtual(comm: &str, count: u64) -> Self {
        Self::asks_for(comm, "virtual", count)
    }

    fn asks_for(comm: &str, what: &str, count: u64) -> Self {
        Self::not_anonymous(comm).with("--ask", what).with("--count", count.to_string())
    }

    /// One that does for so long what processes do.
    pub fn is_busy(comm: &str, seconds: u64) -> Self {
        Self::not_anonymous(comm).with("--busy", seconds.to_string())
    }
}

impl Actor {
    /// How much memory of its own it has now, in bytes.
    pub fn anonymous_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))
            .with_context(|| format!("cannot read the status of {self}"))?;
        let kib = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.split_whitespace().next());
        let kib: u64 = kib.context("a status without RssAnon")?.parse().context("RssAnon is no number")?;
        Ok(kib * 1024)
    }

    /// Has it ask for all that it is to, and waits until it has. Says how many requests were refused.
    pub fn ask(&mut self) -> Result<u64> {
        self.go()?;
        let done = self.event("done")?;
        done["refused"].as_u64().with_context(|| format!("{self} asked for nothing: {done}"))
    }
}
