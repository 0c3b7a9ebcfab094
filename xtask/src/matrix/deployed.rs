//! Checks of the agent in a container, as deploy/ runs it: `tests/judge/deployed.toml`.

use super::shape::Shape;
use crate::guest::initramfs::GuestFile;
use crate::guest::kernel::Spec;
use crate::guest::runc;
use crate::{exec, files, tools};
use anyhow::{Context as _, Result};
use std::fs;
use std::process::Command;

/// The folder of the manifests in guests.
const MANIFESTS: &str = "/deploy";

/// Whether such guests can run it. Other shapes make no difference to a container.
pub(crate) fn is_possible(kernel: &str, shape: Shape) -> bool {
    matches!(shape, Shape::V2 | Shape::V1) && Spec::labelled(kernel).is_ok_and(|spec| spec.arch == runc::ARCH)
}

/// The guest's commands. `hooks` are those of the agent on the host.
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

/// The names of the rendered manifests, and their folders in deploy/.
const FORMS: [(&str, &str); 2] = [("privileged", "deploy"), ("capabilities", "deploy/capabilities")];

/// Files for guests beside the programs.
pub(crate) fn files() -> Result<Vec<GuestFile>> {
    let mut files = runc::files()?;
    files.extend(manifests()?);
    Ok(files)
}

/// What `kubectl apply -k` would send: guests have no kubectl.
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
