//! The kernel side's counters.

use aya::maps::{HashMap, MapData, MapError, PerCpuArray};
use crashtrace_ebpf::FailureKey;
use crashtrace_ebpf::counter::Counts;

use crate::event::Counted;

pub struct KernelCounters {
    pub(super) counters: PerCpuArray<MapData, u64>,
    /// [`FailureKey`] and [`FailureCount`](crashtrace_ebpf::FailureCount), as raw words.
    pub(super) failures: HashMap<MapData, [u64; 4], [u64; 3]>,
}

const _: () = assert!(size_of::<FailureKey>() == 32 && size_of::<crashtrace_ebpf::FailureCount>() == 24);

impl KernelCounters {
    /// Their values, summed over the CPUs, by [`counter`](crashtrace_ebpf::counter).
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn read(&self) -> Result<Counts, MapError> {
        let mut sums = Counts::default();
        for (index, sum) in (0..).zip(&mut sums) {
            *sum = self.counters.get(&index, 0)?.iter().copied().fold(0, u64::saturating_add);
        }
        Ok(sums)
    }

    /// How many allocations have failed, by kind. A kind that the kernel side evicts during the read may be missing.
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
