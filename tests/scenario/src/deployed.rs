//! The agent as deploy/ has it: in a container that runc makes of the manifests, in a guest. `deployed.toml` says what must hold
//! of it; `scenario run --deployed` plays scenarios before it, and this makes the other checks.

mod container;
mod leave_out;
mod remains;
mod verify;

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use crashtrace_judge::deployed::{Check, Deployed};
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Value, json};

use self::container::volumes;
use self::leave_out::leave_out;
use self::remains::Remains;
use crate::privileges;
use crate::scenarios::Setting;
use crashtrace_test_support::agent::Agent;
use crashtrace_test_support::cgroup::{Hierarchy, Version};
use crashtrace_test_support::deploy::needs::Form;

pub use self::container::{Container, Deployment, mount_controllers, remove_cgroups};
pub use self::verify::tiers;

/// Its name in results.
pub const NAME: &str = "deployed";
/// The check that is done while scenarios are played before it.
const AS_DEPLOYED: &str = "as_deployed";
/// The value of mainline kernels. Debian's have 3, and with that the scenarios are played.
const PERF_EVENT_PARANOID: i32 = 2;
/// The exit code of `crashtrace doctor` and `watch` where nothing can be watched.
const UNUSABLE: i32 = 4;

/// What to do.
#[derive(clap::Args)]
pub struct Args {
    /// What kubectl makes of the manifests
    #[arg(long, value_name = "DIR")]
    manifests: PathBuf,
    /// The agent's program
    #[arg(long, value_name = "FILE")]
    crashtrace: PathBuf,
    /// Which of the checks in deployed.toml
    #[arg(required = true)]
    names: Vec<String>,
}

/// Makes the checks, and prints one JSON object for each. Returns whether all passed.
pub fn run(args: &Args) -> Result<bool> {
    let catalogue = Deployed::read()?;
    let hierarchy = Hierarchy::find()?;
    let deployment = Deployment::new(&args.manifests, &args.crashtrace, &hierarchy)?;
    let mut good = true;
    for name in args.names.iter().filter(|name| *name != AS_DEPLOYED) {
        eprintln!("scenario: {name}");
        let check = catalogue.check(name)?;
        let faults = match name.as_str() {
            "leaves_nothing" => leaves_nothing(&deployment),
            _ => says_what_is_missing(&deployment, check),
        };
        let cleared = remove_cgroups(&hierarchy);
        let failures: Vec<_> = [faults, cleared].into_iter().filter_map(Result::err).collect();
        good &= failures.is_empty();
        print(name, &failures.iter().map(|error| format!("{error:#}")).collect::<Vec<_>>());
    }
    Ok(good)
}

/// Prints the result of a check.
pub fn print(name: &str, failures: &[String]) {
    let result =
        json!({ "scenario": name, "hooks": NAME, "pass": failures.is_empty(), "failures": failures });
    println!("{result}");
}

/// Faults that only this agent can have: it has access to the files of the cgroup whose limit was hit.
pub fn faults(lines: &[&Value]) -> Vec<String> {
    let unknown = |line: &&&Value| line["limit"].is_object() && line["limit"]["shmem_bytes"].is_null();
    let unknown = lines.iter().filter(unknown).map(|line| &line["unresolved"]);
    unknown.map(|why| format!("limit.shmem_bytes is not known: {why}")).collect()
}

/// The agent that scenarios are played before, and its container.
pub fn watch(deployment: &Deployment) -> Result<(Container, Agent)> {
    let pod = deployment.pod(Form::Capabilities)?;
    let container = deployment.container(Form::Capabilities, &pod)?;
    let agent = container.spawn(NAME)?;
    Ok((container, agent))
}

/// Whether that container is as the manifest says.
pub fn verify(deployment: &Deployment, container: &Container) {
    let pod = deployment.pod(Form::Capabilities);
    let volumes = pod.map(|pod| volumes(&pod).map(|(_, at)| at.to_owned()).collect::<Vec<_>>());
    let faults = volumes.and_then(|volumes| verify::faults(container, &volumes));
    print(AS_DEPLOYED, &faults.unwrap_or_else(|error| vec![format!("{error:#}")]));
}

