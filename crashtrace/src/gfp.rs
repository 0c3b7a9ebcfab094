//! Flags of an allocation (`gfp_t`) by their names in the kernel that it was made on.
//!
//! The numbers of the flags are no ABI: bit 9 is `__GFP_ATOMIC` up to 6.2 and no flag later, bits above 22 depend on the
//! kernel's configuration, and even the well-known combinations changed with it (`GFP_ATOMIC` is 0xa20 before 6.3 and 0x820
//! since). So the table comes from the kernel's own BTF, which lists `___GFP_DMA_BIT` and the like from 6.10 on, and only older
//! kernels get a table that is written here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod composites;

use composites::composites;

/// Bit → name for one kernel. Serialises as a plain map, so that a recording can carry it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<u8, String>", into = "BTreeMap<u8, String>")]
pub struct GfpNames {
    bits: BTreeMap<u8, String>,
    /// The combinations that exist on this kernel, with their values. A combination with a flag that the table lacks is left out.
    composites: Vec<(&'static str, u32)>,
    known: Known,
}

/// The values of the flags that [`Traits`] are made of; 0 where the table lacks one. Each incident asks for them, so they are
/// looked up by name once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    dma: u32,
    dma32: u32,
    highmem: u32,
    movable: u32,
    reclaimable: u32,
    direct_reclaim: u32,
    high: u32,
    no_retry: u32,
    retry_may_fail: u32,
    account: u32,
    nowarn: u32,
    this_node: u32,
    hardwall: u32,
}

/// Bits 0 to 22 but for 9: the same from 5.10 to 7.3.
const COMMON: [(u8, &str); 22] = [
    (0, "__GFP_DMA"),
    (1, "__GFP_HIGHMEM"),
    (2, "__GFP_DMA32"),
    (3, "__GFP_MOVABLE"),
    (4, "__GFP_RECLAIMABLE"),
    (5, "__GFP_HIGH"),
    (6, "__GFP_IO"),
    (7, "__GFP_FS"),
    (8, "__GFP_ZERO"),
    (10, "__GFP_DIRECT_RECLAIM"),
    (11, "__GFP_KSWAPD_RECLAIM"),
    (12, "__GFP_WRITE"),
    (13, "__GFP_NOWARN"),
    (14, "__GFP_RETRY_MAYFAIL"),
    (15, "__GFP_NOFAIL"),
    (16, "__GFP_NORETRY"),
    (17, "__GFP_MEMALLOC"),
    (18, "__GFP_COMP"),
    (19, "__GFP_NOMEMALLOC"),
    (20, "__GFP_HARDWALL"),
    (21, "__GFP_THISNODE"),
    (22, "__GFP_ACCOUNT"),
];

/// The flag that tells the two definitions of `GFP_ATOMIC` and of `GFP_NOWAIT` apart.
const ATOMIC: (u8, &str) = (9, "__GFP_ATOMIC");

/// Enumerators beside the flags that name no flag.
const NOT_FLAGS: [&str; 2] = ["__GFP_UNUSED", "__GFP_LAST"];

/// The highest zone that an allocation may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Highest {
    /// Memory that ISA devices can address: `GFP_DMA`.
    Dma,
    /// The first 4 GiB: `GFP_DMA32`.
    Dma32,
    /// All but the zone for movable memory.
    #[default]
    Normal,
    /// All.
    Movable,
}

