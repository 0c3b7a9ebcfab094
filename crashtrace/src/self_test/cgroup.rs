//! PURE: this process's cgroup as the kernel side read it, against `/proc/self/cgroup`.
//!
//! `/proc/self/cgroup` shows paths from the root of the cgroup namespace, the kernel side from the root of the hierarchy. On
//! v2 the memory controller may end above the process's own cgroup, and then the kernel side shows that ancestor.

use crashtrace_ebpf::fields;

use super::compare::{Checks, PROC_CGROUP_INIT_INO, Scene};
use super::this_process::{CgroupDir, ThisProcess};
use crate::decode::SelfTest;
use crate::event::{Level, Limit};
use crate::kernel::layout::Layout;

const PATH: &str = "path of the cgroup";
const ID: &str = "id of the cgroup";

/// The path in `/proc/self/cgroup`: of v1's memory controller, or of the unified hierarchy.
pub(super) fn path_in(table: &[u8], v1_memory: bool) -> Option<&[u8]> {
    table.split(|byte| *byte == b'\n').find_map(|line| {
        let mut parts = line.splitn(3, |byte| *byte == b':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let is_memory = controllers.split(|byte| *byte == b',').any(|name| name == b"memory");
        let found = if v1_memory { is_memory } else { number == b"0" && controllers.is_empty() };
        found.then_some(path)
    })
}

/// Compares path, id and limits.
pub(super) fn check(checks: &mut Checks, seen: &SelfTest, own: &ThisProcess, scene: &Scene<'_>) {
    let Scene { facts, layout } = *scene;
    let tables = [&own.before.cgroup, &own.after.cgroup];
    let [Some(before), Some(after)] = tables.map(Option::as_deref) else {
        checks.skip(PATH, "/proc/self/cgroup cannot be read");
        return;
    };
    let v1_memory = path_in(after, true).is_some();
    let Some(lineage) = &seen.cgroups else {
        // At the root, with the memory controller switched off, there is nothing to show.
        match path_in(after, v1_memory) {
            Some(path) if path != b"/" && !path.starts_with(b"/..") && has_fields(layout) => {
                checks.verdict(PATH, false, "none".to_owned(), lossy(path));
            }
            _ => checks.skip(PATH, "the kernel side found no cgroup of this process"),
        }
        return;
    };
    let of_v1 = v1_memory && !lineage.unified;
    let (Some(before), Some(path)) = (path_in(before, of_v1), path_in(after, of_v1)) else {
        checks.skip(PATH, "/proc/self/cgroup has no line for it");
        return;
    };
    let whole = own.cgroup_namespace == Some(PROC_CGROUP_INIT_INO);
    let (nearest, read) = (&lineage.levels[0], lineage.path());
    let is_unified = !of_v1;
    let ours = is_unified && nearest.cgroup_id == Some(seen.cgroup_id);
    // Only where its cgroup has no memory controller: then an ancestor stands in.
    let ancestor = is_unified && !lineage.unified && !ours;
    if before != path || path.ends_with(b" (deleted)") || path.starts_with(b"/..") {
        checks.skip(PATH, "/proc/self/cgroup shows it only in part, or it changes");
    } else if lineage.skipped > 0 || lineage.incomplete {
        checks.skip(PATH, "it is too deep to be read whole");
    } else if whole {
        let fits = if ancestor { is_ancestor(&read, path) } else { read == path };
        checks.verdict(PATH, fits, lossy(&read), lossy(path));
    } else if ancestor {
        checks.skip(PATH, "this process is in a cgroup namespace, and below the last memory controller");
    } else {
        // The namespace's root is somewhere above.
        let fits = path == b"/" || read.ends_with(path);
        checks.verdict(PATH, fits, lossy(&read), format!("something that ends with {}", lossy(path)));
    }
    if ours || lineage.unified {
        let (id, own) = (nearest.cgroup_id, seen.cgroup_id);
        match id {
            Some(id) => checks.verdict(ID, id == own, id.to_string(), own.to_string()),
            None => checks.absent(ID),
        }
    }
    match &own.cgroup {
        _ if lineage.unified => checks.skip("limits", "this process has no memory controller of its own"),
        Err(why) => checks.skip("limits", why),
        Ok(dir) if nearest.cgroup_id == Some(dir.inode) => {
            if of_v1 {
                checks.right(ID);
            }
            limits(checks, nearest, dir);
        }
        // Where the whole hierarchy is visible and the path is known, that directory is the cgroup.
        Ok(dir) if of_v1 && whole && facts.memory_cgroup_whole == Some(true) && before == path => {
            let read = nearest.cgroup_id.map_or("nothing".to_owned(), |id| id.to_string());
            checks.verdict(ID, nearest.cgroup_id.is_none(), read, dir.inode.to_string());
        }
        Ok(_) => checks.skip("limits", "the cgroup's own directory is not visible here"),
    }
}

/// The kernel has all fields needed to find a cgroup.
fn has_fields(layout: &Layout) -> bool {
    use fields::{CGROUP_SELF, CSS_CGROUP, CSS_PARENT, CSS_SET_DFL_CGRP, TASK_CGROUPS};
    [TASK_CGROUPS, CSS_SET_DFL_CGRP, CGROUP_SELF, CSS_PARENT, CSS_CGROUP]
        .into_iter()
        .all(|field| layout.get(field).is_some())
}

/// Compares the limits and the usage of the cgroup with the files of its directory.
fn limits(checks: &mut Checks, level: &Level, dir: &CgroupDir) {
    if level.root {
        checks.skip("limits", "the root of the hierarchy has none");
        return;
    }
    for (fact, read, says) in
        [("memory limit", level.limit, &dir.limit), ("swap limit", level.swap_limit, &dir.swap_limit)]
    {
        let (Some(read), Some(says)) = (read, says.as_deref().and_then(limit)) else {
            checks.absent(fact);
            continue;
        };
        checks.verdict(fact, read == says, format!("{read:?}"), format!("{says:?}"));
    }
    let usage = dir.usage.as_deref().and_then(|text| std::str::from_utf8(text).ok()?.trim().parse().ok());
    checks.about("memory in use", level.usage_bytes, [usage, usage], 64 << 20);
}

/// A limit as its file gives it: v1 shows the largest number of whole pages where there is none.
fn limit(text: &[u8]) -> Option<Limit> {
    let text = std::str::from_utf8(text).ok()?.trim();
    if text == "max" {
        return Some(Limit::Unlimited);
    }
    let bytes: u64 = text.parse().ok()?;
    // One page short of 2^63, with the largest pages that a kernel may have (64 KiB).
    let unlimited = bytes >= i64::MAX.cast_unsigned() - (64 << 10);
    Some(if unlimited { Limit::Unlimited } else { Limit::Bytes(bytes) })
}

fn is_ancestor(path: &[u8], of: &[u8]) -> bool {
    path.is_empty() || path == b"/" || of.strip_prefix(path).is_some_and(|rest| rest.first() == Some(&b'/'))
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