/// Of either form nothing is left when its agent is told to end, or killed.
fn leaves_nothing(deployment: &Deployment) -> Result<()> {
    for (form, killed) in Form::ALL.into_iter().flat_map(|form| [(form, false), (form, true)]) {
        let what = || format!("{form:?}, {}", if killed { "killed" } else { "told to end" });
        let pod = deployment.pod(form)?;
        let before = Remains::look()?;
        let container = deployment.container(form, &pod)?;
        let mut agent = container.spawn(NAME)?;
        agent.wait_started().with_context(what)?;
        Remains::look()?.ensure_agent(&before).with_context(what)?;
        // Of the privileged form as well, which was given all.
        let kept = privileges::faults(container.pid()?, crate::run::kernel());
        ensure!(kept.is_empty(), "{}: {kept:?}", what());
        if killed {
            container.kill()?;
            agent.killed().with_context(what)?;
        } else {
            agent.stop().with_context(what)?;
        }
        drop(container);
        remove_cgroups(&deployment.hierarchy)?;
        Remains::wait_for(&before).with_context(what)?;
    }
    Ok(())
}

/// With something left out of the manifest, doctor names it and the log points to doctor; with all of it they have nothing to say.
fn says_what_is_missing(deployment: &Deployment, check: &Check) -> Result<()> {
    let paranoid = check.perf_event_paranoid.unwrap_or(PERF_EVENT_PARANOID).to_string();
    let _setting = Setting::new("/proc/sys/kernel/perf_event_paranoid", &paranoid)?;
    let mut pod = deployment.pod(Form::Capabilities)?;
    if let Some(without) = &check.without {
        leave_out(without, &mut pod)?;
    }
    let unusable =
        check.unusable_before.is_some_and(|version| crate::run::kernel().is_some_and(|it| it < version));
    let (status, says) = match (check.status.as_deref(), check.says.as_deref()) {
        _ if unusable => ("unusable", check.says.as_deref()),
        (None, None) if has_kmem_limits(deployment) => ("degraded", Some(KMEM_LIMIT)),
        (status, says) => (status.unwrap_or("ok"), says),
    };
    doctor(deployment, &pod, status, says).context("doctor")?;
    log(deployment, &pod, status, says).context("the log")
}

/// Of cgroup v1 up to 5.15. No right lets an agent see what happens there.
const KMEM_LIMIT: &str = "memory.kmem.limit_in_bytes";

fn has_kmem_limits(deployment: &Deployment) -> bool {
    deployment.hierarchy.version == Version::V1 && crate::run::kernel().is_some_and(|it| it < (5, 16))
}

fn doctor(deployment: &Deployment, pod: &PodSpec, status: &str, says: Option<&str>) -> Result<()> {
    let mut pod = pod.clone();
    for container in &mut pod.containers {
        // There is no API server here.
        let arguments = ["doctor", "--output", "json", "--pods", "none"];
        container.args = Some(arguments.map(str::to_owned).to_vec());
    }
    let output = deployment.container(Form::Capabilities, &pod)?.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value = serde_json::from_slice(&output.stdout).with_context(|| said.clone())?;
    let verdict = &report["verdict"];
    ensure!(verdict["status"] == status, "its status is to be {status}: {verdict}, {}", report["blind"]);
    let (remedies, blind) = (verdict["remedies"].to_string(), report["blind"].to_string());
    match says {
        Some(words) => {
            let summary = verdict["summary"].to_string();
            ensure!(
                remedies.contains(words) || summary.contains(words),
                "it is to name {words}: {summary}, {remedies}"
            );
            ensure!(
                status == "unusable" || blind.contains(words),
                "what is not seen is to name {words}: {blind}"
            );
        }
        None => ensure!(report["blind"] == json!([]), "nothing is to be missing: {blind}"),
    }
    Ok(())
}

fn log(deployment: &Deployment, pod: &PodSpec, status: &str, says: Option<&str>) -> Result<()> {
    let container = deployment.container(Form::Capabilities, pod)?;
    let mut agent = container.spawn(NAME)?;
    if status == "unusable" {
        let code = agent.ended_at_once()?;
        ensure!(code == Some(UNUSABLE), "it ended with {code:?}: {}", agent.log());
    } else {
        agent.wait_started()?;
        agent.stop()?;
    }
    let log = agent.log();
    match says {
        Some(words) if status == "unusable" => ensure!(log.contains(words), "it is to name {words}: {log}"),
        // One line, which points to doctor.
        Some(_) => ensure!(log.contains("`crashtrace doctor` says what"), "it is to point to doctor: {log}"),
        None => ensure!(!log.contains("not all is as it could be"), "nothing is to be missing: {log}"),
    }
    Ok(())
}
