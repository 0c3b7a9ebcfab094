use std::collections::HashMap;
use std::time::Duration;

use clap::Parser as _;

use super::*;
use crate::event::Hook;
use crate::exit;
use crate::schema::Cause;

/// An environment to run in.
#[derive(Default)]
struct Place {
    vars: HashMap<&'static str, &'static str>,
    terminal: bool,
    nameless: bool,
}

impl Environment for Place {
    fn var(&self, name: &str) -> Option<OsString> {
        self.vars.get(name).map(Into::into)
    }
    fn stdout_is_terminal(&self) -> bool {
        self.terminal
    }
    fn hostname(&self) -> Option<String> {
        (!self.nameless).then(|| "host-1".to_owned())
    }
    fn is_directory(&self, path: &Path) -> bool {
        path == Path::new("/var/lib")
    }
    fn is_file(&self, path: &Path) -> bool {
        path == Path::new("/root/.kube/config")
    }
}

fn try_config(line: &str, place: &Place) -> Result<Config, clap::Error> {
    Config::from_args(Args::try_parse_from(line.split(' '))?, place)
}

fn config(line: &str) -> Config {
    try_config(line, &Place::default()).unwrap()
}

fn watch(line: &str, place: &Place) -> Watch {
    match try_config(line, place).unwrap().command {
        Command::Watch(watch) => watch,
        other => panic!("{other:?}"),
    }
}

/// The message of a refusal. All refusals exit as wrong usage.
fn refusal(line: &str, place: &Place) -> String {
    let error = try_config(line, place).expect_err(line);
    assert_eq!(error.exit_code(), i32::from(exit::USAGE), "{line}");
    error.to_string()
}

#[test]
fn the_definition_of_the_command_line_is_sound() {
    Args::command().debug_assert();
}

#[test]
fn help_names_the_exit_codes_and_each_command_begins_with_a_verb() {
    let help = Args::command().render_long_help().to_string();
    for code in ["0  done", "1  failed", "2  wrong usage", "3  doctor", "4  doctor, watch"] {
        assert!(help.contains(code), "{code} in {help}");
    }
    for command in Args::command().get_subcommands() {
        let about = command.get_about().unwrap().to_string();
        assert!(
            ["Watch", "Report", "Remove", "Try", "Say", "Print"].iter().any(|verb| about.starts_with(verb)),
            "{about}"
        );
    }
}

/// The style of help: an option's default stands beside it.
#[test]
fn help_names_the_default_of_each_option() {
    let root = Args::command();
    for command in std::iter::once(&root).chain(root.get_subcommands()) {
        for option in command.get_opts() {
            let help = option.get_help().map(ToString::to_string).unwrap_or_default();
            let default = !option.get_default_values().is_empty() || help.contains("[default: ");
            assert!(default, "{} --{}", command.get_name(), option.get_long().unwrap());
        }
    }
}

#[test]
fn watch_without_options_takes_the_defaults() {
    let expected = Watch {
        output: Output::Json,
        hooks: HooksWanted::Auto,
        allocations: Allocations::Unexpected,
        exits: true,
        node_name: "host-1".to_owned(),
        pods: Pods { cri: Some(None), ..Pods::default() },
        filter: Filter::default(),
        metrics: None,
        record: None,
        journal: None,
        pin: None,
        btf: None,
        confine: true,
    };
    assert_eq!(watch("crashtrace watch", &Place::default()), expected);
    assert!(!watch("crashtrace watch --no-confine", &Place::default()).confine);
    assert_eq!(config("crashtrace watch").log, LogLevel::Warn);
}

