//! Reads which module uses which: every path of production code that names another module of its crate, in `use` (groups too), in
//! expressions and types, in attributes and inside of macros. Code that only tests compile is left out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, File, ImplItem, Item, ItemMod, ItemUse, Macro, UseTree, VisRestricted};

/// A path that leads from one top-level module into another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrow {
    pub(crate) from: String,
    pub(crate) to: String,
    /// Where it stands, and the path.
    pub(crate) at: String,
}

/// A crate: its root file, and the name by which its programs call its library.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crate<'a> {
    pub(crate) root: &'a Path,
    pub(crate) name: &'a str,
}

/// The paths and files that were read of a crate.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) rooms: BTreeSet<String>,
    pub(crate) arrows: Vec<Arrow>,
    /// Each module that has a file, and the paths in it, from the crate's root on.
    pub(crate) files: Vec<(Vec<String>, Vec<Vec<String>>)>,
}

impl Read {
    /// Arrows between files instead of between top-level modules. A path leads to the deepest module that it names.
    pub(crate) fn by_file(&self) -> Self {
        let modules: BTreeSet<_> = self.files.iter().map(|(module, _)| module).collect();
        let name = |module: &[String]| module.join("::");
        let mut read = Self::default();
        for (module, paths) in &self.files {
            read.rooms.insert(name(module));
            for path in paths {
                let ends = (0..=path.len()).rev().map(|end| path[..end].to_vec());
                let to = ends.into_iter().find(|end| modules.contains(end)).unwrap_or_default();
                if to != *module {
                    read.arrows.push(Arrow { from: name(module), to: name(&to), at: path.join("::") });
                }
            }
        }
        read
    }
}

impl Crate<'_> {
    /// Follows `mod` from the root file on.
    pub(crate) fn read(self) -> Read {
        let mut read = Read::default();
        self.file(self.root, &[], &mut read);
        read
    }

    fn file(self, path: &Path, module: &[String], read: &mut Read) {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let reader = read_file(&parsed, module, self.name);
        let room = self.room(module);
        let folder = self.root.parent().expect("a folder");
        let shown = path.strip_prefix(folder).unwrap_or(path).display().to_string();
        read.files.push((module.to_owned(), reader.paths.clone()));
        for used in reader.paths {
            // A glob of the crate's root would hide the used room.
            let to = used.first().cloned().unwrap_or_else(|| "*".to_owned());
            if to != room {
                read.arrows.push(Arrow {
                    from: room.clone(),
                    to,
                    at: format!("{shown}: {}", used.join("::")),
                });
            }
        }
        read.rooms.insert(room);
        for Child { module, path: given } in reader.children {
            let file = match given {
                Some(given) => path.parent().expect("a folder").join(given),
                None => folder.join(format!("{}.rs", module.join("/"))),
            };
            self.file(&file, &module, read);
        }
    }

    /// The top-level module; of the root file its own name.
    fn room(self, module: &[String]) -> String {
        let root = || self.root.file_stem().expect("a name").to_string_lossy().into_owned();
        module.first().cloned().unwrap_or_else(root)
    }
}

/// A module in a separate file.
#[derive(Debug, PartialEq, Eq)]
struct Child {
    module: Vec<String>,
    /// Its `#[path]`.
    path: Option<String>,
}

/// Reads one file of module `module`.
struct Reader<'a> {
    name: &'a str,
    module: Vec<String>,
    /// Modules that the file declares: it may name them without `crate` or `self`.
    declared: Vec<String>,
    paths: Vec<Vec<String>>,
    children: Vec<Child>,
}

fn read_file<'a>(file: &File, module: &[String], name: &'a str) -> Reader<'a> {
    let declared = file.items.iter().filter_map(|item| match item {
        Item::Mod(item) => Some(item.ident.to_string()),
        _ => None,
    });
    let declared = declared.collect();
    let mut reader =
        Reader { name, module: module.to_owned(), declared, paths: Vec::new(), children: Vec::new() };
    reader.visit_file(file);
    reader
}

