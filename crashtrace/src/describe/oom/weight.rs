//! How the kernel weighed the victim, in words.

use crate::classify::oom::Weight;
use crate::phrase::size;

/// The parts of its badness.
pub(super) fn weighed(weight: Weight) -> String {
    let memory = format!(
        "the victim was weighed by its memory of {}, swap and page tables included",
        size(weight.memory_bytes)
    );
    let shift = size(weight.shift_bytes.unsigned_abs());
    match (weight.oom_score_adj, weight.shift_bytes) {
        (0, _) => memory,
        (adj, 0..) => format!("{memory}, and its oom_score_adj of {adj}, which added {shift}"),
        (adj, _) => format!("{memory}, and its oom_score_adj of {adj}, which took off {shift}"),
    }
}

/// Which of the parts weighed more.
pub(super) fn which(weight: Option<Weight>) -> String {
    match weight {
        None => "its memory and oom_score_adj".to_owned(),
        Some(weight) if weight.shift_bytes <= 0 => "the memory that it held".to_owned(),
        Some(Weight { memory_bytes, oom_score_adj, shift_bytes })
            if shift_bytes.unsigned_abs() > memory_bytes =>
        {
            format!("its oom_score_adj of {oom_score_adj} more than the memory that it held")
        }
        Some(weight) => {
            format!("the memory that it held more than its oom_score_adj of {}", weight.oom_score_adj)
        }
    }
}
