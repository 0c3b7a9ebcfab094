//! Installs Debian packages on this machine.

use crate::exec;
use anyhow::{Context as _, Result, bail};
use std::process::Command;

/// Installs these packages for a program that is missing, and checks with `present` that it is there then.
pub(crate) fn install(program: &str, packages: &[&str], present: impl Fn() -> bool) -> Result<()> {
    let names = packages.join(" ");
    eprintln!("xtask: {program} is missing: installing Debian's {names}");
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(packages);
    let by_hand = format!("install {program} by hand (`apt-get {}`)", install.join(" "));
    // The package lists may be missing or stale, so a first failure leads to fresh lists and a second attempt.
    if apt_get(&install).is_err() {
        apt_get(&["update"]).and_then(|()| apt_get(&install)).context(by_hand.clone())?;
    }
    if !present() {
        bail!("{names} is installed but {program} does not start; {by_hand}");
    }
    Ok(())
}

/// Installs these packages unless the program starts already.
pub(crate) fn ensure(program: &str, packages: &[&str]) -> Result<()> {
    if exec::exists(program) { Ok(()) } else { install(program, packages, || exec::exists(program)) }
}

fn apt_get(args: &[&str]) -> Result<()> {
    // Only root can install. `sudo -n` fails at once where it would have to ask for a password.
    let root = exec::output(Command::new("id").arg("-u"))?.trim() == "0";
    let mut command = if root { Command::new("apt-get") } else { Command::new("sudo") };
    if !root {
        command.args(["-n", "apt-get"]);
    }
    exec::run(command.args(args))
}
