//! Agents that start and stop again and again while the kernel kills: each kill between the two times that an agent names is
//! told or counted, and none outside of them is told as a whole one.
//!
//! When a process was killed is known by two bounds: it was started after the one and had been reaped by the other.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::{MemfdFlags, memfd_create};
use serde_json::{Value, json};

use super::Found;
use crate::scratch::Scratch;
use crate::victim::STAMP_BYTES;
use crashtrace_judge::catalogue::Tier;
use crashtrace_test_support::agent::{Agent, Output};
use crashtrace_test_support::cgroup::{Cgroup, Hierarchy};
use crashtrace_test_support::clock::boottime_ns;

/// Cgroups that kill at the same time.
pub(super) const KILLERS: usize = 2;
/// The limit of each, and the memory that its processes take.
const LIMIT_BYTES: u64 = 4 << 20;
const WANTED_MIB: &str = "32";
/// Kills that an agent must see before it is stopped.
const KILLS: usize = 10;
/// How long those may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// A process that the kernel has killed.
pub(super) struct Kill {
    pub(super) pid: u64,
    /// Before it was started.
    pub(super) from_ns: u64,
    /// After it was reaped.
    pub(super) to_ns: u64,
}

/// The lines of an agent from its start to its end.
struct Session {
    from_ns: u64,
    to_ns: u64,
    lost: u64,
    incidents: Vec<Value>,
}

pub(super) fn check(crashtrace: &Path, tier: Tier, rounds: usize) -> Result<Found> {
    let hierarchy = Hierarchy::find()?;
    let scratch = Scratch::new(&hierarchy, "sessions")?;
    let pod = scratch.pod()?;
    let cgroups: Vec<_> = (0..KILLERS).map(|_| Ok(pod.container()?.cgroup)).collect::<Result<_>>()?;
    let (kills, sessions) = killing(&cgroups, |count| {
        (0..rounds).map(|_| watch(crashtrace, tier, count)).collect::<Result<Vec<_>>>()
    })?;
    let counted = scratch.cast()?.kills;
    ensure!(
        counted.is_none_or(|counted| counted == kills.len() as u64),
        "the kernel has counted {counted:?} kills, and {} processes were seen to be killed",
        kills.len()
    );
    let details = judge(&kills, &sessions);
    let mut failures = Vec::new();
    for what in ["unreported", "too_early_or_late", "without_victim"] {
        if details[what].as_array().is_none_or(|them| !them.is_empty()) {
            failures.push(format!("{what}: {}", details[what]));
        }
    }
    if details["inside"] == 0 {
        failures.push("no kill fell into a session".to_owned());
    }
    Ok(Found { failures, details })
}

