//! Packages of any Debian release, fetched with apt and unpacked, not installed.
//!
//! The archive is that of this machine's apt configuration, including its mirror and proxy. Lists, state and caches are in a private
//! directory.

use crate::arch::Arch;
use crate::cache::cached;
use crate::{exec, files};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the archive where apt's own configuration names none (not a Debian machine).
const ARCHIVE_VARIABLE: &str = "CRASHTRACE_DEBIAN_ARCHIVE";

/// Debian's keys, where its sources keep them. Without this file apt's trusted keys are used.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

pub(crate) const BOOKWORM: &[(Repository, &str)] =
    &[(Repository::Main, "bookworm"), (Repository::Security, "bookworm-security")];
pub(crate) const TRIXIE: &[(Repository, &str)] =
    &[(Repository::Main, "trixie"), (Repository::Security, "trixie-security")];

/// Which of Debian's archives holds a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repository {
    Main,
    Security,
}

/// Unpacks packages of bookworm together in `home`: those that do not depend on a guest's kernel.
pub(crate) fn unpacked(home: &Path, arch: Arch, packages: &[&str]) -> Result<PathBuf> {
    cached(home, &files::vm_dir(), |staging| {
        let release = Release::open("bookworm", BOOKWORM, arch)?;
        let unpacked =
            packages.iter().map(|package| Ok(format!("{package} {}", release.unpack(package, staging)?)));
        Ok(unpacked.collect::<Result<Vec<_>>>()?.join(", "))
    })
}

/// A Debian release, with a private apt directory.
#[derive(Debug)]
pub(crate) struct Release {
    dir: PathBuf,
    arch: Arch,
}

impl Release {
    /// Fetches the package lists of a release: these suites, of both archives.
    pub(crate) fn open(name: &str, suites: &[(Repository, &str)], arch: Arch) -> Result<Self> {
        let lists = match arch {
            Arch::X86_64 => name.to_owned(),
            Arch::Aarch64 => format!("{name}-{}", arch.debian()),
        };
        let dir = &files::vm_dir().join("apt").join(lists);
        for sub in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(sub))
                .with_context(|| format!("cannot create {sub} in {}", dir.display()))?;
        }
        let archives = Archives::of_this_machine()?;
        let signed_by =
            if Path::new(KEYRING).exists() { format!(" signed-by={KEYRING}") } else { String::new() };
        let mut sources = Vec::new();
        for (repository, suite) in suites {
            match archives.uri(*repository) {
                Some(uri) => {
                    sources.push(format!("deb [arch={}{signed_by}] {uri} {suite} main\n", arch.debian()));
                }
                None => eprintln!("xtask: apt knows no {repository:?} archive: {suite} is left out"),
            }
        }
        let release = Self { dir: dir.to_owned(), arch };
        let list = release.dir.join("sources.list");
        fs::write(&list, sources.concat()).with_context(|| format!("cannot write {}", list.display()))?;
        let names: Vec<_> = suites.iter().map(|(_, suite)| *suite).collect();
        eprintln!("xtask: fetching the package lists of {}", names.join(", "));
        // For apt an unreachable archive is only a warning, and it would use old lists.
        exec::output(release.apt("apt-get").args(["-qq", "-o", "APT::Update::Error-Mode=any", "update"]))
            .with_context(|| {
                format!(
                    "cannot fetch Debian's package lists (sources: {}); is there a network?",
                    list.display()
                )
            })?;
        Ok(release)
    }

    /// The names of all packages with this prefix.
    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let names = exec::output(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Unpacks the newest version of a package into `to`, which must exist, and returns the version.
    pub(crate) fn unpack(&self, package: &str, to: &Path) -> Result<String> {
        let download = to.join(".download");
        fs::create_dir(&download).with_context(|| format!("cannot create {}", download.display()))?;
        eprintln!("xtask: fetching {package}");
        let mut get = self.apt("apt-get");
        exec::output(get.current_dir(&download).args(["-qq", "download", package]))
            .with_context(|| format!("cannot fetch Debian's package {package}"))?;
        let found = fs::read_dir(&download).with_context(|| format!("cannot read {}", download.display()))?;
        let deb = found
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|x| x == "deb"));
        let deb = deb.with_context(|| {
            format!("apt-get downloaded {package}, yet no .deb is in {}", download.display())
        })?;
        let version = exec::output(Command::new("dpkg-deb").arg("-f").arg(&deb).arg("Version"))?;
        exec::output(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(to))
            .with_context(|| format!("cannot unpack {}", deb.display()))?;
        fs::remove_dir_all(&download).with_context(|| format!("cannot remove {}", download.display()))?;
        Ok(version.trim().to_owned())
    }

    /// An apt program that sees this release only, and writes to its directory only.
    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let places =
            [("Dir::Etc::sourcelist", "sources.list"), ("Dir::State", "state"), ("Dir::Cache", "cache")];
        for (option, place) in places {
            command.arg("-o").arg(format!("{option}={}", self.dir.join(place).display()));
        }
        command.args([
            "-oDir::Etc::sourceparts=-",
            // No package counts as installed, so this machine's packages do not affect the choice.
            "-oDir::State::status=/dev/null",
            "-oAcquire::Languages=none",
            "-oAcquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
            // apt's own user may lack access to the work tree.
            "-oAPT::Sandbox::User=root",
        ]);
        let arch = self.arch.debian();
        command.arg(format!("-oAPT::Architecture={arch}")).arg(format!("-oAPT::Architectures::={arch}"));
        command
    }
}

