//! The kernels that guests boot, and how they are fetched.
//!
//! A kernel stays as it was fetched until its directory under `target/vm/kernels` is removed, so that a machine tests the same kernel
//! each time. Its package is recorded beside it and printed at each boot.

use super::modules::{self, Module};
use crate::arch::Arch;
use crate::cache::{cached, recorded};
use crate::debian::{self, BOOKWORM, Release, Repository, TRIXIE};
use crate::files;
use anyhow::{Context as _, Result};
use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

/// A kernel that guests can boot.
#[derive(Debug)]
pub(crate) struct Spec {
    /// Its name on the command line.
    pub(crate) label: &'static str,
    /// The release it comes from.
    pub(crate) release: &'static str,
    suites: &'static [(Repository, &'static str)],
    pub(crate) arch: Arch,
    /// The package's name is this, then the kernel's version, then the suffix.
    prefix: &'static str,
    /// Debian's build of this kernel. Cloud builds have serial ports built in and few drivers, and boot quickly.
    suffix: &'static str,
    /// The prefix of the modules' package, if there is one; the rest of its name is that of the image's.
    modules: Option<&'static str>,
}

const CLOUD_X86: &str = "-cloud-amd64";
const CLOUD_ARM: &str = "-cloud-arm64";

/// By processor, oldest first. To add a kernel, add a row.
pub(crate) const KERNELS: &[Spec] = &[
    Spec {
        label: "5.10",
        release: "bullseye",
        suites: &[(Repository::Main, "bullseye"), (Repository::Security, "bullseye-security")],
        prefix: "linux-image-5.10.",
        ..SPEC
    },
    Spec { label: "6.1", release: "bookworm", suites: BOOKWORM, prefix: "linux-image-6.1.", ..SPEC },
    Spec { label: "6.12", release: "trixie", suites: TRIXIE, prefix: "linux-image-6.12.", ..SPEC },
    // Not a cloud build, and preemptible nearly everywhere, BPF programs included.
    Spec {
        label: "6.12-rt",
        release: "trixie",
        suites: TRIXIE,
        prefix: "linux-image-6.12.",
        suffix: "-rt-amd64",
        ..SPEC
    },
    // The newest; image and modules are separate packages.
    Spec {
        label: "sid",
        release: "sid",
        suites: &[(Repository::Main, "sid")],
        prefix: "linux-binary-",
        modules: Some("linux-modules-"),
        ..SPEC
    },
    Spec {
        label: "arm64-6.1",
        release: "bookworm",
        suites: BOOKWORM,
        arch: Arch::Aarch64,
        prefix: "linux-image-6.1.",
        suffix: CLOUD_ARM,
        ..SPEC
    },
    Spec {
        label: "arm64-6.12",
        release: "trixie",
        suites: TRIXIE,
        arch: Arch::Aarch64,
        prefix: "linux-image-6.12.",
        suffix: CLOUD_ARM,
        ..SPEC
    },
];

/// The defaults of a row.
const SPEC: Spec = Spec {
    label: "",
    release: "",
    suites: &[],
    arch: Arch::X86_64,
    prefix: "",
    suffix: CLOUD_X86,
    modules: None,
};

/// The labels of all kernels.
pub(crate) fn labels() -> Vec<&'static str> {
    KERNELS.iter().map(|spec| spec.label).collect()
}

impl Spec {
    /// The kernel with this label.
    pub(crate) fn labelled(label: &str) -> Result<&'static Self> {
        KERNELS
            .iter()
            .find(|spec| spec.label == label)
            .with_context(|| format!("there is no kernel {label}: the labels are {}", labels().join(", ")))
    }

    /// The packages with the newest kernel of this line: the image's, then the modules', if any.
    fn packages(&self, names: &[String]) -> Option<Vec<String>> {
        let image = newest(self.prefix, self.suffix, names)?;
        let modules = self.modules.map(|prefix| image.replacen(self.prefix, prefix, 1));
        Some(std::iter::once(image.to_owned()).chain(modules).collect())
    }
}

#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) spec: &'static Spec,
    home: PathBuf,
    /// The package and its version.
    pub(crate) version: String,
}

/// The kernel with this label, which is fetched where it is missing.
pub(crate) fn fetch(label: &str) -> Result<Kernel> {
    let spec = Spec::labelled(label)?;
    let home = cached(&home(label), &files::vm_dir(), |staging| {
        let release = Release::open(spec.release, spec.suites, spec.arch)?;
        let packages = spec.packages(&release.names(spec.prefix)?).with_context(|| {
            format!(
                "{} has no package {}…{} any more: change KERNELS in {}",
                spec.release,
                spec.prefix,
                spec.suffix,
                file!()
            )
        })?;
        let mut unpacked = Vec::new();
        for package in packages {
            let version = release.unpack(&package, staging)?;
            unpacked.push(format!("{package} {version}"));
        }
        // Before the package is kept: it must have an image.
        fs::rename(image(staging)?, staging.join(IMAGE)).context("cannot move the image")?;
        Ok(unpacked.join(", "))
    })
    .with_context(|| format!("no kernel {label}"))?;
    Ok(Kernel { spec, version: recorded(&home)?, home })
}

impl Kernel {
    pub(crate) fn vmlinuz(&self) -> PathBuf {
        self.home.join(IMAGE)
    }

    /// The modules that a guest of this kernel loads. Most scenarios need none, so a missing module is only a warning.
    pub(crate) fn modules(&self) -> Vec<Module> {
        modules::zram(&self.home).unwrap_or_else(|error| {
            eprintln!("xtask: kernel {}: no zram in the guest: {error:#}", self.spec.label);
            Vec::new()
        })
    }
}