/// Traits of an allocation by its flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the kernel's")]
pub struct Traits {
    /// The highest zone that it may use (`gfp_zone`, `include/linux/gfp.h`).
    pub highest: Highest,
    /// It may sleep while memory is freed (`__GFP_DIRECT_RECLAIM`).
    pub may_sleep: bool,
    /// It may go below the `min` watermark (`__GFP_HIGH`).
    pub high: bool,
    /// For movable memory (`__GFP_MOVABLE`).
    pub movable: bool,
    /// For reclaimable caches of the kernel (`__GFP_RECLAIMABLE`).
    pub reclaimable: bool,
    /// It gives up early (`__GFP_NORETRY`).
    pub no_retry: bool,
    /// It tries hard, and gives up before the OOM killer (`__GFP_RETRY_MAYFAIL`).
    pub retry_may_fail: bool,
    /// Charged to a memory cgroup (`__GFP_ACCOUNT`).
    pub account: bool,
    /// Its failure is expected (`__GFP_NOWARN`).
    pub nowarn: bool,
    /// From the named node only (`__GFP_THISNODE`).
    pub this_node: bool,
    /// Bound to the nodes of its task's cpuset (`__GFP_HARDWALL`).
    pub hardwall: bool,
}

impl Traits {
    /// It may not sleep, and may therefore use the reserves (`GFP_ATOMIC`).
    #[must_use]
    pub fn atomic(&self) -> bool {
        self.high && !self.may_sleep
    }
}

impl GfpNames {
    /// The traits of the flags in `mask`.
    #[must_use]
    pub fn traits(&self, mask: u32) -> Traits {
        let has = |value: u32| mask & value != 0;
        let known = &self.known;
        let movable = has(known.movable);
        Traits {
            highest: match () {
                () if has(known.dma) => Highest::Dma,
                () if has(known.dma32) => Highest::Dma32,
                // 64-bit machines have no zone of high memory: the two flags together mean this zone.
                () if movable && has(known.highmem) => Highest::Movable,
                () => Highest::Normal,
            },
            may_sleep: has(known.direct_reclaim),
            high: has(known.high),
            movable,
            reclaimable: has(known.reclaimable),
            no_retry: has(known.no_retry),
            retry_may_fail: has(known.retry_may_fail),
            account: has(known.account),
            nowarn: has(known.nowarn),
            this_node: has(known.this_node),
            hardwall: has(known.hardwall),
        }
    }

    /// The bits that the kernel side acts on; those of a flag that the table lacks are 0.
    #[must_use]
    pub fn kernel_bits(&self) -> crashtrace_ebpf::GfpBits {
        let bit = |flag| self.value(flag).unwrap_or_default();
        crashtrace_ebpf::GfpBits {
            nowarn: bit("__GFP_NOWARN"),
            direct_reclaim: bit("__GFP_DIRECT_RECLAIM"),
            movable: bit("__GFP_MOVABLE"),
            reclaimable: bit("__GFP_RECLAIMABLE"),
            has_fallback: bit("__GFP_NORETRY") | bit("__GFP_NOMEMALLOC") | bit("__GFP_THISNODE"),
            highmem: bit("__GFP_HIGHMEM"),
            hardwall: bit("__GFP_HARDWALL"),
        }
    }

    /// The table of a kernel whose BTF has the enumeration: its bits and their names, `___GFP_DMA_BIT` or `__GFP_DMA`. A name
    /// that is no flag's, or is a flag's second bit, is left out: its bit then shows as a number.
    pub fn from_bits(bits: impl IntoIterator<Item = (u8, String)>) -> Self {
        let mut table = BTreeMap::new();
        for (bit, name) in bits {
            let name = flag_name(&name);
            let Some(name) = name else { continue };
            if u32::from(bit) < u32::BITS && !table.values().any(|known| *known == name) {
                table.entry(bit).or_insert(name);
            }
        }
        Self { composites: composites(&table), known: Known::of(&table), bits: table }
    }

    /// The table of kernels up to 6.2, whose BTF has no such enumeration. Bits above 22 stay without a name:
    /// they depend on how the kernel was configured.
    #[must_use]
    pub fn fallback() -> Self {
        Self::from_bits(COMMON.into_iter().chain([ATOMIC]).map(|(bit, name)| (bit, name.to_owned())))
    }

    /// The table of kernels from 6.3 to 6.9: no enumeration yet, and `__GFP_ATOMIC` no longer.
    #[must_use]
    pub fn fallback_without_atomic() -> Self {
        Self::from_bits(COMMON.into_iter().map(|(bit, name)| (bit, name.to_owned())))
    }