fn why(line: &str) -> Why {
    match config(line).command {
        Command::Why(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn why_asks_the_cluster_that_is_named_or_none() {
    use crate::why::{Cluster, Form, Origin, Target};
    let target = |namespace: Option<&str>| Target {
        namespace: namespace.map(str::to_owned),
        workload: None,
        name: "api".to_owned(),
    };
    let expected = Why {
        from: Origin::Cluster(Cluster { log_lines: Some(20), ..Cluster::default() }),
        target: Some(target(None)),
        container: None,
        form: Form::Text { color: false },
    };
    assert_eq!(why("crashtrace why api"), expected, "also where stdout is no terminal");
    let all = why("crashtrace why shop/api -n shop -c web --context x --kubeconfig f --no-logs -o json");
    let cluster = Cluster {
        kubeconfig: Some("f".into()),
        context: Some("x".to_owned()),
        namespace: Some("shop".to_owned()),
        log_lines: None,
    };
    let (target, container) = (Some(target(Some("shop"))), Some("web".to_owned()));
    assert_eq!(all, Why { from: Origin::Cluster(cluster), target, container, form: Form::Json });
    assert_eq!(why("crashtrace why --from -").from, Origin::Stream("-".into()));
    assert_eq!(why("crashtrace why --journal d").from, Origin::Journal("d".into()));
    let said = refusal("crashtrace why shop/api -n other", &Place::default());
    assert!(said.contains("shop") && said.contains("other"), "{said}");
}

#[test]
fn metrics_are_served_at_an_address_with_a_port() {
    for address in ["0.0.0.0:9464", "[::1]:9464", "127.0.0.1:0"] {
        let config = watch(&format!("crashtrace watch --metrics {address}"), &Place::default());
        assert_eq!(config.metrics.map(|address| address.to_string()).as_deref(), Some(address));
    }
    // $(POD_IP):9464
    for (bare, address) in [
        ("::1:9464", "[::1]:9464"),
        ("fd00:10:244::5:9464", "[fd00:10:244::5]:9464"),
        ("fd00:1:2:3:4:5:6:7:9464", "[fd00:1:2:3:4:5:6:7]:9464"),
    ] {
        let config = watch(&format!("crashtrace watch --metrics {bare}"), &Place::default());
        assert_eq!(config.metrics.map(|address| address.to_string()).as_deref(), Some(address));
    }
    for address in [
        "9464",
        ":9464",
        "localhost:9464",
        "0.0.0.0",
        "::1",
        "[::1]",
        "fd00::5:",
        "fd00::5:99999",
        "0.0.0.0:99999",
        "http://0.0.0.0:9464",
    ] {
        let said = refusal(&format!("crashtrace watch --metrics {address}"), &Place::default());
        assert!(said.contains("--metrics") && said.contains("[::1]:9464"), "{address}: {said}");
    }
}

#[test]
fn failed_allocations_are_reported_unless_expected_or_unwanted() {
    for (options, expected) in [
        ("", Allocations::Unexpected),
        ("--include-nowarn", Allocations::All),
        ("--no-alloc", Allocations::None),
    ] {
        assert_eq!(
            watch(format!("crashtrace watch {options}").trim_end(), &Place::default()).allocations,
            expected,
            "{options}"
        );
    }
    let said = refusal("crashtrace watch --no-alloc --include-nowarn", &Place::default());
    assert!(said.contains("cannot be used with"), "{said}");
    let doctor = |line| match config(line).command {
        Command::Doctor(doctor) => doctor.beside,
        other => panic!("{other:?}"),
    };
    assert_eq!(doctor("crashtrace doctor"), Beside::ALL);
    let without = Beside { allocations: false, exits: true };
    assert_eq!(doctor("crashtrace doctor --no-alloc"), without);
}

#[test]
fn ends_of_containers_are_seen_unless_unwanted() {
    let beside = |line| watch(line, &Place::default()).beside();
    let without = Beside { allocations: true, exits: false };
    assert_eq!(beside("crashtrace watch"), Beside::ALL);
    assert_eq!(beside("crashtrace watch --no-exits"), without);
    match config("crashtrace doctor --no-exits").command {
        Command::Doctor(doctor) => assert_eq!(doctor.beside, without),
        other => panic!("{other:?}"),
    }
}

#[test]
fn auto_output_is_text_on_a_terminal_and_json_elsewhere() {
    let terminal = Place { terminal: true, ..Place::default() };
    let pipe = Place::default();
    for (line, place, expected) in [
        ("crashtrace watch", &terminal, Output::Text { color: true }),
        ("crashtrace watch", &pipe, Output::Json),
        ("crashtrace watch --output auto", &pipe, Output::Json),
        ("crashtrace watch --output json", &terminal, Output::Json),
        ("crashtrace watch --output text", &pipe, Output::Text { color: false }),
    ] {
        assert_eq!(watch(line, place).output, expected, "{line}");
    }
}

/// no-color.org: any value but an empty one.
#[test]
fn colour_is_off_where_the_user_or_the_terminal_says_so() {
    for (name, value, color) in
        [("NO_COLOR", "1", false), ("NO_COLOR", "", true), ("TERM", "dumb", false), ("TERM", "xterm", true)]
    {
        let place = Place { terminal: true, vars: [(name, value)].into(), ..Place::default() };
        assert_eq!(watch("crashtrace watch", &place).output, Output::Text { color }, "{name}={value}");
    }
}

#[test]
fn the_node_is_named_by_the_flag_then_the_variable_then_the_host() {
    let place = Place { vars: [("NODE_NAME", "from-variable")].into(), ..Place::default() };
    assert_eq!(watch("crashtrace watch --node-name from-flag", &place).node_name, "from-flag");
    assert_eq!(watch("crashtrace watch", &place).node_name, "from-variable");
    assert_eq!(watch("crashtrace watch", &Place::default()).node_name, "host-1");
    let nameless = Place { nameless: true, ..Place::default() };
    assert!(refusal("crashtrace watch", &nameless).contains("--node-name NAME"));
    assert!(refusal("crashtrace watch --node-name ", &Place::default()).contains("empty"));
}

#[test]
fn the_log_level_comes_from_the_flag_then_the_variable() {
    let place = Place { vars: [("CRASHTRACE_LOG", "debug")].into(), ..Place::default() };
    assert_eq!(try_config("crashtrace schema", &place).unwrap().log, LogLevel::Debug);
    assert_eq!(try_config("crashtrace schema --log info", &place).unwrap().log, LogLevel::Info);
    assert_eq!(try_config("crashtrace --log error schema", &place).unwrap().log, LogLevel::Error);
    let wrong = Place { vars: [("CRASHTRACE_LOG", "loud")].into(), ..Place::default() };
    assert!(refusal("crashtrace schema", &wrong).contains("CRASHTRACE_LOG: `loud`"));
    let empty = Place { vars: [("CRASHTRACE_LOG", "")].into(), ..Place::default() };
    assert_eq!(try_config("crashtrace schema", &empty).unwrap().log, LogLevel::Warn);
}

#[test]
fn causes_and_namespaces_may_be_repeated_and_listed() {
    let all = watch("crashtrace watch --cause fragmentation,low_memory", &Place::default()).filter;
    assert_eq!(all.causes, [Cause::Fragmentation, Cause::LowMemory]);
    let line = "crashtrace watch --cause system_oom,cgroup_oom --cause cgroup_oom \
                --namespace shop --namespace kube-system,shop";
    let filter = watch(line, &Place::default()).filter;
    assert_eq!(filter.causes, [Cause::SystemOom, Cause::CgroupOom]);
    assert_eq!(filter.namespaces, ["shop", "kube-system"]);
}

#[test]
fn names_that_no_namespace_can_have_are_refused() {
    let long = "a".repeat(64);
    for name in ["", "Shop", "a_b", "-a", "a-", "a/b", "a,", &long] {
        let said = refusal(&format!("crashtrace replay f --namespace={name}"), &Place::default());
        assert!(said.contains("--namespace"), "{name}: {said}");
    }
}

#[test]
fn a_directory_is_refused_where_a_file_is_meant() {
    for line in [
        "crashtrace watch --record /var/lib",
        "crashtrace watch --btf /var/lib",
        "crashtrace doctor --btf /var/lib",
        "crashtrace replay /var/lib",
    ] {
        assert!(refusal(line, &Place::default()).contains("/var/lib is a directory"), "{line}");
    }
    assert_eq!(watch("crashtrace watch --record r.bin", &Place::default()).record, Some("r.bin".into()));
    assert!(refusal("crashtrace watch --record ", &Place::default()).contains("--record"));
}

#[test]
fn pins_have_a_directory_that_need_not_be_named() {
    let pin = |line: &str| watch(line, &Place::default()).pin;
    assert_eq!(pin("crashtrace watch --pin"), Some("/sys/fs/bpf/crashtrace".into()));
    assert_eq!(pin("crashtrace watch --pin --no-alloc"), Some("/sys/fs/bpf/crashtrace".into()));
    assert_eq!(pin("crashtrace watch --pin=/sys/fs/bpf/other"), Some("/sys/fs/bpf/other".into()));
    for (line, directory) in [
        ("crashtrace unpin", "/sys/fs/bpf/crashtrace"),
        ("crashtrace unpin /sys/fs/bpf/other", "/sys/fs/bpf/other"),
    ] {
        assert_eq!(config(line).command, Command::Unpin(directory.into()));
    }
    for line in ["crashtrace watch --pin=/root/.kube/config", "crashtrace unpin /root/.kube/config"] {
        let error = refusal(line, &Place::default());
        assert!(error.contains("/root/.kube/config is a file"), "{error}");
    }
    // A directory that would look like the name of a command's argument.
    assert!(
        refusal("crashtrace watch --pin /sys/fs/bpf/other", &Place::default()).contains("/sys/fs/bpf/other")
    );
}

#[test]
fn a_journal_has_bounds_and_takes_json() {
    let journal = |line: &str| watch(line, &Place::default()).journal.expect("a journal");
    let usual = journal("crashtrace watch --journal /var/lib");
    assert_eq!((usual.limits.size_bytes, usual.limits.age), (64 << 20, Duration::from_hours(24)));
    let other = journal("crashtrace watch --journal j --journal-size 1 --journal-age 8760");
    assert_eq!(other.directory, Path::new("j"));
    assert_eq!((other.limits.size_bytes, other.limits.age), (1 << 20, Duration::from_hours(8760)));
    let terminal = Place { terminal: true, ..Place::default() };
    for (line, place, why) in [
        ("--journal j --output text", &Place::default(), "--output json"),
        ("--journal j", &terminal, "--output json"),
        ("--journal ", &Place::default(), "a value is required"),
        ("--journal /root/.kube/config", &Place::default(), "is a file"),
        ("--journal-size 5", &Place::default(), "--journal"),
        ("--journal-age 5", &Place::default(), "--journal"),
        ("--journal j --journal-size 0", &Place::default(), "1..=1024"),
        ("--journal j --journal-size 1025", &Place::default(), "1..=1024"),
        ("--journal j --journal-age 0", &Place::default(), "1..=8760"),
    ] {
        let said = refusal(&format!("crashtrace watch {line}"), place);
        assert!(said.contains(why), "{line}: {said}");
    }
}

#[test]
fn wrong_usage_is_refused_by_clap() {
    for line in [
        "crashtrace watch --cause flood",
        "crashtrace watch --hooks magic",
        "crashtrace watch --output xml",
        "crashtrace replay",
        "crashtrace completions tcl",
        "crashtrace frobnicate",
        "crashtrace --log loud schema",
    ] {
        refusal(line, &Place::default());
    }
}

#[test]
fn the_other_commands_carry_their_arguments() {
    let doctor = Doctor {
        output: Output::Json,
        hooks: HooksWanted::Only(Hook::Kprobe),
        beside: Beside::ALL,
        node_name: "host-1".to_owned(),
        pods: Pods { cri: Some(None), ..Pods::default() },
        btf: Some("/b".into()),
    };
    assert_eq!(config("crashtrace doctor --hooks kprobe --btf /b").command, Command::Doctor(doctor));
    let replay = Replay { file: "r.bin".into(), output: Output::Json, filter: Filter::default() };
    assert_eq!(config("crashtrace replay r.bin").command, Command::Replay(replay));
    assert_eq!(config("crashtrace schema").command, Command::Schema);
    assert_eq!(config("crashtrace completions zsh").command, Command::Completions(Shell::Zsh));
}

#[test]
fn each_shell_gets_a_script_that_knows_the_commands() {
    for shell in Shell::value_variants() {
        let script = String::from_utf8(completions(*shell)).unwrap();
        assert!(script.contains("doctor") && script.contains("replay"), "{shell}");
    }
}

#[test]
fn the_api_server_is_a_source_in_a_pod_or_by_a_file_and_the_runtime_always() {
    let in_a_pod = Place { vars: [("KUBERNETES_SERVICE_HOST", "10.0.0.1")].into(), ..Place::default() };
    let by_file = || Some(ApiServer::Kubeconfig(vec!["/k".into()]));
    let at_home = Place { vars: [("HOME", "/root")].into(), ..Place::default() };
    let nobody = Place { vars: [("HOME", "/nonexistent"), ("KUBECONFIG", ":")].into(), ..Place::default() };
    let vars = [("HOME", "/root"), ("KUBECONFIG", "/k::/l"), ("KUBERNETES_SERVICE_HOST", "10.0.0.1")];
    let listed = Place { vars: vars.into(), ..Place::default() };
    let files = |paths: &[&str]| Some(ApiServer::Kubeconfig(paths.iter().map(Into::into).collect()));
    let usual = || Some(None);
    for (line, place, kube, cri) in [
        ("", &Place::default(), None, usual()),
        ("", &in_a_pod, Some(ApiServer::InCluster), usual()),
        (" --kubeconfig /k", &in_a_pod, by_file(), usual()),
        (" --kubeconfig /k", &at_home, by_file(), usual()),
        ("", &at_home, files(&["/root/.kube/config"]), usual()),
        ("", &listed, files(&["/k", "/l"]), usual()),
        ("", &nobody, None, usual()),
        (" --pods cri", &listed, None, usual()),
        (" --pods kube --kubeconfig /k", &Place::default(), by_file(), None),
        (" --pods kube", &in_a_pod, Some(ApiServer::InCluster), None),
        (" --pods cri", &in_a_pod, None, usual()),
        (" --cri-socket /run/x.sock", &Place::default(), None, Some(Some("/run/x.sock".into()))),
        (" --pods none", &in_a_pod, None, None),
    ] {
        for command in ["watch", "doctor"] {
            let line = format!("crashtrace {command}{line}");
            let pods = match try_config(&line, place).unwrap().command {
                Command::Watch(watch) => watch.pods,
                Command::Doctor(doctor) => doctor.pods,
                other => panic!("{other:?}"),
            };
            assert_eq!(pods, Pods { kube: kube.clone(), cri: cri.clone(), ..Pods::default() }, "{line}");
        }
    }
    for (line, writes) in [
        ("", KubeWrites::default()),
        (" --kube-reports", KubeWrites { reports: true, events: false }),
        (" --kube-reports --kube-events", KubeWrites { reports: true, events: true }),
    ] {
        let Command::Watch(watch) =
            try_config(&format!("crashtrace watch{line}"), &in_a_pod).unwrap().command
        else {
            panic!("{line}");
        };
        assert_eq!(watch.pods.writes, writes, "{line}");
    }
    for (line, said) in [
        ("--pods kube", "--kubeconfig FILE"),
        ("--pods cri --kubeconfig /k", "--kubeconfig is of no use with --pods cri"),
        ("--pods none --cri-socket /s", "--cri-socket is of no use with --pods none"),
        ("--kubeconfig /var/lib", "is a directory"),
        ("--kube-reports", "--kube-reports: the API server is not among the sources of names"),
        ("--kube-events --pods cri", "--kube-events: the API server is not among the sources of names"),
    ] {
        let refused = refusal(&format!("crashtrace watch {line}"), &Place::default());
        assert!(refused.contains(said), "{refused}");
    }
}
