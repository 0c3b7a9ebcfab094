//! Owners and gaps.

use super::{Case, NoOwner, Party, enrich, owner_of};
use crate::cgroup::NodeRoot;
use crate::cgroup::Place;
use crate::classify::tests::build::an_incident;
use crate::classify::tests::build::{
    API, CHARGE, KUBEPODS, MIB, POD, api, kill, lineage, mark, no_kill, side, task,
};
use crate::correlate::{Incident, OomKill};
use crate::event::{Hook, Level, Lineage, MemcgMemory, Stack, Task};
use crate::schema::OwnerKind;
use crate::schema::Qos;

mod accounts;
mod claims;
mod second_look;
mod zones;

/// A node whose cgroups have a page of shared memory, and only those on a pod's path.
fn node() -> crate::node::Node {
    #[derive(Debug)]
    struct Pods;
    impl crate::node::CgroupFiles for Pods {
        fn memory_stat(&mut self, path: &[u8], _: Option<u64>) -> Result<Vec<u8>, String> {
            if path.starts_with(POD.as_bytes()) {
                Ok(b"anon 1\nshmem 4096\n".to_vec())
            } else {
                Err("no pod".into())
            }
        }
    }
    let unseen = crate::node::Node::unseen("a test");
    crate::node::Node { memory_bytes: Some(1 << 34), cgroups: Box::new(Pods), ..unseen }
}

/// As an agent on the machine itself sees it.
fn party(lineage: &Lineage) -> Result<Party, NoOwner> {
    owner_of(lineage, NodeRoot::default())
}

fn case(kill: OomKill) -> Case {
    enrich(an_incident(kill), &mut node())
}

fn a_kill() -> OomKill {
    let victim = lineage(&api()).with(&api(), 64 * MIB, 64 * MIB);
    let mut kill = kill(&victim, Some(victim.clone()), &CHARGE);
    let stats = accounts::told();
    kill.decision().limit_memory = Some(Box::new(MemcgMemory { stats, ..MemcgMemory::default() }));
    kill
}

fn reason<'a>(case: &'a Case, field: &str) -> Option<&'a str> {
    case.unresolved.iter().find(|gap| gap.field.to_string() == field).map(|gap| gap.reason.as_str())
}

#[test]
fn owners_follow_from_the_paths_of_trigger_victims_and_limit() {
    let mut incident = a_kill().triggered_by(task("worker", 77), lineage(&side()));
    incident.decision().limit_cgroups = Some(lineage(POD));
    let case = case(incident);
    let victim = case.victim(0).expect("victim's owner");
    assert_eq!((victim.owner.kind, victim.owner.container_id.as_deref()), (OwnerKind::Container, Some(API)));
    assert_eq!(victim.owner.pod_uid.as_deref(), Some("1f6cbd1e-0d5a-4a4f-8f5c-2b8f0a2f6f11"));
    assert_eq!(victim.owner.qos_class, Some(Qos::Burstable));
    assert_ne!(case.trigger().expect("trigger's owner").owner.container_id.as_deref(), Some(API));
    assert_eq!(
        case.owners.limit().and_then(|owned| owned.nearest().ok()).expect("limit's owner").owner.kind,
        OwnerKind::Pod
    );
    assert_eq!(case.limit_shmem_bytes, Some(4096));
    assert_eq!(case.unresolved, []);
}

#[test]
fn each_place_has_its_kind_of_owner() {
    for (path, kind) in [
        ("/", OwnerKind::Host),
        (KUBEPODS, OwnerKind::Kubepods),
        ("/kubepods/besteffort", OwnerKind::Qos),
        (POD, OwnerKind::Pod),
        (&format!("{POD}/crio-conmon-{API}"), OwnerKind::Pod),
        (&api(), OwnerKind::Container),
        (&format!("{}/kubepods/pod-of-mine", api()), OwnerKind::Container),
        ("/system.slice/sshd.service", OwnerKind::HostService),
        ("/mine", OwnerKind::Cgroup),
    ] {
        assert_eq!(party(&lineage(path)).expect(path).owner.kind, kind, "{path}");
    }
    let monitor = party(&lineage(&format!("{POD}/crio-conmon-{API}"))).expect("party");
    assert_eq!(monitor.owner.container_id, None, "the monitor is not the container");
}

