//! The agent's own memory. When the node has none left the kernel takes back what it can read again from a file, the pages of
//! programs above all, and an agent that must read its own text before each step is seconds late. So what a report needs is used once
//! before the first incident ([`super::rehearsal`]), and what was used stays.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, getrlimit};
use rustix::thread::disable_transparent_huge_pages;

/// Has memory in pages of the usual size: a heap of a megabyte would have huge pages of two, most of them unused.
pub(super) fn in_small_pages() {
    if let Err(error) = disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "the agent's memory may be in huge pages");
    }
}

/// Locks the pages that are in use now, and each other when it is first used. Not all of the mappings: a thread's stack has 2 MiB,
/// of which a few pages are used.
pub(super) fn stay() {
    // Else a mapping above the limit would be refused later: a stack, or more heap.
    let unlimited = getrlimit(Resource::Memlock).current.is_none();
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    let locked = if unlimited {
        mlockall(flags).map_err(|error| error.to_string())
    } else {
        Err("locked memory is limited".into())
    };
    if let Err(why) = locked {
        tracing::info!(
            why,
            remedy = "give crashtrace CAP_SYS_RESOURCE",
            "the agent's pages are not locked: while the node has no memory left, reports may be seconds late"
        );
    }
}
