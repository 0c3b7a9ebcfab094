//! Words for the owners of limits.

mod controller;
mod kubernetes;

use crate::cgroup::NodeRoot;
use crate::classify::tests::build::{
    BURSTABLE, CHARGE, KUBEPODS, MIB, POD, Told, WRITE, an_incident, api, kill, lineage, told,
};
use crate::enrich::enrich;
use crate::node::Node;

/// A kill in the cgroup `victim` at the limit of its ancestor `limit`.
fn killed(victim: &str, limit: &str, stack: &[&str], v1: bool) -> Told {
    let cgroups = lineage(victim).with(limit, 64 * MIB, 64 * MIB);
    let limit = cgroups.from(limit);
    let root = NodeRoot { v1, ..NodeRoot::default() };
    told(&enrich(
        an_incident(kill(&cgroups, Some(limit), stack)),
        &mut Node { root, ..Node::unseen("a test") },
    ))
}

fn texts(told: &Told) -> String {
    format!("{}\n{}\n{}", told.summary, told.evidence.join("\n"), told.remedy)
}

#[test]
fn the_limits_file_has_its_name_on_the_nodes_cgroup_version() {
    let nested = format!("{}/init.scope", api());
    for (victim, limit) in [
        (api(), api()),
        (api(), POD.to_owned()),
        (api(), BURSTABLE.to_owned()),
        (api(), KUBEPODS.to_owned()),
        (nested.clone(), nested),
        ("/custom/x".to_owned(), "/custom".to_owned()),
        ("/system.slice/x.service/y".to_owned(), "/system.slice/x.service/y".to_owned()),
    ] {
        let [v1, v2] = [true, false].map(|v1| texts(&killed(&victim, &limit, &CHARGE, v1)));
        assert!(!v1.contains("memory.max") && !v1.contains("memory.current"), "{v1}");
        assert!(!v2.contains("in_bytes"), "{v2}");
        assert_eq!(v1.replace("memory.limit_in_bytes", "memory.max"), v2);
    }
    let lowered = killed(&api(), &api(), &WRITE, false).remedy;
    assert!(lowered.contains("a tool that writes memory.max"), "{lowered}");
    // No limit owner is known.
    let unknown = kill(&lineage(&api()), None, &CHARGE).raw();
    for (v1, usage, limit) in
        [(true, "memory.usage_in_bytes", "memory.limit_in_bytes"), (false, "memory.current", "memory.max")]
    {
        let root = NodeRoot { v1, ..NodeRoot::default() };
        let mut node = Node { root, ..Node::unseen("a test") };
        let remedy = told(&enrich(an_incident(unknown.clone()), &mut node)).remedy;
        assert!(remedy.starts_with(&format!("Compare {usage} with {limit} in")), "{remedy}");
    }
}

const A: &str = "a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3";
const B: &str = "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e";
const UID: &str = "3f2a9c1e-77aa-4d0b-9c55-0123456789ab";
const USER: &str = "/user.slice/user-1001.slice/user@1001.service";

/// A path, with ids for `@A`, `@B`, a pod's UID for `@U` and as systemd has it for `@S`, and a user's service manager for `@R`.
fn filled(path: &str) -> String {
    let slice = UID.replace('-', "_");
    [("@A", A), ("@B", B), ("@U", UID), ("@S", &slice), ("@R", USER)]
        .iter()
        .fold(path.to_owned(), |path, (mark, text)| path.replace(mark, text))
}

struct Row {
    /// The path of the victim's cgroup; the limit owner is what is left of `|`.
    path: &'static str,
    /// The first words of the summary.
    says: &'static str,
    /// In the remedy.
    advises: &'static [&'static str],
}

const UNIT: &str = "systemctl";
const POD_LIMIT: &str = "resources.limits";
const NO_POD: &str = "changing pods does not help";
const UNMANAGED: &str = "neither kubelet nor systemd";
const SHARED: &str = "its pods share this limit";

