//! crashtrace beside what a user would run instead, in one guest: each tool that Debian ships and that tells of OOM kills.

use std::path::PathBuf;

use super::libraries;
use crate::arch::Arch;
use crate::guest::initramfs::GuestFile;
use crate::{debian, files};
use anyhow::{Context as _, Result, bail};

/// A tool that tells of OOM kills.
pub(super) struct Tool {
    pub(super) name: &'static str,
    /// Debian's packages with it and its libraries; none if it is built here.
    packages: &'static [&'static str],
    /// Its programs and what is preloaded: paths in the packages and in the guest. Their libraries are found.
    programs: &'static [(&'static str, &'static str)],
    /// Its other files, likewise.
    scripts: &'static [(&'static str, &'static str)],
    /// As a user would start it.
    command: &'static str,
    /// How its start, and its victims, are known: arguments of `scenario bench`.
    told_by: &'static str,
}

/// The first is crashtrace; ratios are to the best of the others.
const TOOLS: &[Tool] = &[
    Tool {
        name: "crashtrace",
        packages: &[],
        programs: &[],
        scripts: &[],
        command: "/bin/crashtrace watch --output json",
        told_by: r"--ready agent_started",
    },
    Tool {
        name: "oomkill",
        packages: &["libbpf-tools", "libc6", "libelf1", "zlib1g", "coreutils"],
        programs: &[
            ("usr/sbin/oomkill", "/bin/oomkill"),
            ("usr/libexec/coreutils/libstdbuf.so", "/lib/libstdbuf.so"),
        ],
        scripts: &[],
        command: "/bin/oomkill",
        // Its own output is buffered in blocks: without this no line could be read before 4 KiB have come together.
        told_by: "--preload /lib/libstdbuf.so --ready 'Tracing OOM kills' --victim-after 'OOM kill of PID '",
    },
    Tool {
        name: "bpftrace",
        packages: &[
            "bpftrace",
            "libbpf1",
            "libbpfcc",
            "libc6",
            "libclang1-14",
            "libdw1",
            "libelf1",
            "libgcc-s1",
            "libllvm14",
            "libstdc++6",
            "libbz2-1.0",
            "libedit2",
            "libbsd0",
            "libmd0",
            "libffi8",
            "libtinfo6",
            "libxml2",
            "libicu72",
            "liblzma5",
            "libz3-4",
            "zlib1g",
        ],
        programs: &[("usr/bin/bpftrace", "/bin/bpftrace")],
        scripts: &[("usr/sbin/oomkill.bt", "/bin/oomkill.bt")],
        command: "/bin/bpftrace -B line /bin/oomkill.bt",
        told_by: "--ready 'Tracing oom_kill_process' --victim-after 'OOM kill of PID '",
    },
    Tool {
        name: "dmesg",
        packages: &["util-linux", "libc6", "libtinfo6"],
        programs: &[("bin/dmesg", "/usr/bin/dmesg")],
        scripts: &[],
        command: "/usr/bin/dmesg -w",
        // It tells nothing of itself: its start is the last line of the log that it finds.
        told_by: "--ready 'bench begins' --ready-in-kernel-log --victim-after 'Killed process '",
    },
];

/// What is measured of a tool; the same words as `scenario bench --of`.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Part {
    /// Start, memory, idle wakeups, line after last touch, CPU per event, stop.
    Basics,
    /// Of 500 kills, 8 at a time.
    Loss500,
    /// Of 5,000.
    Loss5000,
    /// Of 2,000 while it is stopped.
    Stall,
    /// Of 1,000, while it is killed and started again.
    Restart,
}

impl Part {
    const ALL: [Self; 5] = [Self::Basics, Self::Loss500, Self::Loss5000, Self::Stall, Self::Restart];

    fn name(self) -> &'static str {
        match self {
            Self::Basics => "basics",
            Self::Loss500 => "loss500",
            Self::Loss5000 => "loss5000",
            Self::Stall => "stall",
            Self::Restart => "restart",
        }
    }
}

/// Loads the libraries.
const LOADER: &str = "ld-linux-x86-64.so.2";

/// The tools with these names, or all.
pub(super) fn named(names: &[String]) -> Result<Vec<&'static Tool>> {
    if let Some(unknown) = names.iter().find(|name| TOOLS.iter().all(|tool| tool.name != **name)) {
        let known: Vec<_> = TOOLS.iter().map(|tool| tool.name).collect();
        bail!("there is no tool {unknown}: the tools are {}", known.join(", "));
    }
    Ok(TOOLS.iter().filter(|tool| names.is_empty() || names.iter().any(|name| name == tool.name)).collect())
}

/// Their files for the guest, which are fetched where they are missing.
pub(super) fn files(tools: &[&Tool]) -> Result<Vec<GuestFile>> {
    let mut all: Vec<GuestFile> = Vec::new();
    for tool in tools.iter().filter(|tool| !tool.packages.is_empty()) {
        let home = files::vm_dir().join(format!("tool-{}", tool.name));
        let home = debian::unpacked(&home, Arch::X86_64, tool.packages)
            .with_context(|| format!("no {} for the guest", tool.name))?;
        let mut of_tool: Vec<(PathBuf, String)> = Vec::new();
        for (place, _) in tool.programs {
            for name in libraries::of(&home.join(place), &home)? {
                of_tool.push((libraries::find(&name, &home)?, format!("/lib/x86_64-linux-gnu/{name}")));
            }
        }
        of_tool.extend(
            tool.programs
                .iter()
                .chain(tool.scripts)
                .map(|(place, guest)| (home.join(place), (*guest).to_owned())),
        );
        // A program's header names it by this path.
        of_tool.push((libraries::find(LOADER, &home)?, format!("/lib64/{LOADER}")));
        for (host, guest) in of_tool {
            if !all.iter().any(|file| file.guest == guest) {
                all.push(GuestFile { guest, host, mode: 0o755 });
            }
        }
    }
    Ok(all)
}

/// What the guest needs for these files: they are in it twice while it unpacks them.
pub(super) fn memory_mib(files: &[GuestFile]) -> Result<u32> {
    let mut bytes = 0;
    for file in files {
        bytes += file.host.metadata().with_context(|| format!("cannot read {}", file.host.display()))?.len();
    }
    Ok(u32::try_from((2 * bytes) >> 20)?)
}

/// Lines of the guest's command.
pub(super) fn script(tools: &[&Tool], parts: &[Part]) -> Vec<String> {
    let parts: Vec<_> = Part::ALL
        .iter()
        .filter(|part| parts.is_empty() || parts.contains(part))
        .map(|part| part.name())
        .collect();
    let line = |tool: &&Tool| {
        let Tool { name, told_by, command, .. } = tool;
        format!("/bin/scenario bench --label {name} --of {} {told_by} -- {command}", parts.join(","))
    };
    tools.iter().map(line).collect()
}

/// The line that replays many incidents.
pub(super) const REPLAY: &str =
    "/bin/scenario replay --label crashtrace -- /bin/crashtrace replay --output json -";

/// How the result of a soak begins.
pub(super) const SOAKED: &str = r#"{"pass":"#;

/// The line that lets an agent watch storms for so many minutes.
pub(super) fn soak(minutes: u32) -> String {
    format!("/bin/scenario soak --minutes {minutes} -- /bin/crashtrace watch --output json")
}
