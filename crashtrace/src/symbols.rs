//! PURE: names of the few kernel functions that show how an OOM came about, for the return addresses in a record's stack.
//!
//! The kernel lists its symbols in `/proc/kallsyms`, more than 100 000 lines; only the address ranges of [`FUNCTIONS`] are
//! stored. They are absolute, like the addresses in the records, and a recording carries them: a machine that replays it has
//! other addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;

use crashtrace_ebpf::address;
use serde::{Deserialize, Serialize};

/// The functions to look for (`mm/oom_kill.c`, `mm/memcontrol.c`, `mm/vmscan.c`, `mm/page_alloc.c`, `drivers/tty/sysrq.c`; 5.10
/// to 7.3), those that run in interrupts ([`INTERRUPT`](crate::event::alloc::INTERRUPT)), and vmalloc's
/// ([`VMALLOC`](crate::event::alloc::VMALLOC)).
pub const FUNCTIONS: [&str; 29] = [
    "mem_cgroup_out_of_memory",
    "out_of_memory",
    "oom_kill_process",
    "__oom_kill_process",
    "mem_cgroup_oom_synchronize",
    "pagefault_out_of_memory",
    "memory_max_write",
    "moom_callback",
    "balance_pgdat",
    "kswapd",
    "try_charge_memcg",
    "try_charge",
    "charge_memcg",
    "__mem_cgroup_charge",
    "mem_cgroup_charge",
    "obj_cgroup_charge_pages",
    "__alloc_pages_slowpath",
    "mark_oom_victim",
    "warn_alloc",
    "__do_softirq",
    "handle_softirqs",
    "__handle_irq_event_percpu",
    "handle_percpu_devid_irq",
    "hrtimer_interrupt",
    "flush_smp_call_function_queue",
    "irq_work_run_list",
    "__vmalloc_node_range",
    "__vmalloc_node_range_noprof",
    "__vmalloc_area_node",
];

/// Data whose address is needed, beside what the ABI lists: the array of pointers to the NUMA nodes (`mm/numa.c` or the
/// architecture's), or the only node of a kernel that is built for one (`mm/memblock.c`). Many kernels list functions only.
const NODES: [&str; 2] = ["node_data", "contig_page_data"];

/// No function is longer. It bounds the range of a function that is followed by nothing, or by a hole.
const MAX_FUNCTION_BYTES: u64 = 64 * 1024;

/// Addresses of the kernel's functions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symbols {
    /// Address ranges. A function may have more than one: the compiler moves rare code elsewhere.
    ranges: Vec<Range>,
    /// Those of [`FUNCTIONS`] that exist under exactly that name: the names that a kprobe can use.
    exact: BTreeSet<String>,
    /// Addresses of [`NODES`] and of the ABI's [`address`], 0 for a name that is listed more than once: static data of another file
    /// may have the name as well. Not valid on another machine.
    #[serde(skip)]
    data: BTreeMap<&'static str, u64>,
    /// The list had symbols of the kernel proper: a function that is not in `exact` does not exist.
    listed: bool,
    /// Why no address can be named.
    unusable: Option<String>,
}

/// Addresses of one function, `start` to before `end`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Range {
    start: u64,
    end: u64,
    function: String,
}

