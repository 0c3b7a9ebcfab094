//! The running kernel: the facts about it, the plan made of them, the loader that applies it, the ring that it fills, and the files
//! of `/proc` that reports quote.

pub mod btf;
pub mod host;
pub mod layout;
pub mod load;
pub mod meminfo;
pub mod plan;
pub mod ring;
pub mod symbols;
pub mod types;
pub mod zoneinfo;
