//! Needs kubectl (`cargo xtask setup --tools`).

use k8s_openapi::api::core::v1::{PodSpec, SecurityContext};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};

use super::Recorded;
use crate::deploy::needs::Form;
use crate::deploy::render::pod;

/// Makes another of a pod and its container's security context.
type Change = dyn Fn(&mut PodSpec, &mut SecurityContext);

/// The capabilities that it is given.
fn added(security: &mut SecurityContext) -> &mut Vec<String> {
    security.capabilities.as_mut().and_then(|capabilities| capabilities.add.as_mut()).expect("some")
}

/// The recorded pod gives the recorded configuration, and the pods in deploy/ give some.
#[test]
fn the_configuration_is_the_one_that_containerd_makes() {
    for form in Form::ALL {
        let recorded = Recorded::of(form).expect("it is recorded");
        let config = recorded.config_of(&recorded.pod).expect("the recorded pod is known");
        assert_eq!(config, recorded.config, "{form:?}");
        recorded.config_of(&pod(form)).unwrap_or_else(|error| panic!("{form:?}: {error:#}"));
    }
}

#[test]
fn another_manifest_is_another_container() {
    let recorded = Recorded::of(Form::Capabilities).expect("it is recorded");
    let of = |change: &Change| {
        let mut pod = recorded.pod.clone();
        let mut security = pod.containers[0].security_context.take().expect("a security context");
        change(&mut pod, &mut security);
        pod.containers[0].security_context = Some(security);
        recorded.config_of(&pod)
    };
    let at = |config: &Value, path: &str| config.pointer(path).cloned().unwrap_or_default();
    let less = of(&|_, security| {
        added(security).retain(|name| name != "BPF");
        security.allow_privilege_escalation = None;
        security.read_only_root_filesystem = Some(false);
        security.run_as_user = Some(1000);
    })
    .expect("it is known");
    assert_eq!(
        at(&less, "/process/capabilities/bounding"),
        json!(["CAP_PERFMON", "CAP_SYSLOG", "CAP_SYS_RESOURCE"])
    );
    let rules = |config: &Value| at(config, "/linux/seccomp/syscalls").to_string();
    assert!(rules(&recorded.config).contains("\"bpf\"") && !rules(&less).contains("\"bpf\""));
    assert_eq!(at(&less, "/process/noNewPrivileges"), Value::Null);
    assert_eq!(at(&less, "/root/readonly"), json!(false));
    assert_eq!(at(&less, "/process/user/uid"), json!(1000));
    let other = of(&|pod, security| {
        security.seccomp_profile = None;
        let container = &mut pod.containers[0];
        container.args = Some(vec!["doctor".to_owned()]);
        container.volume_mounts = None;
        let limits = container.resources.as_mut().expect("some").limits.as_mut().expect("some");
        limits.insert("memory".to_owned(), Quantity("1Gi".to_owned()));
        limits.insert("cpu".to_owned(), Quantity("250m".to_owned()));
    })
    .expect("it is known");
    assert_eq!(at(&other, "/linux/seccomp"), Value::Null);
    assert_eq!(at(&other, "/process/args"), json!(["/crashtrace", "doctor"]));
    let mounted = |config: &Value| at(config, "/mounts").to_string().contains("/host/sys/fs/cgroup");
    assert!(mounted(&recorded.config) && !mounted(&other));
    assert_eq!(at(&other, "/linux/resources/memory/limit"), json!(1_u64 << 30));
    assert_eq!(at(&other, "/linux/resources/cpu/quota"), json!(25_000));
    let without_limit = of(&|pod, _| {
        let limits = pod.containers[0].resources.as_mut().expect("some").limits.as_mut().expect("some");
        limits.remove("cpu");
    })
    .expect("it is known");
    assert_eq!(
        (
            at(&without_limit, "/linux/resources/cpu/quota"),
            at(&recorded.config, "/linux/resources/cpu/quota")
        ),
        (Value::Null, json!(50_000))
    );
    // An unrecorded setting is an error, not a guess.
    let unknown: [&Change; 5] = [
        &|pod, _| pod.host_pid = Some(true),
        &|_, security| security.privileged = Some(true),
        &|_, security| security.capabilities.as_mut().expect("some").drop = None,
        &|_, security| added(security).push("SYS_PTRACE".to_owned()),
        &|pod, _| pod.priority_class_name = None,
    ];
    for change in unknown {
        of(change).expect_err("nothing is known of it");
    }
}
