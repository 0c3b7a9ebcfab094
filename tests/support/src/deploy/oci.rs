//! PURE: the OCI configuration (`config.json`) of the agent's container, as a container runtime gives it to runc.
//!
//! The parts that are the same for all pods (mounts, masked paths, namespaces, the rules of the seccomp profile) are from a real
//! containerd's configuration of one pod: `tests/fixtures/oci` has both. The parts that a manifest decides are replaced from the
//! manifest, so that another manifest makes another container. Anything in a manifest that cannot be translated is an error.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use crashtrace::pods::object::quantity;
use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements, SecurityContext};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Deserialize;
use serde_json::{Value, json};

use super::needs::Form;

/// The system call that containerd's seccomp profile lets through for a capability, of those that are known here
/// (`DefaultProfile` in its contrib/seccomp). `CAP_SYS_RESOURCE` has none.
const CALLS: [(&str, &str); 3] =
    [("CAP_BPF", "bpf"), ("CAP_PERFMON", "perf_event_open"), ("CAP_SYSLOG", "syslog")];

/// A pod, and containerd's configuration of its container.
#[derive(Clone, Debug, Deserialize)]
pub struct Recorded {
    /// The pod.
    pub pod: PodSpec,
    /// containerd's configuration.
    pub config: Value,
}

impl Recorded {
    /// That of one form of deploy/.
    pub fn of(form: Form) -> Result<Self> {
        let text = match form {
            Form::Privileged => include_str!("../../../fixtures/oci/privileged.json"),
            Form::Capabilities => include_str!("../../../fixtures/oci/capabilities.json"),
        };
        serde_json::from_str(text).with_context(|| format!("the recorded container of {form:?}"))
    }

    /// The configuration that containerd would have made of this pod in place of that one.
    pub fn config_of(&self, pod: &PodSpec) -> Result<Value> {
        let (before, now) = (container(&self.pod)?, container(pod)?);
        let class = |pod: &PodSpec| pod.priority_class_name.clone();
        ensure!(class(pod) == class(&self.pod), "the oom_score_adj of another priority class is not known");
        let (privileged_before, privileged) = (is_privileged(before), is_privileged(now));
        ensure!(privileged == privileged_before, "this is no pod of that form: privileged is {privileged}");
        let mut config = self.config.clone();
        process(&mut config["process"], before, now)?;
        mounts(&mut config["mounts"], &self.pod, pod)?;
        let security = security(now);
        config["root"]["readonly"] = (security.read_only_root_filesystem == Some(true)).into();
        if !privileged {
            let capabilities = capabilities(&security)?;
            seccomp(&mut config["linux"], &security, &capabilities)?;
            for set in ["bounding", "effective", "permitted"] {
                config["process"]["capabilities"][set] = json!(capabilities);
            }
        }
        resources(&mut config["linux"]["resources"], now.resources.as_ref().context("no resources")?)?;
        Ok(config)
    }
}

/// The only container of a pod, with no namespace of the host.
fn container(pod: &PodSpec) -> Result<&Container> {
    let host = [pod.host_pid, pod.host_ipc, pod.host_network];
    ensure!(!host.contains(&Some(true)), "a container in the host's namespaces is not known");
    ensure!(pod.security_context.is_none() && pod.init_containers.is_none(), "it has more than is known");
    let [container] = pod.containers.as_slice() else { bail!("it has not one container") };
    Ok(container)
}

fn security(container: &Container) -> SecurityContext {
    container.security_context.clone().unwrap_or_default()
}

fn is_privileged(container: &Container) -> bool {
    security(container).privileged == Some(true)
}

/// Arguments, variables, user, and whether it may gain privileges.
fn process(process: &mut Value, before: &Container, now: &Container) -> Result<()> {
    ensure!(now.command.is_none(), "the image's entry point is the program");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let entry_point = list(&process["args"]).into_iter().take(1);
    let arguments = now.args.iter().flatten().map(|argument| json!(argument));
    process["args"] = entry_point.chain(arguments).collect();
    let mut variables = list(&process["env"]);
    let is = |variable: &Value, name: &str| {
        variable.as_str().and_then(|text| text.split_once('=')).is_some_and(|(it, _)| it == name)
    };
    let known: BTreeMap<_, _> = before
        .env
        .iter()
        .flatten()
        .map(|variable| (&variable.name, variables.iter().find(|it| is(it, &variable.name)).cloned()))
        .collect();
    variables.retain(|variable| !known.keys().any(|name| is(variable, name)));
    for variable in now.env.iter().flatten() {
        let value = match (&variable.value, known.get(&variable.name)) {
            (Some(value), _) => json!(format!("{}={value}", variable.name)),
            (None, Some(Some(value))) if before.env.iter().flatten().any(|it| it == variable) => {
                value.clone()
            }
            _ => bail!("the value of variable {} is not known", variable.name),
        };
        variables.push(value);
    }
    process["env"] = variables.into();
    let security = security(now);
    process["user"]["uid"] = security.run_as_user.unwrap_or(0).into();
    let fields = process.as_object_mut().context("it is an object")?;
    if security.allow_privilege_escalation == Some(false) {
        fields.insert("noNewPrivileges".to_owned(), true.into());
    } else {
        fields.shift_remove("noNewPrivileges");
    }
    Ok(())
}

