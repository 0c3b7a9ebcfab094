//! Facts about the host, gathered once at start: the plan decides by them, and `doctor` shows them.
//!
//! Facts only: conclusions are in [`plan`](super::plan). "No" and "could not look" are different answers: an unknown fact is
//! `None`, and [`HostFacts::unresolved`] says why. All files are read below a root that the caller names, so that a test can lay
//! out a host in a directory.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use strum::{Display, VariantArray};

use super::types::Types;

mod memory;
mod mounts;

pub use memory::MemorySettings;
use mounts::{is_root, memory_cgroup, mounted};

use crate::schema::BtfSource;

/// Where the kernel shows its own BTF.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// How much of kallsyms is searched for an address. The table opens with per-CPU symbols on some kernels, and
/// the first few of those are at address 0 even where addresses are shown.
const KALLSYMS_SAMPLE_BYTES: u64 = 64 * 1024;

/// The kernel's list of its symbols.
pub const KALLSYMS: &str = "/proc/kallsyms";

/// Facts about the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HostFacts {
    /// Release of the kernel, as `uname -r` says it.
    pub release: Option<String>,
    /// Architecture that this program was built for, `x86_64` or `aarch64`.
    pub architecture: String,
    /// Bytes of a page.
    pub page_size_bytes: u64,
    /// Number of CPUs online.
    pub cpus: Option<u32>,
    /// Memory of the machine.
    pub memory_bytes: Option<u64>,
    /// The kernel's id of this boot.
    pub boot_id: Option<String>,
    /// Name of the host, in the UTS namespace of this process.
    pub hostname: Option<String>,
    /// The BTF in which kernel fields are looked up: the kernel's own, or the file that the user named.
    pub btf: BtfFile,
    /// Evidence that it describes this kernel.
    pub btf_source: BtfSource,
    /// The kernel's own BTF. Without it there is no fentry, whatever file the user names.
    pub kernel_btf: BtfFile,
    /// What the kernel's lockdown forbids.
    pub lockdown: Option<Lockdown>,
    /// Effective capabilities of this process, of those that matter here.
    pub capabilities: Option<BTreeSet<Capability>>,
    /// Effective user id of this process.
    pub euid: Option<u32>,
    /// This process is in the init user namespace: elsewhere its capabilities do not count for BPF.
    pub init_user_namespace: Option<bool>,
    /// Which cgroup hierarchy has the memory controller.
    pub memory_cgroup: Option<MemoryCgroup>,
    /// Where that hierarchy is mounted for this process.
    pub memory_cgroup_mount: Option<String>,
    /// That mount shows the hierarchy from its root. A container's mount begins at the container's cgroup and does not show those
    /// of other containers.
    pub memory_cgroup_whole: Option<bool>,
    /// `vm.panic_on_oom`: 1 panics when the node runs out of memory, 2 on every OOM.
    pub panic_on_oom: Option<i32>,
    /// `vm.oom_kill_allocating_task`: if not 0, an OOM of the node kills the task that allocates.
    pub oom_kill_allocating_task: Option<i32>,
    /// `kernel.kptr_restrict`: 1 hides kernel addresses from processes without `CAP_SYSLOG`, 2 from all.
    pub kptr_restrict: Option<i32>,
    /// `kernel.perf_event_paranoid`.
    pub perf_event_paranoid: Option<i32>,
    /// `kernel.unprivileged_bpf_disabled`.
    pub unprivileged_bpf_disabled: Option<i32>,
    /// Settings for how much memory is kept free, and in blocks of which size.
    #[serde(flatten)]
    pub memory: MemorySettings,
    /// `/proc/kallsyms` shows this process addresses, and not zeroes.
    pub kallsyms_addresses: Option<bool>,
    /// Unknown facts, and why.
    pub unresolved: Vec<Unresolved>,
}

