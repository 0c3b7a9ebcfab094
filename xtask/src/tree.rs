//! The git tree that is tested or measured.

use crate::{exec, files};
use anyhow::Result;
use std::process::Command;

/// As it was when it was looked at.
pub(crate) struct Tree {
    pub(crate) commit: String,
    /// The output of `git status --porcelain`.
    changed: String,
}

impl Tree {
    /// Looks at it.
    pub(crate) fn look() -> Result<Self> {
        let git = |args: &[&str]| exec::output(Command::new("git").args(args).current_dir(files::root()));
        let commit = git(&["rev-parse", "HEAD"])?.trim().to_owned();
        Ok(Self { commit, changed: git(&["status", "--porcelain"])?.trim_end().to_owned() })
    }

    /// Why results of a run that began with this tree are not those of its commit, if they are not.
    pub(crate) fn not_its_commit(&self) -> Option<String> {
        if !self.changed.is_empty() {
            return Some(format!("the tree is dirty:\n{}\n", self.changed));
        }
        let same = Self::look().is_ok_and(|now| now.commit == self.commit && now.changed.is_empty());
        (!same).then(|| "the tree changed during the run".to_owned())
    }
}