/// The URIs of Debian's archives in this machine's apt configuration.
#[derive(Debug, Default, PartialEq, Eq)]
struct Archives {
    main: Option<String>,
    security: Option<String>,
}

impl Archives {
    fn of_this_machine() -> Result<Self> {
        let format = "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)";
        let mut indextargets = Command::new("apt-get");
        indextargets.args(["indextargets", "--format", format, "Created-By: Packages"]);
        let targets = exec::output(&mut indextargets).context("guests' kernels are fetched with apt")?;
        let mut archives = Self::parse(&targets);
        if let Ok(uri) = std::env::var(ARCHIVE_VARIABLE) {
            archives.main = Some(uri);
        }
        if archives.main.is_none() {
            bail!(
                "apt is configured for no Debian archive: set {ARCHIVE_VARIABLE} to the URI of one (…/debian)"
            );
        }
        Ok(archives)
    }

    /// Finds Debian's archives among apt's index targets.
    fn parse(targets: &str) -> Self {
        let mut archives = Self::default();
        for target in targets.lines() {
            let [uri, release, "main", origin] = target.split(' ').collect::<Vec<_>>()[..] else { continue };
            // Before apt has fetched its lists it does not know the origin, and prints the variable's name.
            let last = uri.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            let debian = match origin {
                "Debian" => true,
                "$(ORIGIN)" => last == "debian" || last == "debian-security",
                _ => false,
            };
            let slot =
                if release.contains("-security") { &mut archives.security } else { &mut archives.main };
            // Backports and updates may have an archive of their own: the first is the base.
            if debian && slot.is_none() {
                *slot = Some(uri.to_owned());
            }
        }
        archives
    }

    fn uri(&self, repository: Repository) -> Option<&str> {
        match repository {
            Repository::Main => self.main.as_deref(),
            Repository::Security => self.security.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archives(main: Option<&str>, security: Option<&str>) -> Archives {
        Archives { main: main.map(str::to_owned), security: security.map(str::to_owned) }
    }

    #[test]
    fn finds_debian_among_the_sources() {
        let targets = "http://other.example/linux/debian/ bookworm stable Other\n\
                       http://other.example/debian/ bookworm main Other\n\
                       http://mirror.example/debian/ bookworm main Debian\n\
                       http://mirror.example/debian/ bookworm-updates main Debian\n\
                       http://mirror.example/sec/ bookworm-security main Debian\n";
        let expected = archives(Some("http://mirror.example/debian/"), Some("http://mirror.example/sec/"));
        assert_eq!(Archives::parse(targets), expected);
    }

    #[test]
    fn does_without_the_lists() {
        let targets = "http://other.example/linux/debian/ bookworm stable $(ORIGIN)\n\
                       http://mirror.example/debian/ trixie main $(ORIGIN)\n\
                       http://mirror.example/debian-security/ trixie-security main $(ORIGIN)\n";
        let expected =
            archives(Some("http://mirror.example/debian/"), Some("http://mirror.example/debian-security/"));
        assert_eq!(Archives::parse(targets), expected);
    }

    #[test]
    fn another_distribution_is_not_debian() {
        let targets = "http://mirror.example/ubuntu/ noble main Ubuntu\n";
        assert_eq!(Archives::parse(targets), archives(None, None));
    }
}