const ROWS: [Row; 33] = [
    Row {
        path: "/machine.slice/machine-libpod_pod_@A.slice|/libpod-@B.scope/container",
        says: "Podman pod a3a3a3a3a3a3… hit its limit of 64 MiB",
        advises: &[
            "`podman pod create --memory`",
            "`systemctl set-property machine-libpod_pod_@A.slice MemoryMax=...` raises it",
        ],
    },
    Row {
        path: "/libpod_parent/@A|/libpod-@B",
        says: "Podman pod a3a3a3a3a3a3… hit its limit",
        advises: &["`podman pod create --memory`", "until then write memory.max"],
    },
    Row {
        path: "/machine.slice/libpod-@B.scope|/container",
        says: "Podman container 5e5e5e5e5e5e… hit its own limit",
        advises: &["`podman update --memory`", "It is in no pod."],
    },
    Row {
        path: "@R/user.slice/user-libpod_pod_@A.slice/libpod-@B.scope|/container",
        says: "Podman container 5e5e5e5e5e5e… of uid 1001 hit its limit",
        advises: &["`podman update --memory` as uid 1001"],
    },
    Row {
        path: "@R/user.slice/user-libpod_pod_@A.slice|/libpod-@B.scope/container",
        says: "Podman pod a3a3a3a3a3a3… of uid 1001 hit its limit",
        advises: &[
            "`podman pod create --memory`",
            "`systemctl --user set-property user-libpod_pod_@A.slice MemoryMax=...` as uid 1001 raises it",
        ],
    },
    Row {
        path: "/system.slice/docker-@A.scope|",
        says: "Docker container a3a3a3a3a3a3… hit its own limit",
        advises: &["`docker update --memory`, with --memory-swap", "It is in no pod."],
    },
    Row {
        path: "/ecs/f209da7f990b45b585488946f0eec404|/@B",
        says: "ECS task f209da7f990b45b585488946f0eec404 hit its limit",
        advises: &["the task's `memory` in its ECS task definition above 64 MiB"],
    },
    Row {
        path: "/ecstasks.slice/ecstasks-f209da7f990b45b585488946f0eec404.slice|/docker-@A.scope",
        says: "ECS task f209da7f990b45b585488946f0eec404 hit its limit",
        advises: &["the task's `memory` in its ECS task definition above 64 MiB"],
    },
    Row {
        path: "/ecs/f209da7f990b45b585488946f0eec404/@B|",
        says: "container 5e5e5e5e5e5e… of ECS task f209da7f990b45b585488946f0eec404 hit its own limit",
        advises: &["that container's `memory` in its ECS task definition"],
    },
    Row {
        path: "/nomad.slice/share.slice/5e3398a3-5552-4ce9-e2ce-c251830362c1.web.scope|",
        says: "Nomad task web of allocation 5e3398a3… hit its limit",
        advises: &["`resources { memory = ... }`, above 64 MiB", "made that cgroup, and no systemd"],
    },
    Row {
        path: "/nomad/ebf75298-ba47-98a8-28e5-a08daf20d60e|",
        says: "the Nomad task in cgroup ebf75298-ba47-98a8-28e5-a08daf20d60e hit its limit",
        advises: &["`resources { memory = ... }`, above 64 MiB"],
    },
    Row {
        path: "/lxc.payload.tryit|/system.slice/lxd.service",
        says: "LXC container tryit hit its limit",
        advises: &["limits.memory", "lxc.cgroup2.memory.max"],
    },
    Row {
        path: "/lxc.payload/tryit-select|/system.slice/lxd.service",
        says: "LXC container tryit-select hit its limit",
        advises: &["limits.memory"],
    },
    Row {
        path: "/system.slice/slurmstepd.scope/job_123|/step_0/user/task_0",
        says: "Slurm job 123 hit its limit",
        advises: &["`sbatch --mem`", "no systemd"],
    },
    Row {
        path: "/system.slice/slurmstepd.scope/job_123/step_0|/user/task_0",
        says: "cgroup /system.slice/slurmstepd.scope/job_123/step_0 inside Slurm job 123 hit its limit",
        advises: &["what runs in Slurm job 123 manages that cgroup"],
    },
    Row {
        path: "/garden/0a1b2c3d-1111-2222-3333-444455556666|",
        says: "Garden container 0a1b2c3d-1111-2222-3333-444455556666 hit its limit",
        advises: &["the app's memory quota"],
    },
    Row {
        path: "/machine.slice/systemd-nspawn@build.service|/payload/system.slice/nginx.service",
        says: "nspawn container build hit its limit",
        advises: &["MemoryMax=", "`systemctl set-property systemd-nspawn@build.service MemoryMax=...`"],
    },
    Row {
        path: "/docker/buildkit/x7v1a2b3c4d5e6f7g8h9i0j1k|",
        says: "BuildKit build step x7v1a2b3c4d5… hit its limit",
        advises: &["no container of Docker's"],
    },
    Row {
        path: "/kata_overhead/@A|",
        says: "the host's part of Kata sandbox a3a3a3a3a3a3… hit its limit",
        advises: &["sandbox_cgroup_only", "overhead.podFixed"],
    },
    Row {
        path: "/system.slice/docker-@A.scope|/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod@S.slice/cri-containerd-@B.scope",
        says: "Docker container a3a3a3a3a3a3… hit its own limit",
        advises: &[
            "`docker update --memory`",
            "if Docker container a3a3a3a3a3a3… is a node of Kubernetes",
            SHARED,
        ],
    },
    Row {
        path: "/system.slice/docker-@A.scope|/kubelet.slice/init.scope",
        says: "Docker container a3a3a3a3a3a3… hit its own limit",
        advises: &["`docker update --memory`", SHARED],
    },
    Row {
        path: "/test1.slice|/docker-@A.scope/kubepods/burstable/pod@U/@B",
        says: "host unit test1.slice hit its limit",
        advises: &[
            "`systemctl set-property test1.slice MemoryMax=...`",
            "if Docker container a3a3a3a3a3a3… is a node",
            SHARED,
        ],
    },
    Row {
        path: "/docker/@A/kubepods|/burstable/pod@U/@B",
        says: "a cgroup inside Docker container a3a3a3a3a3a3… hit its limit",
        advises: &["Raise memory.max", SHARED],
    },
    Row {
        path: "/system.slice/containerd.service|/kubepods-burstable-pod@S.slice:cri-containerd:@A",
        says: "host unit containerd.service hit its limit",
        advises: &[
            "`systemctl set-property containerd.service MemoryMax=...`",
            "pods are inside, as the victim is: kubelet and the container runtime use different cgroup drivers",
            "in containerd.service and not in their pods' cgroups",
        ],
    },
    Row {
        path: "/system.slice|/containerd.service/kubepods-burstable-pod@S.slice:cri-containerd:@A",
        says: "host unit system.slice hit its limit",
        advises: &[UNIT, "use different cgroup drivers"],
    },
    Row {
        path: "/kubelet.slice|/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod@S.slice/cri-containerd-@B.scope",
        says: "host unit kubelet.slice hit its limit",
        advises: &[UNIT, "pods are inside, as the victim is, and share it"],
    },
    Row {
        path: "/system.slice/containerd.service/kubepods-burstable-pod@S.slice:cri-containerd:@A|",
        says: "container a3a3a3a3a3a3… of pod 3f2a9c1e… hit its own limit",
        advises: &["Raise the container's resources.limits.memory"],
    },
    Row {
        path: "/kubepods/burstable/pod@U/@A/k3s/kubepods/besteffort/pod9d1f0c2b-1111-4222-8333-abcdefabcdef/@B|",
        says: "cgroup ",
        advises: &["inside container a3a3a3a3a3a3… of pod 3f2a9c1e…", SHARED],
    },
    Row {
        path: "@R/app.slice/x.service|",
        says: "unit x.service of uid 1001's systemd hit its limit",
        advises: &["`systemctl --user set-property x.service MemoryMax=...` as uid 1001"],
    },
    Row {
        path: "@R/app.slice/docker.service/docker-@A.scope|",
        says: "a cgroup inside unit docker.service of uid 1001's systemd hit its limit",
        advises: &["what runs in unit docker.service of uid 1001's systemd manages that cgroup"],
    },
    Row {
        path: "/user.slice/user-1001.slice|/user@1001.service/app.slice/docker.service/docker-@A.scope",
        says: "host unit user-1001.slice hit its limit",
        advises: &["`systemctl set-property user-1001.slice MemoryMax=...`"],
    },
    Row {
        path: "/azure.slice|/walinuxagent.service/x",
        says: "host unit azure.slice hit its limit",
        advises: &["`systemctl set-property azure.slice MemoryMax=...`"],
    },
    Row {
        path: "/system.slice/hogs@dev-disk\\x2dby.service|",
        says: "host unit hogs@dev-disk\\x2dby.service hit its limit",
        advises: &[
            "MemoryMax= of hogs@dev-disk\\x2dby.service above",
            "`systemctl set-property 'hogs@dev-disk\\x2dby.service' MemoryMax=...`",
            NO_POD,
        ],
    },
];

