//! Agents with pinned hooks: one that is killed, one that ends, one with other options, while the kernel kills. A kill that no agent
//! had taken from the ring is told once, also one from a time in which no agent ran.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Found;
use super::btf::mount;
use super::sessions::{KILLERS, Kill, killing, tells, unlisted, until_more};
use crate::scratch::Scratch;
use crashtrace_judge::catalogue::Tier;
use crashtrace_test_support::agent::{Agent, Output};
use crashtrace_test_support::cgroup::Hierarchy;
use crashtrace_test_support::clock::boottime_ns;

/// How soon a kill must be told that is in the ring when the agent starts.
const TOLD: Duration = Duration::from_secs(20);

/// A BPF file system of this check.
struct BpfFs(PathBuf);

impl BpfFs {
    fn mount(guest: bool) -> Result<Self> {
        let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt"));
        let own = namespace("self").ok() != namespace("1").ok();
        ensure!(guest || own, "would mount on this machine: needs a guest (--guest) or `unshare --mount`");
        let dir = std::env::temp_dir().join(format!("ct-bpf-{}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        mount("mount", &["-t", "bpf", "bpf", &dir.to_string_lossy()])?;
        Ok(Self(dir))
    }
}

impl Drop for BpfFs {
    fn drop(&mut self) {
        let unmounted = mount("umount", &[&self.0.to_string_lossy()]);
        let removed = unmounted.and_then(|()| Ok(fs::remove_dir(&self.0)?));
        if let Err(error) = removed {
            eprintln!("scenario: {error:#}");
        }
    }
}

/// Starts agents with these pins.
struct Starts<'a> {
    crashtrace: &'a Path,
    tier: Tier,
    pins: &'a Path,
}

impl Starts<'_> {
    /// Failed allocations are left out, since a kprobe sees them, which not every kernel can pin.
    fn spawn(&self, more: &[&str]) -> Result<Agent> {
        let mut pin = OsString::from("--pin=");
        pin.push(self.pins);
        let mut arguments =
            vec![pin.as_os_str(), OsStr::new("--no-alloc"), OsStr::new("--pods"), OsStr::new("none")];
        arguments.extend(more.iter().map(OsStr::new));
        Agent::spawn_with(self.crashtrace, self.tier.name(), Output::Json, &arguments)
    }

    fn start(&self, more: &[&str]) -> Result<Agent> {
        let mut agent = self.spawn(more)?;
        agent.wait_started()?;
        Ok(agent)
    }

