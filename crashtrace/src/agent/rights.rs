//! The rights that the agent needs for the rest of its run, by its configuration, and the end of all other rights.

use std::path::Path;

use super::host::Host;
use super::pods;
use crate::cli::{ApiServer, Pods, Watch};
use crate::confine::{self, Confinement, Needs, Whom};
use crate::kernel::load::KernelCounters;
use crate::pods::cri::socket;

/// Kubelet sets it in each container.
const PORT: &str = "KUBERNETES_SERVICE_PORT";

/// Gives up what the loop does not need, and gives how much of it had to be kept. Called once its hooks are in place, before a lasting thread is started.
pub(super) fn give_up(config: &Watch, needs: &Needs, counters: &KernelCounters) -> usize {
    if !config.confine {
        tracing::info!("all rights are kept (--no-confine)");
        return 0;
    }
    let left = confine::apply(Whom::Process, needs, || counters.read().is_ok());
    for why in &left.not_applied {
        tracing::info!(why, "the agent keeps rights that it does not need");
    }
    tracing::info!(?left, "rights that are not needed are dropped");
    left.not_applied.len()
}

/// The rights that would be left: this confines a thread, which then ends.
pub(super) fn trial(needs: &Needs, counters: &KernelCounters) -> Option<Confinement> {
    std::thread::scope(|scope| {
        scope.spawn(|| confine::apply(Whom::Thread, needs, || counters.read().is_ok())).join().ok()
    })
}

/// What the loop will need. Reads the files of a kubeconfig, for some seconds at most.
pub(super) fn needs(pods: &Pods, host: &Host) -> Needs {
    needs_of(pods, host.facts.memory_cgroup_mount.as_deref(), |name| std::env::var(name).ok())
}

fn needs_of(asked: &Pods, cgroups: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Needs {
    let mut needs = Needs::kernel_only(cgroups.map(Into::into));
    match &asked.kube {
        None => {}
        Some(ApiServer::InCluster) => {
            needs = needs.in_cluster(variable(PORT).and_then(|port| port.parse().ok()));
        }
        Some(ApiServer::Kubeconfig(_)) => {
            let takes = pods::source(asked).map(|source| source.takes()).unwrap_or_default();
            needs = needs.kubeconfig(takes.files_of_others, takes.programs);
        }
    }
    match &asked.cri {
        None => needs,
        Some(Some(socket)) => needs.runtime([socket::path(&socket.to_string_lossy()).as_path()]),
        Some(None) => needs.runtime(socket::USUAL.map(Path::new)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, chown};
    use std::path::PathBuf;

    use super::*;
    use crate::confine::Network;

    fn of(pods: &Pods, variables: &[(&str, &str)]) -> Needs {
        let variable =
            |name: &str| variables.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned());
        needs_of(pods, Some("/host/sys/fs/cgroup"), variable)
    }

    #[test]
    fn without_sources_only_the_kernels_files_are_read_and_nothing_is_connected_to() {
        let needs = of(&Pods::default(), &[(PORT, "443")]);
        let reads = ["/proc", "/sys", "/host/sys/fs/cgroup"].map(PathBuf::from);
        assert_eq!((needs.reads.as_slice(), &needs.network), (reads.as_slice(), &Network::None));
        assert!(needs.sockets.is_empty() && !needs.files_of_others && !needs.programs);
    }

    #[test]
    fn a_pod_connects_to_the_api_servers_port_also_where_there_is_a_proxy_which_it_does_not_use() {
        let pods = Pods { kube: Some(ApiServer::InCluster), cri: None, ..Pods::default() };
        assert_eq!(of(&pods, &[(PORT, "6443")]).network, Network::Ports(vec![6443]));
        assert_eq!(of(&pods, &[]).network, Network::Any);
        let needs = of(&pods, &[(PORT, "6443"), ("HTTPS_PROXY", "http://proxy:3128")]);
        assert_eq!(needs.network, Network::Ports(vec![6443]));
        assert!(needs.reads.contains(&"/var/run/secrets".into()) && !needs.reads.contains(&"/".into()));
    }

    #[test]
    fn a_kubeconfig_may_name_files_anywhere_and_be_another_users() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let pods = Pods {
            kube: Some(ApiServer::Kubeconfig(vec![file.path().into()])),
            cri: None,
            ..Pods::default()
        };
        let needs = of(&pods, &[]);
        assert!(needs.reads.contains(&"/".into()) && !needs.files_of_others);
        chown(file.path(), SOMEBODY, None).expect("root may");
        assert!(of(&pods, &[]).files_of_others);
    }

    /// `sudo crashtrace` with root's kubeconfig that names a user's key, or one in a user's closed folder.
    #[test]
    fn the_files_of_a_kubeconfig_and_their_folders_may_be_another_users_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, key) = (folder.path().join("config"), folder.path().join("key"));
        let pods =
            Pods { kube: Some(ApiServer::Kubeconfig(vec![file.clone()])), cri: None, ..Pods::default() };
        for named in ["client-key: key", "client-certificate: key", "tokenFile: key"] {
            std::fs::write(&file, kubeconfig("{}", &format!("{{{named}}}"))).expect("a file");
            std::fs::write(&key, "").expect("a file");
            assert!(!of(&pods, &[]).files_of_others, "{named}");
            chown(&key, SOMEBODY, None).expect("root may");
            assert!(of(&pods, &[]).files_of_others, "{named}");
            std::fs::remove_file(&key).expect("it is there");
        }
        std::fs::write(&file, kubeconfig("{certificate-authority: key}", "{}")).expect("a file");
        std::fs::write(&key, "").expect("a file");
        assert!(!of(&pods, &[]).files_of_others);
        chown(&key, SOMEBODY, None).expect("root may");
        assert!(of(&pods, &[]).files_of_others);
        std::fs::remove_file(&key).expect("it is there");

        // All users may go through it, or its owner alone.
        chown(folder.path(), SOMEBODY, None).expect("root may");
        for (mode, others) in [(0o711, false), (0o700, true)] {
            std::fs::set_permissions(folder.path(), Permissions::from_mode(mode)).expect("root may");
            assert_eq!(of(&pods, &[]).files_of_others, others, "{mode:o}");
        }
    }

    const SOMEBODY: Option<u32> = Some(1234);

    fn kubeconfig(cluster: &str, user: &str) -> String {
        format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {cluster}}}]\nusers: [{{name: u, user: {user}}}]\n"
        )
    }

    #[test]
    fn programs_are_let_run_where_a_kubeconfig_names_one() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for (user, programs) in
            [("{token: t}", false), ("{exec: {apiVersion: v1, command: /bin/false}}", true)]
        {
            std::fs::write(file.path(), kubeconfig("{}", user)).expect("a file");
            let pods = Pods {
                kube: Some(ApiServer::Kubeconfig(vec![file.path().into()])),
                cri: None,
                ..Pods::default()
            };
            assert_eq!(of(&pods, &[]).programs, programs, "{user}");
        }
    }

    #[test]
    fn the_runtime_may_be_connected_to_at_each_of_its_sockets() {
        let given = Pods {
            kube: None,
            cri: Some(Some("unix:///run/k3s/containerd/containerd.sock".into())),
            ..Pods::default()
        };
        assert_eq!(of(&given, &[]).sockets, [PathBuf::from("/run/k3s/containerd")]);
        let usual = of(&Pods { kube: None, cri: Some(None), ..Pods::default() }, &[]);
        assert!(usual.sockets.contains(&"/run/containerd".into()) && usual.network == Network::None);
    }
}
