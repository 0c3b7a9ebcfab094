//! Cuts the BTF of a whole kernel (5 MB) down to what crashtrace reads: the structs and enums that [`fields::TABLE`] names, the
//! functions that it hooks, and the tracepoints whose prototype it reads.
//!
//! A struct keeps its size and, of its members, those on the table's paths, with the unnamed structs around them. A type behind a
//! pointer becomes a forward declaration, unless the table names it. Nothing is added and no offset changes: a query has the same result
//! on the cutting and on the kernel.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use anyhow::Context as _;
use crashtrace_ebpf::fields::{self, Query};

// The agent's own reader. Depending on the agent would build its kernel object first, and the fixtures are older
// than any agent.
#[path = "../../crashtrace/src/kernel/btf.rs"]
#[expect(dead_code, unreachable_pub, reason = "it is written for the agent, which asks for more")]
mod btf;

use btf::{Btf, Kind, Type};

/// Functions whose BTF is kept.
const FUNCTIONS: [&str; 4] =
    ["oom_kill_process", "mem_cgroup_out_of_memory", "mem_cgroup_oom_synchronize", "out_of_memory"];

/// Tracepoints whose prototype is kept, by the name of its typedef.
const TRACEPOINTS: [&str; 1] = ["btf_trace_mark_victim"];

pub(crate) fn cut(file: &Path) -> anyhow::Result<Vec<u8>> {
    let btf = Btf::parse(std::fs::read(file)?)?;
    let mut cutter = Cutter { btf: &btf, kept: HashMap::new(), queue: Vec::new(), ids: HashMap::new() };
    cutter.choose();
    cutter.write()
}

/// The source of a type of the cutting.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    /// A complete type.
    Whole(u32),
    /// A type behind a pointer: a struct or union of which only the name is kept, or the typedefs and qualifiers
    /// around one.
    Behind(u32),
}

struct Cutter<'a> {
    btf: &'a Btf,
    /// Structs and enums that the table names, and the unnamed ones within: the members to keep.
    kept: HashMap<u32, BTreeSet<usize>>,
    /// Types of the cutting in the order of their new ids, from 1.
    queue: Vec<Source>,
    ids: HashMap<Source, u32>,
}

