//! A reader of BTF, the kernel's description of its own types (`Documentation/bpf/btf.rst`).
//!
//! It keeps the bytes as they are and one `u32` a type, the offset at which the type begins, and decodes a type when it is
//! looked up. A kernel has about 120 000 types and crashtrace needs 14 of them.
//!
//! Why not a library: to read the BTF of Linux 7.3 (5.3 MB, 121 000 types), resolve the table and look up five
//! functions takes, in a release build of a program that has 2 MB by itself:
//!
//! | | peak | time | instructions |
//! |---|---|---|---|
//! | this reader | 7.5 MB | 10 ms | 53 million |
//! | `aya::Btf`, parsed only | 20 MB | 28 ms | 68 million |
//! | `btf-rs` 2.0, 18 names looked up | 41 MB | 180 ms | 355 million |
//! | the same, file mapped | 8 MB | 20 to 30 ms | 158 million |
//!
//! The last one would be acceptable, but a kernel before 6.16 does not let its BTF be mapped, and then `btf-rs` is back at the
//! third line. An agent that reports on a node without memory should not start by taking 40 MB of it.
//!
//! No bytes make this code panic, and it follows no reference from one type to another, so that it cannot loop.

/// Kind of a type: `BTF_KIND_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeKind {
    /// An integer, a character or a bool.
    Int = 1,
    Ptr = 2,
    Array = 3,
    Struct = 4,
    Union = 5,
    /// An enum of at most 32 bits.
    Enum = 6,
    /// A struct or union of which only the name is known.
    Fwd = 7,
    Typedef = 8,
    Volatile = 9,
    Const = 10,
    Restrict = 11,
    /// A function; its prototype is another type.
    Func = 12,
    /// A function's prototype.
    FuncProto = 13,
    Var = 14,
    Datasec = 15,
    Float = 16,
    /// A remark on a declaration.
    DeclTag = 17,
    /// A remark on a type, such as `__rcu`.
    TypeTag = 18,
    /// An enum of 64 bits.
    Enum64 = 19,
}

impl TypeKind {
    fn new(kind: u32) -> Option<Self> {
        Some(match kind {
            1 => Self::Int,
            2 => Self::Ptr,
            3 => Self::Array,
            4 => Self::Struct,
            5 => Self::Union,
            6 => Self::Enum,
            7 => Self::Fwd,
            8 => Self::Typedef,
            9 => Self::Volatile,
            10 => Self::Const,
            11 => Self::Restrict,
            12 => Self::Func,
            13 => Self::FuncProto,
            14 => Self::Var,
            15 => Self::Datasec,
            16 => Self::Float,
            17 => Self::DeclTag,
            18 => Self::TypeTag,
            19 => Self::Enum64,
            _ => return None,
        })
    }

    /// Bytes that follow the common part of a type.
    fn tail_bytes(self, vlen: usize) -> usize {
        match self {
            Self::Int | Self::Var | Self::DeclTag => 4,
            Self::Array => 12,
            Self::Struct | Self::Union | Self::Datasec | Self::Enum64 => 12 * vlen,
            Self::Enum | Self::FuncProto => 8 * vlen,
            Self::Ptr
            | Self::Fwd
            | Self::Typedef
            | Self::Volatile
            | Self::Const
            | Self::Restrict
            | Self::Func
            | Self::Float
            | Self::TypeTag => 0,
        }
    }
}

/// Why bytes could not be read as BTF.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The bytes end before the header does.
    #[error("{0} bytes are too few for a BTF header")]
    TooShort(usize),
    /// Not BTF.
    #[error("not BTF: it begins with {0:#06x}, not 0xeb9f")]
    Magic(u16),
    /// From a big-endian machine; crashtrace supports none.
    #[error("BTF of a big-endian machine")]
    BigEndian,
    /// A newer format.
    #[error("BTF version {version} with flags {flags:#x} is unknown")]
    Version {
        /// The header's version; 1 is known.
        version: u8,
        /// The header's flags; none are known.
        flags: u8,
    },
    /// A section lies outside of the bytes.
    #[error("the {0} of this BTF reach past its end: is it cut?")]
    Section(&'static str),
    /// A newer kind. The types behind it cannot be found, since each kind has its own length.
    #[error("type {id} is of kind {kind}, which is unknown")]
    UnknownKind {
        /// The type's id.
        id: u32,
        /// `BTF_KIND_*`.
        kind: u32,
    },
    /// A type reaches past the end of the types.
    #[error("type {0} reaches past the end of the types")]
    Type(u32),
}

