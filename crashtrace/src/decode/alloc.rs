//! The record of a failed allocation, and of the zones at a decision.

use crashtrace_ebpf::{self as abi, FailureKey, failure_flag, missing};

use super::{DecodeError, Machine, Reader, lineage, name, possible, stack, task};
use crate::event::{AllocFailure, Asked, Counted, MigrateType, Name, NodeMemory, Stamp, Zones};

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
    Ok(Box::new(AllocFailure {
        stamp,
        key,
        counted,
        asked: asked(key, format.as_ref()),
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

/// The meaning of the argument after the format. The tracepoint has no format, and is hit for pages only.
fn asked(key: FailureKey, format: Option<&Name>) -> Asked {
    const PAGES: &[u8] = b"page allocation failure: order:";
    // An order is an unsigned int, and the upper half of the register is undefined.
    let order = key.argument as u32;
    match format {
        None if key.format_address == 0 => Asked::Pages { order },
        Some(format) if format.0.starts_with(PAGES) => Asked::Pages { order },
        Some(format) if format.0.starts_with(b"vmalloc") => {
            // The first placeholder takes the argument; only a size is long.
            let first = format.0.iter().position(|byte| *byte == b'%').and_then(|at| format.0.get(at..));
            let is_size = first.is_some_and(|rest| rest.starts_with(b"%lu"));
            Asked::Vmalloc { bytes: is_size.then_some(key.argument) }
        }
        _ => Asked::Other,
    }
}
