//! The packages that are linked into the agent, with their licences: the source of the image's SBOM and licence texts.

use crate::files;
use anyhow::{Context as _, Result, ensure};
use cargo_metadata::{DependencyKind, MetadataCommand, NodeDep, Package as Described, Target};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::PathBuf;

/// The kernel object's target.
const KERNEL: &str = "bpfel-unknown-none";

/// A package that is compiled into the agent or its kernel object.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Its licence, as an SPDX expression.
    pub(crate) licence: String,
    /// The folder of its sources.
    pub(crate) dir: PathBuf,
    /// SHA-256 in the registry; none for packages of this workspace.
    pub(crate) checksum: Option<String>,
    /// [`Package::id`] of its dependencies.
    pub(crate) uses: BTreeSet<String>,
}

impl Package {
    /// Name and version.
    pub(crate) fn id(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// Whether it is of this workspace.
    pub(crate) fn is_ours(&self) -> bool {
        self.checksum.is_none()
    }
}

/// All packages in the agent for this target, by name and version.
pub(crate) fn of_agent(target: &str) -> Result<Vec<Package>> {
    let checksums = checksums()?;
    let mut all = BTreeMap::new();
    for (root, target) in [("crashtrace", target), ("crashtrace-ebpf", KERNEL)] {
        for package in reached(root, target, &checksums)? {
            // The agent and its kernel object may use a package with different features.
            let known =
                all.entry((package.name.clone(), package.version.clone())).or_insert_with(|| package.clone());
            known.uses.extend(package.uses);
        }
    }
    Ok(all.into_values().collect())
}

/// The ids of these packages and of those that no other package reaches.
#[cfg(test)]
pub(crate) fn only_by(packages: &[Package], these: &[&str]) -> BTreeSet<String> {
    let by_id: HashMap<_, _> = packages.iter().map(|it| (it.id(), it)).collect();
    let mut open: Vec<_> = packages.iter().filter(|it| it.is_ours()).collect();
    let mut reached = BTreeSet::new();
    while let Some(it) = open.pop() {
        if !these.contains(&it.name.as_str()) && reached.insert(it.id()) {
            open.extend(it.uses.iter().filter_map(|id| by_id.get(id)));
        }
    }
    by_id.into_keys().filter(|id| !reached.contains(id)).collect()
}

/// This package of the workspace and its dependencies for this target. Macros run in the compiler: neither they nor their dependencies
/// are in the program.
fn reached(root: &str, target: &str, checksums: &HashMap<String, String>) -> Result<Vec<Package>> {
    let mut cargo = MetadataCommand::new();
    cargo.current_dir(files::root()).env_remove("RUSTUP_TOOLCHAIN");
    let options = ["--locked", "--filter-platform", target].map(str::to_owned);
    let metadata = cargo.other_options(options).exec()?;
    let described: HashMap<_, _> = metadata.packages.iter().map(|it| (&it.id, it)).collect();
    let resolve = metadata.resolve.as_ref().context("cargo resolves nothing")?;
    let nodes: HashMap<_, _> = resolve.nodes.iter().map(|it| (&it.id, it)).collect();
    let is_macro = |it: &Described| it.targets.iter().any(Target::is_proc_macro);
    let root =
        metadata.packages.iter().find(|it| it.name == root).with_context(|| format!("no package {root}"))?;
    let (mut open, mut seen, mut found) = (vec![&root.id], BTreeSet::new(), Vec::new());
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let it = described.get(id).with_context(|| format!("cargo does not describe {id}"))?;
        let node = nodes.get(id).with_context(|| format!("cargo does not resolve {id}"))?;
        let normal = |it: &&NodeDep| it.dep_kinds.iter().any(|it| it.kind == DependencyKind::Normal);
        let uses: Vec<_> = node.deps.iter().filter(normal).filter_map(|it| described.get(&it.pkg)).collect();
        let uses: Vec<_> = uses.into_iter().filter(|it| !is_macro(it)).collect();
        open.extend(uses.iter().map(|it| &it.id));
        let id = format!("{}@{}", it.name, it.version);
        found.push(Package {
            name: it.name.to_string(),
            version: it.version.to_string(),
            licence: spdx(it.license.as_deref()).with_context(|| format!("{id} names no licence"))?,
            dir: it.manifest_path.parent().context("a manifest lies in a folder")?.into(),
            checksum: checksums.get(&id).cloned(),
            uses: uses.into_iter().map(|it| format!("{}@{}", it.name, it.version)).collect(),
        });
    }
    Ok(found)
}