/// The volumes of the pod in place of those of the recorded one.
fn mounts(mounts: &mut Value, before: &PodSpec, now: &PodSpec) -> Result<()> {
    let mut all = mounts.as_array().cloned().context("it has mounts")?;
    let former: Vec<_> =
        container(before)?.volume_mounts.iter().flatten().map(|mount| mount.mount_path.as_str()).collect();
    all.retain(|mount| !former.iter().any(|path| mount["destination"] == *path));
    let mut volumes = Vec::new();
    for mount in container(now)?.volume_mounts.iter().flatten() {
        let volume = now.volumes.iter().flatten().find(|volume| volume.name == mount.name);
        let host = volume.and_then(|volume| volume.host_path.as_ref());
        let host = host.with_context(|| format!("{} is not of the host", mount.name))?;
        let access = if mount.read_only == Some(true) { "ro" } else { "rw" };
        let propagation = match mount.mount_propagation.as_deref() {
            None | Some("None") => "rprivate",
            Some("HostToContainer") => "rslave",
            Some(other) => bail!("mountPropagation {other} is not known"),
        };
        let options = ["rbind", propagation, access];
        volumes.push(
            json!({ "destination": mount.mount_path, "type": "bind", "source": host.path, "options": options }),
        );
    }
    // After those that every container has, the less deep ones first (`orderedMounts`).
    let first = all.iter().position(|mount| mount["type"] == "bind").unwrap_or(all.len());
    let own = all.split_off(first);
    volumes.extend(own);
    volumes.sort_by_key(|mount| mount["destination"].as_str().unwrap_or_default().matches('/').count());
    all.extend(volumes);
    *mounts = all.into();
    Ok(())
}

/// By the kernel's names. Kubernetes adds to the runtime's own set, so nothing is known unless that is dropped.
fn capabilities(security: &SecurityContext) -> Result<Vec<String>> {
    let wanted = security.capabilities.clone().unwrap_or_default();
    ensure!(wanted.drop.as_deref().unwrap_or_default() == ["ALL"], "not all capabilities are dropped");
    Ok(wanted.add.iter().flatten().map(|name| format!("CAP_{name}")).collect())
}

fn seccomp(linux: &mut Value, security: &SecurityContext, capabilities: &[String]) -> Result<()> {
    let profile = security.seccomp_profile.as_ref().map(|profile| profile.type_.as_str());
    match profile {
        None | Some("Unconfined") => {
            linux.as_object_mut().context("it is an object")?.shift_remove("seccomp");
            return Ok(());
        }
        Some("RuntimeDefault") => {}
        Some(other) => bail!("seccomp profile {other} is not known"),
    }
    for name in capabilities {
        let known = name == "CAP_SYS_RESOURCE" || CALLS.iter().any(|(it, _)| it == name);
        ensure!(known, "what the seccomp profile lets through for {name} is not recorded");
    }
    let rules = linux["seccomp"]["syscalls"].as_array_mut().context("it has rules")?;
    for (_, call) in CALLS.iter().filter(|(name, _)| !capabilities.iter().any(|it| it == name)) {
        rules.retain(|rule| rule["names"] != json!([call]));
    }
    Ok(())
}

fn resources(resources: &mut Value, wanted: &ResourceRequirements) -> Result<()> {
    let optional = |list: &Option<BTreeMap<String, Quantity>>, name: &str| {
        list.as_ref().and_then(|list| list.get(name)).map(|quantity| quantity.0.clone())
    };
    let of = |list, name: &str| optional(list, name).with_context(|| format!("no {name}"));
    let millis = |text: String| -> Result<u64> {
        text.strip_suffix('m').and_then(|text| text.parse().ok()).with_context(|| format!("{text} CPUs"))
    };
    let memory = of(&wanted.limits, "memory")?;
    resources["memory"]["limit"] =
        quantity::bytes(&memory).with_context(|| format!("{memory} bytes"))?.into();
    let period = resources["cpu"]["period"].as_u64().context("it has a period")?;
    match optional(&wanted.limits, "cpu") {
        Some(limit) => resources["cpu"]["quota"] = (millis(limit)? * period / 1000).into(),
        // kubelet leaves the quota out (`calculateLinuxResources`), and so does containerd.
        None => drop(resources["cpu"].as_object_mut().context("it is an object")?.shift_remove("quota")),
    }
    resources["cpu"]["shares"] = (millis(of(&wanted.requests, "cpu")?)? * 1024 / 1000).into();
    Ok(())
}

#[cfg(test)]
mod tests;
