//! The objects that an agent may leave on a node: programs, maps and links in the kernel, probes, pins, cgroups, files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::loaded_maps;
use aya::programs::{loaded_links, loaded_programs};

/// How long the kernel may take to free objects without a reference: it waits for readers.
const FREED: Duration = Duration::from_secs(30);

/// The kernel's lists of hooked functions.
const HOOKED: [&str; 2] = ["/sys/kernel/debug/kprobes/list", "/sys/kernel/tracing/enabled_functions"];

/// Where files may be left: the mounts of the manifests, pins, and the folders of containers. Of the first only folders count:
/// each has the kernel's own files in it. Not the container's root, which it cannot write to, and which goes with it.
const PLACES: [(&str, bool); 3] = [("/sys/fs/cgroup", false), ("/sys/fs/bpf", true), ("/run", true)];

/// The objects found, each with its kind.
#[derive(Debug)]
pub struct Remains(BTreeSet<String>);

impl Remains {
    /// Looks.
    pub fn look() -> Result<Self> {
        let mut found = BTreeSet::new();
        for program in loaded_programs() {
            let program = program.context("cannot look at a program")?;
            found.insert(format!("program {} {}", program.id(), program.name_as_str().unwrap_or_default()));
        }
        for map in loaded_maps() {
            let map = map.context("cannot look at a map")?;
            found.insert(format!("map {} {}", map.id(), map.name_as_str().unwrap_or_default()));
        }
        for link in loaded_links() {
            found.insert(format!("link {}", link.context("cannot look at a link")?.id()));
        }
        for list in HOOKED {
            let text = fs::read_to_string(list).with_context(|| format!("cannot read {list}"))?;
            found.extend(text.lines().map(|line| format!("hook {line}")));
        }
        for (place, files) in PLACES {
            walk(Path::new(place), files, &mut found)?;
        }
        Ok(Self(found))
    }

    /// The objects that were not there before.
    pub fn beyond<'a>(&'a self, before: &'a Self) -> Vec<&'a str> {
        self.0.difference(&before.0).map(String::as_str).collect()
    }

    /// Waits until nothing is left that was not there before.
    pub fn wait_for(before: &Self) -> Result<()> {
        let deadline = Instant::now() + FREED;
        loop {
            // An object that is freed in between cannot be looked at.
            match Self::look() {
                Ok(now) if now.beyond(before).is_empty() => return Ok(()),
                Ok(now) if Instant::now() > deadline => {
                    bail!("left behind: {}", now.beyond(before).join("; "))
                }
                Err(error) if Instant::now() > deadline => return Err(error),
                // Nothing tells when the kernel has freed something, so this looks again.
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Makes sure that a running agent is seen: else an empty list would show nothing.
    pub fn ensure_agent(&self, before: &Self) -> Result<()> {
        let beyond = self.beyond(before);
        for needed in ["program ", "map ", "link ", "hook ", "/sys/fs/cgroup/", "/run/"] {
            ensure!(beyond.iter().any(|it| it.starts_with(needed)), "no {needed}is seen of a running agent");
        }
        ensure!(beyond.iter().any(|it| it.contains("mark_victim")), "its programs are not seen: {beyond:?}");
        Ok(())
    }
}

fn walk(dir: &Path, files: bool, found: &mut BTreeSet<String>) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot look into {}", dir.display())),
    };
    let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    for path in paths {
        let is_dir = path.symlink_metadata().is_ok_and(|data| data.is_dir());
        if is_dir || files {
            found.insert(path.display().to_string());
        }
        if is_dir {
            walk(&path, files, found)?;
        }
    }
    Ok(())
}