    /// The names in `mask`: first the well-known combination, then single flags, last the bits without a name, as one
    /// hexadecimal number. Together they are exactly the mask; 0 is empty.
    #[must_use]
    pub fn names(&self, mask: u32) -> Vec<String> {
        let mut left = mask;
        let mut names = Vec::new();
        for &(name, value) in &self.composites {
            if left & value == value {
                names.push(name.to_owned());
                left &= !value;
            }
        }
        for (bit, name) in &self.bits {
            if left & (1 << bit) != 0 {
                names.push(name.clone());
                left &= !(1 << bit);
            }
        }
        if left != 0 {
            names.push(format!("{left:#x}"));
        }
        names
    }

    fn value(&self, flag: &str) -> Option<u32> {
        value(&self.bits, flag)
    }
}

impl Known {
    fn of(bits: &BTreeMap<u8, String>) -> Self {
        let of = |flag| value(bits, flag).unwrap_or_default();
        Self {
            dma: of("__GFP_DMA"),
            dma32: of("__GFP_DMA32"),
            highmem: of("__GFP_HIGHMEM"),
            movable: of("__GFP_MOVABLE"),
            reclaimable: of("__GFP_RECLAIMABLE"),
            direct_reclaim: of("__GFP_DIRECT_RECLAIM"),
            high: of("__GFP_HIGH"),
            no_retry: of("__GFP_NORETRY"),
            retry_may_fail: of("__GFP_RETRY_MAYFAIL"),
            account: of("__GFP_ACCOUNT"),
            nowarn: of("__GFP_NOWARN"),
            this_node: of("__GFP_THISNODE"),
            hardwall: of("__GFP_HARDWALL"),
        }
    }
}

fn value(bits: &BTreeMap<u8, String>, flag: &str) -> Option<u32> {
    bits.iter().find(|(_, name)| *name == flag).map(|(bit, _)| 1 << bit)
}

impl From<BTreeMap<u8, String>> for GfpNames {
    /// Checked like any other source: a recording may come from anywhere.
    fn from(bits: BTreeMap<u8, String>) -> Self {
        Self::from_bits(bits)
    }
}

impl From<GfpNames> for BTreeMap<u8, String> {
    fn from(names: GfpNames) -> Self {
        names.bits
    }
}

/// `__GFP_DMA` for `___GFP_DMA_BIT` and for itself.
fn flag_name(name: &str) -> Option<String> {
    let stem = match name.strip_prefix("___GFP_") {
        Some(rest) => rest.strip_suffix("_BIT")?,
        None => name.strip_prefix("__GFP_")?,
    };
    let is_plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let name = format!("__GFP_{stem}");
    (!stem.is_empty() && stem.chars().all(is_plain) && !NOT_FLAGS.contains(&name.as_str())).then_some(name)
}

