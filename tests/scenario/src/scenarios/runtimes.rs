//! Limits of cgroups that no Kubernetes manages, or that have Kubernetes inside: each in the words of its own runtime.

use anyhow::Result;
use serde_json::json;

use super::{MIB, Stage, feed_as};
use crate::actor::Role;
use crate::scratch::Scratch;
use crashtrace_judge::cast::{Cast, Place};
use crashtrace_test_support::cgroup::random_hex;

const LIMIT_MIB: u64 = 8;
const EATS_MIB: u64 = 40;

/// A place of a limit. In the paths `A` and `B` stand for a container's id, and `U` for a pod's UID, `u` for the same with `_`.
struct Limited {
    /// Its role, and that of the process.
    role: &'static str,
    /// What the process's owner is.
    kind: &'static str,
    /// Path of the cgroup that has the limit.
    limit: &'static str,
    /// Of the process's cgroup, what is below that.
    below: &'static str,
}

const LIMITED: &[Limited] = &[
    Limited {
        role: "podman_pod",
        kind: "container",
        limit: "machine.slice/machine-libpod_pod_{A}.slice",
        below: "libpod-{B}.scope/container",
    },
    Limited {
        role: "rootless_podman",
        kind: "host_service",
        limit: "user.slice/user-1001.slice/user@1001.service/user.slice/user-libpod_pod_{A}.slice",
        below: "libpod-{B}.scope/container",
    },
    Limited { role: "docker", kind: "container", limit: "system.slice/docker-{A}.scope", below: "" },
    Limited { role: "docker_v1", kind: "container", limit: "docker/{A}", below: "" },
    Limited {
        role: "ecs_task",
        kind: "container",
        limit: "ecs/f209da7f990b45b585488946f0eec404",
        below: "{B}",
    },
    Limited {
        role: "ecs_task_slice",
        kind: "container",
        limit: "ecstasks.slice/ecstasks-f209da7f990b45b585488946f0eec404.slice",
        below: "docker-{A}.scope",
    },
    Limited {
        role: "nomad",
        kind: "cgroup",
        limit: "nomad.slice/share.slice/5e3398a3-5552-4ce9-e2ce-c251830362c1.web.scope",
        below: "",
    },
    Limited {
        role: "nomad_v1",
        kind: "cgroup",
        limit: "nomad/ebf75298-ba47-98a8-28e5-a08daf20d60e",
        below: "",
    },
    Limited { role: "lxc", kind: "cgroup", limit: "lxc.payload.tryit", below: "system.slice/lxd.service" },
    Limited {
        role: "slurm",
        kind: "host_service",
        limit: "system.slice/slurmstepd.scope/job_123",
        below: "step_0/user/task_0",
    },
    Limited {
        role: "garden",
        kind: "cgroup",
        limit: "garden/0a1b2c3d-1111-2222-3333-444455556666",
        below: "",
    },
    Limited {
        role: "nspawn",
        kind: "host_service",
        limit: "machine.slice/systemd-nspawn@build.service",
        below: "payload/system.slice/nginx.service",
    },
    Limited { role: "kata_overhead", kind: "cgroup", limit: "kata_overhead/{A}", below: "" },
    Limited {
        role: "kind_node",
        kind: "container",
        limit: "system.slice/docker-{A}.scope",
        below: "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{u}.slice/cri-containerd-{B}.scope",
    },
    Limited {
        role: "k3d_pods",
        kind: "container",
        limit: "docker/{A}/kubepods",
        below: "burstable/pod{U}/{B}",
    },
    Limited {
        role: "mixed_drivers",
        kind: "container",
        // Not containerd's: that of other scenarios is there.
        limit: "system.slice/k3s.service",
        below: "kubepods-burstable-pod{u}.slice:cri-containerd:{A}",
    },
    Limited {
        role: "user_slice",
        kind: "host_service",
        limit: "user.slice/user-1000.slice",
        below: "user@1000.service/app.slice/docker.service/docker-{A}.scope",
    },
    Limited {
        role: "user_unit",
        kind: "host_service",
        limit: "user.slice/user-1000.slice/user@1000.service/app.slice/hog.service",
        below: "",
    },
    Limited {
        role: "escaped_unit",
        kind: "host_service",
        limit: "system.slice/hogs@dev-disk\\x2dby.service",
        below: "",
    },
];

pub(super) fn runtimes(stage: &Stage<'_>) -> Result<Cast> {
    let mut cast = Cast { kills: None, ..Cast::default() };
    for it in LIMITED {
        let mut scratch = Scratch::anywhere(stage.hierarchy);
        let uid = "3f2a9c1e-77aa-4d0b-9c55-0123456789ab";
        // Other ids each time: two of them are of the same form.
        let [one, other] = [random_hex()?, random_hex()?];
        let fill = |path: &str| {
            let path = path.replace("{A}", &one).replace("{B}", &other);
            path.replace("{U}", uid).replace("{u}", &uid.replace('-', "_"))
        };
        let limit = fill(it.limit);
        let below = if it.below.is_empty() { String::new() } else { format!("/{}", fill(it.below)) };
        let place = scratch.at(&limit)?;
        let inside = scratch.at(&(limit + &below))?;
        place.set_limit(LIMIT_MIB * MIB)?;
        let prefix = String::from_utf8_lossy(&place.path).into_owned();
        let eater = feed_as(&inside, &Role::eats("eater", EATS_MIB))?;
        (stage.wait)(std::slice::from_ref(&prefix), 1)?;
        cast.prefixes.push(prefix);
        let owner = json!({ "kind": it.kind });
        cast = cast.process(it.role, eater.part(&owner)?);
        cast = cast.place(it.role, Place { path: place.path, owner: json!({}) });
        drop(eater);
        drop(scratch);
        // The next one may be in the same slices.
        crate::scratch::remove_what_is_over();
    }
    Ok(cast)
}
