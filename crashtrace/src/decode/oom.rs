//! The records of OOM decisions and victims, of OOMs without a victim, and of the holders of memory.

use crashtrace_ebpf as abi;
use crashtrace_ebpf::missing;

use super::{DecodeError, Machine, Reader, lineage, name, possible, stack, task};
use crate::event::{
    Constraint, LimitMemory, NoKill, OomControl, OomDecision, OomHolders, OomNoVictim, OomVictim, Stamp,
};

pub(super) fn decision(
    reader: &mut Reader,
    stamp: Stamp,
    lacks: u32,
    machine: &Machine,
) -> Result<Box<OomDecision>, DecodeError> {
    let (totalpages, points) = (reader.u64()?, reader.i64()?);
    let (gfp, order, constraint, flags) = (reader.u32()?, reader.i32()?, reader.u32()?, reader.u32()?);
    let control = OomControl {
        total_bytes: totalpages.saturating_mul(machine.page_size_bytes),
        points_bytes: points.saturating_mul(machine.page_size_bytes.cast_signed()),
        gfp,
        order: order_of(possible::order(order)?),
        constraint: match constraint {
            0 => Constraint::None,
            1 => Constraint::Cpuset,
            2 => Constraint::Mempolicy,
            3 => Constraint::Memcg,
            other => Constraint::Other(other),
        },
        memcg: flags & abi::decision_flag::MEMCG != 0,
        zonelist: flags & abi::decision_flag::ZONELIST != 0,
    };
    let message = name(&reader.take(abi::MESSAGE_BYTES)?);
    let trigger = task::task(reader, machine)?;
    let victim = task::task(reader, machine)?;
    let stack = stack::<{ abi::STACK_FRAMES }>(reader, lacks, machine)?;
    let mut sections = lineage::sections(reader, machine)?;
    Ok(Box::new(OomDecision {
        stamp,
        control: (lacks & missing::OOM_CONTROL == 0).then_some(control),
        message: (lacks & missing::MESSAGE == 0).then_some(message),
        trigger,
        trigger_cgroups: sections.take(abi::section::TRIGGER),
        victim: (lacks & missing::VICTIM == 0).then_some(victim),
        victim_cgroups: sections.take(abi::section::VICTIM),
        limit_cgroups: sections.take(abi::section::LIMIT),
        limit_memory: sections.take_memcg(),
        victim_memory: sections.take_memcg(),
        stack,
    }))
}

pub(super) fn victim(
    reader: &mut Reader,
    stamp: Stamp,
    machine: &Machine,
) -> Result<Box<OomVictim>, DecodeError> {
    let task = task::task(reader, machine)?;
    let marker_tid = reader.u32()?;
    reader.u32()?;
    let mut sections = lineage::sections(reader, machine)?;
    let in_decision = sections.is_in_decision(abi::section::VICTIM);
    let cgroups = sections.take(abi::section::VICTIM);
    Ok(Box::new(OomVictim { stamp, task, cgroups, in_decision, marker_tid }))
}

pub(super) fn no_victim(
    reader: &mut Reader,
    stamp: Stamp,
    why: NoKill,
    lacks: u32,
    machine: &Machine,
) -> Result<Box<OomNoVictim>, DecodeError> {
    let repeats = reader.u64()?;
    let (gfp, order, flags, _) = (reader.u32()?, reader.i32()?, reader.u32()?, reader.u32()?);
    let has_request = lacks & missing::REQUEST == 0;
    if has_request {
        possible::order(order)?;
    }
    let trigger = task::task(reader, machine)?;
    let stack = stack::<{ abi::STACK_FRAMES }>(reader, lacks, machine)?;
    let mut sections = lineage::sections(reader, machine)?;
    Ok(Box::new(OomNoVictim {
        stamp,
        why,
        repeats,
        gfp: has_request.then_some(gfp),
        order: order_of(order).filter(|_| has_request),
        memcg: flags & abi::decision_flag::MEMCG != 0,
        trigger,
        trigger_cgroups: sections.take(abi::section::TRIGGER),
        limit_cgroups: sections.take(abi::section::LIMIT),
        limit_memory: sections.take_memcg(),
        stack,
    }))
}

pub(super) fn holders(
    reader: &mut Reader,
    stamp: Stamp,
    machine: &Machine,
) -> Result<Box<OomHolders>, DecodeError> {
    let (least, small_pages) = (reader.u64()?, reader.u64()?);
    let (small, looked_at, total) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let (count, left_out, flags) = (reader.u32()?, reader.u32()?, reader.u32()?);
    if count as usize > abi::MAX_HOLDERS {
        return Err(DecodeError::Impossible { what: "number of holders", value: count.into() });
    }
    let bytes = |pages: u64| pages.saturating_mul(machine.page_size_bytes);
    let holders = (0..count).map(|_| lineage::holder(reader, machine)).collect::<Result<_, _>>()?;
    let removed = lineage::sections(reader, machine)?.removed;
    Ok(Box::new(OomHolders {
        stamp,
        least_bytes: bytes(least),
        holders,
        left_out,
        small,
        small_bytes: bytes(small_pages),
        looked_at,
        total: (flags & abi::holders_flag::NO_TOTAL == 0).then_some(total),
        unfinished: flags & abi::holders_flag::UNFINISHED != 0,
        time_up: flags & abi::holders_flag::TIME_UP != 0,
        of_limit: flags & abi::holders_flag::OF_LIMIT != 0,
        removed_small: removed.map(|removed| (removed.small, bytes(removed.small_pages))),
    }))
}

/// The memory of the limit owner, and of the victim's own memcg.
pub(super) fn memory(reader: &mut Reader, machine: &Machine) -> Result<LimitMemory, DecodeError> {
    let mut sections = lineage::sections(reader, machine)?;
    Ok(LimitMemory { limit: sections.take_memcg(), victim: sections.take_memcg() })
}

/// sysrq allocates no page and has -1.
fn order_of(order: i32) -> Option<u32> {
    u32::try_from(order).ok()
}