    /// Removes the pins. What was said.
    fn unpin(&self) -> Result<String> {
        let output = Command::new(self.crashtrace).arg("unpin").arg(self.pins).output();
        let output = output.context("cannot start crashtrace unpin")?;
        let complaints = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "unpin ended with {}: {complaints}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// What is wrong.
#[derive(Default)]
struct Failures(Vec<String>);

impl Failures {
    fn unless(&mut self, good: bool, what: impl FnOnce() -> String) {
        if !good {
            self.0.push(what());
        }
    }

    /// What an agent must have said of its pins.
    fn began(&mut self, agent: &Agent, from: Option<&Agent>, in_order: Option<bool>, gap: bool) {
        let pin = &agent.started["pin"];
        let from = from.map_or(Value::Null, |from| from.started["session"].clone());
        let good = pin["from_session"] == from
            && pin["from_in_order"] == json!(in_order)
            && pin["gap"].is_string() == gap
            && pin["not_pinned"].is_null();
        self.unless(good, || format!("from {from}, in order {in_order:?}, gap {gap}, but it says {pin}"));
    }
}

pub(super) fn check(crashtrace: &Path, tier: Tier, guest: bool) -> Result<Found> {
    let bpffs = BpfFs::mount(guest)?;
    let pins = bpffs.0.join("crashtrace");
    let starts = Starts { crashtrace, tier, pins: &pins };
    let mut failures = Failures::default();

    let mut first = starts.start(&[])?;
    if let Some(why) = first.started["pin"]["not_pinned"].as_str().map(str::to_owned) {
        first.stop()?;
        let said = starts.unpin()?;
        failures.unless(tier == Tier::Kprobe && why.contains("kprobe"), || format!("not pinned: {why}"));
        failures.unless(said.contains("hooks: none") && !pins.exists(), || said.clone());
        return Ok(Found { failures: failures.0, details: json!({ "not_pinned": why }) });
    }
    failures.began(&first, None, None, false);
    let mut second = starts.spawn(&[])?;
    let code = second.ended_at_once()?;
    let refused = code == Some(1) && second.log().contains("another agent uses the pins in");
    failures.unless(refused, || format!("a second agent ended with {code:?}: {}", second.log()));

    let hierarchy = Hierarchy::find()?;
    let scratch = Scratch::new(&hierarchy, "pinned")?;
    let pod = scratch.pod()?;
    let cgroups: Vec<_> = (0..KILLERS).map(|_| Ok(pod.container()?.cgroup)).collect::<Result<_>>()?;
    let (kills, played) = killing(&cgroups, |count| play(&starts, first, count, &mut failures))?;
    let details = judge(&kills, &played, &mut failures);
    as_victim(&starts, &hierarchy, &mut failures)?;

    // After the last kill of all: none is told again.
    let said = starts.unpin()?;
    failures
        .unless(said.contains("mark_victim") && said.contains("RECORDS") && !pins.exists(), || said.clone());
    failures.unless(starts.unpin()?.starts_with("nothing is pinned"), || "unpin found more".to_owned());
    let mut anew = starts.start(&[])?;
    anew.stop()?;
    failures.began(&anew, None, None, false);
    let again = anew.lines.iter().find(|line| kills.iter().any(|kill| tells(&line.value, kill)));
    failures.unless(again.is_none(), || format!("told again after unpin: {again:?}"));
    starts.unpin()?;
    Ok(Found { failures: failures.0, details })
}

/// The agent is the OOM killer's victim: the next one reports that.
fn as_victim(starts: &Starts<'_>, hierarchy: &Hierarchy, failures: &mut Failures) -> Result<()> {
    let scratch = Scratch::new(hierarchy, "victim")?;
    let pod = scratch.pod()?;
    let cgroup = pod.container()?.cgroup;
    let mut agent = starts.start(&[])?;
    let pid = agent.pid();
    fs::write(format!("/proc/{pid}/oom_score_adj"), "1000").context("cannot make the agent the victim")?;
    fs::write(cgroup.dir.join("cgroup.procs"), pid.to_string()).context("cannot move the agent")?;
    let (kills, ()) = killing(&[cgroup], until_more)?;
    agent.kill()?;
    let mut next = starts.start(&[])?;
    failures.began(&next, Some(&agent), Some(false), false);
    let tells_it = |line: &Value| {
        line["victims"].as_array().is_some_and(|victims| victims.iter().any(|victim| victim["pid"] == pid))
    };
    let told = next.read_until(Instant::now() + TOLD, |lines| lines.iter().any(|line| tells_it(&line.value)));
    failures.unless(told.is_ok(), || format!("the agent's own end is not told, of {} kills", kills.len()));
    next.stop()
}

/// The agents, and what is known of their times.
struct Played {
    agents: Vec<Agent>,
    /// When the first one had been killed.
    dead_ns: u64,
    /// When the one with other options had ended.
    until_ns: u64,
}

/// One is killed, one ends in order, the next one has other options; each time there are kills before the next one begins.
fn play(
    starts: &Starts<'_>,
    mut first: Agent,
    count: &AtomicUsize,
    failures: &mut Failures,
) -> Result<Played> {
    until_more(count)?;
    first.kill()?;
    let dead_ns = boottime_ns();
    until_more(count)?;
    let mut second = starts.start(&[])?;
    failures.began(&second, Some(&first), Some(false), false);
    until_more(count)?;
    second.stop()?;
    until_more(count)?;
    let mut third = starts.start(&[])?;
    failures.began(&third, Some(&second), Some(true), false);
    until_more(count)?;
    third.stop()?;
    until_more(count)?;
    let mut other = starts.start(&["--no-exits"])?;
    failures.began(&other, Some(&third), Some(true), true);
    until_more(count)?;
    let until_ns = boottime_ns();
    other.stop()?;
    Ok(Played { agents: vec![first, second, third, other], dead_ns, until_ns })
}

fn judge(kills: &[Kill], played: &Played, failures: &mut Failures) -> Value {
    let lines = || played.agents.iter().flat_map(|agent| &agent.lines).map(|line| &line.value);
    let incidents: Vec<_> = lines().filter(|line| line["kind"] == "oom_kill").collect();
    let unlisted: u64 = incidents.iter().map(|incident| unlisted(incident)).sum();
    let lost = lines().filter_map(|line| line["lost"].as_u64()).max();
    failures.unless(lost == Some(0), || format!("lost: {lost:?}"));
    let begun_ns = played.agents[0].started["ktime_ns"].as_u64().unwrap_or(u64::MAX);
    let changed_ns = played.agents[3].started["ktime_ns"].as_u64().unwrap_or_default();
    let (mut told_once, mut taken, mut changing) = (0_u64, 0, 0);
    let mut missing = Vec::new();
    for kill in kills.iter().filter(|kill| begun_ns <= kill.from_ns && kill.to_ns <= played.until_ns) {
        let told = incidents.iter().filter(|incident| tells(incident, kill)).count();
        let span = json!({ "pid": kill.pid, "at": [kill.from_ns, kill.to_ns] });
        failures.unless(told <= 1, || format!("told {told} times: {span}"));
        match told {
            0 if kill.from_ns < played.dead_ns => taken += 1,
            // While the hooks were replaced.
            0 if (kill.from_ns..=kill.to_ns).contains(&changed_ns) => changing += 1,
            0 => missing.push(span),
            _ => told_once += 1,
        }
    }
    failures.unless(missing.len() as u64 <= unlisted, || format!("not told: {missing:?}"));
    // What the killed one had taken is at most what was between two of its writes.
    failures.unless(taken <= 4, || format!("{taken} kills are lost that the killed agent had taken"));
    failures.unless(told_once > 0, || "no kill was told".to_owned());
    json!({ "kills": kills.len(), "told_once": told_once, "taken_by_the_killed": taken, "while_replaced": changing })
}