#[test]
fn a_host_process_without_a_memory_controller_has_its_unit() {
    let unified = Lineage { unified: true, ..lineage("/system.slice/sshd.service") };
    assert_eq!(party(&unified).expect("party").owner.unit.as_deref(), Some("sshd.service"));
}

#[test]
fn a_path_without_its_beginning_has_no_owner() {
    let mut cut = lineage(&api());
    cut.levels.pop();
    assert!(party(&cut).is_err(), "the root is not there");
    assert!(party(&Lineage { incomplete: true, ..lineage(&api()) }).is_err());
    assert!(party(&Lineage { levels: Vec::new(), ..lineage("/") }).is_err());
    let mut incident = a_kill();
    incident.victims[0].cgroups = Some(cut.clone());
    let case = case(incident);
    assert_eq!(case.victim(0), None);
    assert!(reason(&case, "victims[0].owner").is_some_and(|reason| reason.contains("beginning")));
}

#[test]
fn levels_left_out_below_a_container_leave_the_container_as_owner() {
    let deep = Lineage { skipped: 4, ..lineage(&api()) };
    let party_of_deep = party(&deep).expect("party");
    assert_eq!(party_of_deep.owner.kind, OwnerKind::Container);
    assert!(party_of_deep.placement.nested);
    let mut incident = a_kill();
    incident.victims[0].cgroups = Some(deep);
    assert!(reason(&case(incident), "victims[0].cgroup").is_some_and(|reason| reason.contains("deeper")));
    for path in [POD, KUBEPODS, "/system.slice/docker.service", "/mine"] {
        assert!(party(&Lineage { skipped: 1, ..lineage(path) }).is_err(), "{path} may hold a container");
    }
}

#[test]
fn a_name_that_could_not_be_read_hides_an_owner_unless_it_is_in_a_container() {
    let path = format!("{}/job", api());
    let mut nameless = lineage(&path);
    nameless.level_mut(&path).name = None;
    let found = party(&nameless).expect("party");
    assert_eq!((found.placement.place, found.placement.nested), (Place::Container, true));
    assert!(found.path.ends_with(b"/?"));
    nameless.level_mut(POD).name = None;
    assert!(party(&nameless).is_err());
}

#[test]
fn a_bare_mark_is_filled_from_the_decision_of_the_same_process() {
    let mut incident = a_kill();
    incident.victims[0].task = Task { tid: Some(4211), ..Task::default() };
    incident.victims[0].cgroups = None;
    let bare = Task { tid: Some(9), ..Task::default() };
    incident.victims.push(mark(bare, None));
    let case = case(incident);
    let Incident::OomKill(kill) = &case.incident else { panic!("a kill") };
    assert_eq!(kill.victims[0].task, task("java", 4211));
    assert!(case.victim(0).is_some() && case.victim(1).is_none());
    assert!(reason(&case, "victims[*]").is_some_and(|reason| reason.starts_with("1 of 2 processes: ")));
}

#[test]
fn whether_a_victim_was_exiting_is_taken_from_a_probe_on_the_decision_or_from_the_stack() {
    let exiting = |kill: OomKill| {
        let case = case(kill);
        let Incident::OomKill(kill) = &case.incident else { panic!("a kill") };
        (kill.victims[0].task.exiting, reason(&case, "victims[0].exiting").is_some())
    };
    assert_eq!(exiting(a_kill()), (Some(false), false));
    assert_eq!(exiting(a_kill().raw()), (Some(false), false), "__oom_kill_process is on the stack");
    let mut inlined = a_kill().raw();
    inlined.decision().stack = None;
    assert_eq!(exiting(inlined), (None, true));
    assert_eq!(exiting(OomKill { decision: None, ..a_kill() }), (None, true));
}

