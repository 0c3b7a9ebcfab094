//! A node without a memory controller: no limit can be in force, and only the whole node can run out of memory.

use super::Oom;
use crate::classify::oom::OomCause;
use crate::phrase::{process, size};

/// Whether that matters to this OOM.
fn is_missing(oom: &Oom<'_>) -> bool {
    oom.scene.no_memory_controller && oom.cause() == OomCause::Node
}

/// That no limit was in force, and what the victim itself held, since no figures of cgroups exist.
pub(super) fn evidence(oom: &Oom<'_>) -> Vec<String> {
    if !is_missing(oom) {
        return Vec::new();
    }
    let mut evidence = vec![
        "the kernel's memory controller is switched off (cgroup_disable=memory) or not built in: no memory limit of a container, pod or \
         service can be in force, and what each of them held is not counted"
            .to_owned(),
    ];
    let victim = oom.scene.victim.as_ref().map(|victim| process(victim.task));
    if let (Some(victim), Some(weight), Some(total)) = (victim, oom.scene.weight(), oom.scene.share_of()) {
        evidence.push(format!(
            "{victim} held {}, {} % of the node's memory and swap",
            size(weight.memory_bytes),
            u128::from(weight.memory_bytes) * 100 / u128::from(total)
        ));
    }
    evidence
}

/// How to switch it on.
pub(super) fn remedy(oom: &Oom<'_>) -> Option<String> {
    is_missing(oom).then(|| {
        "Switch the kernel's memory controller on, so that limits are in force: remove cgroup_disable=memory from its command line (on \
         Raspberry Pi OS add cgroup_enable=memory cgroup_memory=1 to cmdline.txt) and boot anew. Until then one container can take all of \
         the node's memory, whatever its resources.limits.memory."
            .to_owned()
    })
}
