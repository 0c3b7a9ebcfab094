//! The libraries that a program of an unpacked package is linked with, for guests that have none.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSection as _};

/// Where Debian's loader looks.
const DIRS: [&str; 2] = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];
/// `DT_NEEDED` (`include/uapi/linux/elf.h`).
const NEEDED: u64 = 1;

/// All that this file needs, in `root`, by the names that the loader asks for.
pub(super) fn of(file: &Path, root: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![file.to_owned()];
    while let Some(file) = waiting.pop() {
        let content = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let names = needed(&content).with_context(|| format!("cannot read what {} needs", file.display()))?;
        for name in names {
            if found.insert(name.clone()) {
                waiting.push(find(&name, root)?);
            }
        }
    }
    Ok(found)
}

/// A library in `root`.
pub(super) fn find(name: &str, root: &Path) -> Result<PathBuf> {
    let mut places = DIRS.iter().map(|dir| root.join(dir).join(name));
    let found = places.find(|place| place.is_file());
    found.with_context(|| format!("no {name} in {}: the table lacks its package", root.display()))
}

fn needed(content: &[u8]) -> Result<Vec<String>> {
    let file = object::File::parse(content).context("no ELF file")?;
    let data = |name: &str| Some(file.section_by_name(name)?.data().ok()?.to_vec());
    let Some((entries, names)) = data(".dynamic").zip(data(".dynstr")) else { return Ok(Vec::new()) };
    let entries = entries.chunks_exact(16).filter_map(|entry| {
        let (tag, value) = entry.split_at(8);
        let [tag, value] = [tag, value].map(|bytes| bytes.try_into().map(u64::from_le_bytes).ok());
        (tag? == NEEDED).then_some(usize::try_from(value?).ok()?)
    });
    let name = |at: usize| names.get(at..)?.split(|byte| *byte == 0).next().map(String::from_utf8_lossy);
    entries.map(|at| Some(name(at)?.into_owned())).collect::<Option<_>>().context("a name is not there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_this_test_itself_is_linked_with() {
        let own = std::env::current_exe().and_then(fs::read).expect("it can be read");
        let names = needed(&own).expect("an ELF file");
        assert!(names.iter().any(|name| name.starts_with("libc.so")), "{names:?}");
        needed(b"#!/bin/sh").expect_err("no ELF file");
    }

    #[test]
    fn a_missing_library_is_named() {
        let error =
            find("libnone.so.1", Path::new("/no/such/root")).expect_err("it is not there").to_string();
        assert!(error.contains("libnone.so.1") && error.contains("/no/such/root"), "{error}");
    }
}