impl HostFacts {
    /// Version of the kernel, if its release could be read and looks like one.
    #[must_use]
    pub fn version(&self) -> Option<KernelVersion> {
        self.release.as_deref().and_then(KernelVersion::parse)
    }

    /// Whether this process has `capability`; `None` if that is unknown.
    #[must_use]
    pub fn can(&self, capability: Capability) -> Option<bool> {
        self.capabilities.as_ref().map(|held| held.contains(&capability))
    }
}

/// An unknown fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Unresolved {
    /// Field of [`HostFacts`].
    pub field: String,
    /// Why it is unknown.
    pub reason: String,
}

/// A file of BTF.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BtfFile {
    pub path: String,
    /// Why it cannot be used; `null` if it can.
    pub error: Option<String>,
    /// Differences to the kernel's own BTF: if there are any, it is of another kernel.
    pub differs: Vec<String>,
}

/// What the kernel's lockdown forbids (`security/lockdown/lockdown.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lockdown {
    /// This kernel has no lockdown: securityfs is there, and the file is not.
    NotBuilt,
    /// It forbids nothing.
    None,
    /// Changing the running kernel. BPF may read.
    Integrity,
    /// Reading the kernel too: BPF programs cannot read its memory, and kprobes are refused.
    Confidentiality,
}

/// A capability that matters here.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema, Display, VariantArray,
)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE", prefix = "CAP_")]
pub enum Capability {
    /// Load programs and create maps (5.8 and later).
    #[serde(rename = "CAP_BPF")]
    Bpf,
    /// Attach programs to kernel functions and events, and read kernel memory (5.8 and later).
    #[serde(rename = "CAP_PERFMON")]
    Perfmon,
    /// Stands for both of the above.
    #[serde(rename = "CAP_SYS_ADMIN")]
    SysAdmin,
    /// Raise the limit of locked memory, which BPF maps count against before 5.11.
    #[serde(rename = "CAP_SYS_RESOURCE")]
    SysResource,
    /// See kernel addresses in `/proc/kallsyms`.
    #[serde(rename = "CAP_SYSLOG")]
    Syslog,
}

impl Capability {
    /// Its bit in the kernel's sets (`include/uapi/linux/capability.h`).
    fn bit(self) -> u32 {
        match self {
            Self::SysAdmin => 21,
            Self::SysResource => 24,
            Self::Syslog => 34,
            Self::Perfmon => 38,
            Self::Bpf => 39,
        }
    }
}

/// Which cgroup hierarchy has the memory controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemoryCgroup {
    /// A hierarchy of v1; a unified hierarchy without the controller may be mounted as well ("hybrid").
    V1,
    /// The unified hierarchy.
    V2,
    /// None: it was switched off at boot (`cgroup_disable=memory`), or is not built in.
    Disabled,
}

/// The first two numbers of a kernel's release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion(pub u32, pub u32);

/// From here on BPF maps are charged to the memory cgroup and no longer to the limit of locked memory.
pub const NO_MEMLOCK_SINCE: KernelVersion = KernelVersion(5, 11);

/// From here on cgroup v1 has no limit of kernel memory alone (`memory.kmem.limit_in_bytes`) any more.
pub const NO_KMEM_LIMIT_SINCE: KernelVersion = KernelVersion(5, 16);

/// Whether a kernel of this version counts BPF maps against the limit of locked memory. An unknown version may.
#[must_use]
pub fn counts_locked_memory(version: Option<KernelVersion>) -> bool {
    version.is_none_or(|version| version < NO_MEMLOCK_SINCE)
}

