//! kubelet's requests to the container runtime for a manifest, as far as deploy/ needs them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use k8s_openapi::api::core::v1::{Container, PodSpec, SecurityContext};

use crate::containerd::message::{
    Capability, ContainerConfig, ContainerMetadata, ImageSpec, Int64Value, KeyValue, LinuxContainerConfig,
    LinuxContainerResources, LinuxContainerSecurityContext, Mount, SecurityProfile,
};
use crate::containerd::pods::NAMESPACES;

/// Of all pods of class system-node-critical, whatever their requests and limits are.
const OOM_SCORE_ADJ: i64 = -997;
/// `HOST_TO_CONTAINER`.
const HOST_TO_CONTAINER: i32 = 1;
/// `Unconfined`; 0 is the runtime's default.
const UNCONFINED: i32 = 1;
/// The paths that an unprivileged container does not see, and those that it may not write.
const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Where its output goes, below the pod's folder of logs.
pub const LOG: &str = "crashtrace/0.log";

/// The container of this pod on this node, whose folders lie where `folder` says.
pub fn container(pod: &PodSpec, node: &str, folder: impl Fn(&str) -> PathBuf) -> ContainerConfig {
    let container = &pod.containers[0];
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: container.name.clone(), attempt: 0 }),
        image: Some(ImageSpec { image: container.image.clone().expect("an image"), ..ImageSpec::default() }),
        args: container.args.clone().unwrap_or_default(),
        envs: variables(container, node),
        mounts: mounts(pod, folder),
        log_path: LOG.to_owned(),
        linux: Some(LinuxContainerConfig {
            resources: Some(LinuxContainerResources {
                memory_limit_in_bytes: i64::try_from(memory_limit(container)).expect("it fits"),
                oom_score_adj: OOM_SCORE_ADJ,
            }),
            security_context: Some(security(container.security_context.as_ref().expect("it has one"))),
        }),
        ..ContainerConfig::default()
    }
}

/// The limit of its memory.
pub fn memory_limit(container: &Container) -> u64 {
    let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
    let limit = &limits.expect("limits")["memory"].0;
    limit.strip_suffix("Mi").and_then(|mib| mib.parse::<u64>().ok()).expect("MiB") << 20
}

fn variables(container: &Container, node: &str) -> Vec<KeyValue> {
    let of_manifest = container.env.iter().flatten().map(|variable| {
        let field = variable.value_from.as_ref().and_then(|from| from.field_ref.as_ref()).expect("a field");
        assert_eq!(field.field_path, "spec.nodeName");
        (variable.name.as_str(), node)
    });
    of_manifest.map(|(key, value)| KeyValue { key: key.to_owned(), value: value.to_owned() }).collect()
}

fn mounts(pod: &PodSpec, folder: impl Fn(&str) -> PathBuf) -> Vec<Mount> {
    let volumes = pod.volumes.iter().flatten();
    let mount = |it: &k8s_openapi::api::core::v1::VolumeMount| {
        let volume = volumes.clone().find(|volume| volume.name == it.name).expect("its volume");
        let host = &volume.host_path.as_ref().expect("a folder of the host").path;
        let propagation = match it.mount_propagation.as_deref() {
            None => 0,
            Some("HostToContainer") => HOST_TO_CONTAINER,
            Some(other) => panic!("{other}"),
        };
        Mount {
            container_path: it.mount_path.clone(),
            host_path: folder(host).display().to_string(),
            readonly: it.read_only == Some(true),
            propagation,
        }
    };
    pod.containers[0].volume_mounts.iter().flatten().map(mount).collect()
}

fn security(of: &SecurityContext) -> LinuxContainerSecurityContext {
    let privileged = of.privileged == Some(true);
    let paths = |paths: &[&str]| {
        if privileged { Vec::new() } else { paths.iter().map(|path| (*path).to_owned()).collect() }
    };
    let capabilities = of.capabilities.clone().map(|it| Capability {
        add_capabilities: it.add.unwrap_or_default(),
        drop_capabilities: it.drop.unwrap_or_default(),
    });
    LinuxContainerSecurityContext {
        capabilities,
        privileged,
        namespace_options: Some(NAMESPACES),
        run_as_user: of.run_as_user.map(|value| Int64Value { value }),
        readonly_rootfs: of.read_only_root_filesystem == Some(true),
        no_new_privs: of.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READ_ONLY),
        seccomp: of.seccomp_profile.as_ref().map(|it| {
            assert_eq!(it.type_, "RuntimeDefault");
            SecurityProfile { profile_type: 0 }
        }),
    }
}

/// Leaves out settings that this machine cannot give, which would keep the container from starting: a mount that follows the host's
/// where none of the host's is shared (systemd shares all), capabilities that its own root does not have, and the seccomp profile
/// of a containerd that lets `bpf()` through for `CAP_SYS_ADMIN` alone (before 1.7).
pub fn spare(config: &mut ContainerConfig, machine: &Machine) {
    /// Its number in the kernel's sets. The others are the least that the agent works with.
    const SYS_RESOURCE: u64 = 1 << 24;
    for mount in config.mounts.iter_mut().filter(|_| !machine.shares_mounts) {
        mount.propagation = 0;
    }
    let linux = config.linux.as_mut().and_then(|linux| linux.security_context.as_mut()).expect("it has one");
    if let Some(capabilities) = &mut linux.capabilities {
        let held = |name: &String| name != "SYS_RESOURCE" || machine.capabilities & SYS_RESOURCE != 0;
        capabilities.add_capabilities.retain(held);
    }
    if machine.containerd < (1, 7)
        && let Some(seccomp) = &mut linux.seccomp
    {
        seccomp.profile_type = UNCONFINED;
    }
}

/// The features of this machine.
#[derive(Debug)]
pub struct Machine {
    shares_mounts: bool,
    capabilities: u64,
    containerd: (u32, u32),
}

impl Machine {
    pub fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).expect("it can be read");
        let said = Command::new("containerd").arg("--version").output().expect("it starts").stdout;
        let version = String::from_utf8(said).expect("text");
        let version = version.split_whitespace().nth(2).expect("a version").trim_start_matches('v');
        let mut numbers = version.split('.').map_while(|number| number.parse().ok());
        let mut number = || numbers.next().expect("a number");
        let status = read("/proc/self/status");
        let held = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).expect("a mask");
        let of_root = |line: &&str| line.split(' ').nth(4) == Some("/");
        let mounts = read("/proc/self/mountinfo");
        Self {
            shares_mounts: mounts.lines().find(of_root).is_some_and(|line| line.contains(" shared:")),
            capabilities: u64::from_str_radix(held.trim(), 16).expect("a number"),
            containerd: (number(), number()),
        }
    }
}