impl Reader<'_> {
    /// Takes a path down, from the crate's root on, if it may lead out of its module.
    fn path(&mut self, segments: &[String]) {
        let relative = |it: &&String| matches!(it.as_str(), "self" | "super");
        let before: Vec<_> = segments.iter().take_while(relative).collect();
        let (base, rest) = match segments.first().map(String::as_str) {
            Some("self" | "super") => {
                let ups = before.iter().filter(|it| **it == "super").count();
                (&self.module[..self.module.len() - ups], &segments[before.len()..])
            }
            Some("crate") => (&[][..], &segments[1..]),
            // A program calls its library by name, and the modules that its root file declares.
            Some(name) if self.module.is_empty() && name == self.name => (&[][..], &segments[1..]),
            Some(name) if self.declared.iter().any(|it| it == name) => (&self.module[..], segments),
            _ => return,
        };
        // `self` also ends `use x::{self}`.
        let path = base.iter().chain(rest).filter(|segment| !matches!(segment.as_str(), "self" | "*"));
        self.paths.push(path.cloned().collect());
    }

    fn tree(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: String| before.iter().cloned().chain([name]).collect::<Vec<_>>();
        match tree {
            UseTree::Path(path) => self.tree(&with(path.ident.to_string()), &path.tree),
            UseTree::Name(name) => self.path(&with(name.ident.to_string())),
            UseTree::Rename(rename) => self.path(&with(rename.ident.to_string())),
            UseTree::Glob(_) => self.path(&with("*".to_owned())),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(before, tree)),
        }
    }

    /// The arguments of macros are no syntax yet: paths are looked for among the tokens.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let length = path_length(&tokens[at..]);
            match token {
                TokenTree::Ident(_) if length > 1 => {
                    let path: TokenStream = tokens[at..at + length].iter().cloned().collect();
                    match syn::parse2::<UseTree>(path) {
                        Ok(tree) => self.tree(&[], &tree),
                        // `crate::x::{...}` of a macro's own syntax.
                        Err(_) => self.tokens(tokens[at + 1..at + length].iter().cloned().collect()),
                    }
                    at += length;
                    continue;
                }
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Literal(literal) => {
                    let text = literal.to_string();
                    // As serde's attributes have it.
                    if let Ok(path) = syn::parse_str::<UseTree>(text.trim_matches('"')) {
                        self.tree(&[], &path);
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }
}

/// Of how many tokens the path is that these begin with; its last part may be a group or a glob.
fn path_length(tokens: &[TokenTree]) -> usize {
    let colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    let mut length = usize::from(matches!(tokens.first(), Some(TokenTree::Ident(_))));
    while length > 0 && colon(length) && colon(length + 1) {
        match tokens.get(length + 2) {
            Some(TokenTree::Ident(_)) => length += 3,
            Some(TokenTree::Group(group)) if group.delimiter() == proc_macro2::Delimiter::Brace => {
                return length + 3;
            }
            Some(TokenTree::Punct(punct)) if punct.as_char() == '*' => return length + 3,
            _ => return length,
        }
    }
    length
}

/// Compiled for tests alone.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Ident>().is_ok_and(|what| what == "test")
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(it) => &it.attrs,
        Item::Enum(it) => &it.attrs,
        Item::Fn(it) => &it.attrs,
        Item::Impl(it) => &it.attrs,
        Item::Macro(it) => &it.attrs,
        Item::Mod(it) => &it.attrs,
        Item::Static(it) => &it.attrs,
        Item::Struct(it) => &it.attrs,
        Item::Trait(it) => &it.attrs,
        Item::Type(it) => &it.attrs,
        Item::Use(it) => &it.attrs,
        _ => &[],
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let of_test = match item {
            ImplItem::Fn(it) => is_test(&it.attrs),
            ImplItem::Const(it) => is_test(&it.attrs),
            _ => false,
        };
        if !of_test {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.module.push(item.ident.to_string());
        if item.content.is_some() {
            visit::visit_item_mod(self, item);
        } else {
            let path = item.attrs.iter().find_map(|attribute| match &attribute.meta {
                syn::Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
                    syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) => Some(path.value()),
                    _ => None,
                },
                _ => None,
            });
            self.children.push(Child { module: self.module.clone(), path });
        }
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        // `self` by itself is a value.
        if segments.len() > 1 {
            self.path(&segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, it: &'ast Macro) {
        self.visit_path(&it.path);
        self.tokens(it.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
        }
    }

    /// `pub(in crate::x)` uses nothing.
    fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths in a file of this module that lead to another top-level module.
    fn out(module: &str, source: &str) -> Vec<String> {
        let module: Vec<_> = module.split("::").filter(|it| !it.is_empty()).map(str::to_owned).collect();
        let file = syn::parse_file(source).expect("Rust");
        let mut paths = read_file(&file, &module, "crashtrace").paths;
        paths.retain(|path| path.first() != module.first());
        paths.iter().map(|path| path.join("::")).collect()
    }

    #[test]
    fn every_form_of_a_path_is_seen() {
        for (module, source, paths) in [
            ("enrich", "use crate::report::Text;", &["report::Text"][..]),
            (
                "enrich",
                "use crate::{report, sink::{self, page::Page as P}};",
                &["report", "sink", "sink::page::Page"],
            ),
            ("enrich", "pub use crate::report::*;", &["report"]),
            (
                "enrich",
                "fn f() -> crate::report::Text { crate::sink::page::now() }",
                &["report::Text", "sink::page::now"],
            ),
            ("enrich", "fn f(it: &dyn Into<Vec<crate::report::Text>>) {}", &["report::Text"]),
            (
                "enrich",
                "impl crate::sink::Sink for X { fn f(self) { super::report::g() } }",
                &["sink::Sink", "report::g"],
            ),
            ("enrich::names", "use super::super::report::Text;", &["report::Text"]),
            ("enrich::names", "use super::{gaps, super::sink};", &["sink"]),
            (
                "enrich::names",
                "mod inner { use super::super::super::report; use super::super::gaps; }",
                &["report"],
            ),
            (
                "enrich",
                "fn f() { format!(\"{}\", crate::report::f(1, crate::sink::X)); }",
                &["report::f", "sink::X"],
            ),
            ("enrich", "macro_rules! m { () => { $crate::report::f() } }", &["report::f"]),
            ("enrich", "thread_local! { use crate::{report::a, sink}; }", &["report::a", "sink"]),
            ("enrich", "#[serde(with = \"crate::report::json\")] struct X;", &["report::json"]),
            ("enrich", "#[derive(Debug, crate::report::D)] struct X;", &["report::D"]),
            ("enrich", "fn f() { crate::report::f::<crate::sink::T>() }", &["report::f", "sink::T"]),
            ("enrich", "fn f() { vec![crate::report::f::<u8>()]; }", &["report::f"]),
            (
                "",
                "use crashtrace::cli::{Args, exit}; fn main() { crashtrace::agent::run() }",
                &["cli::Args", "cli::exit", "agent::run"],
            ),
            ("", "mod vm; fn main() { vm::run(); other::run(); }", &["vm::run"]),
            ("enrich", "use super::*;", &[""]),
        ] {
            assert_eq!(out(module, source), paths, "{source}");
        }
    }

    #[test]
    fn a_use_within_a_room_is_no_arrow() {
        for (module, source) in [
            ("enrich", "use self::gaps::Gap; use crate::enrich::names; use gaps::X;"),
            ("enrich::names", "use super::gaps; use super::{Node, zones::Zone}; use super::*;"),
            ("enrich", "pub(in crate::report) struct X; pub(crate) fn f(self) { self.report() }"),
            (
                "enrich",
                "//! See crate::report::Text.\n/// [`crate::report::Text`] is `use crate::report`.\nfn f() { \"use crate::report::Text;\"; }",
            ),
            ("enrich", "use std::report::X; use crashtrace_ebpf::sink; use report::Y;"),
        ] {
            assert_eq!(out(module, source), [""; 0], "{source}");
        }
    }

    #[test]
    fn code_of_tests_is_left_out() {
        let source = "
            #[cfg(test)] mod tests;
            #[cfg(test)] mod inline { use crate::report::X; }
            #[cfg(test)] use crate::report::X;
            #[cfg(test)] fn f() { crate::report::f() }
            struct X;
            impl X { #[cfg(test)] fn f() { crate::report::f() } #[cfg(not(test))] fn g() { crate::sink::f() } }
            mod names;
            #[path = \"../x.rs\"] mod given;
        ";
        assert_eq!(out("enrich", source), ["sink::f"]);
        let read = read_file(&syn::parse_file(source).expect("Rust"), &["enrich".to_owned()], "crashtrace");
        let child = |name: &str, path: Option<&str>| Child {
            module: vec!["enrich".to_owned(), name.to_owned()],
            path: path.map(str::to_owned),
        };
        assert_eq!(read.children, [child("names", None), child("given", Some("../x.rs"))]);
    }

    #[test]
    fn between_files_a_path_leads_to_the_deepest_module() {
        let dir = tempfile::tempdir().expect("a folder");
        let write = |path: &str, text: &str| fs::write(dir.path().join(path), text).expect("a file");
        fs::create_dir(dir.path().join("guest")).expect("a folder");
        write("main.rs", "mod guest; mod exec; fn main() { guest::run() }");
        write("exec.rs", "");
        write("guest.rs", "mod boot; use crate::exec; pub fn run() { boot::run(exec::X) } pub struct Y;");
        write("guest/boot.rs", "use super::Y; use crate::exec::f; use self::g;");
        let read = Crate { root: &dir.path().join("main.rs"), name: "xtask" }.read().by_file();
        let arrows: BTreeSet<_> = read.arrows.iter().map(|it| (it.from.as_str(), it.to.as_str())).collect();
        let expected = [
            ("", "guest"),
            ("guest", "exec"),
            ("guest", "guest::boot"),
            ("guest::boot", "exec"),
            ("guest::boot", "guest"),
        ];
        assert_eq!(arrows, expected.into());
    }
}
