//! Forms of a line besides JSON ([`crate::report::to_json_line`]).

pub(crate) mod page;
pub mod text;
pub(crate) mod zones;
