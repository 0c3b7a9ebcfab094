//! An agent that is given another kernel's BTF refuses it: because the kernel's own BTF differs, and where that cannot be read,
//! because the self-test fails.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use crashtrace::kernel::host::KERNEL_BTF;
use crashtrace::kernel::layout::{KernelBtf, Layout};
use serde_json::Value;

use super::Found;
use crashtrace_judge::catalogue::Tier;
use crashtrace_test_support::agent::{Agent, Output};

/// BTF of two kernels with different layouts: at least one differs from the running kernel's.
#[cfg(target_arch = "x86_64")]
const OTHERS: [(&str, &[u8]); 2] = [
    ("5.10", include_bytes!("../../../fixtures/btf/x86_64-5.10.btf")),
    ("6.12", include_bytes!("../../../fixtures/btf/x86_64-6.12.btf")),
];
#[cfg(target_arch = "aarch64")]
const OTHERS: [(&str, &[u8]); 2] = [
    ("5.10", include_bytes!("../../../fixtures/btf/arm64-5.10.btf")),
    ("6.12", include_bytes!("../../../fixtures/btf/arm64-6.12.btf")),
];

/// The exit code of `crashtrace watch` on an unsupported kernel.
const UNUSABLE: i32 = 4;

pub(super) fn check(crashtrace: &Path, tier: Tier, guest: bool) -> Result<Found> {
    ensure!(guest, "would hide this machine's BTF: needs a guest (--guest)");
    let file = Path::new("/tmp/another.btf");
    let own = Layout::resolve(&KernelBtf::open(Path::new(KERNEL_BTF))?);
    let mut version = None;
    for (of, btf) in OTHERS {
        fs::write(file, btf).with_context(|| format!("cannot write {}", file.display()))?;
        if Layout::resolve(&KernelBtf::open(file)?) != own {
            version = Some(of);
            break;
        }
    }
    let version = version.context("no BTF fixture differs from this kernel's")?;
    let mut failures = Vec::new();
    let told = refused(crashtrace, tier, file, &["is another kernel's: ", "leave --btf out"])?;
    failures.extend(told.err());
    {
        let _hidden = Hidden::new()?;
        // Fentry needs the kernel's own BTF to attach.
        let words: &[&str] = match tier {
            Tier::Fentry => &["fentry"],
            Tier::Kprobe | Tier::Tracepoint => &["this process is misread: ", "of this very kernel"],
        };
        failures.extend(refused(crashtrace, tier, file, words)?.err());
    }
    Ok(Found { failures, details: Value::String(format!("BTF of {version}")) })
}

/// Checks that an agent with this BTF exits before its first line and logs these words.
fn refused(
    crashtrace: &Path,
    tier: Tier,
    btf: &Path,
    words: &[&str],
) -> Result<std::result::Result<(), String>> {
    let more = ["--btf".as_ref(), btf.as_os_str(), OsStr::new("--pods"), OsStr::new("none")];
    let mut agent = Agent::spawn_with(crashtrace, tier.name(), Output::Json, &more)?;
    let code = agent.ended_at_once()?;
    let log = agent.log();
    let said = words.iter().all(|words| log.contains(words));
    Ok(if code == Some(UNUSABLE) && said {
        Ok(())
    } else {
        Err(format!("exit code {code:?}, expected {UNUSABLE} and {words:?} in the log: {log}"))
    })
}

/// The kernel's own BTF, hidden until this is dropped.
struct Hidden;

impl Hidden {
    fn new() -> Result<Self> {
        let empty = "/tmp/empty.btf";
        fs::write(empty, "").with_context(|| format!("cannot write {empty}"))?;
        mount("mount", &["--bind", empty, KERNEL_BTF])?;
        Ok(Self)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Err(error) = mount("umount", &[KERNEL_BTF]) {
            eprintln!("scenario: {error:#}");
        }
    }
}

pub(super) fn mount(program: &str, args: &[&str]) -> Result<()> {
    let output =
        Command::new(program).args(args).output().with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(())
}
