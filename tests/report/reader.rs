//! A reader of the stream that knows nothing of crashtrace's own types, as a consumer would write it. A field that is
//! renamed, or left out where it should be null, breaks it. So does a new field, here only: a consumer ignores unknown
//! fields, but this test must be told of them.

use serde::{Deserialize, Deserializer};

/// A field that may be null must still be there; serde alone would take a missing one for null.
fn there<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(from)
}

/// Declares a struct whose fields must all be there.
macro_rules! record {
    ($(#[$lint:meta])* $name:ident { $($field:ident: $kind:ty,)* ? $($nullable:ident: $inner:ty,)* }) => {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "that they can be read is the test")]
        $(#[$lint])*
        pub(crate) struct $name {
            $(pub(crate) $field: $kind,)*
            $(#[serde(deserialize_with = "there")] pub(crate) $nullable: Option<$inner>,)*
        }
    };
}

record!(Incident {
    schema: String,
    agent: String,
    node: String,
    boot_id: String,
    session: String,
    seq: u64,
    lost: u64,
    id: String,
    revision: u32,
    redelivered: bool,
    kind: String,
    time: String,
    ktime_ns: u64,
    verdict: Verdict,
    hooks: Vec<String>,
    complete: bool,
    repeats: u64,
    victims: Vec<Process>,
    victims_total: u64,
    unresolved: Vec<Unresolved>,
    truncated: bool,
    ?
    origin: String,
    constraint: String,
    limit: LimitHit,
    memory: Memory,
    trigger: Process,
    allocation: Allocation,
    folded: Folded,
    exit: Exit,
});

record!(#[expect(clippy::struct_field_names, reason = "as the schema has them")] Exit {
    process: Process,
    core_dumped: bool,
    before_exec: bool,
    signals: Vec<SentSignal>,
    oom_kills_before: Vec<OomRef>,
    oom_kills_before_total: u64,
    contradictions: Vec<String>,
    ends_last_hour: u32,
    ?
    exit_code: i32,
    signal: u8,
    signal_name: String,
    started: String,
    ran_ns: u64,
    ended_by: String,
    fault: Fault,
    oom: OomRef,
    probe: FailedProbe,
    stop: String,
    status: StatusSays,
});

record!(SentSignal {
    number: u8,
    name: String,
    time: String,
    ktime_ns: u64,
    ignored: bool,
    count: u32,
    ?
    from: String,
    sender: Process,
    sender_parent_comm: String,
});

record!(Fault {
    number: u8,
    name: String,
    code: i32,
    meaning: String,
    ?
    code_name: String,
    address: String,
    syscall: i32,
});

record!(OomRef {
    id: String,
    time: String,
    ?
    pid: u32,
    comm: String,
});

record!(FailedProbe {
    kind: String,
    ?
    action: String,
    message: String,
    initial_delay_seconds: u32,
    period_seconds: u32,
    timeout_seconds: u32,
    failure_threshold: u32,
});

record!(StatusSays {
    ?
    reason: String,
    exit_code: i32,
});

record!(Folded {
    victims_total: u64,
    exiting_total: u64,
    until: String,
    until_ktime_ns: u64,
    victims: Vec<FoldedVictim>,
    ?
    resident_bytes: u64,
});

record!(FoldedVictim {
    ktime_ns: u64,
    ?
    pid: u32,
    comm: String,
    cgroup: String,
});

record!(Verdict {
    cause: String,
    certainty: String,
    inferred: Vec<String>,
    summary: String,
    evidence: Vec<String>,
    remedy: String,
    ?
    shortage: String,
    level: String,
});

record!(LimitHit {
    cgroup: String,
    unlimited: bool,
    swap_unlimited: bool,
    swap_includes_memory: Option<bool>,
    ?
    charged_at: String,
    owner: Owner,
    limit_bytes: u64,
    kind: String,
    kubernetes_limit_bytes: u64,
    kubernetes_limit_in_force_bytes: u64,
    usage_bytes: u64,
    shmem_bytes: u64,
    swap_usage_bytes: u64,
    swap_limit_bytes: u64,
    oom_group: bool,
});

record!(Memory {
    late: bool,
    zones: Vec<Zone>,
    zones_total: u64,
    holders: Vec<Holder>,
    holders_late: Vec<Holder>,
    ?
    account: Account,
    victim_account: Account,
    unmovable: Unmovable,
    pods: Holder,
    holders_total: u64,
    least_bytes: u64,
    small_total: u32,
    small_bytes: u64,
    cgroups_looked_at: u32,
    cgroups_total: u32,
    incomplete: bool,
    time_up: bool,
    cgroups_looked_at_late: u32,
    late_incomplete: bool,
});

record!(#[expect(clippy::struct_field_names, reason = "they are the report's")]
Zone {
    boost_bytes: u64,
    free_cma_bytes: u64,
    highatomic_bytes: u64,
    ?
    numa_node: u32,
    zone: String,
    eligible: bool,
    managed_bytes: u64,
    free_bytes: u64,
    usable_bytes: u64,
    min_bytes: u64,
    low_bytes: u64,
    high_bytes: u64,
    lowmem_reserve_bytes: u64,
    free_blocks: Vec<u64>,
    room: bool,
    suitable_block: bool,
    fragmentation_index: f64,
    unusable_index: f64,
});

record!(#[expect(clippy::struct_field_names, reason = "they are the report's")]
Unmovable {
    ?
    unevictable_bytes: u64,
    slab_unreclaimable_bytes: u64,
    slab_reclaimable_bytes: u64,
    page_table_bytes: u64,
    kernel_stack_bytes: u64,
    huge_page_bytes: u64,
    huge_page_free_bytes: u64,
});

record!(Holder {
    cgroup: String,
    owner: Owner,
    usage_bytes: u64,
    unlimited: bool,
    removed: bool,
    ?
    limit_bytes: u64,
    swap_bytes: u64,
    share_permille: u32,
});

record!(Account {
    total_bytes: u64,
    entries: Vec<AccountEntry>,
    others_bytes: u64,
    unaccounted_bytes: u64,
    excess_bytes: u64,
    late: bool,
    ?
    present_bytes: u64,
    ballooned_bytes: u64,
    kept: Kept,
    swap: Swap,
    network_bytes: u64,
    held_by_killed_bytes: u64,
    removed_descendants: u32,
});

record!(AccountEntry {
    kind: String,
    bytes: u64,
    share_permille: u32,
    ?
    holder: AccountHolder,
    file: FilePages,
    huge_pages: HugePages,
});

record!(AccountHolder {
    cgroup: String,
    name: String,
    ?
    swap_bytes: u64,
});

record!(#[expect(clippy::struct_field_names, reason = "as the schema has them")] FilePages {
    ?
    inactive_bytes: u64,
    active_bytes: u64,
    mapped_bytes: u64,
    dirty_bytes: u64,
    writeback_bytes: u64,
});

record!(#[expect(clippy::struct_field_names, reason = "as the schema has them")] HugePages {
    page_bytes: u64,
    free_bytes: u64,
    reserved_bytes: u64,
    ?
});

