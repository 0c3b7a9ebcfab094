//! What a pinned kernel side says of itself: the value of the map [`HELD`](crashtrace_ebpf::map::HELD). PURE.
//!
//! It is words, not a type that is cast: another version reads it, or refuses it by its first word.

use std::hash::{DefaultHasher, Hash, Hasher as _};

use crashtrace_ebpf::counter::{self, Counts};
use crashtrace_ebpf::map::HELD_WORDS;
use thiserror::Error;

/// The first word: a name, and the version of this form, which a change of any word below raises.
const FORMAT: u64 = u64::from_le_bytes(*b"crashtr\x01");

/// Words of each text, and of counters.
const BOOT_WORDS: usize = 5;
const AGENT_WORDS: usize = 3;
const SESSION_WORDS: usize = 5;

/// Where each begins.
const LAYOUT: usize = 1;
const OBJECT: usize = 2;
const OPTIONS: usize = 3;
const KERNEL: usize = 4;
const PHASE: usize = 5;
const SINCE: usize = 6;
const BOOT: usize = 7;
const AGENT: usize = BOOT + BOOT_WORDS;
const SESSION: usize = AGENT + AGENT_WORDS;
const TOLD: usize = SESSION + SESSION_WORDS;
const CARRIED: usize = TOLD + counter::COUNT as usize;

const _: () = assert!(CARRIED + counter::COUNT as usize <= HELD_WORDS);

/// How far the agent came that uses the kernel side, or used it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It had not begun to watch: the pins may be incomplete.
    Begun,
    /// It watches, or was killed.
    Watching,
    /// It has ended, and all that it took from the ring was told.
    Ended,
}

/// What an agent says of the kernel side that it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub made_for: Wanted,
    pub phase: Phase,
    /// Since when the programs are on.
    pub since_ns: u64,
    /// The latest session.
    pub session: String,
    /// Counters, those of `carried` included, as that session told them last.
    pub told: Counts,
    /// Counters of kernel sides that this one has replaced.
    pub carried: Counts,
}

/// What a kernel side is made for: another one of the same is the same in all that it writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Layout of the records.
    pub layout: u16,
    /// Version of the agent.
    pub agent: String,
    /// The kernel's id of the boot.
    pub boot: String,
    /// Of the kernel object, a hash.
    pub object: u64,
    /// Of the hooks and of the options that the programs know, a hash.
    pub options: u64,
    /// Of what the programs know of this kernel, a hash.
    pub kernel: u64,
}

/// Why a pinned kernel side is not taken over.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Misfit {
    #[error("they do not say what they are, or in a form of another version")]
    Format,
    #[error("the agent that pinned them had not begun to watch")]
    Unfinished,
    #[error("they are of another boot")]
    Boot,
    #[error("their records have layout {0}, and those of this version {1}")]
    Layout(u16, u16),
    #[error("version {0} pinned them, and this is {1}, with other programs")]
    Object(String, String),
    #[error("other hooks or options were wanted")]
    Options,
    #[error("they were made with other knowledge of this kernel (its BTF)")]
    Kernel,
    #[error("programs that write debug messages (--log debug) are never taken over")]
    Debug,
    #[error("{what} is missing, or cannot be used: {why}")]
    Missing { what: String, why: String },
}

impl Wanted {
    /// Why what was made for `self` is not what is `wanted`.
    ///
    /// # Errors
    /// It is not: the first reason.
    pub fn fits(&self, wanted: &Self) -> Result<(), Misfit> {
        // The most telling first: another version has another object too.
        if self.boot != wanted.boot {
            Err(Misfit::Boot)
        } else if self.layout != wanted.layout {
            Err(Misfit::Layout(self.layout, wanted.layout))
        } else if (self.object, &self.agent) != (wanted.object, &wanted.agent) {
            Err(Misfit::Object(self.agent.clone(), wanted.agent.clone()))
        } else if self.options != wanted.options {
            Err(Misfit::Options)
        } else if self.kernel != wanted.kernel {
            Err(Misfit::Kernel)
        } else {
            Ok(())
        }
    }
}

impl Held {
    /// Whether an agent that wants this can take the kernel side over.
    ///
    /// # Errors
    /// It cannot.
    pub fn fits(&self, wanted: &Wanted) -> Result<(), Misfit> {
        self.made_for.fits(wanted)?;
        if self.phase == Phase::Begun { Err(Misfit::Unfinished) } else { Ok(()) }
    }

