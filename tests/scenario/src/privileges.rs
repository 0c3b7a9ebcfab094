//! Whether a running agent has dropped the privileges that it does not need: read from the kernel, for each of its threads.

use std::fs;

use anyhow::{Context as _, Result};

/// Bit of the only capability that it may keep (`include/uapi/linux/capability.h`).
const BPF: u64 = 1 << 39;
/// From here on maps that are open are read without it (`__sys_bpf`).
const READS_MAPS_WITHOUT: (u32, u32) = (5, 19);

/// The privileges that it has too many.
pub fn faults(pid: u32, kernel: Option<(u32, u32)>) -> Vec<String> {
    look(pid, kernel).unwrap_or_else(|error| vec![format!("{error:#}")])
}

fn look(pid: u32, kernel: Option<(u32, u32)>) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let tasks = format!("/proc/{pid}/task");
    for task in fs::read_dir(&tasks).with_context(|| format!("cannot look into {tasks}"))? {
        let path = task?.path();
        // A thread may end meanwhile.
        let Ok(status) = fs::read_to_string(path.join("status")) else { continue };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(str::trim).unwrap_or_default()
        };
        let what = format!("{} ({})", path.display(), field("Name"));
        for name in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            let held = u64::from_str_radix(field(name), 16).with_context(|| format!("{what}: {name}"))?;
            let may_keep = if kernel.is_none_or(|kernel| kernel < READS_MAPS_WITHOUT) { BPF } else { 0 };
            if held & !may_keep != 0 {
                faults.push(format!("{what} has {name} {held:016x}"));
            }
        }
        for (name, expected) in [("NoNewPrivs", "1"), ("Seccomp", "2")] {
            if field(name) != expected {
                faults.push(format!("{what}: {name} is {}, not {expected}", field(name)));
            }
        }
    }
    Ok(faults)
}
