//! A line of each kind, with one text wherever there can be text from outside.

use std::collections::BTreeMap;

use crashtrace::schema::{
    Account, AccountEntry, AccountHolder, AccountKind, BlindSpot, Claims, Engine, EngineKind, Exit, Fault,
    Field, Folded, FoldedVictim, Incident, Kubernetes, Line, NameSource, OomRef, Owner, OwnerKind, Process,
    ProcessField, StatusSays, Text, Unresolved, Workload,
};

use crate::cases;

/// The number of items in a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) victims: usize,
    pub(crate) items: usize,
}

/// A line of each kind with `text` wherever there can be text from outside, and in all of the agent's own.
pub(crate) fn lines_of(text: &str, size: Size) -> Vec<Line> {
    let words = || vec![text.to_owned(); size.items];
    let gaps = |victims: usize| -> Vec<Unresolved> {
        let general = (0..size.items).map(|_| Unresolved::new(Field::Origin, text));
        let of_victim = |index| Unresolved::new(Field::Victim(index, ProcessField::Owner), text);
        general.chain((0..victims).map(of_victim)).collect()
    };
    let counters: BTreeMap<_, _> =
        (0..size.items as u64).map(|index| (format!("{index}{text}"), u64::MAX)).collect();
    let base = [
        "container_oom",
        "alloc_fragmentation",
        "exit_probe",
        "exit_fault",
        "agent_started",
        "loss",
        "agent_stopping",
    ];
    let base = cases::all().into_iter().filter(|(name, _)| base.contains(name));
    let mut lines: Vec<Line> = base.map(|(_, line)| line).collect();
    for line in &mut lines {
        let envelope = line.envelope_mut();
        envelope.node = Text::from(text);
        text.clone_into(&mut envelope.session);
        match line {
            Line::Incident(incident) => {
                let victims = size.victims;
                **incident = Incident {
                    id: text.to_owned(),
                    hooks: words(),
                    victims: vec![process(text); victims],
                    victims_total: victims as u64,
                    folded: Some(folded(text, victims)),
                    trigger: Some(process(text)),
                    unresolved: gaps(victims),
                    ..(**incident).clone()
                };
                incident.verdict.inferred = vec![Field::Constraint; size.items];
                incident.verdict.evidence = words();
                text.clone_into(&mut incident.verdict.summary);
                text.clone_into(&mut incident.verdict.remedy);
                if let Some(limit) = &mut incident.limit {
                    limit.cgroup = Text::from(text);
                    limit.owner = Some(owner(text));
                }
                if let Some(exit) = &mut incident.exit {
                    hostile_end(exit, text, size);
                }
                if let Some(allocation) = &mut incident.allocation {
                    allocation.gfp = words();
                }
                if let Some(memory) = &mut incident.memory {
                    for zone in &mut memory.zones {
                        zone.zone = Some(Text::from(text));
                    }
                    memory.account = Some(account(text, size.items));
                    memory.victim_account = Some(account(text, size.items));
                }
            }
            Line::AgentStarted(started) => {
                started.kernel = Text::from(text);
                started.hooks = words();
                started.blind =
                    vec![BlindSpot { field: text.to_owned(), reason: text.to_owned() }; size.items];
            }
            Line::Loss(loss) => loss.counters.clone_from(&counters),
            // It has no text from outside.
            Line::ClockChanged(_) => {}
            Line::AgentStopping(stopping) => {
                text.clone_into(&mut stopping.reason);
                stopping.counters.clone_from(&counters);
            }
        }
    }
    lines
}