    /// As it stands in the map.
    #[must_use]
    pub fn words(&self) -> [u64; HELD_WORDS] {
        let mut words = [0; HELD_WORDS];
        let Wanted { layout, agent, boot, object, options, kernel } = &self.made_for;
        words[0] = FORMAT;
        words[LAYOUT] = u64::from(*layout);
        (words[OBJECT], words[OPTIONS], words[KERNEL]) = (*object, *options, *kernel);
        words[PHASE] = match self.phase {
            Phase::Begun => 0,
            Phase::Watching => 1,
            Phase::Ended => 2,
        };
        words[SINCE] = self.since_ns;
        write_text(&mut words[BOOT..AGENT], boot);
        write_text(&mut words[AGENT..SESSION], agent);
        write_text(&mut words[SESSION..TOLD], &self.session);
        words[TOLD..CARRIED].copy_from_slice(&self.told);
        words[CARRIED..][..self.carried.len()].copy_from_slice(&self.carried);
        words
    }

    /// From the map; `None` if it is of another form.
    #[must_use]
    pub fn read(words: &[u64; HELD_WORDS]) -> Option<Self> {
        if words[0] != FORMAT {
            return None;
        }
        let counts = |from: usize| {
            let mut counts = Counts::default();
            counts.copy_from_slice(&words[from..][..counter::COUNT as usize]);
            counts
        };
        Some(Self {
            made_for: Wanted {
                layout: u16::try_from(words[LAYOUT]).ok()?,
                agent: text(&words[AGENT..SESSION]),
                boot: text(&words[BOOT..AGENT]),
                object: words[OBJECT],
                options: words[OPTIONS],
                kernel: words[KERNEL],
            },
            phase: match words[PHASE] {
                0 => Phase::Begun,
                1 => Phase::Watching,
                2 => Phase::Ended,
                _ => return None,
            },
            since_ns: words[SINCE],
            session: text(&words[SESSION..TOLD]),
            told: counts(TOLD),
            carried: counts(CARRIED),
        })
    }
}

/// A hash for comparison with the same version's. Another version's may differ for no reason: then the kernel side is replaced.
#[must_use]
pub(crate) fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// Writes a text, cut to what has room.
fn write_text(to: &mut [u64], text: &str) {
    for (word, bytes) in to.iter_mut().zip(text.as_bytes().chunks(8)) {
        let mut whole = [0; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_le_bytes(whole);
    }
}

fn text(words: &[u64]) -> String {
    let bytes: Vec<u8> =
        words.iter().flat_map(|word| word.to_le_bytes()).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            layout: 4,
            agent: "0.1.0".into(),
            boot: "1b2f4c60-0000-4000-8000-0123456789ab".into(),
            object: 1,
            options: 2,
            kernel: 3,
        }
    }

    fn held() -> Held {
        let mut counts = Counts::default();
        counts.iter_mut().zip(10..).for_each(|(count, value)| *count = value);
        Held {
            made_for: wanted(),
            phase: Phase::Watching,
            since_ns: 7,
            session: "123456789abcdef0-7fffffff".into(),
            told: counts,
            carried: counts.map(|count| count * 100),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for phase in [Phase::Begun, Phase::Watching, Phase::Ended] {
            let held = Held { phase, ..held() };
            assert_eq!(Held::read(&held.words()), Some(held));
        }
    }

    #[test]
    fn another_form_is_not_read() {
        assert_eq!(Held::read(&[0; HELD_WORDS]), None);
        for (word, value) in [(0, FORMAT + (1 << 56)), (PHASE, 3), (LAYOUT, 1 << 16)] {
            let mut words = held().words();
            words[word] = value;
            assert_eq!(Held::read(&words), None, "{word}");
        }
    }

    #[test]
    fn only_the_same_kernel_side_of_the_same_boot_fits() {
        assert_eq!(held().fits(&wanted()), Ok(()));
        assert_eq!(Held { phase: Phase::Ended, ..held() }.fits(&wanted()), Ok(()));
        assert_eq!(Held { phase: Phase::Begun, ..held() }.fits(&wanted()), Err(Misfit::Unfinished));
        let others = [
            (Wanted { boot: "another".into(), layout: 5, object: 9, ..wanted() }, Misfit::Boot),
            (Wanted { layout: 5, agent: "0.2.0".into(), object: 9, ..wanted() }, Misfit::Layout(4, 5)),
            (
                Wanted { agent: "0.2.0".into(), options: 9, ..wanted() },
                Misfit::Object("0.1.0".into(), "0.2.0".into()),
            ),
            (Wanted { object: 9, ..wanted() }, Misfit::Object("0.1.0".into(), "0.1.0".into())),
            (Wanted { options: 9, kernel: 9, ..wanted() }, Misfit::Options),
            (Wanted { kernel: 9, ..wanted() }, Misfit::Kernel),
        ];
        for (wanted, misfit) in others {
            assert_eq!(held().fits(&wanted), Err(misfit));
        }
    }

    #[test]
    fn hashes_tell_apart() {
        assert_eq!(hash(&("a", 1)), hash(&("a", 1)));
        assert_ne!(hash(&("a", 1)), hash(&("a", 2)));
    }
}
