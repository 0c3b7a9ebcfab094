//! What a tool takes of memory: its own pages, what it maps of BPF's, and all that is charged for it.

use std::fs;

use anyhow::{Context as _, Result};

use super::Figures;
use super::tool::{Tool, number};

/// Adds its memory now; names of figures begin with `when`.
pub fn measure(tool: &mut Tool, when: &str, figures: &mut Figures) -> Result<()> {
    let pid = tool.pid();
    let status = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&status).with_context(|| format!("cannot read {status}"))?;
    let smaps = format!("/proc/{pid}/smaps");
    let smaps = fs::read_to_string(&smaps).with_context(|| format!("cannot read {smaps}"))?;
    let mut put = |name: &str, bytes: u64| figures.insert(format!("{when}_{name}_bytes"), bytes.into());
    put("peak_rss", field(&status, "VmHWM:").context("no peak")?);
    put("rss", field(&status, "VmRSS:").context("no resident memory")?);
    put("anon", field(&status, "RssAnon:").context("no anonymous memory")?);
    put("buffers", buffers(&smaps));
    // Also of the kernel: maps, programs, the pipe.
    put("charged", number(&tool.cgroup.join("memory.current"))?);
    // Not before 5.19.
    if let Ok(bytes) = number(&tool.cgroup.join("memory.peak")) {
        put("charged_peak", bytes);
    }
    Ok(())
}

/// Anonymous memory of a process.
pub fn anon_bytes(pid: u32) -> Result<u64> {
    let status = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&status).with_context(|| format!("cannot read {status}"))?;
    field(&status, "RssAnon:").context("no anonymous memory")
}

/// A size of `/proc/PID/status`.
fn field(status: &str, name: &str) -> Option<u64> {
    let kib = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(kib.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Resident memory of mapped rings of BPF and of perf events.
fn buffers(smaps: &str) -> u64 {
    let (mut sum, mut counts) = (0, false);
    for line in smaps.lines() {
        // The line that begins a mapping has its addresses first, in lower case.
        if line.starts_with(|c: char| c.is_ascii_digit() || c.is_ascii_lowercase()) {
            counts = line.contains("anon_inode:bpf-map") || line.contains("anon_inode:[perf_event]");
        } else if counts && let Some(bytes) = field(line, "Rss:") {
            sum += bytes;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_told_apart_from_a_tools_own_memory() {
        let smaps = "55a0-55b0 r--p 0 00:02 9 /bin/tool\nRss:  64 kB\n\
                     7fa0-7fb0 rw-s 0 00:0d 7 anon_inode:bpf-map\nSize: 8 kB\nRss:  8 kB\nPss: 8 kB\n\
                     7fc0-7fd0 rw-s 0 00:0d 8 anon_inode:[perf_event]\nRss:  4 kB\n\
                     7fe0-7ff0 rw-p 0 00:00 0 [stack]\nRss:  16 kB\n";
        assert_eq!(buffers(smaps), 12 << 10);
        assert_eq!(field("VmHWM:\t    1200 kB\nVmRSS:\t  800 kB\n", "VmRSS:"), Some(800 << 10));
    }
}
