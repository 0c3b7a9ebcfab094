//! Where records come from: the facts about this kernel, the plan made of them, the loader that applies it, the
//! ring that it fills, and the recordings that stand in for it.

pub mod btf;
pub mod host;
pub mod layout;
pub mod load;
pub mod meminfo;
pub mod plan;
pub mod recording;
pub mod ring;
pub mod self_test;
pub mod symbols;
pub mod types;
pub mod zoneinfo;