fn hostile_end(exit: &mut Exit, text: &str, size: Size) {
    exit.process = process(text);
    exit.contradictions = vec![text.to_owned(); size.items];
    exit.status = Some(StatusSays { reason: Some(text.to_owned()), exit_code: Some(i32::MIN) });
    for signal in &mut exit.signals {
        signal.sender = Some(process(text));
        signal.sender_parent_comm = Some(Text::from(text));
    }
    if let Some(probe) = &mut exit.probe {
        probe.message = Some(text.to_owned());
    }
    let time = "2026-11-22T07:23:15.123456789Z".to_owned();
    let kill = OomRef { id: text.to_owned(), time, pid: None, comm: Some(Text::from(text)) };
    exit.oom_kills_before = vec![kill.clone(); 4];
    exit.oom = Some(kill);
    exit.fault = Some(Fault {
        number: 11,
        name: "SIGSEGV".to_owned(),
        code_name: None,
        code: 1,
        address: Some("0x18".to_owned()),
        syscall: None,
        meaning: "null pointer: access to address 0x18".to_owned(),
    });
}

pub(crate) fn folded(text: &str, victims: usize) -> Folded {
    let victim =
        FoldedVictim { pid: None, comm: Some(Text::from(text)), ktime_ns: 1, cgroup: Some(Text::from(text)) };
    Folded {
        victims_total: victims as u64,
        exiting_total: 0,
        resident_bytes: None,
        until: "2026-11-22T07:23:15.123456789Z".to_owned(),
        until_ktime_ns: 1,
        victims: vec![victim; victims],
    }
}

fn process(text: &str) -> Process {
    Process {
        pid: Some(u32::MAX),
        tid: Some(u32::MAX),
        container_pid: Some(u32::MAX),
        comm: Some(Text::from(text)),
        thread_comm: Some(Text::from(text)),
        uid: Some(u32::MAX),
        start_boottime_ns: Some(u64::MAX),
        anon_bytes: Some(u64::MAX),
        file_bytes: Some(u64::MAX),
        shmem_bytes: Some(u64::MAX),
        swap_bytes: Some(u64::MAX),
        page_table_bytes: Some(u64::MAX),
        total_vm_bytes: Some(u64::MAX),
        oom_score_adj: Some(i16::MIN),
        exiting: Some(false),
        cgroup: Some(Text::from(text)),
        cgroup_cut: false,
        owner: Some(owner(text)),
    }
}

fn owner(text: &str) -> Owner {
    Owner {
        kind: OwnerKind::Container,
        namespace: Some(Text::from(text)),
        pod: Some(Text::from(text)),
        container: Some(Text::from(text)),
        kubernetes: Some(Kubernetes {
            role: None,
            workload: Some(Workload { kind: Text::from(text), name: Text::from(text), inferred: true }),
            image: Some(Text::from(text)),
            restart_count: Some(u32::MAX),
            memory_request_bytes: Some(u64::MAX),
            memory_limit_bytes: Some(u64::MAX),
            source: NameSource::Kube,
            stale_seconds: Some(u64::MAX),
        }),
        pod_uid: Some(Text::from(text)),
        static_pod: false,
        container_id: Some(Text::from(text)),
        qos_class: None,
        runtime: None,
        unit: Some(Text::from(text)),
        engine: Some(Engine {
            kind: EngineKind::GardenContainer,
            name: Text::from(text),
            uid: Some(u32::MAX),
        }),
        claims: Some(Claims {
            kind: OwnerKind::Container,
            pod_uid: Some(Text::from(text)),
            container_id: Some(Text::from(text)),
            qos_class: None,
        }),
    }
}

/// An account of so many owners, and of kinds of memory that are smaller.
pub(crate) fn account(text: &str, owners: usize) -> Account {
    let entry = |kind, bytes, holder| AccountEntry {
        kind,
        bytes,
        share_permille: u32::MAX,
        holder,
        file: None,
        huge_pages: None,
    };
    let holder = AccountHolder { cgroup: Text::from(text), name: text.to_owned(), swap_bytes: Some(7) };
    let mut entries = vec![entry(AccountKind::Pod, 1 << 40, Some(holder)); owners];
    let kinds = [AccountKind::Free, AccountKind::SlabUnreclaimable, AccountKind::HugePages];
    entries.extend(kinds.map(|kind| entry(kind, 1 << 20, None)));
    let total_bytes = entries.iter().map(|entry| entry.bytes).sum();
    Account { total_bytes, entries, ..Account::default() }
}
