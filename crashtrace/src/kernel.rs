//! The running kernel: the facts about it, the plan made of them, the loader that applies it, the ring that it fills, and its
//! types by BTF. Pins keep the programs while no agent runs.

pub mod btf;
pub mod host;
pub mod layout;
pub mod load;
pub mod pins;
pub mod plan;
pub mod ring;
pub mod types;