/// The BTF of a kernel.
pub struct Btf {
    bytes: Vec<u8>,
    /// Where in `bytes` each type begins; the first is that of type id 1 (0 is `void` and has no bytes).
    types: Vec<u32>,
    /// Where in `bytes` the strings begin and end.
    strings: (usize, usize),
}

/// Header in bytes, as far as it is known; a kernel may have a longer one.
const HEADER_BYTES: usize = 24;

/// The part that all types begin with, in bytes.
const COMMON_BYTES: usize = 12;

impl Btf {
    /// Takes over the bytes of a BTF blob, such as `/sys/kernel/btf/vmlinux`.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Self, BtfError> {
        let bytes = bytes.into();
        if bytes.len() < HEADER_BYTES || u32::try_from(bytes.len()).is_err() {
            return Err(BtfError::TooShort(bytes.len()));
        }
        let word = |at| u32_at(&bytes, at).unwrap_or_default();
        match u16::from_le_bytes([bytes[0], bytes[1]]) {
            0xeb9f => {}
            0x9feb => return Err(BtfError::BigEndian),
            other => return Err(BtfError::Magic(other)),
        }
        if let [_, _, version, flags, ..] = bytes[..]
            && (version, flags) != (1, 0)
        {
            return Err(BtfError::Version { version, flags });
        }
        let header = word(4) as usize;
        if header < HEADER_BYTES {
            return Err(BtfError::TooShort(header));
        }
        // None of these sums can overflow a usize: each is of three u32.
        let section = |what, offset, length| {
            let start = header + word(offset) as usize;
            let end = start + word(length) as usize;
            if end <= bytes.len() { Ok((start, end)) } else { Err(BtfError::Section(what)) }
        };
        let (mut at, end) = section("types", 8, 12)?;
        let strings = section("strings", 16, 20)?;

        // The shortest types have 12 bytes, the average one 29.
        let mut types = Vec::with_capacity((end - at) / 24);
        while at < end {
            types.push(at as u32);
            let id = types.len() as u32;
            let info = u32_at(&bytes[..end], at + 4).ok_or(BtfError::Type(id))?;
            let (kind, vlen, _) = split(info);
            let kind = TypeKind::new(kind).ok_or(BtfError::UnknownKind { id, kind })?;
            at += COMMON_BYTES + kind.tail_bytes(vlen);
            if at > end {
                return Err(BtfError::Type(id));
            }
        }
        Ok(Self { bytes, types, strings })
    }

    /// The type with this id. There is none for 0, which is `void`.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<Type<'_>> {
        let at = *self.types.get((id as usize).checked_sub(1)?)? as usize;
        let (kind, vlen, flag) = split(u32_at(&self.bytes, at + 4)?);
        let kind = TypeKind::new(kind)?;
        let tail = at + COMMON_BYTES;
        Some(Type {
            id,
            kind,
            flag,
            name: u32_at(&self.bytes, at)?,
            size_or_target: u32_at(&self.bytes, at + 8)?,
            tail: self.bytes.get(tail..tail + kind.tail_bytes(vlen))?,
            info: u32_at(&self.bytes, at + 4)?,
        })
    }

    /// All types of some kinds, in the order of their ids.
    pub fn types_of<'a>(&'a self, kinds: &[TypeKind]) -> impl Iterator<Item = Type<'a>> + use<'a> {
        let wanted = kinds.iter().fold(0_u128, |set, kind| set | 1 << *kind as u32);
        // Most types are of other kinds: one byte shows it.
        let is_wanted = move |at: u32| {
            let byte = self.bytes.get(at as usize + 7).copied().unwrap_or_default();
            wanted >> (byte & 0x7f) & 1 == 1
        };
        self.types.iter().zip(1..).filter(move |(at, _)| is_wanted(**at)).filter_map(|(_, id)| self.get(id))
    }

    /// The string at an offset, without its NUL. `None` where that offset is not in the strings.
    #[must_use]
    pub fn string(&self, offset: u32) -> Option<&[u8]> {
        let (start, end) = self.strings;
        let tail = self.bytes[start..end].get(offset as usize..)?;
        let length = tail.iter().position(|&byte| byte == 0)?;
        Some(&tail[..length])
    }

    /// Whether the string at an offset is this one: a search through all names spends its time here.
    #[must_use]
    pub fn string_is(&self, offset: u32, name: &str) -> bool {
        let (start, end) = self.strings;
        let tail = self.bytes[start..end].get(offset as usize..);
        tail.and_then(|tail| tail.strip_prefix(name.as_bytes())).is_some_and(|rest| rest.first() == Some(&0))
    }
}