impl KernelVersion {
    /// From a release such as `5.10.0-23-cloud-amd64` or `6.18-rc1`.
    #[must_use]
    pub fn parse(release: &str) -> Option<Self> {
        let (major, rest) = release.split_once('.')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        Some(Self(major.parse().ok()?, rest[..digits].parse().ok()?))
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Gathers the facts from the files below `root`, and those of the BTF that `types` has read.
#[must_use]
pub fn gather(root: &Path, types: &Types) -> HostFacts {
    let mut look = Look { root, unresolved: Vec::new() };
    let status = look.read("/proc/self/status");
    let cgroup = memory_cgroup(|path| look.read(path));
    HostFacts {
        release: look.fact("release", |look| look.line("/proc/sys/kernel/osrelease")),
        architecture: std::env::consts::ARCH.to_owned(),
        page_size_bytes: rustix::param::page_size() as u64,
        cpus: look.fact("cpus", |look| {
            let list = look.line("/sys/devices/system/cpu/online")?;
            count_cpus(&list).ok_or_else(|| format!("`{list}` is not a list of CPUs"))
        }),
        memory_bytes: look.fact("memory_bytes", |look| {
            let text = look.read("/proc/meminfo")?;
            let kib = labelled(&text, "MemTotal:").and_then(|rest| rest.strip_suffix("kB"));
            kib.and_then(|kib| kib.trim().parse::<u64>().ok())
                .and_then(|kib| kib.checked_mul(1024))
                .ok_or_else(|| "/proc/meminfo has no MemTotal".to_owned())
        }),
        boot_id: look.fact("boot_id", |look| look.line("/proc/sys/kernel/random/boot_id")),
        hostname: look.fact("hostname", |look| look.line("/proc/sys/kernel/hostname")),
        btf: types.btf.clone(),
        btf_source: types.source(),
        kernel_btf: types.kernel_btf.clone(),
        lockdown: look.fact("lockdown", Look::lockdown),
        capabilities: look.fact("capabilities", |_| capabilities(status.as_deref()?)),
        euid: look.fact("euid", |_| {
            let ids = labelled(status.as_deref()?, "Uid:").unwrap_or_default();
            // Real, effective, saved, of the file system.
            let effective = ids.split_whitespace().nth(1).and_then(|id| id.parse().ok());
            effective.ok_or_else(|| "/proc/self/status has no effective Uid".to_owned())
        }),
        init_user_namespace: look.fact("init_user_namespace", |look| {
            // The init namespace maps every id to itself; no other may map the last one.
            let map = look.read("/proc/self/uid_map")?;
            Ok(map.split_whitespace().eq(["0", "0", "4294967295"]))
        }),
        memory_cgroup: look
            .fact("memory_cgroup", |_| cgroup.as_ref().map(|found| found.0).map_err(Clone::clone)),
        memory_cgroup_mount: look.fact("memory_cgroup_mount", |_| Ok(mounted(&cgroup)?.1.to_owned())),
        memory_cgroup_whole: look.fact("memory_cgroup_whole", |look| {
            let (version, mount) = mounted(&cgroup)?;
            Ok(is_root(version, |file| look.at(&format!("{mount}/{file}")).exists()))
        }),
        panic_on_oom: look.sysctl("panic_on_oom", "/proc/sys/vm/panic_on_oom"),
        oom_kill_allocating_task: look
            .sysctl("oom_kill_allocating_task", "/proc/sys/vm/oom_kill_allocating_task"),
        kptr_restrict: look.sysctl("kptr_restrict", "/proc/sys/kernel/kptr_restrict"),
        perf_event_paranoid: look.sysctl("perf_event_paranoid", "/proc/sys/kernel/perf_event_paranoid"),
        unprivileged_bpf_disabled: look
            .sysctl("unprivileged_bpf_disabled", "/proc/sys/kernel/unprivileged_bpf_disabled"),
        memory: memory::settings(&mut look),
        kallsyms_addresses: look.fact("kallsyms_addresses", Look::kallsyms_addresses),
        // Last: the fields of a struct expression are evaluated in the order in which they are written.
        unresolved: look.unresolved,
    }
}

/// A host below a root, and its unknown facts.
struct Look<'a> {
    root: &'a Path,
    unresolved: Vec<Unresolved>,
}

impl Look<'_> {
    /// An absolute path, below the root.
    fn at(&self, path: &str) -> std::path::PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A whole file. Bytes that are not UTF-8 are replaced: no fact needs such bytes.
    fn read(&self, path: &str) -> Result<String, String> {
        let bytes = fs::read(self.at(path)).map_err(|error| format!("{path}: {error}"))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A file of one line that may not be empty.
    fn line(&self, path: &str) -> Result<String, String> {
        let text = self.read(path)?;
        match text.trim_end_matches('\n') {
            "" => Err(format!("{path} is empty")),
            line => Ok(line.to_owned()),
        }
    }

    /// A fact, or a note of why it is unknown.
    fn fact<T>(&mut self, field: &str, find: impl FnOnce(&Self) -> Result<T, String>) -> Option<T> {
        find(self).map_err(|reason| self.unresolved.push(Unresolved { field: field.to_owned(), reason })).ok()
    }

    /// A setting that is a number.
    fn sysctl(&mut self, field: &str, path: &str) -> Option<i32> {
        self.fact(field, |look| {
            let value = look.line(path)?;
            value.trim().parse().map_err(|_| format!("{path}: `{value}` is not a number"))
        })
    }

    /// The mode in brackets in a list of all.
    fn lockdown(&self) -> Result<Lockdown, String> {
        const PATH: &str = "/sys/kernel/security/lockdown";
        let text = match self.read(PATH) {
            Ok(text) => text,
            // `lsm` is in each securityfs: without it no securityfs is mounted there, and the mode is unknown.
            Err(_) if !self.at(PATH).exists() && self.at("/sys/kernel/security/lsm").exists() => {
                return Ok(Lockdown::NotBuilt);
            }
            Err(reason) => return Err(format!("{reason} (is securityfs mounted there?)")),
        };
        match text.split_whitespace().find(|word| word.starts_with('[')) {
            Some("[none]") => Ok(Lockdown::None),
            Some("[integrity]") => Ok(Lockdown::Integrity),
            Some("[confidentiality]") => Ok(Lockdown::Confidentiality),
            _ => Err(format!("{PATH}: `{}` marks no mode that is known", text.trim())),
        }
    }

    /// Hidden addresses are all shown as zeroes.
    fn kallsyms_addresses(&self) -> Result<bool, String> {
        let failed = |error: std::io::Error| format!("{KALLSYMS}: {error}");
        let file = File::open(self.at(KALLSYMS)).map_err(failed)?;
        // A page: the kernel writes no more at a time, and each line costs it thousands of instructions.
        let mut lines =
            BufReader::with_capacity(4096, file).take(KALLSYMS_SAMPLE_BYTES).split(b'\n').peekable();
        if lines.peek().is_none() {
            return Err(format!("{KALLSYMS} is empty"));
        }
        for line in lines {
            if line.map_err(failed)?.iter().take_while(|byte| **byte != b' ').any(|byte| *byte != b'0') {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The rest of a line that begins with `label`, without the white space around it.
fn labelled<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(label)).map(str::trim)
}

/// Number of CPUs in a list such as `0-3,8`.
fn count_cpus(list: &str) -> Option<u32> {
    list.trim().split(',').try_fold(0_u32, |sum, range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let further = to.parse::<u32>().ok()?.checked_sub(from.parse().ok()?)?;
        sum.checked_add(further)?.checked_add(1)
    })
}

/// The effective capabilities in `/proc/self/status`.
fn capabilities(status: &str) -> Result<BTreeSet<Capability>, String> {
    let mask = labelled(status, "CapEff:")
        .and_then(|hex| u64::from_str_radix(hex, 16).ok())
        .ok_or_else(|| "/proc/self/status has no CapEff".to_owned())?;
    Ok(Capability::VARIANTS.iter().copied().filter(|capability| mask >> capability.bit() & 1 == 1).collect())
}

#[cfg(test)]
pub(crate) mod tests;
