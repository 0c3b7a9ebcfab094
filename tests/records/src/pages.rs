//! Zones and failed allocations.

use crashtrace_ebpf::{
    AllocFailure, FAILURE_STACK_FRAMES, FORMAT_BYTES, FailureKey, NO_TYPE, Section, VMALLOC_BYTES,
    VmallocArea, ZONE_NAME_BYTES, Zone, ZonesHead, failure_flag, hook, section, zone_missing,
};

use super::{Body, Record, cgroups, process, record, task, text, words};

/// The section of zones. Its length and the number of its zones are filled in by [`Record::bytes`].
#[derive(Clone, Debug, Default)]
pub struct Zones {
    pub section: Section,
    pub head: ZonesHead,
    pub list: Vec<Zone>,
}

impl Zones {
    pub(super) fn bytes(&self, out: &mut Vec<u8>) {
        let mut tail = self.head.zone_types.to_vec();
        put!(tail, self.head, cma_type, orders);
        tail.extend_from_slice(&self.head.pad);
        for of in &self.list {
            zone(of, &mut tail);
        }
        let length = (size_of::<Section>() + tail.len()) as u32;
        let section =
            Section { kind: section::ZONES, levels: self.list.len() as u16, length, ..self.section };
        put!(out, section, kind, levels, flags, skipped, length, joins, joined_at);
        out.extend_from_slice(&tail);
    }
}

fn zone(zone: &Zone, out: &mut Vec<u8>) {
    put!(out, zone, free_pages, free_cma_pages, reserved_highatomic_pages, free_highatomic_pages);
    words(&zone.watermark_pages, out);
    put!(out, zone, boost_pages);
    words(&zone.lowmem_reserve_pages.map(i64::cast_unsigned), out);
    put!(out, zone, managed_pages);
    words(&zone.free_blocks, out);
    out.extend_from_slice(&zone.block_types);
    out.extend_from_slice(&zone.name);
    put!(out, zone, numa_node, missing);
}

pub(super) fn vmalloc(area: &VmallocArea, out: &mut Vec<u8>) {
    let section = Section { kind: section::VMALLOC, length: VMALLOC_BYTES as u32, ..Section::default() };
    put!(out, section, kind, levels, flags, skipped, length, joins, joined_at);
    put!(out, area, size_bytes, requested_bytes, flags, pages);
}

pub(super) fn failure(body: &AllocFailure, out: &mut Vec<u8>) {
    put!(out, body.key, cgroup_id, format_address, argument, gfp, pad);
    put!(out, body, since_ns, total, sent_ns, nodemask, mems_allowed, migrate_type, numa_node, flags, pad);
    out.extend_from_slice(&body.format);
    task(&body.trigger, out);
    words(&body.stack, out);
}

/// A zone of 1 GiB with `free` pages in blocks of one page, of which it must keep 1000.
pub fn zone_of(name: &[u8], numa_node: u32, free: u64) -> Zone {
    let mut zone = Zone {
        free_pages: free.cast_signed(),
        watermark_pages: [1000, 1250, 1500],
        managed_pages: 1 << 18,
        name: text::<ZONE_NAME_BYTES>(name),
        numa_node,
        missing: zone_missing::CMA | zone_missing::FREE_HIGHATOMIC,
        ..Zone::default()
    };
    zone.free_blocks[0] = free;
    // Movable.
    zone.block_types[0] = 1 << 1;
    zone
}

/// The zones of a machine without CMA.
pub fn zones_of(list: Vec<Zone>) -> Zones {
    let head = ZonesHead { zone_types: [0, 1, 2, 3], cma_type: NO_TYPE, orders: 11, pad: [0; 2] };
    Zones { section: Section::default(), head, list }
}

/// The zones at the decision of that time.
pub fn oom_zones(ktime_ns: u64, cpu: u32) -> Record {
    let mut record = record(Body::Zones, ktime_ns + 400, cpu, hook::FENTRY);
    record.header.decision_ns = ktime_ns;
    record.zones = Some(zones_of(vec![zone_of(b"DMA32", 0, 900), zone_of(b"Normal", 0, 1003)]));
    record
}

/// The format by which `warn_alloc` logs a failed page allocation.
pub const PAGES_FORMAT: &[u8] = b"page allocation failure: order:%u";

/// A failed allocation of a process in `path`: of 2^9 pages, the `total`th of its kind, on a fragmented zone.
pub fn alloc_failure(ktime_ns: u64, cpu: u32, path: &[u8], total: u64) -> Record {
    let body = AllocFailure {
        key: FailureKey {
            cgroup_id: 8192,
            format_address: 0xffff_ffff_8234_5678,
            argument: 9,
            gfp: 0x4_0cc0,
            pad: 0,
        },
        since_ns: 50,
        total,
        sent_ns: ktime_ns,
        nodemask: 0,
        mems_allowed: 1,
        migrate_type: 0,
        numa_node: 0,
        flags: failure_flag::MEMS_ALLOWED,
        pad: 0,
        format: text::<FORMAT_BYTES>(PAGES_FORMAT),
        trigger: process(301, b"nginx", 2000),
        stack: [0; FAILURE_STACK_FRAMES],
    };
    Record {
        zones: Some(zones_of(vec![zone_of(b"DMA32", 0, 900), zone_of(b"Normal", 0, 9000)])),
        sections: vec![cgroups(section::TRIGGER, path, 8192)],
        ..record(Body::Failure(Box::new(body)), ktime_ns, cpu, hook::KPROBE)
    }
}