/// One type. Names are offsets for [`Btf::string`], types are ids for [`Btf::get`].
#[derive(Clone, Copy)]
pub struct Type<'a> {
    pub id: u32,
    pub kind: TypeKind,
    /// `kind_flag`: bit-fields in a struct, a forward declaration of a union, signed enumerators.
    pub flag: bool,
    /// Its name; 0 where it has none.
    pub name: u32,
    /// Bytes, or the type that it refers to: which one depends on the kind.
    pub size_or_target: u32,
    /// Its second word, undecoded: kind, flag and number of elements.
    pub info: u32,
    /// The bytes after the common part, undecoded.
    pub tail: &'a [u8],
}

/// A member of a struct or union.
#[derive(Clone, Copy)]
pub struct Member {
    /// Its name, empty for an unnamed struct or union.
    pub name: u32,
    /// Its type.
    pub of: u32,
    /// Where it begins, in bits.
    pub bit_offset: u32,
    /// Width of a bit-field in bits, 0 for any other member.
    pub bits: u32,
}

/// Element type and length of an array.
#[derive(Clone, Copy)]
pub struct Array {
    /// Type of an element.
    pub of: u32,
    /// Number of elements; 0 for one of open length.
    pub length: u32,
}

impl<'a> Type<'a> {
    /// The bytes after the common part, as entries of so many little-endian words.
    pub fn words<const N: usize>(self) -> impl Iterator<Item = [u32; N]> + 'a {
        self.tail.chunks_exact(4 * N).map(|entry| {
            // Every index is below N, and the entry has 4 * N bytes.
            std::array::from_fn(|word| u32_at(entry, 4 * word).unwrap_or_default())
        })
    }

    /// Members of a struct or union; nothing for other kinds.
    pub fn members(self) -> impl Iterator<Item = Member> + 'a {
        let fits = matches!(self.kind, TypeKind::Struct | TypeKind::Union);
        self.words().take_while(move |_| fits).map(move |[name, of, offset]| {
            let (bits, bit_offset) =
                if self.flag { (offset >> 24, offset & 0x00ff_ffff) } else { (0, offset) };
            Member { name, of, bit_offset, bits }
        })
    }

    /// Elements, of an array.
    #[must_use]
    pub fn array(self) -> Option<Array> {
        let [of, _index, length] = self.words().next().filter(|_| self.kind == TypeKind::Array)?;
        Some(Array { of, length })
    }

    /// Types of the parameters of a function's prototype. The `...` of a variadic one is `void` at the end.
    pub fn params(self) -> impl Iterator<Item = u32> + 'a {
        let fits = self.kind == TypeKind::FuncProto;
        self.words().take_while(move |_| fits).map(|[_name, of]| of)
    }

    /// Name and value of each enumerator. One that is not a u32 (negative, or beyond) has no value here.
    pub fn enumerators(self) -> impl Iterator<Item = (u32, Option<u32>)> + 'a {
        let (narrow, wide) = (self.kind == TypeKind::Enum, self.kind == TypeKind::Enum64);
        let narrow = self.words().take_while(move |_| narrow).map(move |[name, value]| {
            (name, Some(value).filter(|value| !self.flag || i32::try_from(*value).is_ok()))
        });
        let wide = self
            .words()
            .take_while(move |_| wide)
            .map(|[name, low, high]| (name, (high == 0).then_some(low)));
        narrow.chain(wide)
    }

    /// Whether an integer takes less than its bytes, or not their lowest bits: how compilers without
    /// [`Type::flag`] say bit-field.
    #[must_use]
    pub fn is_partial_int(self) -> bool {
        let Some([word]) = self.words().next().filter(|_| self.kind == TypeKind::Int) else { return false };
        let (bits, offset) = (word & 0xff, (word >> 16) & 0xff);
        offset != 0 || u64::from(bits) != u64::from(self.size_or_target) * 8
    }
}

/// The kind, number of elements, flag.
///
/// Only 16 bits of the number and 5 of the kind are in use; those between are 0 in all BTF that a kernel accepts
/// today. Reading them as part of the number turns an extension into an error in place of a wrong walk.
fn split(info: u32) -> (u32, usize, bool) {
    ((info >> 24) & 0x7f, (info & 0x00ff_ffff) as usize, info >> 31 == 1)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}