#[cfg(test)]
mod trait_tests;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::GfpNames;

    /// As in the BTF of 6.12 to 7.2.
    fn btf() -> GfpNames {
        let names = "DMA HIGHMEM DMA32 MOVABLE RECLAIMABLE HIGH IO FS ZERO UNUSED DIRECT_RECLAIM KSWAPD_RECLAIM WRITE \
                     NOWARN RETRY_MAYFAIL NOFAIL NORETRY MEMALLOC COMP NOMEMALLOC HARDWALL THISNODE ACCOUNT ZEROTAGS \
                     NO_OBJ_EXT LAST";
        GfpNames::from_bits(
            names.split_whitespace().enumerate().map(|(bit, name)| (bit as u8, format!("___GFP_{name}_BIT"))),
        )
    }

    fn shown(names: &GfpNames, mask: u32) -> String {
        names.names(mask).join("|")
    }

    #[test]
    fn combinations_have_the_values_of_the_running_kernel() {
        let (new, old) = (btf(), GfpNames::fallback());
        for (mask, on_new, on_old) in [
            (0xcc0, "GFP_KERNEL", "GFP_KERNEL"),
            (0xc40, "GFP_NOFS", "GFP_NOFS"),
            (0xc00, "GFP_NOIO", "GFP_NOIO"),
            (0x10_0cc0, "GFP_USER", "GFP_USER"),
            (0x10_0cc2, "GFP_HIGHUSER", "GFP_HIGHUSER"),
            (0x10_0cca, "GFP_HIGHUSER_MOVABLE", "GFP_HIGHUSER_MOVABLE"),
            (
                0x14_0dca,
                "GFP_HIGHUSER_MOVABLE|__GFP_ZERO|__GFP_COMP",
                "GFP_HIGHUSER_MOVABLE|__GFP_ZERO|__GFP_COMP",
            ),
            (0x1c_20ca, "GFP_TRANSHUGE_LIGHT", "GFP_TRANSHUGE_LIGHT"),
            (0x1c_24ca, "GFP_TRANSHUGE", "GFP_TRANSHUGE"),
            (0x40_0cc0, "GFP_KERNEL_ACCOUNT", "GFP_KERNEL_ACCOUNT"),
            (0x4_0cc0, "GFP_KERNEL|__GFP_COMP", "GFP_KERNEL|__GFP_COMP"),
            (0x820, "GFP_ATOMIC", "GFP_NOWAIT|__GFP_HIGH"),
            (0xa20, "GFP_ATOMIC|0x200", "GFP_ATOMIC"),
            (0x2800, "GFP_NOWAIT", "GFP_NOWAIT|__GFP_NOWARN"),
            (0x800, "__GFP_KSWAPD_RECLAIM", "GFP_NOWAIT"),
            (0x100_0000, "__GFP_NO_OBJ_EXT", "0x1000000"),
            (0, "", ""),
        ] {
            assert_eq!(
                (shown(&new, mask).as_str(), shown(&old, mask).as_str()),
                (on_new, on_old),
                "{mask:#x}"
            );
        }
    }

    #[test]
    fn between_6_3_and_6_9_atomic_has_the_new_definition() {
        assert_eq!(shown(&GfpNames::fallback_without_atomic(), 0x820), "GFP_ATOMIC");
    }

    #[test]
    fn a_table_from_a_recording_is_checked_and_serialised_as_a_plain_map() {
        let json = r#"{"0":"__GFP_DMA","1":"__GFP_DMA","2":"GFP_KERNEL","3":"__GFP_\u001b","40":"__GFP_X"}"#;
        let table: GfpNames = serde_json::from_str(json).expect("a map");
        assert_eq!(serde_json::to_string(&table).expect("a map"), r#"{"0":"__GFP_DMA"}"#);
        assert_eq!(shown(&table, 0b1111), "__GFP_DMA|0xe");
    }

    #[test]
    fn a_name_that_is_no_flags_is_not_in_the_table() {
        assert_eq!(shown(&btf(), 1 << 9 | 1 << 25), "0x2000200");
        let flags: BTreeMap<u8, String> = btf().into();
        assert_eq!(flags.len(), 24);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_added(
            mask: u32,
            names in prop::collection::vec((0u8..36, "___GFP_(DMA|HIGH|IO|FS|DIRECT_RECLAIM|KSWAPD_RECLAIM|ATOMIC|X)_BIT"), 0..12),
            which in 0..3,
        ) {
            let table = match which {
                0 => btf(),
                1 => GfpNames::fallback(),
                _ => GfpNames::from_bits(names),
            };
            let mut union = 0;
            for name in table.names(mask) {
                let value = name
                    .strip_prefix("0x")
                    .map(|digits| u32::from_str_radix(digits, 16).expect("digits"))
                    .or_else(|| table.composites.iter().find(|(known, _)| *known == name).map(|(_, value)| *value))
                    .or_else(|| table.value(&name))
                    .expect("a name of the table");
                prop_assert_eq!(union & value, 0, "each bit once");
                union |= value;
            }
            prop_assert_eq!(union, mask);
        }
    }
}
