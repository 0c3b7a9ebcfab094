//! Facts that the report needs about the machine of the events.

use crate::gfp::GfpNames;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The kernel's id of the boot that the events belong to.
    pub boot_id: String,
    /// Size of a page.
    pub page_size_bytes: u64,
    /// `CLOCK_REALTIME` less `CLOCK_BOOTTIME`. It changes when the wall clock is set.
    pub realtime_offset_ns: i64,
    /// The memory controller is on cgroup v1, whose limit of swap is one of memory and swap together. `None` if that is not
    /// known.
    pub memory_cgroup_v1: Option<bool>,
    /// Names of the allocation flags.
    pub gfp: GfpNames,
}

impl Context {
    /// The id of an incident.
    #[must_use]
    pub fn id(&self, ktime_ns: u64, cpu: u32) -> String {
        format!("{}-{ktime_ns}-{cpu}", self.boot_id)
    }

    /// A time of `CLOCK_BOOTTIME` as UTC, RFC 3339 with nine fractional digits.
    #[must_use]
    pub fn time(&self, ktime_ns: u64) -> String {
        let since_epoch_ns = i128::from(ktime_ns) + i128::from(self.realtime_offset_ns);
        // The sum is between the years 1677 and 2847, which jiff can represent: the other branch is never taken.
        let time = jiff::Timestamp::from_nanosecond(since_epoch_ns).unwrap_or(jiff::Timestamp::MAX);
        format!("{time:.9}")
    }
}
