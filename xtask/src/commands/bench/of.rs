//! What can be measured.

/// The choices of `--of`.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Of {
    /// Start, memory, lines, CPU time and losses, of crashtrace and its peers.
    Peers,
    /// 100,000 incidents of a recording.
    Replay,
    /// Page faults, by the hooks on failed allocations.
    Faults,
    /// Processes that end and signals, by the hooks on ends of containers.
    Ends,
    /// OOM kills, by the hooks on decisions and victims.
    Decisions,
    /// An hour of storms (`--minutes`): each kill is told, memory and descriptors stay as they are. Only where it is named: it gives no
    /// figure of a record.
    Soak,
}
