//! Each bit for a missing field removes only that field.

use crashtrace_ebpf::{level_flag, missing, task_missing};

use super::*;

fn task_without(bits: u32) -> Task {
    with_task(abi::Task { missing: bits, ..process(4211, b"java", 8000) })
}

#[test]
fn each_bit_of_a_task_removes_only_its_field() {
    type Take = fn(&mut Task);
    let bits: [(u32, Take); 13] = [
        (task_missing::IDS, |task| (task.pid, task.tid) = (None, None)),
        (task_missing::NS_IDS, |task| task.container_pid = None),
        (task_missing::COMM, |task| task.comm = None),
        (task_missing::THREAD_COMM, |task| task.thread_comm = None),
        (task_missing::UID, |task| task.uid = None),
        (task_missing::OOM_SCORE_ADJ, |task| task.oom_score_adj = None),
        (task_missing::RSS, |task| task.rss = None),
        (task_missing::PAGE_TABLES, |task| task.page_table_bytes = None),
        (task_missing::TOTAL_VM, |task| task.total_vm_bytes = None),
        (task_missing::START, |task| task.start_boottime_ns = None),
        (task_missing::TASK_FLAGS, |task| task.exiting = None),
        (task_missing::SIGNAL_FLAGS, |task| task.exiting = None),
        (task_missing::THREADS, |task| task.exiting = None),
    ];
    assert_eq!(bits.iter().fold(0, |all, (bit, _)| all | bit), task_missing::ALL, "every bit is here");
    let whole = task_without(0);
    for (bit, take) in bits {
        let mut expected = whole.clone();
        take(&mut expected);
        assert_ne!(expected, whole, "{bit:#x}");
        assert_eq!(task_without(bit), expected, "{bit:#x}");
    }
    // This version ignores a bit of a later one.
    assert_eq!(task_without(1 << 13), whole);
}

#[test]
fn of_a_bare_thread_id_only_the_id_is_decoded() {
    let bare = Task { tid: Some(4211), ..Task::default() };
    assert_eq!(task_without(task_missing::ALL), bare);
    assert_eq!(with_task(abi::Task { missing: task_missing::ALL, ..abi::Task::default() }), Task::default());
    // If any other field is there, unreadable ids are no ids.
    assert_eq!(task_without(task_missing::ALL & !task_missing::UID).tid, None);
}

#[test]
fn each_bit_of_a_decision_removes_only_its_field() {
    type Take = fn(&mut Decided);
    let bits: [(u32, Take); 4] = [
        (missing::OOM_CONTROL, |decision| decision.control = None),
        (missing::STACK, |decision| decision.stack = None),
        (missing::MESSAGE, |decision| decision.message = None),
        (missing::VICTIM, |decision| decision.victim = None),
    ];
    let mut record = each_kind().swap_remove(0);
    let whole = decision_of(&record);
    for (bit, take) in bits {
        record.header.missing = bit;
        let mut expected = whole.clone();
        take(&mut expected);
        assert_ne!(expected, whole, "{bit:#x}");
        assert_eq!(decision_of(&record), expected, "{bit:#x}");
    }
}

#[test]
fn an_oom_without_a_victim_can_lack_its_stack() {
    let mut record = each_kind().swap_remove(3);
    let stack = |record: &Record| match read(record) {
        Ok(Event::OomNoVictim(none)) => none.stack,
        other => panic!("{other:?}"),
    };
    assert!(stack(&record).is_some());
    record.header.missing = missing::STACK;
    assert!(stack(&record).is_none());
}

#[test]
fn each_bit_of_a_level_sets_only_its_fact() {
    type Say = fn(&mut EventLevel);
    let bits: [(u32, Say); 8] = [
        (level_flag::OOM_GROUP, |level| level.oom_group = Some(true)),
        (level_flag::OOM_KILL_DISABLE, |level| level.oom_kill_disable = true),
        (level_flag::ROOT, |level| level.root = true),
        (level_flag::NO_OOM_GROUP, |level| level.oom_group = None),
        (level_flag::NO_MEMORY, |level| (level.usage_bytes, level.limit) = (None, None)),
        (level_flag::NO_SWAP, |level| (level.swap_usage_bytes, level.swap_limit) = (None, None)),
        (level_flag::NO_NAME, |level| level.name = None),
        (level_flag::NO_ID, |level| level.cgroup_id = None),
    ];
    let level = |flags| {
        let mut section = cgroups(section::VICTIM, b"/pod", 64);
        // Without limits, because the root has none.
        section.levels[0].0 = Level { flags, max_pages: u64::MAX, ..section.levels[0].0 };
        let mut record = each_kind().swap_remove(1);
        record.sections = vec![section];
        match read(&record) {
            Ok(Event::OomVictim(victim)) => victim.cgroups.expect("cgroups").levels[0].clone(),
            other => panic!("{other:?}"),
        }
    };
    let whole = level(0);
    for (bit, say) in bits {
        let mut expected = whole.clone();
        say(&mut expected);
        assert_ne!(expected, whole, "{bit:#x}");
        assert_eq!(level(bit), expected, "{bit:#x}");
    }
    assert_eq!(level(level_flag::OOM_GROUP | level_flag::NO_OOM_GROUP).oom_group, None, "unread beats set");
}
