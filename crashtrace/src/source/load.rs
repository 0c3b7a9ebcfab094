//! Applies the plan: loads the kernel object and attaches its programs, the first tier that the kernel accepts.
//!
//! Whatever a kernel refuses shows here and nowhere else, so attachability is tried, not inferred from versions.

use std::path::Path;

use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::{FEntry, FExit, KProbe, Program, ProgramError, RawTracePoint};
use aya::{Btf, Ebpf, EbpfError, EbpfLoader, Endianness, VerifierLogLevel};
use crashtrace_ebpf::{FailureKey, GfpBits, counter, global, map};
use thiserror::Error;

use super::host::KERNEL_BTF;
use super::layout::{Layout, read_btf};
use super::plan::{Attach, AttachKind, Plan, Tier};
use crate::event::{Counted, Hook};

/// The kernel object, built from source by `build.rs`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/crashtrace-ebpf.o"));

/// What the kernel object needs to know of the kernel that it is loaded into.
#[derive(Clone, Debug)]
pub struct Kernel<'a> {
    /// Offsets of the fields that it reads.
    pub layout: &'a Layout,
    /// How `oom:mark_victim` passes its victim.
    pub mark_victim_arg: u32,
    /// Where its array of nodes is, and where its only node; 0 where that is not known.
    pub nodes: (u64, u64),
    /// Its allocation flags that the programs act on.
    pub gfp: GfpBits,
    /// Take failed allocations too whose callers expect them.
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
    /// What the kernel refused on the way.
    pub refused: Vec<Refused>,
    /// Size of the ring of records, where the kernel tells.
    pub ring_bytes: Option<u64>,
    ebpf: Ebpf,
}

/// A hook that the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its tier.
    pub hook: Hook,
    /// Its name, `fentry:oom_kill_process` and the like.
    pub name: String,
    /// What the kernel said.
    pub error: String,
}

/// Why nothing is in place.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The object or its maps.
    #[error("cannot load the kernel object")]
    Object(#[source] Box<EbpfError>),
    /// A map that is not what it must be.
    #[error("cannot use map {name} of the kernel object")]
    Map {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        #[source]
        error: Option<MapError>,
    },
    /// All tiers.
    #[error("the kernel accepts none of the hooks: {}", .0.iter().map(|r| format!("{}: {}", r.name, r.error)).collect::<Vec<_>>().join("; "))]
    Refused(Vec<Refused>),
}

/// Loads the object and attaches the first tier of `plan` that the kernel accepts.
///
/// # Errors
/// The object cannot be loaded, or the kernel accepts no tier.
pub fn load(plan: &Plan, kernel: &Kernel<'_>) -> Result<Attached, LoadError> {
    let mut refused = Vec::new();
    for tier in &plan.tiers {
        // Each tier on a fresh object: a program that was loaded and then not needed would stay in the kernel.
        if let Some(placed) = attach_tier(tier, &plan.alloc, kernel, &mut refused)? {
            let Placed { ebpf, memcg, wait, alloc } = placed;
            let ring_bytes = ring_bytes(&ebpf);
            return Ok(Attached { tier: tier.clone(), memcg, wait, alloc, refused, ring_bytes, ebpf });
        }
    }
    Err(LoadError::Refused(refused))
}

fn ring_bytes(ebpf: &Ebpf) -> Option<u64> {
    let Map::RingBuf(ring) = ebpf.map(map::RECORDS)? else { return None };
    ring.info().ok().map(|info| u64::from(info.max_entries()))
}

/// A tier in place, with what of its optional hooks is.
struct Placed {
    ebpf: Ebpf,
    memcg: bool,
    wait: bool,
    alloc: Option<Attach>,
}

