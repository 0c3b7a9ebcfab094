//! Who sent a signal, by cgroup, user and namespaces.

use super::*;
use crate::schema::{Cause, EndedBy, OwnerKind};

fn sender(killed: Signal) -> Option<EndedBy> {
    let event = ContainerExit { status: signaled(9), killed: Some(killed), ..an_end() };
    let facts = Scenery::of(event).told();
    facts.exit().killed_by
}

const OTHER: &str = "/kubepods/burstable/pod99999999-0d5a-4a4f-8f5c-2b8f0a2f6f11/77aa00000000000000000000000000000000000000000000000000000000cafe";
const CONMON: &str = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1f6cbd1e_0d5a_4a4f_8f5c_2b8f0a2f6f11.slice/crio-conmon-4f2a00000000000000000000000000000000000000000000000000000000beef.scope";

#[test]
fn the_cgroup_of_the_sender_tells() {
    let user = |mut signal: Signal, uid| {
        signal.sender.task.uid = Some(uid);
        signal
    };
    let session = "/user.slice/user-1000.slice/session-3.scope";
    for (signal, by_whom) in [
        (inside(&api()), EndedBy::SameContainer),
        (inside(&format!("{}/job", api())), EndedBy::SameContainer),
        (inside(&sibling()), EndedBy::SamePod),
        (by("runc", 5000, OTHER), EndedBy::OtherContainer),
        (by("anything", 5000, "/system.slice/containerd.service"), EndedBy::Runtime),
        (by("k3s-server", 5000, "/system.slice/k3s.service"), EndedBy::Runtime),
        (by("dockerd", 5000, "/system.slice/docker.service"), EndedBy::Runtime),
        (by("conmon", 5000, CONMON), EndedBy::Runtime),
        (by("kubelet", 5000, "/system.slice/kubelet.service"), EndedBy::Kubelet),
        (by("systemd", 1, "/init.scope"), EndedBy::Systemd),
        (by("machined", 1, "/init"), EndedBy::OomDaemon),
        (by("systemd-oomd", 700, "/system.slice/systemd-oomd.service"), EndedBy::OomDaemon),
        (user(by("earlyoom", 700, "/system.slice/earlyoom.service"), 65534), EndedBy::OomDaemon),
        (user(by("bash", 812, session), 1000), EndedBy::Host),
        (by("cron", 812, "/system.slice/cron.service"), EndedBy::Host),
        (by("bash", 812, "/"), EndedBy::Host),
        // The names of the runtime, kubelet and systemd-oomd, in cgroups of others.
        (user(by("runc", 812, session), 1000), EndedBy::Host),
        (user(by("systemd-oomd", 812, session), 1000), EndedBy::Host),
        (user(by("kubelet", 812, "/system.slice/containerd.service"), 1000), EndedBy::Host),
        (inside_named("containerd-shim", &api()), EndedBy::SameContainer),
    ] {
        assert_eq!(sender(signal.clone()), Some(by_whom), "{signal:?}");
    }
}

fn inside_named(comm: &str, cgroup: &str) -> Signal {
    let mut signal = inside(cgroup);
    signal.sender.task.comm = Some(comm.into());
    signal
}

#[test]
fn the_containers_own_monitor_is_the_runtime_in_whatever_cgroup() {
    let mut signal = runc(9, 1000);
    for cgroup in [Some("/"), Some("/podruntime/runtime"), Some("/user.slice/a.service"), None] {
        signal.sender.cgroups = cgroup.map(lineage);
        assert_eq!(sender(signal.clone()), Some(EndedBy::Runtime));
    }
    // The shim itself.
    let shim = by("x", SHIM, "/elsewhere");
    assert_eq!(sender(shim), Some(EndedBy::Runtime));
    // What came into the container, or into the next one, by `exec` has the shim as its parent too.
    for (cgroup, by_whom) in [(api(), EndedBy::SameContainer), (sibling(), EndedBy::SamePod)] {
        let mut exec = inside(&cgroup);
        exec.sender.parent.pid = Some(SHIM);
        assert_eq!(sender(exec), Some(by_whom));
    }
    // Once the shim has ended, process 1 is the parent of both.
    let mut signal = by("bash", 812, "/user.slice/user-0.slice/session-1.scope");
    signal.sender.parent.pid = Some(1);
    let event =
        ContainerExit { status: signaled(9), killed: Some(signal), parent: Parent::default(), ..an_end() };
    for pid in [None, Some(1)] {
        let event = ContainerExit { parent: Parent { pid, comm: None }, ..event.clone() };
        assert_eq!(Scenery::of(event).told().exit().killed_by, Some(EndedBy::Host));
    }
}

#[test]
fn a_stage_of_the_runtime_in_the_containers_cgroup_is_told_by_its_pid_namespace() {
    let mut signal = by("runc:[1:CHILD]", 5001, &api());
    assert_eq!(sender(signal.clone()), Some(EndedBy::Runtime));
    signal.sender.task.uid = Some(1000);
    assert_eq!(sender(signal.clone()), Some(EndedBy::SameContainer));
    signal.sender.pid_ns = None;
    assert_eq!(sender(signal), Some(EndedBy::SameContainer));
}

#[test]
fn the_kernels_sigkill_is_told_by_the_task_that_was_current() {
    let mut init = kernels(9, 4000);
    init.sender.exiting = true;
    init.sender.pid_ns = Some(CONTAINERS_NS);
    for (signal, by_whom) in [
        (init.clone(), EndedBy::PidNamespace),
        (kernels(9, 4211), EndedBy::Kernel),
        (kernels(9, 4000), EndedBy::Kernel),
    ] {
        let event = ContainerExit { status: signaled(9), killed: Some(signal), is_init: false, ..an_end() };
        assert_eq!(Scenery::of(event).told().exit().killed_by, Some(by_whom));
    }
    assert_eq!(sender(init.clone()), Some(EndedBy::Kernel), "of process 1 itself");
    init.sender.pid_ns = Some(HOST_NS);
    assert_eq!(sender(init), Some(EndedBy::Kernel));
}

#[test]
fn a_sender_without_cgroups_is_unknown_and_that_is_said() {
    let mut signal = by("bash", 812, "/a");
    signal.sender.cgroups = None;
    let event = ContainerExit { status: signaled(9), killed: Some(signal), ..an_end() };
    let told = Scenery::of(event).told();
    assert_eq!((told.cause, told.exit().ended_by), (Cause::Killed, None));
    assert!(told.gap("exit.ended_by").is_some());
}

#[test]
fn the_owner_of_the_exited_process_is_the_container() {
    let case = Scenery::of(an_end()).case();
    assert_eq!(case.exited().map(|party| party.owner.kind), Some(OwnerKind::Container));
}
