//! Who sent a signal: by cgroup, user and namespaces of the sender. Its name never decides, since any process may have any name.

use crate::cgroup;
use crate::enrich::{Owned, Party};
use crate::event::signals::{SIGKILL, SIGXCPU};
use crate::event::{ContainerExit, Signal};
use crate::schema::{EndedBy, OwnerKind};

/// Services of the host that are a container runtime, beside those that [`cgroup::is_runtimes_service`] knows.
const RUNTIMES: [&str; 6] = [
    "docker.service",
    "cri-docker.service",
    "podman.service",
    "k0sworker.service",
    "k0scontroller.service",
    "snap.microk8s.daemon-containerd.service",
];

/// kubelet, where it is a service of its own.
const KUBELETS: [&str; 2] = ["kubelet.service", "snap.microk8s.daemon-kubelite.service"];

/// Services of the host that kill processes when memory is short.
const OOM_DAEMONS: [&str; 6] = [
    "systemd-oomd.service",
    "earlyoom.service",
    "nohang.service",
    "nohang-desktop.service",
    "oomd.service",
    "bustd.service",
];

/// Cgroup of Talos' machined, process 1 of its nodes, which has their OOM controller. It ends its own services otherwise, and
/// those are in no pod.
const TALOS_INIT: &[u8] = b"/init";

/// Who sent it. `exited` is the owner of the process that got it, `owned` that of the sender. `None` if it cannot be told.
pub(super) fn of(
    event: &ContainerExit,
    exited: Option<&Party>,
    signal: &Signal,
    owned: Option<Owned<'_>>,
) -> Option<EndedBy> {
    if signal.is_kernels() {
        return Some(kernels(event, signal));
    }
    let sender = &signal.sender;
    let pid = sender.task.pid;
    if pid.is_some() && pid == event.task.pid {
        return Some(EndedBy::Itself);
    }
    let party = owned.and_then(|owned| owned.nearest().ok());
    // Before the runtime's rules: a shim is also the parent of what came into a container by `exec`, and of the first process
    // of each container of its pod.
    if let Some(party) = party.filter(|party| party.owner.kind == OwnerKind::Container) {
        return Some(in_a_container(event, exited?, signal, party));
    }
    if is_root(signal) && is_monitor(event, signal) {
        return Some(EndedBy::Runtime);
    }
    let party = party?;
    if party.placement.is_in_pod() {
        // conmon's scope is in the pod's slice. Nothing else of the runtime is there.
        return Some(
            match (party.placement.infra, exited.is_some_and(|exited| is_same_pod(exited, party))) {
                (true, _) => EndedBy::Runtime,
                (false, true) => EndedBy::SamePod,
                (false, false) => EndedBy::OtherContainer,
            },
        );
    }
    let unit = party.owner.unit.as_deref().unwrap_or_default();
    Some(match pid {
        Some(1) if party.path == TALOS_INIT => EndedBy::OomDaemon,
        Some(1) => EndedBy::Systemd,
        _ if is_root(signal) && (cgroup::is_runtimes_service(unit) || RUNTIMES.contains(&unit)) => {
            EndedBy::Runtime
        }
        _ if party.placement.infra => EndedBy::Runtime,
        _ if is_root(signal) && KUBELETS.contains(&unit) => EndedBy::Kubelet,
        _ if OOM_DAEMONS.contains(&unit) => EndedBy::OomDaemon,
        _ => EndedBy::Host,
    })
}

/// The kernel's own signals, OOM kills apart.
///
/// When process 1 of a pid namespace exits, it kills all others in it (`zap_pid_ns_processes`, `kernel/pid_namespace.c`, 5.10 to
/// 7.3). At the hard limit of `RLIMIT_CPU` a process gets SIGKILL from its own timer tick (`check_process_timers`,
/// `kernel/time/posix-cpu-timers.c`, the same versions).
fn kernels(event: &ContainerExit, signal: &Signal) -> EndedBy {
    let sender = &signal.sender;
    let is_itself = sender.task.pid.is_some() && sender.task.pid == event.task.pid;
    match () {
        () if signal.number != SIGKILL => EndedBy::Kernel,
        () if event.oom_marked => EndedBy::OomKiller,
        () if is_itself && may_be_cpu_limit(event) => EndedBy::CpuLimit,
        // A record has no more of the sender's place in the namespace than which one it is.
        () if !event.is_init
            && sender.exiting
            && sender.pid_ns.is_some()
            && sender.pid_ns == event.pid_ns =>
        {
            EndedBy::PidNamespace
        }
        () => EndedBy::Kernel,
    }
}

/// It has such a limit; or SIGXCPU, which comes at the soft limit and then each second, tells of one that was there. Without that a
/// BPF program sent the SIGKILL: `bpf_send_signal` sends to the current process as the kernel (`kernel/trace/bpf_trace.c`).
fn may_be_cpu_limit(event: &ContainerExit) -> bool {
    event.cpu_limited || event.raised.as_ref().is_some_and(|raised| raised.number == SIGXCPU)
}

/// Who a process in a container is. The runtime's own stages work inside of the cgroup of the container that they make or
/// enter, in another pid namespace than the container's (`runc exec`, `libcontainer/process_linux.go`).
fn in_a_container(event: &ContainerExit, exited: &Party, signal: &Signal, party: &Party) -> EndedBy {
    let is_same = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
    if is_same(&exited.owner.container_id, &party.owner.container_id) {
        let apart = signal.sender.pid_ns.zip(event.pid_ns).is_some_and(|(one, other)| one != other);
        return if apart && is_root(signal) { EndedBy::Runtime } else { EndedBy::SameContainer };
    }
    if is_same_pod(exited, party) { EndedBy::SamePod } else { EndedBy::OtherContainer }
}

fn is_same_pod(one: &Party, other: &Party) -> bool {
    one.owner.pod_uid.is_some() && one.owner.pod_uid == other.owner.pod_uid
}

fn is_root(signal: &Signal) -> bool {
    signal.sender.task.uid == Some(0)
}

/// The sender is the parent of the container's first process (its shim or conmon), or a child of that: `runc kill`. Once the
/// shim has ended, the parent is process 1, which is anybody's parent.
fn is_monitor(event: &ContainerExit, signal: &Signal) -> bool {
    let parent = event.parent.pid.filter(|pid| *pid > 1);
    parent.is_some() && (signal.sender.task.pid == parent || signal.sender.parent.pid == parent)
}
