//! What to do about a limit outside of Kubernetes' tree, in the words of the software that made the cgroup.

use crate::cgroup;
use crate::describe::oom::{Oom, own};
use crate::describe::owner;
use crate::enrich::Party;
use crate::phrase::{path, shell_word};
use crate::schema::{EngineKind, Runtime};

/// The limit of what an engine or a user's systemd made; `None` if the limit owner is neither.
pub(super) fn engine(oom: &Oom<'_>, above: &str) -> Option<String> {
    let party = &oom.limit()?.party;
    if !own(party) {
        return None;
    }
    let whose = owner(party);
    let user = party.owner.user_unit.as_ref();
    let Some(engine) = &party.owner.engine else {
        return Some(format!(
            "Raise MemoryMax= of {whose} above {above} ({}), or find what grows in it.",
            set_property(party)?
        ));
    };
    let as_user = user.map_or_else(String::new, |user| format!(" as uid {}", user.uid));
    let name = path(engine.name.as_bytes());
    let words = match engine.kind {
        EngineKind::PodmanPod => {
            let until = match set_property(party) {
                Some(command) => format!("until then {command} raises it on its slice"),
                None => format!("until then write {}", oom.limit_file()),
            };
            format!(
                "Raise the memory limit of {whose} above {above}, or find what grows in its containers: the limit is an \
                 option of `podman pod create --memory`, so the pod must be created anew; {until}."
            )
        }
        EngineKind::PodmanContainer => format!(
            "Raise the memory limit of {whose} above {above} (`podman update --memory`{as_user}), or find what grows in it."
        ),
        EngineKind::DockerContainer => format!(
            "Raise the memory limit of {whose} above {above} (`docker update --memory`{as_user}), or find what grows in it."
        ),
        EngineKind::BuildkitStep => format!(
            "Find what grows in {whose}, or raise its limit above {above} where the build or its builder has it: it is no \
             container of Docker's, so `docker update` does not know it."
        ),
        EngineKind::EcsTask => format!(
            "Raise the task's `memory` in its ECS task definition above {above}, or find which of its containers grows: all \
             of them share it."
        ),
        EngineKind::NomadTask => format!(
            "Raise `memory` in the task's Nomad job, `resources {{ memory = ... }}`, above {above} (`memory_max` where memory \
             is oversubscribed), or find what grows in the task. Nomad made that cgroup, and no systemd."
        ),
        EngineKind::GardenContainer => format!(
            "Raise the memory limit of {whose} above {above} where its platform has it (Cloud Foundry: the app's memory \
             quota, `cf scale -m`; Concourse: container_limits), or find what grows in it."
        ),
        EngineKind::LxcContainer => {
            let raw = if oom.scene.memory_cgroup_v1 {
                "lxc.cgroup.memory.limit_in_bytes"
            } else {
                "lxc.cgroup2.memory.max"
            };
            format!(
                "Raise the memory limit of {whose} above {above} (LXD and Incus: limits.memory; Proxmox: `pct set --memory`; \
                 plain LXC: {raw}), or find what grows in it."
            )
        }
        EngineKind::SlurmJob => format!(
            "Submit the job with more memory than {above} (`sbatch --mem` or --mem-per-cpu), or find what grows in it. slurmd \
             sets the limit of job {name}'s cgroup, and no systemd."
        ),
        EngineKind::NspawnContainer => format!(
            "Raise MemoryMax= of the container's unit above {above} ({}), or find what grows in {whose}.",
            set_property(party)?
        ),
        // Has no engine's name; see above.
        EngineKind::UserUnit => return None,
        EngineKind::KataOverhead => format!(
            "Raise the limit above {above} in whatever set it: the cgroup holds the sandbox's VMM and helpers, which \
             `sandbox_cgroup_only = true` in Kata's configuration moves into the pod's, with a RuntimeClass whose \
             overhead.podFixed has room for them."
        ),
    };
    Some(words)
}

/// The command that sets a limit of the owner's unit.
pub(in crate::describe::oom::remedy) fn set_property(party: &Party) -> Option<String> {
    if let Some(user) = &party.owner.user_unit {
        let unit = shell_word(&user.unit);
        return Some(format!("`systemctl --user set-property {unit} MemoryMax=...` as uid {}", user.uid));
    }
    let unit = shell_word(party.owner.unit.as_deref()?);
    Some(format!("`systemctl set-property {unit} MemoryMax=...`"))
}