record!(#[expect(clippy::struct_field_names, reason = "as the schema has them")] Kept {
    min_bytes: u64,
    lowmem_reserve_bytes: u64,
    highatomic_bytes: u64,
    ?
});

record!(Swap {
    ?
    total_bytes: u64,
    free_bytes: u64,
    used_bytes: u64,
    devices: Vec<SwapDevice>,
});

record!(SwapDevice {
    kind: String,
    bytes: u64,
    ?
});

record!(Process {
    cgroup_cut: bool,
    ?
    pid: u32,
    tid: u32,
    container_pid: u32,
    comm: String,
    thread_comm: String,
    uid: u32,
    start_boottime_ns: u64,
    anon_bytes: u64,
    file_bytes: u64,
    shmem_bytes: u64,
    swap_bytes: u64,
    page_table_bytes: u64,
    total_vm_bytes: u64,
    oom_score_adj: i32,
    exiting: bool,
    cgroup: String,
    owner: Owner,
});

record!(Owner {
    kind: String,
    static_pod: bool,
    ?
    namespace: String,
    pod: String,
    container: String,
    kubernetes: Kubernetes,
    pod_uid: String,
    container_id: String,
    qos_class: String,
    runtime: String,
    unit: String,
    engine: Engine,
    claims: Claims,
});

record!(Engine {
    kind: String,
    name: String,
    ?
    uid: u32,
});

record!(Claims {
    kind: String,
    ?
    pod_uid: String,
    container_id: String,
    qos_class: String,
});

record!(Kubernetes {
    source: String,
    ?
    role: String,
    workload: Workload,
    image: String,
    restart_count: u32,
    memory_request_bytes: u64,
    memory_limit_bytes: u64,
    stale_seconds: u64,
});

record!(Workload {
    kind: String,
    name: String,
    inferred: bool,
    ?
});

record!(Allocation {
    numa_nodes: Vec<u32>,
    gfp: Vec<String>,
    gfp_mask: u32,
    ?
    order: u32,
    bytes: u64,
    migrate_type: String,
    scope_total_bytes: u64,
    victim_points_bytes: i64,
});

record!(Unresolved {
    field: String,
    reason: String,
    ?
});