#[test]
fn an_oom_control_found_on_the_stack_that_contradicts_the_stack_is_dropped() {
    let control = |memcg: bool, hook: Hook| {
        let mut kill = a_kill();
        let decision = kill.decision();
        decision.stamp.hook = hook;
        decision.control.as_mut().expect("the control is there").memcg = memcg;
        decision.stack = Some(Stack(vec!["mem_cgroup_out_of_memory".to_owned()]));
        let Incident::OomKill(kill) = case(kill).incident else { panic!("a kill") };
        kill.decision.expect("a decision").control.is_some()
    };
    assert!(control(true, Hook::RawTracepoint));
    assert!(!control(false, Hook::RawTracepoint));
    assert!(control(false, Hook::Fentry), "a probe on the decision does not search");
}

#[test]
fn unknown_fields_of_a_task_are_listed_one_by_one() {
    let mut incident = a_kill();
    let lacking = Task { rss: None, oom_score_adj: None, ..task("java", 4211) };
    incident.decision().victim = Some(lacking.clone());
    incident.victims[0].task = lacking;
    incident.decision().trigger.comm = None;
    let case = case(incident);
    let fields: Vec<_> = case.unresolved.iter().map(|gap| gap.field.to_string()).collect();
    assert_eq!(
        fields,
        [
            "trigger.comm",
            "victims[0].anon_bytes",
            "victims[0].file_bytes",
            "victims[0].shmem_bytes",
            "victims[0].swap_bytes",
            "victims[0].oom_score_adj"
        ]
    );
}

#[test]
fn the_tier_without_a_probe_reports_that_it_cannot_see_the_oom_control() {
    let case = case(a_kill().raw());
    assert!(reason(&case, "allocation").is_some_and(|reason| reason.contains("recorded at oom:mark_victim")));
}

#[test]
fn a_lost_decision_and_missing_marks_are_reported() {
    let lost = case(OomKill { decision: None, ..a_kill() });
    for field in ["trigger", "allocation"] {
        assert!(reason(&lost, field).is_some_and(|reason| reason.contains("lost")), "{field}");
    }
    let unmarked = case(OomKill { victims: Vec::new(), ..a_kill() });
    assert!(reason(&unmarked, "victims").is_some_and(|reason| reason.contains("freed its memory")));
    let empty = OomKill { decision: None, victims: Vec::new(), complete: false, ..a_kill() };
    assert!(reason(&case(empty), "victims").is_some());
}

#[test]
fn an_oom_without_a_victim_has_its_owners_and_no_weights() {
    let limit = lineage(POD);
    let case =
        enrich(Incident::OomNoKill(Box::new(no_kill(lineage(&api()), Some(limit), &CHARGE))), &mut node());
    let limit = case.owners.limit().and_then(|owned| owned.nearest().ok());
    assert_eq!(limit.map(|party| party.owner.kind), Some(OwnerKind::Pod));
    assert_eq!(case.trigger().map(|party| party.owner.kind), Some(OwnerKind::Container));
    assert_eq!(case.owners.victims(), 0);
    assert!(reason(&case, "allocation.scope_total_bytes").is_some());
}

#[test]
fn hundreds_of_victims_do_not_make_hundreds_of_gaps() {
    let mut incident = a_kill();
    let bare = Level { root: true, ..Level::default() };
    for pid in 0..500 {
        let cgroups = Lineage { levels: vec![bare.clone()], skipped: 0, incomplete: true, unified: false };
        incident.victims.push(mark(Task { pid: Some(pid), ..Task::default() }, Some(cgroups)));
    }
    assert!(case(incident).unresolved.len() < 25);
}

/// `oom_control` can be found on the stack there, and the mark still comes after the signal.
#[test]
fn an_oom_control_that_was_found_at_the_mark_makes_the_mark_no_earlier() {
    let mut incident = a_kill();
    let decision = incident.decision();
    decision.stamp.hook = Hook::RawTracepoint;
    assert!(decision.control.is_some());
    decision.trigger.exiting = None;
    let case = case(incident);
    let reason = reason(&case, "trigger.exiting").expect("a reason");
    assert!(reason.starts_with("SIGKILL is sent before oom:mark_victim"), "{reason}");
}
