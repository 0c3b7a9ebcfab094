//! The commands.

pub(crate) mod bench;
pub(crate) mod build;
pub(crate) mod demo;
pub(crate) mod deny;
pub(crate) mod docs;
pub(crate) mod fixtures;
pub(crate) mod fuzz;
pub(crate) mod image;
pub(crate) mod krew;
pub(crate) mod setup;
pub(crate) mod test;
pub(crate) mod vm;