fn attach_tier(
    tier: &Tier,
    alloc: &[Attach],
    kernel: &Kernel<'_>,
    refused: &mut Vec<Refused>,
) -> Result<Option<Placed>, LoadError> {
    let mut ebpf = object(kernel, VerifierLogLevel::default())?;
    let btf = match tier.hook {
        Hook::Fentry => match own_btf() {
            Ok(btf) => Some(btf),
            Err(error) => {
                let name = tier.decision.first().unwrap_or(&tier.victims).to_string();
                refused.push(Refused { hook: tier.hook, name, error });
                return Ok(None);
            }
        },
        Hook::Kprobe | Hook::RawTracepoint => None,
    };
    let mut refuse = |attach: &Attach, error: &ProgramError| {
        refused.push(Refused { hook: tier.hook, name: attach.to_string(), error: explain(error) });
    };
    // Ends before beginnings, victims last: a decision that runs while this does then comes without its victims'
    // bracket rather than with half of it.
    for attach in tier.decision.iter().rev().chain([&tier.victims]) {
        if let Err(error) = attach_one(&mut ebpf, attach, btf.as_ref()) {
            refuse(attach, &error);
            return Ok(None);
        }
    }
    let mut memcg = !tier.memcg.is_empty();
    for attach in tier.memcg.iter().rev() {
        if let Err(error) = attach_one(&mut ebpf, attach, btf.as_ref()) {
            refuse(attach, &error);
            memcg = false;
            break;
        }
    }
    let mut wait = false;
    if let Some(attach) = &tier.wait {
        match attach_one(&mut ebpf, attach, btf.as_ref()) {
            Ok(()) => wait = true,
            Err(error) => refuse(attach, &error),
        }
    }
    let mut in_place = None;
    for attach in alloc {
        match attach_one(&mut ebpf, attach, btf.as_ref()) {
            Ok(()) => {
                in_place = Some(*attach);
                break;
            }
            Err(error) => refuse(attach, &error),
        }
    }
    Ok(Some(Placed { ebpf, memcg, wait, alloc: in_place }))
}

/// The running kernel's own BTF. A trampoline's target is a number in it: another kernel's BTF, even one of the same series,
/// has that number for another function, and the kernel cannot tell.
///
/// # Errors
/// It cannot be read.
pub fn own_btf() -> Result<Btf, String> {
    let failed = |error: &dyn std::error::Error| format!("{KERNEL_BTF}: {}", chain(error));
    let bytes = read_btf(Path::new(KERNEL_BTF)).map_err(|error| failed(&error))?;
    Btf::parse(&bytes, Endianness::default()).map_err(|error| failed(&error))
}

/// Makes the maps and prepares the programs, none of which is loaded yet. `log` is what the verifier is to write of a
/// program that the kernel refuses.
///
/// # Errors
/// The object cannot be loaded.
pub fn object(kernel: &Kernel<'_>, log: VerifierLogLevel) -> Result<Ebpf, LoadError> {
    let level: u8 = if kernel.debug { aya_log::Level::Debug as u8 } else { 0 };
    let GfpBits { nowarn, direct_reclaim, movable, reclaimable } = kernel.gfp;
    let gfp = [nowarn, direct_reclaim, movable, reclaimable];
    EbpfLoader::new()
        // The object has no relocations against the kernel's BTF, and parsing that is most of aya's start-up.
        .btf(None)
        .override_global(global::FIELDS, kernel.layout.values().as_slice(), true)
        .override_global(global::MARK_VICTIM_ARG, &kernel.mark_victim_arg, true)
        .override_global(global::NODE_DATA, &kernel.nodes.0, true)
        .override_global(global::CONTIG_PAGE_DATA, &kernel.nodes.1, true)
        .override_global(global::GFP_BITS, gfp.as_slice(), true)
        .override_global(global::INCLUDE_NOWARN, &u32::from(kernel.include_nowarn), true)
        .override_global(aya_log::LEVEL, &level, false)
        .verifier_log_level(log)
        .load(OBJECT)
        .map_err(|error| LoadError::Object(Box::new(error)))
}

