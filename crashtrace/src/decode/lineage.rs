//! The cgroups in a record's tail.

use std::collections::VecDeque;

use crashtrace_ebpf::{
    MAX_LEVELS, RemovedCgroups, Section, VmallocArea, joins, level_flag, section, section_flag,
};

use super::{DecodeError, Machine, Reader, memory, name, possible, zones};
use crate::event::{Holder, Level, Limit, Lineage, MemcgMemory, NodeMemory, Zones};

/// The sections of one record.
#[derive(Default)]
pub(super) struct Sections {
    cgroups: Vec<(u16, Lineage)>,
    /// Kind of the section whose levels are in the decision's record.
    in_decision: Option<u16>,
    memcgs: VecDeque<Box<MemcgMemory>>,
    pub(super) zones: Option<Zones>,
    pub(super) node: Option<Box<NodeMemory>>,
    pub(super) removed: Option<RemovedCgroups>,
    pub(super) vmalloc: Option<VmallocArea>,
}

impl Sections {
    /// The section of `kind`, if there is one.
    pub(super) fn take(&mut self, kind: u16) -> Option<Lineage> {
        let index = self.cgroups.iter().position(|(of, _)| *of == kind)?;
        Some(self.cgroups.swap_remove(index).1)
    }

    /// Whether the cgroups of the section of `kind` are those in the record of the decision.
    pub(super) fn is_in_decision(&self, kind: u16) -> bool {
        self.in_decision == Some(kind)
    }

    /// The levels of the section of `kind` from `at` on, and whether they do not reach the root.
    fn joined(&self, kind: u16, at: u16) -> Option<(&[Level], bool)> {
        let (_, whole) = self.cgroups.iter().find(|(of, _)| *of == kind)?;
        Some((whole.levels.get(usize::from(at)..)?, whole.incomplete))
    }

    /// The next memcg, in the order of the record.
    pub(super) fn take_memcg(&mut self) -> Option<Box<MemcgMemory>> {
        self.memcgs.pop_front()
    }

    /// Reads a section that is no list of cgroups; false if it is one.
    fn read(&mut self, kind: u16, body: &mut Reader, machine: &Machine) -> Result<bool, DecodeError> {
        match kind {
            section::NODE_MEMORY => self.node = Some(Box::new(memory::node(body, machine)?)),
            section::MEMCG_MEMORY => self.memcgs.push_back(Box::new(memory::memcg(body, machine)?)),
            section::REMOVED => {
                self.removed = Some(RemovedCgroups { small: body.u64()?, small_pages: body.u64()? });
            }
            section::VMALLOC => {
                self.vmalloc = Some(VmallocArea {
                    size_bytes: body.u64()?,
                    requested_bytes: body.u64()?,
                    flags: body.u64()?,
                    pages: body.u64()?,
                });
            }
            _ => return Ok(false),
        }
        match body.bytes.len() {
            0 => Ok(true),
            rest => Err(DecodeError::Impossible { what: "rest of a section, in bytes", value: rest as u64 }),
        }
    }
}

/// Reads all remaining sections.
pub(super) fn sections(reader: &mut Reader, machine: &Machine) -> Result<Sections, DecodeError> {
    let mut sections = Sections::default();
    while !reader.is_empty() {
        let (kind, count, flags, skipped) = (reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?);
        let (length, joins, at) = (reader.u32()? as usize, reader.u16()?, reader.u16()?);
        let impossible = |what, value: u64| DecodeError::Impossible { what, value };
        let body = length
            .checked_sub(size_of::<Section>())
            .ok_or_else(|| impossible("length of a section", length as u64))?;
        if kind == section::ZONES {
            let mut body = reader.sub_reader(body)?;
            sections.zones = Some(zones::read(&mut body, count, skipped)?);
            continue;
        }
        let mut body = reader.sub_reader(body)?;
        if sections.read(kind, &mut body, machine)? {
            continue;
        }
        if usize::from(count) > MAX_LEVELS {
            return Err(impossible("number of cgroup levels", count.into()));
        }
        let unified = flags & section_flag::UNIFIED != 0;
        let mut levels = (0..count).map(|_| level(&mut body, machine)).collect::<Result<Vec<_>, _>>()?;
        if !body.is_empty() {
            return Err(impossible("rest of a section, in bytes", body.bytes.len() as u64));
        }
        let mut incomplete = flags & section_flag::INCOMPLETE != 0;
        if joins == kind | joins::DECISION && levels.is_empty() {
            sections.in_decision = Some(kind);
        } else if joins != 0 {
            let joined =
                sections.joined(joins, at).filter(|(joined, _)| levels.len() + joined.len() <= MAX_LEVELS);
            let (joined, cut) =
                joined.ok_or_else(|| impossible("section that another joins", joins.into()))?;
            levels.extend_from_slice(joined);
            incomplete |= cut;
        }
        if !levels.is_empty() {
            sections.cgroups.push((kind, Lineage { levels, skipped, incomplete, unified }));
        }
    }
    Ok(sections)
}

/// Reads one holder.
pub(super) fn holder(reader: &mut Reader, machine: &Machine) -> Result<Holder, DecodeError> {
    let (parent, _) = (reader.u32()?, reader.u32()?);
    Ok(Holder { parent: (parent as usize).checked_sub(1), level: level(reader, machine)? })
}

fn level(reader: &mut Reader, machine: &Machine) -> Result<Level, DecodeError> {
    let (length, name_length, flags) = (reader.u16()?, reader.u16()?, reader.u32()?);
    let (cgroup_id, usage, max) = (reader.u64()?, reader.u64()?, reader.u64()?);
    let (swap_usage, swap_max) = (reader.u64()?, reader.u64()?);
    let padded = usize::from(length).checked_sub(size_of::<crashtrace_ebpf::Level>());
    let padded = padded
        .filter(|&padded| padded >= usize::from(name_length))
        .ok_or(DecodeError::Impossible { what: "length of a cgroup level", value: length.into() })?;
    let name = name(&reader.take(padded)?[..usize::from(name_length)]);

    let has = |bit: u32| flags & bit == 0;
    let bytes = |pages: u64| pages.saturating_mul(machine.page_size_bytes);
    Ok(Level {
        cgroup_id: has(level_flag::NO_ID).then_some(cgroup_id),
        name: has(level_flag::NO_NAME).then_some(name),
        root: flags & level_flag::ROOT != 0,
        usage_bytes: has(level_flag::NO_MEMORY).then(|| bytes(usage)).and_then(possible::size),
        limit: has(level_flag::NO_MEMORY).then(|| limit(max, machine)),
        swap_usage_bytes: has(level_flag::NO_SWAP).then(|| bytes(swap_usage)).and_then(possible::size),
        swap_limit: has(level_flag::NO_SWAP).then(|| limit(swap_max, machine)),
        oom_group: has(level_flag::NO_OOM_GROUP).then_some(flags & level_flag::OOM_GROUP != 0),
        oom_kill_disable: flags & level_flag::OOM_KILL_DISABLE != 0,
        removed: flags & level_flag::REMOVED != 0,
    })
}

/// `PAGE_COUNTER_MAX` (`include/linux/page_counter.h`) is `LONG_MAX / PAGE_SIZE` pages and means no limit.
fn limit(pages: u64, machine: &Machine) -> Limit {
    if pages >= i64::MAX.cast_unsigned() / machine.page_size_bytes.max(1) {
        Limit::Unlimited
    } else {
        Limit::Bytes(pages.saturating_mul(machine.page_size_bytes))
    }
}
