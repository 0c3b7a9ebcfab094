//! Forms of a line besides JSON ([`crate::report::to_json_line`]).

pub mod text;
