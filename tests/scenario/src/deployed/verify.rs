//! Whether a running container is as its manifest says: read from the kernel, not from the runtime.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::container::Container;
use crate::privileges;
use crashtrace_judge::catalogue::Tier;

/// Bits of the capabilities that deploy/capabilities/ may give (`include/uapi/linux/capability.h`).
const BITS: [(&str, u32); 4] =
    [("CAP_SYS_RESOURCE", 24), ("CAP_SYSLOG", 34), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];

/// The namespaces in `/proc/PID/ns`, by their names in a configuration.
const NAMESPACES: [(&str, &str); 7] = [
    ("pid", "pid"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("mount", "mnt"),
    ("network", "net"),
    ("cgroup", "cgroup"),
    ("user", "user"),
];

/// The differences from the manifest.
pub fn faults(container: &Container, volumes: &[String]) -> Result<Vec<String>> {
    let pid = container.pid()?;
    let mut faults = Vec::new();
    let mut expect = |what: &str, expected: String, found: String| {
        if expected != found {
            faults.push(format!("{what}: expected {expected}, found {found}"));
        }
    };
    let config = &container.config;
    let status = read(pid, "status")?;
    let of_status = |label: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(label));
        line.map(|rest| rest.split_whitespace().collect::<Vec<_>>().join(" ")).unwrap_or_default()
    };
    let names = config["process"]["capabilities"]["bounding"].as_array().context("it has capabilities")?;
    let mut mask = 0_u64;
    for name in names {
        let bit =
            BITS.iter().find(|(known, _)| name == known).with_context(|| format!("which bit is {name}?"))?;
        mask |= 1 << bit.1;
    }
    // The capabilities it was given. It takes CAP_SETPCAP to reduce this set, which gives nothing to a process that has
    // no_new_privs.
    expect("CapBnd:", format!("{mask:016x}"), of_status("CapBnd:"));
    // The runtime's filter, and the agent's own two.
    expect("Seccomp_filters:", "3".to_owned(), of_status("Seccomp_filters:"));
    let uid = &config["process"]["user"]["uid"];
    expect("Uid:", [uid; 4].map(ToString::to_string).join(" "), of_status("Uid:"));
    // The agent's own doing, which takes CAP_SYS_RESOURCE.
    expect("oom_score_adj", "-999".to_owned(), read(pid, "oom_score_adj")?.trim().to_owned());
    let own = config["linux"]["namespaces"].as_array().context("it has namespaces")?;
    for (name, file) in NAMESPACES {
        let link = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{file}"));
        let is_own = link(&pid.to_string())? != link("self")?;
        let expected = own.iter().any(|namespace| namespace["type"] == name);
        expect(&format!("{name} namespace of its own"), expected.to_string(), is_own.to_string());
    }
    let mounts = config["mounts"].as_array().context("it has mounts")?;
    let mounts: Vec<_> = mounts.iter().filter_map(|mount| mount["destination"].as_str()).collect();
    let table = read(pid, "mountinfo")?;
    for line in table.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let (at, options) = (*words.get(4).context("a mount point")?, *words.get(5).context("its options")?);
        let known = |mount: &&str| at == *mount || at.starts_with(&format!("{mount}/"));
        if at != "/" && !mounts.iter().any(known) {
            faults.push(format!("{at} is mounted, and no manifest has it"));
        }
        if (at == "/" || volumes.iter().any(|volume| volume == at))
            && !options.split(',').any(|it| it == "ro")
        {
            faults.push(format!("{at} is not read-only: {options}"));
        }
    }
    for volume in volumes {
        if !table.lines().any(|line| line.split(' ').nth(4) == Some(volume)) {
            faults.push(format!("{volume} is not mounted"));
        }
    }
    // The capabilities that it has kept of those.
    faults.extend(privileges::faults(pid, crate::run::kernel()));
    Ok(faults)
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}

/// Which hooks an agent uses that takes the best, by its first line: on OOMs, and on failed allocations.
pub fn tiers(started: &Value) -> (Tier, Tier) {
    let has = |hook: &str| started["hooks"].as_array().is_some_and(|hooks| hooks.iter().any(|it| it == hook));
    let decision = |tier: &Tier| has(&format!("{}:oom_kill_process", tier.name()));
    let tier = [Tier::Fentry, Tier::Kprobe].into_iter().find(decision).unwrap_or(Tier::Tracepoint);
    (tier, if has("kprobe:warn_alloc") { tier } else { Tier::Tracepoint })
}
