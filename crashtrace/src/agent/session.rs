//! The parts of a `watch` session: its identity, the sources of facts about the node, and the beginning of its recording.

use crashtrace_ebpf::LAYOUT_VERSION;

use super::host::Host;
use super::procfs::ProcFs;
use crate::cgroup::NodeRoot;
use crate::cli::Watch;
use crate::decode::Machine;
use crate::kernel::load::Attached;
use crate::kernel::plan::{AllocHook, Blind, ExitHooks, Optional, blind};
use crate::node::Node;
use crate::pipeline::Session;
use crate::pods::directory::Directory;
use crate::recording::{FORMAT, Preamble};
use crate::report::Context;
use crate::schema::BlindSpot;

/// The facts of this node that can be looked up while it is watched.
pub(super) fn node(host: &Host, context: &Context, root: NodeRoot, pods: Directory) -> Node {
    Node {
        memory_bytes: host.facts.memory_bytes,
        root,
        page_size_bytes: context.page_size_bytes,
        cgroups: Box::new(host.cgroup_files()),
        proc: Box::new(ProcFs { mount: "/proc".into() }),
        pods: Box::new(pods),
        gfp: context.gfp.clone(),
    }
}

/// The session's identity, and how much cannot be seen though the user did not choose so. Logs what.
pub(super) fn session(config: &Watch, host: &Host, attached: &Attached, started_ns: u64) -> (Session, usize) {
    let blind = unseen(config, host, attached);
    // The stream has it too, but a user who misses something reads the log, and there it comes with a remedy.
    let unseen: Vec<_> = blind.iter().filter(|blind| !blind.chosen).collect();
    for blind in &unseen {
        log(blind);
    }
    let unseen = unseen.len();
    let session = Session {
        node: config.node_name.clone(),
        session: format!("{started_ns:x}-{:x}", std::process::id()),
        kernel: host.facts.release.clone().unwrap_or_default(),
        btf: Some(host.btf()),
        names_from: Vec::new(),
        hooks: attached.hooks(),
        blind: blind.into_iter().map(|blind| BlindSpot { field: blind.what, reason: blind.why }).collect(),
        replay: false,
        pin: None,
    };
    (session, unseen)
}

/// Logs what is not seen for want of symbols that were read after the session's first line; `said` is what that says.
pub(super) fn say_unseen(config: &Watch, host: &Host, attached: &Attached, said: &[BlindSpot]) {
    let blind = unseen(config, host, attached);
    blind.iter().filter(|blind| said.iter().all(|said| said.field != blind.what)).for_each(log);
}

fn unseen(config: &Watch, host: &Host, attached: &Attached) -> Vec<Blind> {
    let wanted = config.beside();
    let alloc = AllocHook::of(attached.alloc.as_ref(), wanted.allocations);
    let exits = ExitHooks::of(&attached.exits, wanted.exits);
    let optional = Optional { memcg: attached.memcg, wait: attached.wait, alloc, exits };
    blind(&attached.tier, optional, &host.facts, host.symbols())
}

fn log(blind: &Blind) {
    let remedy = blind.remedy.as_deref().unwrap_or("nothing is known that would help");
    tracing::info!(why = blind.why, remedy, "not seen: {}", blind.what);
}

/// The preamble of a recording.
pub(super) fn preamble(
    session: &Session,
    machine: &Machine,
    context: &Context,
    memory_bytes: Option<u64>,
    node_root: NodeRoot,
    started_ns: u64,
    since_ns: Option<u64>,
) -> Preamble {
    Preamble {
        format: FORMAT.to_owned(),
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        layout: LAYOUT_VERSION,
        node: session.node.clone(),
        kernel: session.kernel.clone(),
        boot_id: context.boot_id.clone(),
        page_size_bytes: machine.page_size_bytes,
        memory_bytes,
        node_root,
        memory_cgroup_v1: context.memory_cgroup_v1,
        realtime_offset_ns: context.realtime_offset_ns,
        hooks: session.hooks.clone(),
        blind: session.blind.clone(),
        gfp: context.gfp.clone(),
        symbols: machine.symbols.clone(),
        started_ktime_ns: started_ns,
        since_ktime_ns: since_ns,
    }
}