/// Old manifests write alternatives with a slash instead of an SPDX expression.
fn spdx(licence: Option<&str>) -> Option<String> {
    Some(licence?.split('/').map(str::trim).collect::<Vec<_>>().join(" OR "))
}

/// The checksums in `Cargo.lock`, of packages from the registry.
fn checksums() -> Result<HashMap<String, String>> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Locked>,
    }
    #[derive(Deserialize)]
    struct Locked {
        name: String,
        version: String,
        source: Option<String>,
        checksum: Option<String>,
    }
    let text = fs::read_to_string(files::root().join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let lock: Lock = toml::from_str(&text).context("Cargo.lock")?;
    let mut checksums = HashMap::new();
    for Locked { name, version, source, checksum } in lock.package {
        ensure!(source.is_some() == checksum.is_some(), "{name} {version} is not from the registry");
        checksums.extend(checksum.map(|checksum| (format!("{name}@{version}"), checksum)));
    }
    Ok(checksums)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::STATIC_TARGET;

    #[test]
    fn what_is_in_the_agent_is_found_and_nothing_else() {
        let packages = of_agent(STATIC_TARGET).expect("cargo answers");
        let names: Vec<_> = packages.iter().map(|it| it.name.as_str()).collect();
        // Of the program, of its kernel object, of a dependency.
        for name in ["crashtrace", "crashtrace-ebpf", "aya", "aya-ebpf", "tokio", "mio"] {
            assert!(names.contains(&name), "{name}: {names:?}");
        }
        // Macros, and what only tests, builds and this program use.
        for name in ["serde_derive", "syn", "proptest", "xtask", "tar"] {
            assert!(!names.contains(&name), "{name}: {names:?}");
        }
        let ours: Vec<_> = packages.iter().filter(|it| it.is_ours()).map(|it| it.name.as_str()).collect();
        assert_eq!(ours, ["crashtrace", "crashtrace-ebpf"]);
        let ids: BTreeSet<_> = packages.iter().map(Package::id).collect();
        assert!(packages.iter().all(|it| it.uses.is_subset(&ids)), "each names packages that are there");
    }

    /// What kube alone brings into the agent is reviewed: `packages/kube.toml` lists it with reasons.
    #[test]
    fn what_only_kube_brings_is_listed_with_a_reason() {
        let listed: BTreeMap<String, String> =
            toml::from_str(include_str!("packages/kube.toml")).expect("names and reasons");
        assert!(listed.values().all(|reason| !reason.is_empty()));
        let packages = of_agent(STATIC_TARGET).expect("cargo answers");
        let brought = only_by(&packages, &["kube", "kube-client", "kube-core"]);
        let brought: BTreeSet<_> =
            brought.iter().filter_map(|id| id.split_once('@')).map(|(name, _)| name.to_owned()).collect();
        let listed: BTreeSet<_> = listed.into_keys().collect();
        let new: Vec<_> = brought.difference(&listed).collect();
        let gone: Vec<_> = listed.difference(&brought).collect();
        assert!(
            new.is_empty() && gone.is_empty(),
            "not in packages/kube.toml: {new:?}; not in the agent: {gone:?}"
        );
    }

    #[test]
    fn what_another_reaches_is_not_only_brought_by_one() {
        let package = |name: &str, ours: bool, uses: &[&str]| Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            licence: "MIT".to_owned(),
            dir: PathBuf::new(),
            checksum: (!ours).then(|| "0".to_owned()),
            uses: uses.iter().map(|name| format!("{name}@1.0.0")).collect(),
        };
        let all = [
            package("agent", true, &["client", "log"]),
            package("client", false, &["log", "jsonpath"]),
            package("jsonpath", false, &["pest"]),
            package("pest", false, &["log"]),
            package("log", false, &[]),
        ];
        let only: Vec<_> = only_by(&all, &["client"]).into_iter().collect();
        assert_eq!(only, ["client@1.0.0", "jsonpath@1.0.0", "pest@1.0.0"]);
        assert!(only_by(&all, &["log"]).iter().eq(["log@1.0.0"]));
    }

    #[test]
    fn alternatives_of_old_are_read() {
        assert_eq!(spdx(Some("MIT/Apache-2.0")).as_deref(), Some("MIT OR Apache-2.0"));
        assert_eq!(spdx(Some("Apache-2.0 / MIT")).as_deref(), Some("Apache-2.0 OR MIT"));
        assert_eq!(spdx(Some("MIT AND Zlib")).as_deref(), Some("MIT AND Zlib"));
        assert_eq!(spdx(None), None);
    }
}
