//! Advice at the limit of a container or of all pods.

use super::*;

/// A kill in a container at its limit of `total_mib`, whose victim has this much anonymous memory, and page tables, in KiB.
fn at_limit(total_mib: u64, victim: (u64, u64), entries: &[(AccountKind, &str, u64)]) -> Told {
    let api = api();
    let cgroups = lineage(&api).with(&api, total_mib * MIB, total_mib * MIB);
    let limit = cgroups.from(&api);
    let mut incident = kill(&cgroups, Some(limit), &CHARGE);
    let rss = Rss { anon_bytes: victim.0 << 10, file_bytes: 0, shmem_bytes: 0, swap_bytes: 0 };
    let task = Task { rss: Some(rss), page_table_bytes: Some(victim.1 << 10), ..task("worker", 4211) };
    incident.decision().victim = Some(task.clone());
    incident.victims[0].task = task;
    let mut case = enrich(Incident::OomKill(Box::new(incident)), &mut Node::unseen("a test"));
    case.account = (!entries.is_empty()).then(|| account(total_mib, entries));
    told(&case)
}

const HEAP: &str = "GOMEMLIMIT";

#[test]
fn a_containers_kernel_memory_is_named_by_kind_and_not_its_heap() {
    for (kind, words) in [
        (SlabReclaimable, "is dentries and inodes"),
        (SlabUnreclaimable, "is unreclaimable slab"),
        (OtherKernel, "buffers of pipes"),
        (Sockets, "is buffers of sockets"),
        (PageTables, "is page tables"),
        (KernelStacks, "is kernel stacks"),
        (Percpu, "per-CPU memory"),
        (Vmalloc, "BPF maps"),
        (File, "is page cache"),
        (Shmem, "shared memory and files in memory"),
        (Zswap, "memory.zswap.max"),
        (HugePages, "is huge pages"),
        (RemovedCgroups, "cgroups in it that are gone"),
    ] {
        let told = at_limit(48, (4, 40), &[(kind, "", 47)]);
        assert!(told.remedy.starts_with("47 MiB of the 48 MiB in use (97 %) is"), "{kind}: {}", told.remedy);
        says(&told, words, &["47 MiB (97 %) are"], &[HEAP, "held only"]);
    }
    // What is not accounted for is a guess, and not said first.
    let told = at_limit(48, (4, 40), &[(Anon, "", 1)]);
    says(
        &told,
        "Raise the container's",
        &["47 MiB of the 48 MiB in use (97 %) is in none of the kernel's own counts: it may be"],
        &[HEAP, "heap is not"],
    );
}

#[test]
fn a_heap_is_cleared_only_where_it_is_small_and_another_part_the_largest() {
    const NO_HEAP: &str = "Its heap is not the reason.";
    let told = |entries: &[(AccountKind, &str, u64)]| at_limit(100, (4, 40), entries).remedy;
    for kind in [SlabReclaimable, SlabUnreclaimable, PageTables, Sockets, OtherKernel] {
        assert!(told(&[(kind, "", 70), (Anon, "", 24)]).contains(NO_HEAP), "{kind}");
        assert!(!told(&[(kind, "", 70), (Anon, "", 25)]).contains(NO_HEAP), "{kind}");
        let second = told(&[(File, "", 60), (kind, "", 30), (Anon, "", 5)]);
        assert!(second.contains("30 MiB of the 100 MiB in use") && !second.contains(NO_HEAP), "{second}");
    }
}

#[test]
fn a_heap_is_hinted_at_only_where_it_is_a_good_part_of_what_was_in_use() {
    let told = at_limit(64, (60 << 10, 200), &[(Anon, "", 61), (File, "", 2)]);
    says(
        &told,
        "Raise the container's",
        &[HEAP, "61 MiB of the 64 MiB in use (95 %) is anonymous memory"],
        &[],
    );
    // The victim is an innocent sibling.
    let told = at_limit(64, (1 << 10, 200), &[(Anon, "", 61), (File, "", 2)]);
    says(&told, "Raise the container's", &["worker (pid 4211) has only 1 MiB of it"], &[HEAP]);
}

#[test]
fn page_tables_count_to_the_process_that_has_them() {
    // Without an account; 684 KiB resident, 63.9 MiB of page tables.
    let told = at_limit(64, (684, 65434), &[]);
    says(&told, "Raise the container's", &["Its page tables take 63.9 MiB"], &["held only", HEAP]);
    let told = at_limit(64, (684, 100), &[]);
    says(&told, "Raise the container's", &["held only 784 KiB of the 64 MiB in use"], &[HEAP]);
}

#[test]
fn one_pod_without_a_limit_is_named_at_the_limit_of_all_pods() {
    let cgroups = lineage(&api()).with(KUBEPODS, 300 * MIB, 300 * MIB);
    let at = |holders: Vec<Held>| {
        let incident = kill(&cgroups, Some(cgroups.from(KUBEPODS)), &CHARGE);
        let mut case = enrich(an_incident(incident), &mut Node::unseen("a test"));
        case.limit_holders = (!holders.is_empty()).then(|| Memory {
            pods: None,
            large: holders.iter().map(|held| held.party.path.clone()).collect(),
            holders,
            least_bytes: 3 * MIB,
            small: 0,
            small_bytes: 0,
            looked_at: 9,
            total: Some(41),
            ..Memory::default()
        });
        told(&case)
    };
    let held = |path: &str, mib: u64, limit| Held {
        party: party(path),
        usage_bytes: mib * MIB,
        swap_bytes: None,
        limit: Some(limit),
        removed: false,
    };
    let told = at(vec![held(POD, 250, Limit::Unlimited), held(OTHER_POD, 20, Limit::Unlimited)]);
    says(
        &told,
        "pod 1f6cbd1e… holds 250 MiB of it (83 %): it has no limit",
        &["All pods of this node together may use 300 MiB"],
        &["their requests are lower", "lower kubelet's"],
    );
    let told = at(vec![held(POD, 60, Limit::Bytes(80 * MIB)), held(OTHER_POD, 50, Limit::Unlimited)]);
    says(
        &told,
        "All pods of this node",
        &["The largest are pod 1f6cbd1e… (60 MiB), pod 7a1c9d20… (50 MiB)"],
        &["lower kubelet's"],
    );
    says(
        &at(Vec::new()),
        "All pods of this node",
        &["Look which of them holds most"],
        &["their requests are", "lower kubelet's"],
    );
}
