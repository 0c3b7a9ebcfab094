//! The record of a failed allocation, and of the zones at a decision.

use crashtrace_ebpf::{self as abi, FailureKey, VmallocArea, failure_flag, missing};

use super::{DecodeError, Machine, Reader, lineage, name, possible, stack, task};
use crate::event::{
    AllocFailure, Asked, Counted, Hook, MigrateType, Name, NodeMemory, Stack, Stamp, VMALLOC, Vmalloc,
    VmallocStep, Zones,
};

/// Reads one.
pub(super) fn failure(
    reader: &mut Reader,
    stamp: Stamp,
    lacks: u32,
    machine: &Machine,
) -> Result<Box<AllocFailure>, DecodeError> {
    let key = FailureKey {
        cgroup_id: reader.u64()?,
        format_address: reader.u64()?,
        argument: reader.u64()?,
        gfp: reader.u32()?,
        pad: reader.u32()?,
    };
    let counted = Counted { since_ns: reader.u64()?, total: reader.u64()?, sent_ns: reader.u64()? };
    let (nodemask, mems_allowed) = (reader.u64()?, reader.u64()?);
    let (migrate_type, numa_node) = (reader.u32()?, reader.u32()?);
    let (flags, _) = (reader.u32()?, reader.u32()?);
    let format = name(&reader.take(abi::FORMAT_BYTES)?);
    let task = task::task(reader, machine)?;
    let stack = stack::<{ abi::FAILURE_STACK_FRAMES }>(reader, lacks, machine)?;
    let mut sections = lineage::sections(reader, machine)?;
    let format = (lacks & missing::FORMAT == 0).then_some(format);
    let area = sections.vmalloc.and_then(|area| Area::of(area, stamp.hook, machine));
    let (asked, vmalloc) = asked(key, format.as_ref(), stack.as_ref(), area);
    Ok(Box::new(AllocFailure {
        stamp,
        key,
        counted,
        asked,
        vmalloc,
        format,
        gfp: key.gfp,
        migrate_type: Some(match migrate_type {
            0 => MigrateType::Unmovable,
            1 => MigrateType::Movable,
            2 => MigrateType::Reclaimable,
            other => MigrateType::Other(other),
        }),
        // An empty mask is impossible, and means that only nodes above 63 are in it.
        nodemask: Some(nodemask).filter(|nodes| flags & failure_flag::NODEMASK != 0 && *nodes != 0),
        mems_allowed: Some(mems_allowed)
            .filter(|nodes| flags & failure_flag::MEMS_ALLOWED != 0 && *nodes != 0),
        numa_node,
        task,
        cgroups: sections.take(abi::section::TRIGGER),
        stack,
        zones: sections.zones.filter(possible::zones),
        unmovable: None,
    }))
}

/// Reads the section of zones; a record of zones without it is of a machine that has none.
pub(super) fn zones(
    reader: &mut Reader,
    machine: &Machine,
) -> Result<(Box<Zones>, Option<Box<NodeMemory>>), DecodeError> {
    let sections = lineage::sections(reader, machine)?;
    let zones = sections.zones.unwrap_or_default();
    if possible::zones(&zones) {
        Ok((Box::new(zones), sections.node))
    } else {
        Err(DecodeError::Impossible { what: "zone of memory, among so many", value: zones.list.len() as u64 })
    }
}

/// The area of a failed vmalloc.
#[derive(Clone, Copy)]
struct Area {
    asked_bytes: u64,
    got_bytes: Option<u64>,
}

impl Area {
    /// `None` if it had got all of it, which is no failure.
    fn of(area: VmallocArea, hook: Hook, machine: &Machine) -> Option<Self> {
        /// `include/linux/vmalloc.h`, 5.10 to 7.3.
        const VM_NO_GUARD: u64 = 0x40;
        let guard = if area.flags & VM_NO_GUARD == 0 { machine.page_size_bytes } else { 0 };
        let usable = area.size_bytes.checked_sub(guard).filter(|bytes| *bytes > 0)?;
        // The size before it was rounded up to pages.
        let asked_bytes =
            Some(area.requested_bytes).filter(|bytes| (1..=usable).contains(bytes)).unwrap_or(usable);
        // At the tracepoint it has not been counted yet, or has been counted as if all was there (5.10).
        let got_bytes = (hook != Hook::RawTracepoint)
            .then(|| area.pages.saturating_mul(machine.page_size_bytes))
            .filter(|got| *got <= usable);
        Some(Self { asked_bytes, got_bytes })
    }
}

/// What was allocated, and how far a vmalloc came. The tracepoint has no format, and is hit for pages only: the stack shows whose.
fn asked(
    key: FailureKey,
    format: Option<&Name>,
    stack: Option<&Stack>,
    area: Option<Area>,
) -> (Asked, Option<Vmalloc>) {
    const PAGES: &[u8] = b"page allocation failure: order:";
    // An order is an unsigned int, and the upper half of the register is undefined.
    let order = key.argument as u32;
    let pages = (Asked::Pages { order }, None);
    match format {
        None if key.format_address == 0 => {
            // A larger block is an attempt, after which vmalloc tries single pages.
            let of_vmalloc = stack.is_some_and(|stack| VMALLOC.iter().any(|function| stack.has(function)));
            if !of_vmalloc || order > 0 {
                return pages;
            }
            let vmalloc = Vmalloc { step: VmallocStep::Pages, got_bytes: None };
            (Asked::Vmalloc { bytes: area.map(|area| area.asked_bytes) }, Some(vmalloc))
        }
        Some(format) if format.0.starts_with(PAGES) => pages,
        Some(format) if format.0.starts_with(b"vmalloc") => vmalloc(key, &format.0, area),
        _ => (Asked::Other, None),
    }
}

/// A failed vmalloc by its message. If a page failed, its argument is what had been got, or what had been asked for (7.2), and the
/// message does not tell which: both are the area's.
fn vmalloc(key: FailureKey, format: &[u8], area: Option<Area>) -> (Asked, Option<Vmalloc>) {
    let has = |words: &[u8]| format.windows(words.len()).any(|part| part == words);
    let step = match () {
        // Of 6.1's longer format the record has no more ("..., page order %u, failed to allocate pages").
        () if has(b"failed to allocate page") || has(b"failure, allocated %") => VmallocStep::Pages,
        () if has(b"vm_struct allocation failed") || has(b"allocation failure: %lu bytes") => {
            VmallocStep::AddressSpace
        }
        () => VmallocStep::Other,
    };
    // The first placeholder takes the argument; only a size is long.
    let first = format.iter().position(|byte| *byte == b'%').and_then(|at| format.get(at..));
    let is_size = first.is_some_and(|rest| rest.starts_with(b"%lu") || rest.starts_with(b"%ld"));
    let argument = is_size.then_some(key.argument);
    let (bytes, got_bytes) = match (step, area) {
        (VmallocStep::Pages, Some(area)) => (Some(area.asked_bytes), area.got_bytes),
        (VmallocStep::Pages, None) => (None, None),
        (_, Some(area)) => (Some(area.asked_bytes), None),
        (_, None) => (argument, None),
    };
    (Asked::Vmalloc { bytes }, Some(Vmalloc { step, got_bytes }))
}
