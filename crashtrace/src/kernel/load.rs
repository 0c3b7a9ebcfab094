//! Applies the plan: loads the kernel object and attaches its programs, the first tier that the kernel accepts.
//!
//! All programs are loaded, then attached, and none of them does anything until one switch is turned on: a decision of the
//! kernel is seen from its beginning or not at all. A kernel's refusals show only here, so attachability is tried, not inferred
//! from versions.

use std::collections::BTreeMap;

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf};
use aya::programs::Program;
use aya::{Ebpf, Pod, VerifierLogLevel};
use crashtrace_ebpf::{GfpBits, address, fields, global, map};
use rustix::thread::{MembarrierCommand, membarrier};

use super::layout::Layout;
use super::plan::{Attach, Plan, Tier};
use super::types::FunctionIds;

mod aya_btf;
mod counters;
mod error;
mod features;
mod keep;
mod patience;
mod place;
mod replaced;

pub use aya_btf::with_functions;
pub use counters::KernelCounters;
pub use error::{LoadError, Refused, Scarce};
pub(crate) use error::{chain, explain};
pub use features::look_at_features;
pub use keep::{Keeper, NotPinned, PinError, wanted};
pub(crate) use patience::patiently;
pub(crate) use place::hopeless;
use place::{LinkId, Placed, place};
pub use replaced::{Found, Rest, find, rest, switch_off};

/// The kernel object, built from source by `build.rs`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/crashtrace-ebpf.o"));

/// Facts that the kernel object needs about the kernel that it is loaded into.
#[derive(Clone, Debug)]
pub struct Kernel<'a> {
    /// Offsets of the fields that it reads.
    pub layout: &'a Layout,
    /// Ids of the functions that trampolines are attached to.
    pub functions: &'a FunctionIds,
    /// How `oom:mark_victim` passes its victim.
    pub mark_victim_arg: u32,
    /// The memory controller is on cgroup v1.
    pub cgroup_v1: bool,
    /// Id of the cgroup at which the node's cgroups begin; 0 where that is the machine's root.
    pub node_root: u64,
    /// Its allocation flags, for the programs.
    pub gfp: GfpBits,
    /// The limit of locked memory, if there is one and maps and programs count against it.
    pub locked_memory_bytes: Option<u64>,
    /// Also take failed allocations whose callers expect the failure.
    pub include_nowarn: bool,
    /// Let the programs write debug messages.
    pub debug: bool,
}

/// Programs in place. They are detached when it is dropped.
#[derive(Debug)]
pub struct Attached {
    /// The tier that the kernel accepted.
    pub tier: Tier,
    /// The tier's hooks on `mem_cgroup_out_of_memory` are in place too.
    pub memcg: bool,
    /// The tier's hook on `mem_cgroup_oom_synchronize` is in place too.
    pub wait: bool,
    /// The hook on failed allocations that is in place.
    pub alloc: Option<Attach>,
    /// The hooks on ends of containers that are in place.
    pub exits: Vec<Attach>,
    /// Hooks that the kernel refused before.
    pub refused: Vec<Refused>,
    /// Size of the ring of records, where the kernel tells.
    pub ring_bytes: Option<u64>,
    maps: Maps,
    /// Of those that this process has attached and not pinned.
    links: Vec<(Attach, LinkId)>,
    /// `None` where an earlier process has loaded them.
    ebpf: Option<Ebpf>,
}

/// Maps that the user side uses, by name.
type Maps = BTreeMap<&'static str, Map>;

/// Their names.
const USED: [&str; 7] =
    [map::RECORDS, map::COUNTERS, map::FAILURES, map::SWITCH, map::ADDRESSES, map::HELD, map::TOLD];

/// Attaches the first tier of `plan` that the kernel accepts, of the programs in `ebpf`, an [`object`] for this `kernel`. The programs
/// do nothing until [`Attached::arm`].
///
/// # Errors
/// The object cannot be loaded, the kernel accepts no tier, or a resource that all tiers need is scarce.
pub fn load(plan: &Plan, kernel: &Kernel<'_>, ebpf: Ebpf) -> Result<Attached, LoadError> {
    let mut refused = Vec::new();
    let mut unused = Some(ebpf);
    for tier in &plan.tiers {
        // Each tier on a fresh object: a program that was loaded and then not needed would stay in the kernel.
        let ebpf = unused.take().map_or_else(|| object(kernel), Ok)?;
        if let Some(placed) = place(tier, plan, kernel, ebpf, &mut refused)? {
            let Placed { mut ebpf, memcg, wait, alloc, exits, links } = placed;
            let mut take = |name: &'static str| Some((name, ebpf.take_map(name)?));
            let maps: Maps = USED.into_iter().filter_map(&mut take).collect();
            let (ring_bytes, tier, ebpf) = (ring_bytes(&maps), tier.clone(), Some(ebpf));
            return Ok(Attached { tier, memcg, wait, alloc, exits, refused, ring_bytes, maps, links, ebpf });
        }
    }
    Err(LoadError::Refused(refused))
}

fn ring_bytes(maps: &Maps) -> Option<u64> {
    let Map::RingBuf(ring) = maps.get(map::RECORDS)? else { return None };
    ring.info().ok().map(|info| u64::from(info.max_entries()))
}

