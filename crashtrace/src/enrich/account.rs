//! The account of a scope's memory: where it was at the decision, kind by kind. PURE.

use super::Party;
use crate::schema::AccountKind;

/// Where the memory of a node, or of a memcg, was. Entries do not overlap, and come with the largest first; with `unaccounted_bytes`
/// they add up to `total_bytes` plus `excess_bytes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The memory that the page allocator manages, or the usage of the memcg.
    pub total_bytes: u64,
    pub entries: Vec<Entry>,
    /// What none of the entries explains.
    pub unaccounted_bytes: u64,
    /// By how much the entries come to more than the total: counters of CPUs are added to the kernel's with a delay.
    pub excess_bytes: u64,
    /// Read by the user side after the decision.
    pub late: bool,
}

/// An entry of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: AccountKind,
    pub bytes: u64,
    /// The owner, if it is one owner's.
    pub holder: Option<Party>,
}
