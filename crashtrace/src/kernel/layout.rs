//! Where this kernel has the fields that crashtrace reads: [`fields::TABLE`] looked up in the kernel's BTF.
//!
//! A field that a kernel does not have is [`ABSENT`](fields::ABSENT), never 0 and never a guess: a path must lead through structs,
//! unions and arrays exactly as it says (`rss_stat.count` is not found where `rss_stat` is an array), a bit-field has no byte
//! offset, and where two structs of the same name disagree neither counts.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use crashtrace_ebpf::fields::{self, Field, Query};
use crashtrace_ebpf::mark_victim_arg;

pub use super::btf::BtfError;
use super::btf::{Btf, Member, Type, TypeKind};
use crate::files;

#[cfg(test)]
mod tests;

/// The values of [`fields::TABLE`] on one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    values: [u32; fields::COUNT],
}

impl Layout {
    /// Looks up all fields. A field that is not found is absent.
    #[must_use]
    pub fn resolve(btf: &KernelBtf) -> Self {
        let definitions = btf.definitions();
        let find = |query: &Query| {
            let found =
                definitions.get(query.of().as_bytes())?.iter().filter_map(|id| btf.answer(*id, query));
            agreed(found).filter(|value| *value != fields::ABSENT)
        };
        Self {
            values: fields::TABLE.map(|field| field.queries.iter().find_map(find).unwrap_or(fields::ABSENT)),
        }
    }

    /// All values in the order of [`fields::TABLE`], as the kernel side takes them.
    #[must_use]
    pub fn values(&self) -> &[u32; fields::COUNT] {
        &self.values
    }

    /// The value of one field, by its index in [`fields`].
    #[must_use]
    pub fn get(&self, index: usize) -> Option<u32> {
        self.values.get(index).copied().filter(|value| *value != fields::ABSENT)
    }

    /// The fields that this kernel does not have.
    pub fn absent(&self) -> impl Iterator<Item = &'static Field> {
        const TABLE: &[Field] = &fields::TABLE;
        TABLE.iter().zip(self.values).filter(|(_, value)| *value == fields::ABSENT).map(|(field, _)| field)
    }
}

impl Layout {
    /// The fields that are elsewhere than in the kernel's `own` BTF, in words.
    #[must_use]
    pub fn differences(&self, own: &Self) -> Vec<String> {
        let shown =
            |value: u32| if value == fields::ABSENT { "not there".to_owned() } else { value.to_string() };
        let both = fields::TABLE.iter().zip(self.values.into_iter().zip(own.values));
        let differing = both.filter(|(_, (value, own))| value != own);
        differing
            .map(|(field, (value, own))| {
                format!("{} is {}, and {} in the kernel's own", described(field), shown(value), shown(own))
            })
            .collect()
    }
}

/// A field as the kernel's sources have it.
fn described(field: &Field) -> String {
    match field.queries.first() {
        Some(Query::Offset { of, member }) => format!("{of}.{member}"),
        Some(Query::Stride { of, member }) => format!("the element size of {of}.{member}"),
        Some(Query::Length { of, member }) => format!("the length of {of}.{member}"),
        Some(Query::Size { of }) => format!("the size of {of}"),
        Some(Query::Enumerator { name, .. }) => (*name).to_owned(),
        None => field.name.to_owned(),
    }
}

/// How a parameter of a kernel function is passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Param {
    /// A pointer to the struct of this name, or to something else where the name is empty.
    Pointer(String),
    /// An integer (or enum or bool) of so many bytes.
    Integer(u32),
    /// Anything else: a struct by value, a float, the `...` of a variadic function.
    Other,
}

/// The most that is read of a file of BTF. A kernel's own has 4 to 6 MB, and about 10 with every driver built in.
const MOST_BYTES: u64 = 64 << 20;

/// How long reading may take.
const READ_DEADLINE: Duration = Duration::from_secs(20);

/// Why a file of BTF cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// It is no BTF.
    #[error(transparent)]
    Parse(#[from] BtfError),
}

/// Reads a file of BTF. The user may name any file.
///
/// # Errors
/// It cannot be read, or is too large for BTF.
pub fn read_btf(path: &Path) -> io::Result<Vec<u8>> {
    files::read_within(path, MOST_BYTES, READ_DEADLINE)
}

/// A kernel's own description of its types and functions.
pub struct KernelBtf(Btf);

/// Steps that a chain of typedefs and qualifiers, or of structs in structs, may take. The kernel's own limit is 32.
const MAX_DEPTH: usize = 32;

/// Members searched for one field. `task_struct` has about 300 with all that it embeds unnamed; only a struct that contains itself
/// has more than this.
const MAX_MEMBERS: usize = 65_536;

/// Offset and type of a member.
struct Place {
    bits: u64,
    member: Member,
}

