//! PURE: which cgroup hierarchy has the memory controller, and where it is mounted, according to `/proc`.

use super::MemoryCgroup;

/// A mount of a cgroup hierarchy.
struct Mount {
    point: String,
    /// How many levels above the root of this process's cgroup namespace it begins; `None` if below, so that it shows only a part
    /// of the hierarchy.
    above: Option<usize>,
    /// `cgroup2`, else `cgroup`.
    unified: bool,
    /// Options of the mount, with the controllers of a v1 hierarchy.
    options: String,
}

/// Finds the memory controller's hierarchy and its mount point. `read` gives the text of a file, or why it cannot be read.
pub(super) fn memory_cgroup(
    read: impl Fn(&str) -> Result<String, String>,
) -> Result<(MemoryCgroup, Option<String>), String> {
    let mounts = parse(&read("/proc/self/mountinfo")?);
    let v1 = |mount: &&Mount| !mount.unified && mount.options.split(',').any(|option| option == "memory");
    if let Some(mount) = best(mounts.iter().filter(v1)) {
        return Ok((MemoryCgroup::V1, Some(mount.point.clone())));
    }
    let unified = best(mounts.iter().filter(|mount| mount.unified));
    let lists_memory = |mount: &&Mount| {
        let controllers = read(&format!("{}/cgroup.controllers", mount.point)).unwrap_or_default();
        controllers.split_whitespace().any(|name| name == "memory")
    };
    if let Some(mount) = unified.filter(lists_memory) {
        return Ok((MemoryCgroup::V2, Some(mount.point.clone())));
    }
    // The mounts do not show it: a container may have none of them. The kernel's own table does, except in 6.15 and later, where it
    // leaves out controllers without a v1 side.
    let table = read("/proc/cgroups")?;
    let row = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    match row.into_iter().find(|row| row.first() == Some(&"memory")).as_deref() {
        Some([_, _, _, "0"]) => Ok((MemoryCgroup::Disabled, None)),
        // A controller that is in no v1 hierarchy belongs to the unified one.
        Some([_, "0", _, _]) => Ok((MemoryCgroup::V2, unified.map(|mount| mount.point.clone()))),
        Some([_, _, _, _]) => Ok((MemoryCgroup::V1, None)),
        // The root of the unified hierarchy lists all controllers that there are.
        _ if unified.is_some_and(|mount| {
            let file = |name: &str| read(&format!("{}/{name}", mount.point));
            is_root(MemoryCgroup::V2, |name| file(name).is_ok())
        }) =>
        {
            Ok((MemoryCgroup::Disabled, None))
        }
        _ => Err("neither the mounted cgroup hierarchies nor /proc/cgroups have a memory controller".into()),
    }
}

/// The memory controller's hierarchy and its mount point, if it is mounted.
pub(super) fn mounted(
    cgroup: &Result<(MemoryCgroup, Option<String>), String>,
) -> Result<(MemoryCgroup, &str), String> {
    match cgroup {
        Ok((version, Some(mount))) => Ok((*version, mount)),
        Ok((MemoryCgroup::Disabled, None)) => Err("the memory controller is switched off".to_owned()),
        Ok((_, None)) => Err("its hierarchy is not mounted in this mount namespace".to_owned()),
        Err(reason) => Err(reason.clone()),
    }
}

/// Whether a directory of a hierarchy is its root. The table of mounts does not tell: in a cgroup namespace the container's cgroup
/// is called `/`. But v2 has `cgroup.events` in every cgroup except the root, and v1 `cgroup.sane_behavior` in the root alone
/// (`cgroup_base_files`, `cgroup1_base_files` in kernel/cgroup, 5.10 to 7.2).
pub(super) fn is_root(version: MemoryCgroup, has: impl Fn(&str) -> bool) -> bool {
    match version {
        MemoryCgroup::V1 => has("cgroup.sane_behavior"),
        MemoryCgroup::V2 => has("cgroup.controllers") && !has("cgroup.events"),
        MemoryCgroup::Disabled => false,
    }
}

/// The mount that shows the most: in a container with a cgroup namespace, the container's mount begins at the namespace's root,
/// `/`, and one of the host's above it, at `/../..`.
fn best<'a>(mounts: impl Iterator<Item = &'a Mount>) -> Option<&'a Mount> {
    // Of equals `max_by_key` takes the last: the one that hides the others, if they share a mount point.
    mounts.max_by_key(|mount| mount.above)
}

/// The cgroup mounts in the text of `mountinfo` (`Documentation/filesystems/proc.rst`, 3.5):
///
/// ```text
/// 35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
/// ```
fn parse(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        // A space in a path is escaped, so the first lone dash ends the optional fields.
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        let mut kind = kind.split(' ');
        let unified = match kind.next()? {
            "cgroup" => false,
            "cgroup2" => true,
            _ => return None,
        };
        let options = kind.nth(1).unwrap_or_default().to_owned();
        let mut steps = root.split('/').filter(|step| !step.is_empty());
        let above = steps.try_fold(0, |above, step| (step == "..").then_some(above + 1));
        Some(Mount { point: unescape(point), above, unified, options })
    };
    text.lines().filter_map(mount).collect()
}

/// Decodes mountinfo's escapes, such as `\040`.
fn unescape(path: &str) -> String {
    let mut parts = path.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        if let Some(byte) = part.get(..3).and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            bytes.push(byte);
            bytes.extend_from_slice(&part.as_bytes()[3..]);
        } else {
            bytes.push(b'\\');
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