impl Symbols {
    /// Parses kallsyms' text for the functions. Lines may come in any order; those of modules are skipped, and so are lines
    /// that do not look like a symbol.
    #[must_use]
    pub fn parse(mut reader: impl BufRead) -> Self {
        let mut symbols = Self::default();
        let mut starts: Vec<(u64, &str)> = Vec::new();
        // Only the address of each symbol is stored, temporarily a megabyte: a function ends where the next symbol begins, and
        // that may be on any line.
        let mut addresses: Vec<u64> = Vec::new();
        let mut line = Vec::with_capacity(256);
        loop {
            line.clear();
            match reader.read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => {}
                // A list that ends early gives functions the wrong end.
                Err(error) => return Self::without(format!("the list of kernel symbols broke off: {error}")),
            }
            let Some((address, name)) = parse_line(&line) else { continue };
            symbols.listed = true;
            if address != 0 {
                addresses.push(address);
            }
            let mut names = NODES.into_iter().chain(address::NAMES);
            if let Some(data) = names.find(|data| data.as_bytes() == name) {
                symbols.data.entry(data).and_modify(|address| *address = 0).or_insert(address);
                continue;
            }
            let Some((function, exact)) = wanted(name) else { continue };
            if exact {
                symbols.exact.insert(function.to_owned());
            }
            if address != 0 {
                starts.push((address, function));
            }
        }
        addresses.sort_unstable();
        for (start, function) in starts {
            // Past all symbols of the same address: aliases of the function.
            let next = addresses.get(addresses.partition_point(|address| *address <= start)).copied();
            let longest = start.saturating_add(MAX_FUNCTION_BYTES);
            let end = next.map_or(longest, |next| next.min(longest));
            symbols.ranges.push(Range { start, end, function: function.to_owned() });
        }
        let unusable = if !symbols.listed {
            Some("/proc/kallsyms lists no symbols of the kernel")
        } else if addresses.is_empty() {
            Some("the kernel hides its addresses from this process (kernel.kptr_restrict, CAP_SYSLOG)")
        } else if symbols.ranges.is_empty() {
            Some("/proc/kallsyms lists none of the functions of the OOM killer")
        } else {
            None
        };
        symbols.unusable = unusable.map(str::to_owned);
        symbols
    }

    /// For a list that cannot be read: no symbols, and the reason.
    #[must_use]
    pub fn without(reason: String) -> Self {
        Self { unusable: Some(reason), ..Self::default() }
    }

    /// Why no address can be named, if none can.
    #[must_use]
    pub fn unusable(&self) -> Option<&str> {
        self.unusable.as_deref()
    }

    /// Whether the list had any symbol: only then does [`Self::has`] show that a function does not exist.
    #[must_use]
    pub fn listed(&self) -> bool {
        self.listed
    }

    /// Whether the kernel lists a function of exactly this name, one of [`FUNCTIONS`]. Names are listed even if addresses are
    /// hidden.
    #[must_use]
    pub fn has(&self, function: &str) -> bool {
        self.exact.contains(function)
    }

    /// Address of the kernel's array of nodes, and of its only node: 0 if it does not have it or does not show it.
    #[must_use]
    pub fn nodes(&self) -> (u64, u64) {
        let [array, only] = NODES.map(|name| self.address(name));
        (array, only)
    }

    /// Addresses of the kernel's data, in the order of [`address::NAMES`]: 0 where the kernel does not have it or does not show it.
    #[must_use]
    pub fn addresses(&self) -> [u64; address::COUNT] {
        address::NAMES.map(|name| self.address(name))
    }

    fn address(&self, name: &str) -> u64 {
        self.data.get(name).copied().unwrap_or(0)
    }

    /// Whether addresses in `function`, one of [`FUNCTIONS`], can be named. If they cannot, for example because it was inlined,
    /// its absence from a stack means nothing.
    #[must_use]
    pub fn covers(&self, function: &str) -> bool {
        self.ranges.iter().any(|range| range.function == function)
    }

    /// The function that a return address lies in, if it is one of [`FUNCTIONS`].
    #[must_use]
    pub fn name_of(&self, return_address: u64) -> Option<&str> {
        // It is the address after the call. If the call is a function's last instruction, that is already the next function's.
        let call = return_address.checked_sub(1)?;
        // Few enough for a linear search; and a recording may have them in any order.
        let range = self.ranges.iter().find(|range| (range.start..range.end).contains(&call))?;
        Some(&range.function)
    }
}

/// Address and name on a line of the kernel proper:
///
/// ```text
/// ffffffff8130a5d0 t oom_kill_process
/// ffffffffc0401000 t nf_tables_newrule<tab>[nf_tables]
/// ```
fn parse_line(line: &[u8]) -> Option<(u64, &[u8])> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let space = line.iter().position(|byte| *byte == b' ')?;
    let (digits, rest) = line.split_at(space);
    let [b' ', _type, b' ', name @ ..] = rest else { return None };
    // A tab, and the module's name.
    if name.is_empty() || name.last() == Some(&b']') {
        return None;
    }
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    let address = digits
        .iter()
        .try_fold(0_u64, |address, digit| Some(address << 4 | u64::from(char::from(*digit).to_digit(16)?)))?;
    Some((address, name))
}

/// The function that a symbol is (a part of), and whether it has just that name. Compilers append `.constprop.0`, `.isra.0` and
/// `.part.0` to variants of a function, and `.cold` to code that they moved out of it.
fn wanted(symbol: &[u8]) -> Option<(&'static str, bool)> {
    FUNCTIONS.into_iter().find_map(|function| match symbol.strip_prefix(function.as_bytes())? {
        [] => Some((function, true)),
        [b'.', ..] => Some((function, false)),
        _ => None,
    })
}

#[cfg(test)]
pub(crate) mod tests;
