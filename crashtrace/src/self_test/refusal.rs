//! PURE: why the kernel side is unreliable, by the results of the self-test, and what to do about it.

use super::{SelfTestError, SelfTestReport, Wrong};
use crate::kernel::host::HostFacts;
use crate::kernel::load::chain;
use crate::kernel::plan::{Refusal, and_more};
use crate::schema::BtfSource;

/// Facts that every kernel has: a BTF file without them cannot be judged.
const NEEDED: [&str; 3] = ["process id", "name of the process", "start time"];

/// The self-test could not run.
#[must_use]
pub fn untried(error: &SelfTestError, facts: &HostFacts) -> Refusal {
    let hindrance = match error {
        SelfTestError::Load(error) => error.hindrance(),
        SelfTestError::Program { .. } | SelfTestError::Other(_) => None,
    };
    let (reason, remedy) = hindrance.unwrap_or_else(|| {
        let remedy = "allow bpf() to this process: a seccomp profile or a security module may stand in the way (in a \
                      pod: `securityContext.privileged: true`)";
        (chain(error), remedy.to_owned())
    });
    let path = &facts.btf.path;
    refuse(format!("what it reads by the BTF in {path} cannot be tried on this process: {reason}"), remedy)
}

/// This process was misread, or a BTF file has too little for the self-test.
#[must_use]
pub fn misread(report: &SelfTestReport, facts: &HostFacts) -> Option<Refusal> {
    let path = &facts.btf.path;
    let release = facts.release.as_deref().unwrap_or("unknown");
    let another = if facts.kernel_btf.error.is_some() {
        format!("name the BTF file of this very kernel, {release}, with --btf FILE")
    } else {
        "leave --btf out: the kernel's own BTF is there".to_owned()
    };
    if let [first, rest @ ..] = report.wrong.as_slice() {
        let Wrong { fact, read, is } = first;
        let more = and_more(rest.len(), "are wrong");
        return Some(refuse(
            format!(
                "by the BTF in {path} this process is misread: {fact} is {is}, and was read as {read}{more}"
            ),
            match facts.btf_source {
                BtfSource::Kernel => format!(
                    "report kernel {release} with the output of `crashtrace doctor`: it is not laid out as its BTF says"
                ),
                _ => another,
            },
        ));
    }
    let lacking = NEEDED.iter().find(|fact| !report.right.iter().any(|right| right == **fact))?;
    // The kernel's own BTF may lack a field that a new kernel has renamed; a file without other evidence may not.
    (facts.btf_source == BtfSource::FileAlone).then(|| {
        refuse(
            format!(
                "the BTF in {path} does not tell where {lacking} is, so it cannot be tried on this process"
            ),
            another,
        )
    })
}

fn refuse(why: String, remedy: String) -> Refusal {
    Refusal { what: "watch this kernel".to_owned(), why, remedy }
}
