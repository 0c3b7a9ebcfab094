//! `scenario faults`: the cost of a page that is faulted in and given back. `cargo xtask bench` runs it with agents and
//! without, in a guest whose clock counts instructions.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context as _, Result};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use serde_json::json;

/// What to fault in.
#[derive(clap::Args)]
pub struct Args {
    /// What the result is for
    #[arg(long)]
    label: String,
    /// How much at a time
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    mib: usize,
    /// How often
    #[arg(long, default_value_t = 8)]
    rounds: usize,
}

/// Prints one JSON object: nanoseconds for each page, in each round. The first round warms up and is not in it.
pub fn run(args: &Args) -> Result<()> {
    let page = rustix::param::page_size();
    let bytes = args.mib << 20;
    let mut costs = Vec::new();
    for _ in 0..=args.rounds {
        let begun = Instant::now();
        // SAFETY: a new mapping at an address of the kernel's choice, of which nothing else knows; it is unmapped below,
        // after its last use.
        unsafe {
            let memory = mmap_anonymous(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
            .context("cannot map memory")?;
            // One page for each fault.
            madvise(memory, bytes, Advice::LinuxNoHugepage).context("cannot forbid huge pages")?;
            for at in (0..bytes).step_by(page) {
                memory.cast::<u8>().add(at).write_volatile(1);
            }
            black_box(memory);
            munmap(memory, bytes).context("cannot unmap")?;
        }
        costs.push(begun.elapsed().as_nanos() as f64 / (bytes / page) as f64);
    }
    println!(
        "{}",
        json!({ "label": args.label, "ns": { "page that is faulted in and freed": costs.get(1..) } })
    );
    Ok(())
}