impl Cutter<'_> {
    /// Finds the wanted types by name, and the members to keep.
    fn choose(&mut self) {
        let mut roots = Vec::new();
        for query in fields::TABLE.iter().flat_map(|field| field.queries) {
            let found = self.named(&[Kind::Struct, Kind::Enum, Kind::Enum64], query.of());
            for id in &found {
                self.kept.entry(*id).or_default();
                if let Query::Offset { member, .. }
                | Query::Stride { member, .. }
                | Query::Length { member, .. } = query
                {
                    self.keep(*id, member);
                }
            }
            roots.extend(found);
        }
        roots.extend(FUNCTIONS.iter().flat_map(|name| self.named(&[Kind::Func], name)));
        roots.extend(TRACEPOINTS.iter().flat_map(|name| self.named(&[Kind::Typedef], name)));
        for root in roots {
            self.id(Source::Whole(root));
        }
    }

    fn named(&self, kinds: &[Kind], name: &str) -> Vec<u32> {
        let found = self.btf.types_of(kinds).filter(|found| self.btf.string_is(found.name, name));
        found.map(|found| found.id).collect()
    }

    /// Marks the members on a path. Indices do not matter here: an array is kept whole.
    fn keep(&mut self, id: u32, path: &str) {
        let (segment, rest) = path.split_once('.').unwrap_or((path, ""));
        let name = segment.split('[').next().unwrap_or_default();
        if let Some(inside) = self.keep_member(id, name)
            && !rest.is_empty()
        {
            self.keep(inside, rest);
        }
    }

    /// Marks a member, and the unnamed ones around it. Returns its type behind arrays and typedefs.
    fn keep_member(&mut self, id: u32, name: &str) -> Option<u32> {
        let of = self.btf.get(id)?;
        for (index, member) in of.members().enumerate() {
            let inside = self.bare(member.of, true).map(|inside| inside.id);
            let found = if self.btf.string_is(member.name, name) {
                inside
            } else if self.btf.string_is(member.name, "") {
                inside.and_then(|inside| self.keep_member(inside, name))
            } else {
                None
            };
            if found.is_some() {
                self.kept.entry(id).or_default().insert(index);
                return found;
            }
        }
        None
    }

    /// A type behind typedefs and qualifiers and, if `arrays`, behind arrays.
    fn bare(&self, mut id: u32, arrays: bool) -> Option<Type<'_>> {
        loop {
            let found = self.btf.get(id)?;
            id = match found.kind {
                Kind::Typedef | Kind::Const | Kind::Volatile | Kind::Restrict | Kind::TypeTag => {
                    found.size_or_target
                }
                Kind::Array if arrays => found.array()?.of,
                _ => return Some(found),
            }
        }
    }

    /// The id of a type in the cutting, to which it is added if it is new.
    fn id(&mut self, source: Source) -> u32 {
        *self.ids.entry(source).or_insert_with(|| {
            self.queue.push(source);
            self.queue.len() as u32
        })
    }

    fn whole(&mut self, id: u32) -> u32 {
        if id == 0 { 0 } else { self.id(Source::Whole(id)) }
    }

    /// The id for the type behind a pointer, or for a typedef or qualifier behind one.
    fn behind(&mut self, id: u32) -> u32 {
        let is_cut = self.bare(id, false).is_some_and(|found| {
            let is_struct = matches!(found.kind, Kind::Struct | Kind::Union);
            // A forward declaration needs a name.
            is_struct && !self.kept.contains_key(&found.id) && !self.btf.string_is(found.name, "")
        });
        if is_cut { self.id(Source::Behind(id)) } else { self.whole(id) }
    }

    /// Writes all types, and adds those that they refer to.
    fn write(mut self) -> anyhow::Result<Vec<u8>> {
        let mut types = Words(Vec::new());
        let mut strings = Strings { bytes: vec![0], offsets: HashMap::new() };
        let mut next = 0;
        while let Some(source) = self.queue.get(next).copied() {
            next += 1;
            let (Source::Whole(id) | Source::Behind(id)) = source;
            let found = self.btf.get(id).with_context(|| format!("no type {id}"))?;
            let name = strings.copy(self.btf, found.name)?;
            if matches!(found.kind, Kind::Struct | Kind::Union) && source == Source::Behind(id) {
                let is_union = u32::from(found.kind == Kind::Union) << 31;
                types.push(&[name, is_union | (Kind::Fwd as u32) << 24, 0]);
            } else {
                let cut = matches!(source, Source::Behind(_)) || found.kind == Kind::Ptr;
                self.write_type(found, cut, name, &mut types, &mut strings)?;
            }
        }
        let (types, strings) = (types.0, strings.bytes);
        let mut blob = Words(vec![0x9f, 0xeb, 1, 0]);
        blob.push(&[24, 0, types.len() as u32, types.len() as u32, strings.len() as u32]);
        Ok([blob.0, types, strings].concat())
    }

    fn write_type(
        &mut self,
        of: Type<'_>,
        cut: bool,
        name: u32,
        out: &mut Words,
        strings: &mut Strings,
    ) -> anyhow::Result<()> {
        match of.kind {
            Kind::Int => {
                out.push(&[name, of.info, of.size_or_target]);
                out.0.extend(of.tail);
            }
            Kind::Float | Kind::Fwd => out.push(&[name, of.info, of.size_or_target]),
            Kind::Ptr | Kind::TypeTag | Kind::Typedef | Kind::Const | Kind::Volatile | Kind::Restrict => {
                let to = if cut { self.behind(of.size_or_target) } else { self.whole(of.size_or_target) };
                out.push(&[name, of.info, to]);
            }
            Kind::Func => {
                let proto = self.whole(of.size_or_target);
                out.push(&[name, of.info, proto]);
            }
            Kind::Array => {
                let [element, index, length] =
                    of.words().next().context("an array without its description")?;
                let (element, index) = (self.whole(element), self.whole(index));
                out.push(&[name, of.info, 0, element, index, length]);
            }
            Kind::Struct | Kind::Union => {
                let kept = self.kept.get(&of.id).cloned().unwrap_or_default();
                out.push(&[name, (of.info & !0x00ff_ffff) | kept.len() as u32, of.size_or_target]);
                for [name, member, offset] in kept.iter().filter_map(|index| of.words().nth(*index)) {
                    let member = self.whole(member);
                    out.push(&[strings.copy(self.btf, name)?, member, offset]);
                }
            }
            Kind::FuncProto => {
                let returned = self.whole(of.size_or_target);
                out.push(&[name, of.info, returned]);
                for [name, param] in of.words() {
                    let param = self.whole(param);
                    out.push(&[strings.copy(self.btf, name)?, param]);
                }
            }
            Kind::Enum => {
                out.push(&[name, of.info, of.size_or_target]);
                for [name, value] in of.words() {
                    out.push(&[strings.copy(self.btf, name)?, value]);
                }
            }
            Kind::Enum64 => {
                out.push(&[name, of.info, of.size_or_target]);
                for [name, low, high] in of.words() {
                    out.push(&[strings.copy(self.btf, name)?, low, high]);
                }
            }
            Kind::Var | Kind::Datasec | Kind::DeclTag => anyhow::bail!("nothing refers to a {:?}", of.kind),
        }
        Ok(())
    }
}

/// Little-endian words, one after the other.
struct Words(Vec<u8>);

impl Words {
    fn push(&mut self, words: &[u32]) {
        self.0.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }
}

/// The cutting's strings, each once.
struct Strings {
    bytes: Vec<u8>,
    offsets: HashMap<Vec<u8>, u32>,
}

impl Strings {
    /// Copies the string at an offset of the original, and returns its new offset.
    fn copy(&mut self, from: &Btf, offset: u32) -> anyhow::Result<u32> {
        let string = from.string(offset).with_context(|| format!("no string at {offset}"))?;
        if string.is_empty() {
            return Ok(0);
        }
        Ok(*self.offsets.entry(string.to_vec()).or_insert_with(|| {
            let offset = self.bytes.len() as u32;
            self.bytes.extend(string);
            self.bytes.push(0);
            offset
        }))
    }
}