fn attach_one(ebpf: &mut Ebpf, attach: &Attach, btf: Option<&Btf>) -> Result<(), ProgramError> {
    let program = ebpf.program_mut(attach.program).ok_or(ProgramError::NotLoaded)?;
    match (attach.kind, btf) {
        (AttachKind::Fentry, Some(btf)) => {
            let program: &mut FEntry = program.try_into()?;
            program.load(attach.target, btf)?;
            program.attach()?;
        }
        (AttachKind::Fexit, Some(btf)) => {
            let program: &mut FExit = program.try_into()?;
            program.load(attach.target, btf)?;
            program.attach()?;
        }
        (AttachKind::Fentry | AttachKind::Fexit, None) => return Err(ProgramError::NotLoaded),
        (AttachKind::Kprobe | AttachKind::Kretprobe, _) => {
            let program: &mut KProbe = program.try_into()?;
            program.load()?;
            program.attach(attach.target, 0)?;
        }
        (AttachKind::RawTracepoint, _) => {
            let program: &mut RawTracePoint = program.try_into()?;
            program.load()?;
            program.attach(attach.target)?;
        }
    }
    Ok(())
}

/// A load error with the end of the verifier's log, which has the reason; the whole of it can be megabytes.
fn explain(error: &ProgramError) -> String {
    const LOG_LINES: usize = 12;
    if let ProgramError::LoadError { io_error, verifier_log } = error {
        let log = verifier_log.to_string();
        let tail: Vec<_> = log.lines().rev().take(LOG_LINES).collect();
        let tail: Vec<_> = tail.into_iter().rev().collect();
        if tail.is_empty() {
            return format!("the kernel refused the program: {io_error}");
        }
        return format!("the verifier refused the program: {io_error}: {}", tail.join(" | "));
    }
    chain(error)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

impl Attached {
    /// The hooks in place, as reports name them.
    #[must_use]
    pub fn hooks(&self) -> Vec<String> {
        let memcg = self.tier.memcg.iter().filter(|_| self.memcg);
        let wait = self.tier.wait.iter().filter(|_| self.wait);
        let all =
            self.tier.decision.iter().chain([&self.tier.victims]).chain(memcg).chain(wait).chain(&self.alloc);
        all.map(ToString::to_string).collect()
    }

    /// The ring of records and the kernel's counters.
    ///
    /// # Errors
    /// The object lacks a map, or it was taken before.
    pub fn take_maps(&mut self) -> Result<(RingBuf<MapData>, KernelCounters), LoadError> {
        let mut take =
            |name: &'static str| self.ebpf.take_map(name).ok_or(LoadError::Map { name, error: None });
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

    /// The kernel side, for its log.
    pub fn ebpf_mut(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Instructions that the verifier went through for each program in place, by name; none where the kernel does
    /// not say (before 5.16).
    #[must_use]
    pub fn verified_instructions(&self) -> Vec<(String, u32)> {
        let programs = self.ebpf.programs();
        let count = |program: &Program| program.info().ok()?.verified_instruction_count();
        programs.filter_map(|(name, program)| Some((name.to_owned(), count(program)?))).collect()
    }
}

/// The counters that the kernel side keeps.
pub struct KernelCounters {
    counters: PerCpuArray<MapData, u64>,
    /// [`FailureKey`] and [`FailureCount`](crashtrace_ebpf::FailureCount), as the words that they are made of.
    failures: HashMap<MapData, [u64; 4], [u64; 3]>,
}

const _: () = assert!(size_of::<FailureKey>() == 32 && size_of::<crashtrace_ebpf::FailureCount>() == 24);

impl KernelCounters {
    /// Their values, summed over the CPUs, by [`counter`].
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn read(&self) -> Result<[u64; counter::COUNT as usize], MapError> {
        let mut sums = [0; counter::COUNT as usize];
        for (index, sum) in (0..).zip(&mut sums) {
            *sum = self.counters.get(&index, 0)?.iter().copied().fold(0, u64::saturating_add);
        }
        Ok(sums)
    }

    /// How many allocations have failed, by kind. One that the kernel side forgets while this reads may be missing.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn failures(&self) -> Result<Vec<(FailureKey, Counted)>, MapError> {
        let entries = self.failures.iter().map(|entry| {
            let ([cgroup_id, format_address, argument, gfp], [sent_ns, total, since_ns]) = entry?;
            // The upper half is padding.
            let key = FailureKey { cgroup_id, format_address, argument, gfp: gfp as u32, pad: 0 };
            Ok((key, Counted { since_ns, total, sent_ns }))
        });
        entries.filter(|entry| !matches!(entry, Err(MapError::KeyNotFound))).collect()
    }
}