/// What the verifier writes about a program that the kernel refuses: its verdict and its figures, without its path.
///
/// aya loads without a log first, and after any error, also one by a signal, once more with a log of 10 KiB, which it enlarges
/// while that is too small: with the verifier's path in it (`DEBUG`, aya's default) up to ten times, each a verification. 10 KiB
/// hold the last lines, all that `STATS` writes: the reason and the figures. So nothing is tried a third time.
const VERIFIER_LOG: VerifierLogLevel = VerifierLogLevel::STATS;

/// Creates the maps and prepares the programs, none of which is loaded yet.
///
/// # Errors
/// The object cannot be loaded.
pub fn object(kernel: &Kernel<'_>) -> Result<Ebpf, LoadError> {
    let level: u8 = if kernel.debug { aya_log::Level::Debug as u8 } else { 0 };
    let GfpBits { nowarn, direct_reclaim, movable, reclaimable, has_fallback, highmem, hardwall } =
        kernel.gfp;
    let gfp = [nowarn, direct_reclaim, movable, reclaimable, has_fallback, highmem, hardwall];
    let offsets = fields::offsets(kernel.layout.values());
    let load = || {
        aya_btf::loader()
            .override_global(global::FIELDS, offsets.as_slice(), true)
            .override_global(global::MARK_VICTIM_ARG, &kernel.mark_victim_arg, true)
            .override_global(global::NODE_ROOT, &kernel.node_root, true)
            .override_global(global::CGROUP_V1, &u32::from(kernel.cgroup_v1), true)
            .override_global(global::GFP_BITS, gfp.as_slice(), true)
            .override_global(global::INCLUDE_NOWARN, &u32::from(kernel.include_nowarn), true)
            .override_global(aya_log::LEVEL, &level, false)
            .verifier_log_level(VERIFIER_LOG)
            .load(OBJECT)
    };
    patiently(load).map_err(|error| {
        let hopeless = hopeless("the kernel object", &error, kernel.locked_memory_bytes);
        hopeless.unwrap_or_else(|| LoadError::Object(Box::new(error)))
    })
}

impl Attached {
    /// The hooks in place, as reports name them.
    #[must_use]
    pub fn hooks(&self) -> Vec<String> {
        let memcg = self.tier.memcg.iter().filter(|_| self.memcg);
        let wait = self.tier.wait.iter().filter(|_| self.wait);
        let all =
            self.tier.decision.iter().chain([&self.tier.victims]).chain(memcg).chain(wait).chain(&self.alloc);
        let all = all.chain(&self.exits);
        all.map(ToString::to_string).collect()
    }

    /// The ring of records and the kernel's counters.
    ///
    /// # Errors
    /// The object lacks a map, or the maps were taken before.
    pub fn take_maps(&mut self) -> Result<(RingBuf<MapData>, KernelCounters), LoadError> {
        let mut take =
            |name: &'static str| self.maps.remove(name).ok_or(LoadError::Map { name, error: None });
        let (records, counters, failures) = (take(map::RECORDS)?, take(map::COUNTERS)?, take(map::FAILURES)?);
        let failed = |name| move |error| LoadError::Map { name, error: Some(error) };
        Ok((
            RingBuf::try_from(records).map_err(failed(map::RECORDS))?,
            KernelCounters {
                counters: PerCpuArray::try_from(counters).map_err(failed(map::COUNTERS))?,
                failures: HashMap::try_from(failures).map_err(failed(map::FAILURES))?,
            },
        ))
    }

    /// Switches the programs on. Events that began before are half seen.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn arm(&mut self) -> Result<(), LoadError> {
        self.switch(1)
    }

    /// Switches the programs off, and waits until the running ones have ended: then all that they have seen is in the ring or in
    /// the counters. False if the kernel does not support the wait.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn disarm(&mut self) -> Result<bool, LoadError> {
        self.switch(0)?;
        Ok(all_ended())
    }

    fn switch(&mut self, value: u64) -> Result<(), LoadError> {
        self.set(map::SWITCH, value)
    }

    /// Tells the programs where the kernel's data is, in the order of the ABI's `address`; 0 where that is unknown, as all are until
    /// then.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn know(&mut self, addresses: [u64; address::COUNT]) -> Result<(), LoadError> {
        self.set(map::ADDRESSES, addresses)
    }

    /// Writes the only value of a map.
    fn set<V: Pod>(&mut self, name: &'static str, value: V) -> Result<(), LoadError> {
        let failed = |error| LoadError::Map { name, error };
        let map = self.maps.get_mut(name).ok_or_else(|| failed(None))?;
        let mut array = Array::try_from(map).map_err(|error| failed(Some(error)))?;
        array.set(0, value, 0).map_err(|error| failed(Some(error)))
    }

    /// The kernel side, for its log, if this process has loaded it.
    pub fn ebpf_mut(&mut self) -> Option<&mut Ebpf> {
        self.ebpf.as_mut()
    }

    /// Instructions that the verifier processed for each program in place, by name; empty where the kernel does not tell (before
    /// 5.16).
    #[must_use]
    pub fn verified_instructions(&self) -> Vec<(String, u32)> {
        let programs = self.ebpf.iter().flat_map(Ebpf::programs);
        let count = |program: &Program| program.info().ok()?.verified_instruction_count();
        programs.filter_map(|(name, program)| Some((name.to_owned(), count(program)?))).collect()
    }
}

/// Waits until the programs that are running have ended; false if the kernel does not support the wait.
fn all_ended() -> bool {
    // Equivalent to `synchronize_rcu`: programs run within RCU's read side. Kernels with `nohz_full=` refuse it.
    match membarrier(MembarrierCommand::Global) {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(%error, "the kernel does not say when all programs have ended");
            false
        }
    }
}
