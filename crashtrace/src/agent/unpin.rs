//! `crashtrace unpin`: removes what `watch --pin` has left.

use std::path::Path;

use anyhow::Result;

use crate::kernel::pins::{Names, Pins};
use crate::stdio;

/// Removes all pins in `directory`, and the directory, and prints what it has removed.
///
/// # Errors
/// An agent uses them, or they cannot be removed.
pub fn unpin(directory: &Path) -> Result<()> {
    let said = match Pins::existing(directory)? {
        None => format!("nothing is pinned: there is no {}\n", directory.display()),
        Some(pins) => {
            let names = pins.remove()?;
            if names.others.is_empty() {
                pins.remove_directory()?;
            }
            said(directory, &names)
        }
    };
    stdio::print(said.as_bytes())
}

fn said(directory: &Path, names: &Names) -> String {
    let directory = directory.display();
    let list = |names: &[String]| match names {
        [] => "none".to_owned(),
        some => some.join(", "),
    };
    let removed = format!(
        "removed from {directory}:\n  hooks: {}\n  maps: {}\n",
        list(&names.links),
        list(&names.maps)
    );
    match names.others.as_slice() {
        [] => removed,
        others => format!("{removed}left there, since they are not crashtrace's: {}\n", list(others)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_removed_is_said_and_what_is_left() {
        let mut names = Names {
            links: vec!["mark_victim".into()],
            maps: vec!["HELD".into(), "RECORDS".into()],
            ..Names::default()
        };
        let expected = "removed from /pins:\n  hooks: mark_victim\n  maps: HELD, RECORDS\n";
        assert_eq!(said(Path::new("/pins"), &names), expected);
        names.others.push("other".into());
        assert_eq!(
            said(Path::new("/pins"), &names),
            format!("{expected}left there, since they are not crashtrace's: other\n")
        );
        assert!(said(Path::new("/pins"), &Names::default()).contains("hooks: none\n  maps: none\n"));
    }
}