impl KernelBtf {
    /// Takes over the bytes of a BTF blob.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Self, BtfError> {
        Btf::parse(bytes).map(Self)
    }

    /// Reads a file; that of the running kernel is `/sys/kernel/btf/vmlinux`.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Self::parse(read_btf(path)?)?)
    }

    /// How `oom:mark_victim` passes its victim: one of [`mark_victim_arg`], `None` where the kernel has no such
    /// tracepoint or passes something unknown.
    #[must_use]
    pub fn mark_victim_arg(&self) -> Option<u32> {
        match self.tracepoint_params("mark_victim")?.first()? {
            Param::Integer(4) => Some(mark_victim_arg::TID),
            Param::Pointer(to) if to == "task_struct" => Some(mark_victim_arg::TASK),
            _ => None,
        }
    }

    /// The ids of the functions of exactly these names, `None` for one that BTF does not have. Fentry and fexit take such an id;
    /// whether they can be attached also depends on the architecture, and on whether the function is traceable.
    #[must_use]
    pub fn function_ids<const N: usize>(&self, names: [&str; N]) -> [Option<u32>; N] {
        let mut ids = [None; N];
        // One walk for all: there are 50 000 functions.
        for function in self.0.types_of(&[TypeKind::Func]) {
            for (id, name) in ids.iter_mut().zip(names) {
                // Of two static functions of one name, the kernel too takes the first (`btf_find_by_name_kind`).
                if id.is_none() && self.0.string_is(function.name, name) {
                    *id = Some(function.id);
                }
            }
        }
        ids
    }

    /// The parameters of a function; `None` where BTF does not have it, or has two that differ.
    #[must_use]
    pub fn function_params(&self, name: &str) -> Option<Vec<Param>> {
        agreed(self.named(TypeKind::Func, name).filter_map(|function| self.params(function.size_or_target)))
    }

    /// The parameters of a raw tracepoint, without the `void *` that comes first in its prototype.
    #[must_use]
    pub fn tracepoint_params(&self, name: &str) -> Option<Vec<Param>> {
        let name = format!("btf_trace_{name}");
        let params = self.named(TypeKind::Typedef, &name).filter_map(|alias| {
            let pointer = self.bare(alias.size_or_target).filter(|found| found.kind == TypeKind::Ptr)?;
            let mut params = self.params(pointer.size_or_target)?;
            (!params.is_empty()).then(|| params.split_off(1))
        });
        agreed(params)
    }

    fn params(&self, proto: u32) -> Option<Vec<Param>> {
        let proto = self.bare(proto).filter(|found| found.kind == TypeKind::FuncProto)?;
        Some(proto.params().map(|id| self.param(id)).collect())
    }

    fn param(&self, id: u32) -> Param {
        let Some(found) = self.bare(id) else { return Param::Other };
        match found.kind {
            TypeKind::Int | TypeKind::Enum | TypeKind::Enum64 => Param::Integer(found.size_or_target),
            TypeKind::Ptr => {
                let to = self.bare(found.size_or_target);
                let to = to.filter(|to| matches!(to.kind, TypeKind::Struct | TypeKind::Fwd));
                let name = to.and_then(|to| self.0.string(to.name)).unwrap_or_default();
                Param::Pointer(String::from_utf8_lossy(name).into_owned())
            }
            _ => Param::Other,
        }
    }

    fn named(&self, kind: TypeKind, name: &str) -> impl Iterator<Item = Type<'_>> {
        self.0.types_of(&[kind]).filter(move |found| self.0.string_is(found.name, name))
    }

    /// Bits of allocation flags and the names of their enumerators (`___GFP_DMA_BIT`): an enum without a name in
    /// `include/linux/gfp_types.h`, from 6.10 on. Before, the bits are macros, and BTF does not have those.
    #[must_use]
    pub fn gfp_bits(&self) -> Option<Vec<(u8, String)>> {
        let is_gfp =
            |of: &Type<'_>| of.enumerators().any(|(name, _)| self.0.string_is(name, "___GFP_DMA_BIT"));
        let of = self.0.types_of(&[TypeKind::Enum]).find(|of| self.0.string_is(of.name, "") && is_gfp(of))?;
        let bits = of.enumerators().filter_map(|(name, value)| {
            let name = std::str::from_utf8(self.0.string(name)?).ok()?;
            Some((u8::try_from(value?).ok()?, name.to_owned()))
        });
        Some(bits.collect())
    }

    /// The ids of the structs and enums in the table, found in one walk over all types.
    fn definitions(&self) -> HashMap<&'static [u8], Vec<u32>> {
        let mut found: HashMap<&[u8], Vec<u32>> = HashMap::new();
        for query in fields::TABLE.iter().flat_map(|field| field.queries) {
            found.entry(query.of().as_bytes()).or_default();
        }
        for candidate in self.0.types_of(&[TypeKind::Struct, TypeKind::Enum, TypeKind::Enum64]) {
            if let Some(name) = self.0.string(candidate.name)
                && let Some(ids) = found.get_mut(name)
            {
                ids.push(candidate.id);
            }
        }
        found
    }

    /// The answer to a query on one struct or enum.
    fn answer(&self, id: u32, query: &Query) -> Option<u32> {
        let of = self.0.get(id)?;
        match query {
            Query::Size { .. } => (of.kind == TypeKind::Struct).then_some(of.size_or_target),
            Query::Enumerator { name, .. } => of.enumerators().find(|(at, _)| self.0.string_is(*at, name))?.1,
            Query::Offset { member, .. } => {
                let place = self.place(of, member)?;
                let partial = self.bare(place.member.of).is_some_and(Type::is_partial_int);
                let whole = place.member.bits == 0 && !partial && place.bits % 8 == 0;
                u32::try_from(place.bits / 8).ok().filter(|_| whole)
            }
            Query::Length { member, .. } => {
                let array = self.bare(self.place(of, member)?.member.of)?.array()?;
                // An array of open length has an unknown number of elements, which BTF does not give.
                Some(array.length).filter(|length| *length > 0)
            }
            Query::Stride { member, .. } => {
                let array = self.bare(self.place(of, member)?.member.of)?.array()?;
                u32::try_from(self.size(array.of)?).ok()
            }
        }
    }

    /// Follows a path such as `a.b[1].c` from a struct.
    fn place(&self, of: Type<'_>, path: &str) -> Option<Place> {
        let mut bits = 0_u64;
        let mut inside = Some(of);
        let mut last = None;
        let mut budget = MAX_MEMBERS;
        for segment in path.split('.') {
            let (name, index) = match segment.strip_suffix(']') {
                Some(indexed) => indexed.split_once('[').map(|(name, index)| (name, Some(index)))?,
                None => (segment, None),
            };
            let mut found = self.member(inside?, name, MAX_DEPTH, &mut budget)?;
            bits = bits.checked_add(found.bits)?;
            if let Some(index) = index {
                let index: u32 = index.parse().ok()?;
                let array = self.bare(found.member.of)?.array()?;
                // The length of an array of open length is 0.
                if array.length != 0 && index >= array.length {
                    return None;
                }
                bits = bits.checked_add(self.size(array.of)?.checked_mul(8)?.checked_mul(index.into())?)?;
                found.member.of = array.of;
            }
            inside = self.bare(found.member.of);
            last = Some(found.member);
        }
        Some(Place { bits, member: last? })
    }

    /// A member by its name, in a struct or union itself or in the unnamed ones that it embeds.
    fn member(&self, of: Type<'_>, name: &str, depth: usize, budget: &mut usize) -> Option<Place> {
        let deeper = depth.checked_sub(1)?;
        for member in of.members() {
            *budget = budget.checked_sub(1)?;
            let bits = u64::from(member.bit_offset);
            if self.0.string_is(member.name, name) {
                // An array of open length begins at the very end.
                return (bits <= u64::from(of.size_or_target) * 8).then_some(Place { bits, member });
            }
            if self.0.string_is(member.name, "")
                && let Some(inner) = self.bare(member.of)
                && let Some(place) = self.member(inner, name, deeper, budget)
            {
                return Some(Place { bits: bits + place.bits, ..place });
            }
        }
        None
    }

    /// A type without the typedefs, qualifiers and tags around it.
    fn bare(&self, mut id: u32) -> Option<Type<'_>> {
        for _ in 0..MAX_DEPTH {
            let found = self.0.get(id)?;
            match found.kind {
                TypeKind::Typedef
                | TypeKind::Const
                | TypeKind::Volatile
                | TypeKind::Restrict
                | TypeKind::TypeTag => {
                    id = found.size_or_target;
                }
                _ => return Some(found),
            }
        }
        None
    }

    /// Bytes of a value of a type.
    fn size(&self, mut id: u32) -> Option<u64> {
        let mut count = 1_u64;
        for _ in 0..MAX_DEPTH {
            let found = self.bare(id)?;
            let bytes = match found.kind {
                TypeKind::Int
                | TypeKind::Struct
                | TypeKind::Union
                | TypeKind::Enum
                | TypeKind::Enum64
                | TypeKind::Float => found.size_or_target,
                // Both supported architectures have 64 bits.
                TypeKind::Ptr => 8,
                TypeKind::Array => {
                    let array = found.array()?;
                    count = count.checked_mul(array.length.into())?;
                    id = array.of;
                    continue;
                }
                _ => return None,
            };
            return count.checked_mul(bytes.into());
        }
        None
    }
}

/// The value, if all agree.
fn agreed<T: PartialEq>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let first = values.next()?;
    values.all(|other| other == first).then_some(first)
}