/// The limit of a container that is in no pod.
pub(super) fn container(oom: &Oom<'_>, above: &str) -> String {
    let Some(party) = oom.limit().map(|limit| &limit.party) else {
        return format!("Raise the container's memory limit above {above} in whatever made it.");
    };
    let whose = owner(party);
    let in_task = party.owner.engine.as_ref().filter(|engine| engine.kind == EngineKind::EcsTask);
    // These make containers for kubelet, which says in a label whose they are, and not in the path.
    let unit = party.owner.unit.as_deref().unwrap_or_default();
    let by_cri = unit.starts_with("cri-containerd-") || party.path.starts_with(b"/k8s.io/");
    match party.owner.runtime {
        _ if in_task.is_some() => format!(
            "Raise that container's `memory` in its ECS task definition above {above}, or find what grows in {whose}."
        ),
        Some(Runtime::Docker) => format!(
            "Raise the memory limit of {whose} above {above} (`docker update --memory`, with --memory-swap where that is \
             set), or find what grows in it."
        ),
        Some(Runtime::Podman) => format!(
            "Raise the memory limit of {whose} above {above} (`podman update --memory`), or find what grows in it."
        ),
        Some(Runtime::Containerd | Runtime::Crio) if by_cri || party.owner.runtime == Some(Runtime::Crio) => {
            format!(
                "Raise the memory limit of {whose} above {above} in whatever made it, or find what grows in it. A runtime of \
                 Kubernetes made it, but its cgroup is in no pod's: `crictl inspect` says whose it is."
            )
        }
        Some(Runtime::Containerd) => format!(
            "Raise the memory limit of {whose} above {above} in whatever made it (for example `nerdctl update --memory`), or \
             find what grows in it."
        ),
        Some(Runtime::Crio) | None => {
            format!(
                "Raise the memory limit of {whose} above {above} in whatever made it, or find what grows in it."
            )
        }
    }
}

/// What is known of pods inside of a limit that is not a pod's.
pub(super) fn pods(oom: &Oom<'_>) -> Option<String> {
    let limit = &oom.limit()?.party;
    let actor = oom.scene.actor_in(limit);
    if let Some(actor) = actor.filter(|actor| actor.placement.is_in_pod() && !limit.placement.is_in_pod()) {
        return Some(match runtimes_service(actor) {
            Some(service) => format!(
                "The limit is not a pod's, but pods are inside, as the victim is: kubelet and the container runtime use \
                 different cgroup drivers (systemd and cgroupfs), so the containers are in {service} and not in their pods' \
                 cgroups. Set the same driver in both (containerd: SystemdCgroup = true)."
            ),
            None => {
                "The limit is not a pod's, but pods are inside, as the victim is, and share it.".to_owned()
            }
        });
    }
    let placement = &limit.placement;
    // Below a delegation the limit owner's own names count too: `kubepods` in a container.
    let own_end = placement.delegate_end.or(placement.container_end).filter(|_| !own(limit));
    let own_end = own_end.unwrap_or(limit.path.len());
    let inside = actor.unwrap_or(limit).path.get(own_end.min(limit.path.len())..)?;
    if !cgroup::has_kubelets_names(inside) {
        return None;
    }
    let node = owner(actor.unwrap_or(limit));
    Some(format!(
        "Cgroups in it have names that a kubelet gives: if {node} is a node of Kubernetes (kind, k3d, minikube), its pods share \
         this limit, which its kubelet may not know, and an agent in that node names them."
    ))
}

/// The service that the runtime put a pod's container into.
fn runtimes_service(actor: &Party) -> Option<String> {
    let names = actor.path.split(|&byte| byte == b'/').filter_map(|name| str::from_utf8(name).ok());
    let mut above: Option<&str> = None;
    for name in names {
        if name.contains(".slice:") {
            return above.filter(|service| cgroup::is_runtimes_service(service)).map(str::to_owned);
        }
        above = Some(name);
    }
    None
}