/// Has processes killed in each of these cgroups, one after the other, until `body` is over, which sees how many there were.
pub(super) fn killing<T>(
    cgroups: &[Cgroup],
    body: impl FnOnce(&AtomicUsize) -> Result<T>,
) -> Result<(Vec<Kill>, T)> {
    let (over, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let killers: Vec<_> =
            cgroups.iter().map(|cgroup| scope.spawn(|| kill_on(cgroup, &over, &count))).collect();
        let result = body(&count);
        over.store(true, Ordering::Relaxed);
        let mut kills = Vec::new();
        for killer in killers {
            match killer.join() {
                Ok(some) => kills.extend(some?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok((kills, result?))
    })
}

/// Has processes killed in this cgroup, one after the other.
fn kill_on(cgroup: &Cgroup, over: &AtomicBool, count: &AtomicUsize) -> Result<Vec<Kill>> {
    cgroup.set_limit(LIMIT_BYTES)?;
    let stamps = File::from(memfd_create("stamps", MemfdFlags::CLOEXEC).context("cannot make a memfd")?);
    stamps.write_all_at(&[0; STAMP_BYTES], 0).context("cannot write to a memfd")?;
    let mut kills = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let from_ns = boottime_ns();
        let mut child = Command::new("/proc/self/exe")
            .args(["victim", "--at-once", "--comm", "prey", "--mib", WANTED_MIB, "--cgroup"])
            .arg(&cgroup.dir)
            .arg("--stamp")
            .arg(format!("/proc/{}/fd/{}", std::process::id(), stamps.as_raw_fd()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start a process")?;
        let pid = u64::from(child.id());
        let status = child.wait().context("cannot wait for a process")?;
        ensure!(status.signal() == Some(9), "process {pid} was not killed: {status}");
        kills.push(Kill { pid, from_ns, to_ns: boottime_ns() });
        count.fetch_add(1, Ordering::Relaxed);
    }
    Ok(kills)
}

/// One session of an agent, some kills long.
fn watch(crashtrace: &Path, tier: Tier, count: &AtomicUsize) -> Result<Session> {
    let mut agent = Agent::spawn(crashtrace, tier.name(), Output::Json)?;
    agent.wait_started()?;
    until_more(count)?;
    agent.stop()?;
    let Some((last, rest)) = agent.lines.split_last() else { bail!("it said nothing") };
    Ok(Session {
        from_ns: agent.started["ktime_ns"].as_u64().context("agent_started has a time")?,
        to_ns: last.value["ktime_ns"].as_u64().context("agent_stopping has a time")?,
        lost: last.value["lost"].as_u64().context("agent_stopping counts losses")?,
        incidents: rest
            .iter()
            .map(|line| &line.value)
            .filter(|line| line["kind"] == "oom_kill")
            .cloned()
            .collect(),
    })
}

/// Waits for some more kills.
pub(super) fn until_more(count: &AtomicUsize) -> Result<()> {
    let (enough, begun) = (count.load(Ordering::Relaxed) + KILLS, Instant::now());
    while count.load(Ordering::Relaxed) < enough {
        ensure!(begun.elapsed() < PATIENCE, "the kernel does not kill");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Whether this incident has this kill, as its own or as a folded one.
pub(super) fn tells(incident: &Value, kill: &Kill) -> bool {
    let is = |victim: &Value, time: &str| {
        let at = victim[time].as_u64();
        victim["pid"] == kill.pid && at.is_none_or(|at| (kill.from_ns..=kill.to_ns).contains(&at))
    };
    let mut own = incident["victims"].as_array().into_iter().flatten();
    let mut folded = incident["folded"]["victims"].as_array().into_iter().flatten();
    own.any(|victim| is(victim, "start_boottime_ns")) || folded.any(|victim| is(victim, "ktime_ns"))
}

/// How many processes of folded kills this line counts and does not list.
pub(super) fn unlisted(incident: &Value) -> u64 {
    let folded = &incident["folded"];
    let listed = folded["victims"].as_array().map_or(0, Vec::len) as u64;
    folded["victims_total"].as_u64().map_or(0, |total| total.saturating_sub(listed))
}

fn judge(kills: &[Kill], sessions: &[Session]) -> Value {
    let (mut inside, mut outside, mut lost) = (0, 0, 0);
    let (mut unreported, mut odd, mut without_victim) = (Vec::new(), Vec::new(), Vec::new());
    for session in sessions {
        let of = |kill: &Kill| session.incidents.iter().find(|incident| tells(incident, kill));
        // Past the first 64 of a limit kills fold, and a line lists as many of those as fit.
        let unlisted: u64 = session.incidents.iter().map(unlisted).sum();
        let mut missing = Vec::new();
        for kill in kills {
            let told = of(kill);
            if session.from_ns <= kill.from_ns && kill.to_ns <= session.to_ns {
                inside += 1;
                if told.is_none() {
                    missing.push(json!({ "pid": kill.pid, "at": [kill.from_ns, kill.to_ns] }));
                }
            } else if kill.to_ns < session.from_ns || session.to_ns < kill.from_ns {
                outside += 1;
                odd.extend(told.cloned());
            }
        }
        lost += session.lost;
        if missing.len() as u64 > session.lost + unlisted {
            unreported.push(json!({ "session": [session.from_ns, session.to_ns], "lost": session.lost, "kills": missing }));
        }
        for incident in session.incidents.iter().filter(|incident| incident["complete"] == true) {
            let within = |at: u64| (session.from_ns..=session.to_ns).contains(&at);
            if !incident["ktime_ns"].as_u64().is_some_and(within) {
                odd.push(incident.clone());
            }
            // Nothing here ends but by being killed.
            if incident["victims_total"] == 0 {
                without_victim.push(incident.clone());
            }
        }
    }
    json!({
        "kills": kills.len(), "inside": inside, "outside": outside, "lost": lost,
        "half_seen": sessions.iter().flat_map(|session| &session.incidents).filter(|it| it["complete"] == false).count(),
        "unreported": unreported, "too_early_or_late": odd, "without_victim": without_victim,
    })
}
