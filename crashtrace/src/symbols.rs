//! PURE: names of the few kernel functions that show how an OOM came about, for the return addresses in a record's stack.
//!
//! The kernel lists its symbols in `/proc/kallsyms`, 100 000 to 200 000 lines; only the address ranges of [`FUNCTIONS`] are
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

/// Why no address can be named, where the list is there.
const ADDRESSES_HIDDEN: &str =
    "the kernel hides its addresses from this process (kernel.kptr_restrict, CAP_SYSLOG)";

/// No function is longer. It bounds the range of a function that is followed by nothing, or by a hole.
const MAX_FUNCTION_BYTES: u64 = 64 * 1024;

/// Addresses of the kernel's functions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Recorded")]
pub struct Symbols {
    /// Address ranges. A function may have more than one: the compiler moves rare code elsewhere.
    ranges: Vec<Range>,
    /// Those of [`FUNCTIONS`] that exist under exactly that name: the names that a kprobe can use.
    exact: BTreeSet<String>,
    /// Addresses of the data in the ABI's [`mod@address`], which many kernels do not list; 0 for a name that is listed more than once: static data of another
    /// file may have the name as well. Not valid on another machine.
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

/// The most ranges that are taken of a recording: each function, with the parts that compilers move elsewhere.
const MOST_RANGES: usize = 8 * FUNCTIONS.len();

/// Symbols as a recording has them, which may come from anywhere.
#[derive(Deserialize)]
struct Recorded {
    ranges: Vec<Range>,
    exact: BTreeSet<String>,
    listed: bool,
    unusable: Option<String>,
}

impl From<Recorded> for Symbols {
    /// Names that nothing looks for would only take memory: each record's stack may have them, and a preamble may have a megabyte of
    /// a name.
    fn from(recorded: Recorded) -> Self {
        let Recorded { mut ranges, mut exact, listed, unusable } = recorded;
        ranges.retain(|range| FUNCTIONS.contains(&range.function.as_str()));
        ranges.truncate(MOST_RANGES);
        exact.retain(|function| FUNCTIONS.contains(&function.as_str()));
        Self { ranges, exact, data: BTreeMap::new(), listed, unusable }
    }
}

impl Symbols {
    /// Parses kallsyms' text for the functions, up to the first symbol of a module: the kernel lists its own first, by address, which
    /// it relies on itself (`s_next`, `get_symbol_pos`, `kernel/kallsyms.c`, 5.10 to 7.3), and each line that is not read is one that
    /// it does not have to write. Lines that do not look like a symbol are skipped.
    #[must_use]
    pub fn parse(mut reader: impl BufRead) -> Self {
        let mut symbols = Self::default();
        // Ranges from here on have no end yet.
        let mut open = 0;
        let mut shown = false;
        let mut line = Vec::with_capacity(256);
        loop {
            line.clear();
            match reader.read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => {}
                // A list that ends early gives functions the wrong end.
                Err(error) => return Self::without(format!("the list of kernel symbols broke off: {error}")),
            }
            let (digits, name) = match split_line(&line) {
                Line::Kernel { digits, name } => (digits, name),
                Line::Module => break,
                Line::Other => continue,
            };
            symbols.listed = true;
            shown |= digits.iter().any(|digit| *digit != b'0');
            let sought = SOUGHT.has(name);
            if !sought && open == symbols.ranges.len() {
                continue;
            }
            let Some(address) = address(digits) else { continue };
            // Aliases of a function have its address.
            while let Some(range) = symbols.ranges.get_mut(open).filter(|range| range.start < address) {
                range.end = range.end.min(address);
                open += 1;
            }
            if sought {
                symbols.take(address, name);
            }
        }
        let unusable = if !symbols.listed {
            Some("/proc/kallsyms lists no symbols of the kernel")
        } else if !shown {
            Some(ADDRESSES_HIDDEN)
        } else if symbols.ranges.is_empty() {
            Some("/proc/kallsyms lists none of the functions of the OOM killer")
        } else {
            None
        };
        symbols.unusable = unusable.map(str::to_owned);
        symbols
    }

    /// Notes a symbol, if it is one of those that are looked for.
    fn take(&mut self, address: u64, name: &[u8]) {
        if let Some(data) = address::NAMES.into_iter().find(|data| data.as_bytes() == name) {
            self.data.entry(data).and_modify(|address| *address = 0).or_insert(address);
            return;
        }
        let Some((function, exact)) = wanted(name) else { return };
        if exact {
            self.exact.insert(function.to_owned());
        }
        if address != 0 {
            let end = address.saturating_add(MAX_FUNCTION_BYTES);
            self.ranges.push(Range { start: address, end, function: function.to_owned() });
        }
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

    /// Addresses of the kernel's data, in the order of [`address::NAMES`]: 0 where the kernel does not have it or does not show it.
    #[must_use]
    pub fn addresses(&self) -> [u64; address::COUNT] {
        address::NAMES.map(|name| self.data.get(name).copied().unwrap_or(0))
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

/// A line of kallsyms:
///
/// ```text
/// ffffffff8130a5d0 t oom_kill_process
/// ffffffffc0401000 t nf_tables_newrule<tab>[nf_tables]
/// ```
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    /// A symbol of the kernel proper.
    Kernel { digits: &'a [u8], name: &'a [u8] },
    /// A symbol of a module, or of what is listed after modules.
    Module,
    /// No symbol.
    Other,
}

fn split_line(line: &[u8]) -> Line<'_> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    // 16 digits on each machine of 64 bits.
    let Some((digits, [b' ', _type, b' ', name @ ..])) = line.split_at_checked(16) else {
        return Line::Other;
    };
    match name.last() {
        None => Line::Other,
        // A tab, and the module's name.
        Some(b']') => Line::Module,
        Some(_) => Line::Kernel { digits, name },
    }
}

fn address(digits: &[u8]) -> Option<u64> {
    digits
        .iter()
        .try_fold(0_u64, |address, digit| Some(address << 4 | u64::from(char::from(*digit).to_digit(16)?)))
}

/// Beginnings of the names that are looked for: a test that some hundred of the kernel's 100 000 names pass.
struct Beginnings([bool; 1024]);

const SOUGHT: &Beginnings = &Beginnings::new();

impl Beginnings {
    const fn new() -> Self {
        let mut places = [false; 1024];
        let mut index = 0;
        while index < FUNCTIONS.len() {
            places[Self::place(FUNCTIONS[index].as_bytes())] = true;
            index += 1;
        }
        index = 0;
        while index < address::COUNT {
            places[Self::place(address::NAMES[index].as_bytes())] = true;
            index += 1;
        }
        Self(places)
    }

    /// By four letters, which every name that is looked for has.
    const fn place(name: &[u8]) -> usize {
        let [first, second, third, _, fifth, ..] = name else { return 0 };
        let letters = *first as usize + *second as usize * 7 + *third as usize * 49 + *fifth as usize * 343;
        letters % 1024
    }

    const fn has(&self, name: &[u8]) -> bool {
        self.0[Self::place(name)]
    }
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
