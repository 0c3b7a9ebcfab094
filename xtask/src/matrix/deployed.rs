//! The part of the matrix that has the agent as deploy/ has it, in a container: `tests/scenario/deployed.toml`, which the program
//! that does it reads too.

use super::shape::Shape;
use crate::guest::initramfs::GuestFile;
use crate::guest::kernel::Spec;
use crate::guest::runc;
use crate::{exec, files, tools};
use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::fs;
use std::process::Command;

/// The file, as it was when this program was built.
const SOURCE: &str = include_str!("../../../tests/scenario/deployed.toml");

/// Where guests have the manifests.
const MANIFESTS: &str = "/deploy";

/// What there is to play and to check.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Deployed {
    /// Scenarios that are played before it and an agent that is run by hand beside it.
    pub(crate) scenarios: Vec<String>,
    #[serde(rename = "check")]
    pub(crate) checks: Vec<Check>,
}

/// Something that must hold of it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Check {
    pub(crate) name: String,
    /// What, in one line.
    pub(crate) about: String,
}

/// All of it.
pub(crate) fn all() -> Result<Deployed> {
    toml::from_str(SOURCE).context("tests/scenario/deployed.toml is not as it must be")
}

impl Deployed {
    /// The names of all checks.
    pub(crate) fn names(&self) -> Vec<String> {
        self.checks.iter().map(|check| check.name.clone()).collect()
    }
}

/// Whether such guests can have it. Two nodes make no difference to a container.
pub(crate) fn is_possible(kernel: &str, shape: Shape) -> bool {
    shape != Shape::Numa && Spec::of(kernel).is_ok_and(|spec| spec.arch == runc::ARCH)
}

/// What the guest runs for it, `hooks` being those of the agent by hand.
pub(super) fn script(scenarios: &[String], checks: &[String], hooks: &str) -> [String; 2] {
    let (scenarios, checks) = (scenarios.join(" "), checks.join(" "));
    [
        format!(
            "/bin/scenario run --guest --crashtrace /bin/crashtrace --deployed {MANIFESTS} --hooks {hooks} {scenarios} || status=1"
        ),
        format!(
            "/bin/scenario deployed --crashtrace /bin/crashtrace --manifests {MANIFESTS} {checks} || status=1"
        ),
    ]
}

/// The folders of deploy/ that are a form of it, by the names of what kubectl makes of them.
const FORMS: [(&str, &str); 2] = [("privileged", "deploy"), ("capabilities", "deploy/capabilities")];

/// What guests have for it beside the programs.
pub(crate) fn files() -> Result<Vec<GuestFile>> {
    let mut files = runc::files()?;
    files.extend(manifests()?);
    Ok(files)
}

/// What `kubectl apply -k` would send, for guests, which have no kubectl.
fn manifests() -> Result<Vec<GuestFile>> {
    let kubectl = tools::ensure_kubectl()?;
    let folder = files::vm_dir().join("manifests");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut files = Vec::new();
    for (name, of) in FORMS {
        let text = exec::output(Command::new(&kubectl).arg("kustomize").arg(files::root().join(of)))?;
        let host = folder.join(name).with_extension("yaml");
        fs::write(&host, text).with_context(|| format!("cannot write {}", host.display()))?;
        files.push(GuestFile { guest: format!("{MANIFESTS}/{name}.yaml"), host, mode: 0o644 });
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::catalogue;

    #[test]
    fn the_file_is_as_it_must_be() {
        let all = all().expect("it is");
        let scenarios = catalogue::all().expect("the catalogue");
        for name in &all.scenarios {
            assert!(scenarios.iter().any(|scenario| scenario.name == *name), "{name}");
        }
        for Check { name, about } in &all.checks {
            // The names become words of a shell's command line, and rows beside those of scenarios.
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert!(!about.is_empty() && !scenarios.iter().any(|scenario| scenario.name == *name), "{name}");
        }
    }

    #[test]
    fn guests_have_what_kubectl_makes_of_each_form() {
        let files = manifests().expect("they are there");
        for (name, privileged) in [("privileged", "privileged: true"), ("capabilities", "privileged: false")]
        {
            let file = files.iter().find(|file| file.guest == format!("/deploy/{name}.yaml")).expect(name);
            let text = fs::read_to_string(&file.host).expect("it can be read");
            assert!(text.contains("kind: DaemonSet") && text.contains(privileged), "{text}");
        }
    }

    #[test]
    fn it_is_for_guests_of_one_node_and_one_processor() {
        assert!(is_possible("5.10", Shape::V1) && is_possible("sid", Shape::V2));
        assert!(!is_possible("6.1", Shape::Numa) && !is_possible("arm64-6.12", Shape::V2));
    }
}
