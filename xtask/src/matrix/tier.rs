//! Which kinds of hooks a kernel may refuse.

use crashtrace_judge::catalogue::Tier;

/// The hooks that a kernel is known to refuse. If it accepts them, they must work.
pub(crate) fn may_lack(kernel: &str) -> &'static [Tier] {
    match kernel {
        // Fentry needs ftrace's direct calls, which arm64 has from 6.4 on.
        "arm64-6.1" => &[Tier::Fentry],
        _ => &[],
    }
}

/// The hooks that an agent chooses by itself on this kernel.
pub(crate) fn by_hand(kernel: &str) -> Tier {
    let may_lack = may_lack(kernel);
    Tier::ALL.into_iter().find(|tier| !may_lack.contains(tier)).unwrap_or(Tier::Tracepoint)
}
