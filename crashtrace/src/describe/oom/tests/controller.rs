//! A node whose memory controller is switched off.

use super::*;
use crate::classify::tests::build::SYSTEM;
use crate::event::Rss;

fn on_node(no_controller: bool) -> Told {
    let mut kill = kill(&lineage("/"), None, &SYSTEM)
        .with_control(|control| (control.total_bytes, control.points_bytes) = (500 * MIB, 430 << 20));
    if let Some(victim) = &mut kill.decision().victim {
        (victim.oom_score_adj, victim.page_table_bytes) = (Some(0), Some(0));
        victim.rss = Some(Rss { anon_bytes: 430 * MIB, file_bytes: 0, shmem_bytes: 0, swap_bytes: 0 });
    }
    let root = NodeRoot { no_controller, ..NodeRoot::default() };
    told(&enrich(an_incident(kill), &mut Node { root, ..Node::unseen("a test") }))
}

#[test]
fn without_a_memory_controller_no_limit_is_in_force_and_the_victims_own_share_is_told() {
    let off = on_node(true);
    assert!(off.shows(&[
        "memory controller is switched off",
        "no memory limit of a container, pod or service can be in force"
    ]));
    assert!(off.shows(&["java (pid 4211) held 430 MiB, 86 % of the node's memory and swap"]), "{off:#?}");
    assert!(off.remedy.starts_with("Switch the kernel's memory controller on"), "{}", off.remedy);
    let on = on_node(false);
    assert!(!texts(&on).contains("memory controller"), "{}", texts(&on));
}
