//! The kernel modules that a guest loads: zram, for swap, which Debian builds as a module.
//!
//! The packages have no `modules.dep` (depmod writes it where a kernel is installed), so dependencies are read from each module.

use crate::exec;
use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSection as _};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A module, by the kernel's name for it.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// Up to 6.11 zram gets this compressor from the kernel's crypto interface at first use, which no module's dependencies show. Later
/// versions have their own.
const COMPRESSOR: &str = "lzo_rle";

const ZRAM: &str = "zram";

/// The modules for `/dev/zram0` from an unpacked kernel package, in load order.
pub(crate) fn zram(package: &Path) -> Result<Vec<Module>> {
    let files = files(package);
    let wanted = [COMPRESSOR, ZRAM].into_iter().filter(|name| *name == ZRAM || files.contains_key(*name));
    let mut modules = BTreeMap::new();
    let order = order(wanted, |name| {
        let file = files.get(name).with_context(|| {
            format!("{} has no module {name}: remove it to fetch it again", package.display())
        })?;
        let bytes = read(file)?;
        let depends = depends(&bytes).with_context(|| format!("cannot parse {}", file.display()))?;
        modules.insert(name.to_owned(), bytes);
        Ok(depends)
    })?;
    Ok(order
        .into_iter()
        .filter_map(|name| modules.remove(&name).map(|bytes| Module { name, bytes }))
        .collect())
}

/// All modules of an unpacked package, by name.
fn files(package: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![package.join("lib/modules"), package.join("usr/lib/modules")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            // Links are not followed: the one to the headers leads out of the package.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                dirs.push(path);
            } else if let Some((name, _)) = entry.file_name().to_string_lossy().split_once(".ko") {
                found.insert(normalised(name), path);
            }
        }
    }
    found
}

/// File names have dashes where the kernel has underscores.
fn normalised(name: &str) -> String {
    name.replace('-', "_")
}

fn read(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_none_or(|extension| extension != "xz") {
        return fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    }
    exec::bytes(Command::new("xz").arg("-dc").arg(file)).context("install xz (package xz-utils)")
}

/// The dependencies of a module.
fn depends(module: &[u8]) -> Result<Vec<String>> {
    let file = object::File::parse(module).context("no ELF file")?;
    let section = file.section_by_name(".modinfo").context("no section .modinfo")?;
    Ok(depends_in(section.data().context("cannot read .modinfo")?))
}

/// The dependencies in a `.modinfo` section: `key=value` strings, each with its NUL.
fn depends_in(modinfo: &[u8]) -> Vec<String> {
    let entries = modinfo.split(|byte| *byte == 0).filter_map(|entry| entry.strip_prefix(b"depends="));
    entries
        .flat_map(|names| String::from_utf8_lossy(names).split(',').map(normalised).collect::<Vec<_>>())
        .filter(|name| !name.is_empty())
        .collect()
}

/// These modules and their dependencies, each once and after its own dependencies.
fn order<'a>(
    wanted: impl Iterator<Item = &'a str>,
    mut depends: impl FnMut(&str) -> Result<Vec<String>>,
) -> Result<Vec<String>> {
    let mut seen = Vec::new();
    let mut order = Vec::new();
    for name in wanted {
        visit(name, &mut depends, &mut seen, &mut order)?;
    }
    Ok(order)
}

fn visit(
    name: &str,
    depends: &mut impl FnMut(&str) -> Result<Vec<String>>,
    seen: &mut Vec<String>,
    order: &mut Vec<String>,
) -> Result<()> {
    if seen.iter().any(|seen| seen == name) {
        return Ok(());
    }
    seen.push(name.to_owned());
    for dependency in depends(name)? {
        visit(&dependency, depends, seen, order)?;
    }
    order.push(name.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_what_is_needed_first_and_once() {
        let depends = |name: &str| {
            let names: &[&str] = match name {
                "zram" => &["zsmalloc", "lz4_compress"],
                "lz4_compress" | "lzo_rle" => &["crypto"],
                "zsmalloc" | "crypto" => &[],
                other => anyhow::bail!("no module {other}"),
            };
            Ok(names.iter().map(|name| (*name).to_owned()).collect())
        };
        let found = order(["lzo_rle", "zram"].into_iter(), depends).expect("all there");
        assert_eq!(found, ["crypto", "lzo_rle", "zsmalloc", "lz4_compress", "zram"]);
        order(["zram", "x"].into_iter(), depends).expect_err("x is missing");
    }

    #[test]
    fn reads_dependencies_as_modules_state_them() {
        let modinfo = b"license=GPL\0depends=zsmalloc,lz4-compress\0retpoline=Y\0name=zram\0\0";
        assert_eq!(depends_in(modinfo), ["zsmalloc", "lz4_compress"]);
        assert!(depends_in(b"depends=\0name=zsmalloc\0").is_empty());
        assert!(depends(b"not a module").is_err());
    }

    #[test]
    fn finds_modules_wherever_the_release_has_them() {
        let dir = std::env::temp_dir().join(format!("xtask-modules-{}", std::process::id()));
        for file in ["lib/modules/5.10/kernel/crypto/lzo-rle.ko", "usr/lib/modules/6.12/mm/zsmalloc.ko.xz"] {
            let file = dir.join(file);
            fs::create_dir_all(file.parent().expect("a directory")).expect("created");
            fs::write(file, "").expect("written");
        }
        assert_eq!(files(&dir).into_keys().collect::<Vec<_>>(), ["lzo_rle", "zsmalloc"]);
        fs::remove_dir_all(dir).expect("removed");
    }
}
