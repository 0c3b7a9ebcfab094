//! Pinning, taking over what is pinned, and what one session tells the next.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use aya::programs::links::{FdLink, LinkError};
use aya::programs::{Program, ProgramError};
use crashtrace_ebpf::map::{self, HELD_WORDS};
use crashtrace_ebpf::{FailureKey, GfpBits, LAYOUT_VERSION, fields};
use thiserror::Error;

use super::{Attached, Kernel, LinkId, LoadError, Maps, OBJECT, USED, chain, ring_bytes};
use crate::event::Counted;
use crate::kernel::pins::{Held, Misfit, Pins, PinsError, Wanted, hash};
use crate::kernel::plan::{Attach, AttachKind, Plan};

/// Hooks that end with the process, since this kernel cannot pin some of them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("this kernel cannot pin kprobes, which Linux can from 5.15 on: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
pub struct NotPinned(pub Vec<Attach>);

/// Why something cannot be pinned.
#[derive(Debug, Error)]
pub enum PinError {
    #[error(transparent)]
    Directory(#[from] PinsError),
    #[error("cannot pin to {}: {why}: without --pin the agent needs no pins", .path.display())]
    Failed { path: PathBuf, why: String },
    #[error(transparent)]
    Map(#[from] LoadError),
}

/// What a kernel side by this plan, for this kernel, would be made for.
#[must_use]
pub fn wanted(plan: &Plan, kernel: &Kernel<'_>, boot: &str) -> Wanted {
    let GfpBits { nowarn, direct_reclaim, movable, reclaimable, has_fallback, highmem, hardwall } =
        kernel.gfp;
    let gfp = [nowarn, direct_reclaim, movable, reclaimable, has_fallback, highmem, hardwall];
    let offsets = fields::offsets(kernel.layout.values());
    let knows = (offsets.as_slice(), kernel.mark_victim_arg, kernel.node_root);
    Wanted {
        layout: LAYOUT_VERSION,
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        boot: boot.to_owned(),
        object: hash(&OBJECT),
        // All that the options lead to.
        options: hash(&(format!("{plan:?}"), kernel.include_nowarn)),
        kernel: hash(&(knows, kernel.cgroup_v1, gfp)),
    }
}

impl Attached {
    /// Takes over what an earlier process has attached by the same plan.
    ///
    /// # Errors
    /// Some of it is missing.
    pub(super) fn pinned(plan: &Plan, pins: &Pins) -> Result<Self, Misfit> {
        let missing = |what: &str, why: String| Misfit::Missing { what: what.to_owned(), why };
        let names = pins.names().map_err(|error| missing("the directory", error.to_string()))?;
        let there = |hook: &Attach| names.links.iter().any(|name| name == hook.program);
        let has_all = |tier: &&_| {
            let crate::kernel::plan::Tier { decision, victims, .. } = tier;
            decision.iter().chain([victims]).all(there)
        };
        let tier = plan.tiers.iter().find(has_all);
        let tier =
            tier.ok_or_else(|| missing("a link", "no kind of hooks is there as a whole".to_owned()))?;
        let mut exits: Vec<Attach> = Vec::new();
        for exit in plan.exits.iter().take_while(|exit| there(exit)) {
            // Two programs may be on one hook.
            if exits.iter().all(|known| known.target != exit.target) {
                exits.push(*exit);
            }
        }
        let opened = |name: &'static str| {
            let map = MapData::from_pin(pins.map(name)).and_then(Map::from_map_data);
            map.map(|map| (name, map)).map_err(|error| missing(name, chain(&error)))
        };
        let maps: Maps = USED.into_iter().map(opened).collect::<Result<_, _>>()?;
        Ok(Self {
            tier: tier.clone(),
            memcg: !tier.memcg.is_empty() && tier.memcg.iter().all(there),
            wait: tier.wait.as_ref().is_some_and(there),
            alloc: plan.alloc.iter().find(|hook| there(hook)).copied(),
            exits,
            refused: Vec::new(),
            ring_bytes: ring_bytes(&maps),
            maps,
            links: Vec::new(),
            ebpf: None,
        })
    }

    /// Hooks in place that cannot be pinned on this kernel.
    ///
    /// # Errors
    /// There are some.
    pub fn can_be_pinned(&self) -> Result<(), NotPinned> {
        let is_kprobe = |hook: &Attach| matches!(hook.kind, AttachKind::Kprobe | AttachKind::Kretprobe);
        // aya attaches a kprobe by a link where the kernel has such links.
        if aya::features().bpf_perf_link() {
            return Ok(());
        }
        let kprobes: Vec<_> = self.links.iter().map(|(hook, _)| *hook).filter(is_kprobe).collect();
        if kprobes.is_empty() { Ok(()) } else { Err(NotPinned(kprobes)) }
    }

    /// Pins maps and links. The maps must not have been taken. From here on the programs stay when this process ends.
    ///
    /// # Errors
    /// The kernel refuses one.
    pub fn pin(&mut self, pins: &Pins) -> Result<(), PinError> {
        for (name, map) in &self.maps {
            let path = pins.map(name);
            map.pin(&path).map_err(|error| PinError::Failed { path, why: chain(&error) })?;
        }
        let Some(ebpf) = &mut self.ebpf else { return Ok(()) };
        for (hook, link) in self.links.drain(..) {
            let path = pins.link(hook.program);
            let failed = |why| PinError::Failed { path: path.clone(), why };
            let link = take_link(ebpf, hook.program, link).map_err(|error| failed(chain(&*error)))?;
            // What it gives back may go: the pin keeps the link.
            link.pin(&path).map(drop).map_err(|error| failed(chain(&error)))?;
        }
        Ok(())
    }

    /// What this session tells the next one through the maps for that.
    ///
    /// # Errors
    /// They cannot be used, or were taken before.
    pub fn keeper(&mut self, held: Held) -> Result<Keeper, LoadError> {
        let failed = |name| move |error| LoadError::Map { name, error };
        let mut take = |name| self.maps.remove(name).ok_or_else(|| failed(name)(None));
        let (words, told) = (take(map::HELD)?, take(map::TOLD)?);
        Ok(Keeper {
            words: Array::try_from(words).map_err(Some).map_err(failed(map::HELD))?,
            told: HashMap::try_from(told).map_err(Some).map_err(failed(map::TOLD))?,
            saved: BTreeMap::new(),
            held,
        })
    }
}

fn take_link(
    ebpf: &mut Ebpf,
    program: &str,
    link: LinkId,
) -> Result<FdLink, Box<dyn std::error::Error + Send + Sync>> {
    let program = ebpf.program_mut(program).ok_or(ProgramError::NotLoaded)?;
    Ok(match (program, link) {
        (Program::FEntry(program), LinkId::Fentry(link)) => program.take_link(link)?.into(),
        (Program::FExit(program), LinkId::Fexit(link)) => program.take_link(link)?.into(),
        (Program::RawTracePoint(program), LinkId::RawTracepoint(link)) => program.take_link(link)?.into(),
        (Program::KProbe(program), LinkId::Kprobe(link)) => program.take_link(link)?.try_into()?,
        _ => return Err(LinkError::InvalidLink.into()),
    })
}

/// Tells the next session what this one has told.
pub struct Keeper {
    words: Array<MapData, [u64; HELD_WORDS]>,
    told: HashMap<MapData, [u64; 4], [u64; 3]>,
    /// What is in `told`.
    saved: BTreeMap<FailureKey, Counted>,
    held: Held,
}

impl Keeper {
    /// Failures that the earlier session has told, by kind. They are noted as this session's.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn earlier(&mut self) -> Result<Vec<(FailureKey, Counted)>, MapError> {
        let all = failures_told(&self.told)?;
        self.saved = all.iter().copied().collect();
        Ok(all)
    }

