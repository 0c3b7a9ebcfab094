//! What the agent reads of a node: paths of cgroups, BTF, kallsyms, files of `/proc` and of memory cgroups.

use crashtrace::cgroup;
use crashtrace::kernel::layout::{KernelBtf, Layout};
use crashtrace::observe::{meminfo, memory_stat, swaps, zoneinfo};
use crashtrace::symbols::Symbols;

/// A path; a tenant may choose a part of it.
pub(crate) fn cgroup(path: &[u8]) -> bool {
    let placement = cgroup::parse(path);
    // The root of a node in a container is a part of the path, of any length.
    for root_bytes in [1, path.len() / 2, path.len(), path.len() + 1] {
        _ = cgroup::parse_below(path, root_bytes);
    }
    placement.is_in_pod()
}

/// A BTF blob: the kernel's, or a file that the user names.
pub(crate) fn btf(bytes: &[u8]) -> bool {
    let Ok(btf) = KernelBtf::parse(bytes) else { return false };
    let layout = Layout::resolve(&btf);
    _ = btf.mark_victim_arg();
    _ = btf.gfp_bits();
    _ = btf.function_ids(["oom_kill_process", "mem_cgroup_out_of_memory"]);
    layout.differences(&layout).is_empty()
}

/// The kernel's list of symbols.
pub(crate) fn kallsyms(text: &[u8]) -> bool {
    Symbols::parse(text).covers("oom_kill_process")
}

/// Files of memory. The first byte says which, so that one input is one file.
pub(crate) fn proc(bytes: &[u8]) -> bool {
    let Some((which, text)) = bytes.split_first() else { return false };
    match which {
        b'm' => meminfo::fill(&mut crashtrace::event::NodeMemory::default(), text),
        b's' => memory_stat::parse(text).anon_bytes.is_some(),
        b'w' => !swaps::parse(text).is_empty(),
        b'z' => {
            // Both files in one, as the kernel writes them: the blocks of free memory first.
            let half = text.windows(2).position(|two| two == b"\n\n").unwrap_or(text.len());
            let (buddyinfo, zones) = text.split_at(half);
            let Ok(mut zones) = zoneinfo::parse(buddyinfo, zones) else { return false };
            zoneinfo::add_types(&mut zones, text);
            true
        }
        _ => false,
    }
}