/// The file to which [`fetch`] moves the image: its path in the package depends on the release.
const IMAGE: &str = "vmlinuz";

/// Finds the image in an unpacked package.
fn image(unpacked: &Path) -> Result<PathBuf> {
    let entries =
        |dir: &str| fs::read_dir(unpacked.join(dir)).into_iter().flatten().flatten().map(|e| e.path());
    let is_image = |path: &Path| {
        path.is_file() && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
    };
    let in_boot = entries("boot").find(|path| is_image(path));
    let beside_modules =
        || entries("usr/lib/modules").map(|dir| dir.join("vmlinuz")).find(|path| is_image(path));
    in_boot.or_else(beside_modules).with_context(|| {
        format!(
            "no vmlinuz in boot or usr/lib/modules of {}: add its path to {}",
            unpacked.display(),
            file!()
        )
    })
}

/// The static busybox of guests with this processor.
pub(crate) fn busybox(arch: Arch) -> Result<PathBuf> {
    let home = match arch {
        Arch::X86_64 => "busybox".to_owned(),
        Arch::Aarch64 => format!("busybox-{}", arch.debian()),
    };
    let home = files::vm_dir().join(home);
    let home = debian::unpacked(&home, arch, &["busybox-static"]).context("no busybox for the guest")?;
    let places = ["usr/bin/busybox", "bin/busybox"].map(|place| home.join(place));
    let found = places.into_iter().find(|place| place.is_file());
    found.with_context(|| format!("{} has no busybox: remove it to fetch it again", home.display()))
}

/// The package of a kernel that was fetched.
pub(crate) fn version_here(label: &str) -> Option<String> {
    recorded(&home(label)).ok()
}

fn home(label: &str) -> PathBuf {
    files::vm_dir().join("kernels").join(label)
}

/// The package with the newest kernel whose name is the prefix, a version, and the suffix.
fn newest<'a>(prefix: &str, suffix: &str, names: &'a [String]) -> Option<&'a str> {
    let version = |name: &'a String| {
        let version = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
        // Not `unsigned-7.2…`, the same kernel, nor other words.
        version.starts_with(|first: char| first.is_ascii_digit()).then_some(version)
    };
    names
        .iter()
        .filter_map(|name| Some((name.as_str(), version(name)?)))
        .max_by(|(_, a), (_, b)| compare(a, b))
        .map(|(name, _)| name)
}

/// Orders versions: digits by their value, the rest by its letters.
fn compare(a: &str, b: &str) -> Ordering {
    parts(a).cmp(&parts(b))
}

fn parts(version: &str) -> Vec<(u64, &str)> {
    let is_digit = |c: char| c.is_ascii_digit();
    let mut rest = version;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(rest.find(|c| !is_digit(c)).unwrap_or(rest.len()));
        let (letters, after) = after.split_at(after.find(is_digit).unwrap_or(after.len()));
        parts.push((digits.parse().unwrap_or(0), letters));
        rest = after;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names as Debian's archives had them.
    const NAMES: &str = "
        linux-image-6.1-cloud-amd64
        linux-image-6.1.0-9-cloud-amd64
        linux-image-6.1.0-53-cloud-amd64-dbg
        linux-image-6.1.0-56-cloud-amd64-unsigned
        linux-image-6.1.0-56-cloud-amd64
        linux-image-6.1.0-56-amd64
        linux-image-6.1.0-60-cloud-arm64
        linux-image-6.1.0-55-cloud-amd64
        linux-image-6.1.0-57-rt-amd64
        linux-image-6.12-cloud-amd64
        linux-image-6.12.94+deb13-cloud-amd64
        linux-image-6.12.107+deb13-cloud-amd64
        linux-image-6.12.115+deb13-cloud-amd64-dbg
        linux-image-cloud-amd64
        linux-binary-7.2.13+deb14-cloud-amd64
        linux-binary-7.10.1+deb14-cloud-amd64
        linux-binary-unsigned-7.10.1+deb14-cloud-amd64
        linux-modules-7.10.1+deb14-cloud-amd64
        linux-image-6.12.116+deb13-rt-amd64
        linux-image-6.12.117+deb13-cloud-arm64";

    fn chosen(label: &str) -> String {
        let names: Vec<_> = NAMES.split_whitespace().map(str::to_owned).collect();
        Spec::labelled(label).expect("a label").packages(&names).unwrap_or_default().join(" ")
    }

    #[test]
    fn chooses_the_newest_kernel_of_its_line() {
        assert_eq!(chosen("6.1"), "linux-image-6.1.0-56-cloud-amd64");
        assert_eq!(chosen("6.12"), "linux-image-6.12.107+deb13-cloud-amd64");
        assert_eq!(chosen("6.12-rt"), "linux-image-6.12.116+deb13-rt-amd64");
        assert_eq!(
            chosen("sid"),
            "linux-binary-7.10.1+deb14-cloud-amd64 linux-modules-7.10.1+deb14-cloud-amd64"
        );
        assert_eq!(chosen("arm64-6.1"), "linux-image-6.1.0-60-cloud-arm64");
        assert_eq!(chosen("arm64-6.12"), "linux-image-6.12.117+deb13-cloud-arm64");
        assert_eq!(chosen("5.10"), "");
    }

    #[test]
    fn orders_versions_by_value() {
        assert_eq!(compare("0-9", "0-56"), Ordering::Less);
        assert_eq!(compare("94+deb13", "107+deb13"), Ordering::Less);
        assert_eq!(compare("0-0.deb11.48", "0-0.deb11.48"), Ordering::Equal);
        assert_eq!(compare("7.2.13", "7.10"), Ordering::Less);
    }
}
