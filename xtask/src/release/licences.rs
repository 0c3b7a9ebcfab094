//! The licence texts of linked packages: most licences require that they come with the program.

use crate::packages::Package;
use crate::toolchain;
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Prefixes of the names of licence files.
const NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"];

/// For packages without a text that Apache-2.0 covers, whose text is the same for all.
const APACHE: &str = "The text is that of LICENSE-APACHE beside this file.\n";

/// The C library, which the toolchain brings without a licence file.
const MUSL: &str = "musl 1.2 (MIT)\n    Copyright © 2005-2020 Rich Felker, et al. The text is that of LICENSE-MIT beside this file, below its \
                    copyright line.\n";

/// All licence texts of third-party packages, each once, with the names of its packages.
pub(crate) fn third_party(packages: &[Package]) -> Result<String> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages.iter().filter(|package| !package.is_ours()) {
        let mut found = texts_of(&package.dir)?;
        if found.is_empty() && by_apache(&package.licence) {
            found.push(APACHE.to_owned());
        }
        ensure!(!found.is_empty(), "{} has no licence text: find one by hand", package.id());
        for text in found {
            texts.entry(text).or_default().push(format!("{} ({})", package.id(), package.licence));
        }
    }
    let mut all = format!("What crashtrace is linked with, by the licences of each.\n\n{MUSL}");
    for (text, of) in texts {
        let _ = write!(all, "\n{}\n\n{}\n\n{text}", "=".repeat(80), of.join("\n")); // Writing to a string cannot fail.
    }
    Ok(all)
}

/// Whether Apache-2.0 alone is one of the alternatives.
fn by_apache(licence: &str) -> bool {
    licence.split(" OR ").any(|alternative| alternative == "Apache-2.0")
}

/// The toolchain's licence texts of Rust's standard library.
pub(crate) fn rust_library() -> Result<Vec<u8>> {
    let path = toolchain::sysroot()?.join("share/doc/rust/COPYRIGHT-library.html");
    fs::read(&path).with_context(|| format!("cannot read {}, which rustup's toolchains have", path.display()))
}

/// The licence texts in a package's folder, in the order of their names.
fn texts_of(dir: &Path) -> Result<Vec<String>> {
    let failed = || format!("cannot read {}", dir.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        if path.is_file() && NAMES.iter().any(|begin| name.starts_with(begin)) {
            paths.push(path);
        }
    }
    paths.sort();
    let read = |path| {
        let bytes = fs::read(path).with_context(failed)?;
        // Texts that differ in line ends only are the same.
        let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
        Ok(format!("{}\n", text.trim_end().trim_start_matches('\n')))
    };
    paths.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::of_agent;
    use crate::toolchain::STATIC_TARGET;

    #[test]
    fn each_package_of_others_is_in_it_with_a_text() {
        let packages = of_agent(STATIC_TARGET).expect("cargo answers");
        let all = third_party(&packages).expect("each has a text");
        for package in &packages {
            let named = all.contains(&format!("\n{} (", package.id()));
            assert_eq!(named, !package.is_ours(), "{}", package.id());
        }
        let permission = "Permission is hereby granted, free of charge";
        assert!(all.contains(permission) && all.contains("Apache License") && all.contains("musl"));
    }

    #[test]
    fn a_package_without_a_text_is_an_error_unless_its_text_is_known() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("README.md"), "MIT").expect("a file");
        let mut package = Package {
            name: "bare".to_owned(),
            version: "1.0.0".to_owned(),
            licence: "MIT".to_owned(),
            dir: dir.path().to_owned(),
            checksum: Some(String::new()),
            uses: [].into(),
        };
        third_party(std::slice::from_ref(&package)).expect_err("it has none");
        for (licence, known) in
            [("MIT OR Apache-2.0", true), ("Apache-2.0", true), ("Apache-2.0 AND ISC", false)]
        {
            package.licence = licence.to_owned();
            assert_eq!(third_party(std::slice::from_ref(&package)).is_ok(), known, "{licence}");
        }
        fs::write(dir.path().join("Licence.txt"), "\r\nyou may\r\n\r\n").expect("a file");
        let all = third_party(&[package]).expect("it has one");
        assert!(all.ends_with("bare@1.0.0 (Apache-2.0 AND ISC)\n\nyou may\n"), "{all}");
    }
}