/// Each says its own, and nothing of another: of a unit, of a pod's limit, of no pods inside.
#[test]
fn each_limit_owner_has_the_words_of_its_runtime() {
    let mut wrong = Vec::new();
    for row in &ROWS {
        let (limit, below) = row.path.split_once('|').expect("a limit owner");
        let (limit, victim) = (filled(limit), filled(&format!("{limit}{below}")));
        let told = killed(&victim, &limit, &CHARGE, false);
        let advises: Vec<String> = row.advises.iter().map(|words| filled(words)).collect();
        let mut fault = |what: String| wrong.push(format!("{what}\n  {}\n  {}", told.summary, told.remedy));
        if !told.summary.starts_with(row.says) {
            fault(format!("{}: not {:?}", row.path, row.says));
        }
        for words in &advises {
            if !told.remedy.contains(words) && !told.summary.contains(words) {
                fault(format!("{}: lacks {words:?}", row.path));
            }
        }
        for other in [UNIT, POD_LIMIT, NO_POD, SHARED] {
            if !advises.iter().any(|words| words.contains(other)) && told.remedy.contains(other) {
                fault(format!("{}: says {other:?}", row.path));
            }
        }
        let plain = limit.contains("/k3s/") || limit.starts_with("/docker/");
        if told.remedy.contains(UNMANAGED) && !plain {
            fault(format!("{}: says {UNMANAGED:?}", row.path));
        }
        // A command can be pasted: it has the whole name of the unit.
        assert!(
            !told.remedy.split('`').skip(1).step_by(2).any(|command| command.contains('…')),
            "{}",
            told.remedy
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
