//! The program's list. That it is a test from outside has `cargo test --workspace` build the program, which tests of the agent run.

use std::process::Command;

use crashtrace_judge::catalogue::Catalogue;

#[test]
fn the_names_are_those_of_the_file() {
    let output = Command::new(env!("CARGO_BIN_EXE_scenario")).arg("list").output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let catalogue = Catalogue::read().expect("the file of scenarios");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().collect::<Vec<_>>(), catalogue.names());
}