    #[must_use]
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Writes what is `held` from now on, if it differs.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn hold(&mut self, held: Held) -> Result<(), MapError> {
        if held != self.held {
            self.held = held;
            self.write()?;
        }
        Ok(())
    }

    /// Writes what is held.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn write(&mut self) -> Result<(), MapError> {
        self.words.set(0, self.held.words(), 0)
    }

    /// Writes up to which counts failures have been told, where that differs.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn told(&mut self, now: BTreeMap<FailureKey, Counted>) -> Result<(), MapError> {
        for key in self.saved.keys().filter(|key| !now.contains_key(key)) {
            match self.told.remove(&words_of(key)) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error),
            }
        }
        for (key, counted) in now.iter().filter(|(key, counted)| self.saved.get(key) != Some(counted)) {
            let Counted { since_ns, total, sent_ns } = *counted;
            self.told.insert(words_of(key), [sent_ns, total, since_ns], 0)?;
        }
        self.saved = now;
        Ok(())
    }
}

fn words_of(key: &FailureKey) -> [u64; 4] {
    [key.cgroup_id, key.format_address, key.argument, u64::from(key.gfp)]
}

/// What a map of told failures has.
pub(super) fn failures_told(
    told: &HashMap<MapData, [u64; 4], [u64; 3]>,
) -> Result<Vec<(FailureKey, Counted)>, MapError> {
    let entries = told.iter().map(|entry| {
        let ([cgroup_id, format_address, argument, gfp], [sent_ns, total, since_ns]) = entry?;
        // The upper half is padding.
        let key = FailureKey { cgroup_id, format_address, argument, gfp: gfp as u32, pad: 0 };
        Ok((key, Counted { since_ns, total, sent_ns }))
    });
    entries.filter(|entry| !matches!(entry, Err(MapError::KeyNotFound))).collect()
}
