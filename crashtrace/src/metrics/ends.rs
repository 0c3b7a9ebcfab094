//! Ends of containers as samples: those that were counted, and those to be expected with 0. PURE.

use std::collections::BTreeMap;

use strum::VariantArray as _;

use super::incidents::expected;
use crate::schema::{Cause, Kind, ProbeKind};
use crate::stats::{EndCounts, EndedHow, Term};

/// By cause and class.
pub(super) fn by_cause(counts: &EndCounts) -> BTreeMap<(&'static str, &'static str), u64> {
    let causes = expected().into_iter().filter(|(kind, ..)| *kind == Kind::ContainerExit);
    let mut all: BTreeMap<_, _> = causes
        .flat_map(|(_, cause, _)| EndedHow::VARIANTS.iter().map(move |how| (cause, *how)))
        .filter(|(cause, how)| is_expected(*cause, *how))
        .map(|(cause, how)| ((cause.into(), how.into()), 0))
        .collect();
    all.extend(counts.ends.iter().map(|((cause, how), count)| ((*cause, (*how).into()), *count)));
    all
}

/// Whether containers commonly end so for this cause. Other ends have a series from the first on.
fn is_expected(cause: Cause, how: EndedHow) -> bool {
    use EndedHow::{Code, Kill, SignalsCode, Term, Unknown, Zero};
    match cause {
        Cause::ContainerExit => !matches!(how, Kill | Term | Unknown),
        Cause::Killed | Cause::HealthCheck | Cause::Stopped => {
            matches!(how, Zero | Code | SignalsCode | Term | Kill)
        }
        Cause::CgroupOom | Cause::SystemOom => how == Kill,
        Cause::Unknown => matches!(how, Kill | Term | Unknown),
        Cause::Fragmentation | Cause::LowMemory => false,
    }
}

/// Failed probes by kind.
pub(super) fn by_probe(counts: &EndCounts) -> BTreeMap<&'static str, u64> {
    let mut all: BTreeMap<_, _> = ProbeKind::VARIANTS.iter().map(|kind| (<&str>::from(kind), 0)).collect();
    all.extend(&counts.probes);
    all
}

/// SIGTERMs that ended nothing.
pub(super) fn by_term(counts: &EndCounts) -> BTreeMap<&'static str, u64> {
    let of = |term: &Term| (<&str>::from(term), counts.terms.get(term).copied().unwrap_or_default());
    Term::VARIANTS.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::incidents::word;

    #[test]
    fn expected_ends_are_there_from_the_start_and_all_that_can_be_are_few() {
        let mut counts = EndCounts::default();
        let begun = by_cause(&counts);
        for (cause, how) in [
            ("container_exit", "1-125"),
            ("health_check", "SIGKILL"),
            ("cgroup_oom", "SIGKILL"),
            ("stopped", "0"),
        ] {
            assert_eq!(begun.get(&(cause, how)), Some(&0), "{cause} {how}");
        }
        assert_eq!((by_probe(&counts).len(), by_term(&counts).len()), (3, 2));
        assert!((30..=40).contains(&begun.len()), "{}", begun.len());
        for cause in Cause::VARIANTS {
            for how in EndedHow::VARIANTS {
                counts.ended(cause.into(), *how);
            }
        }
        assert!(by_cause(&counts).values().all(|count| *count == 1));
        counts.probe_killed(ProbeKind::Startup.into());
        counts.term_in_vain(Term::Ignored);
        assert_eq!((by_probe(&counts)["startup"], by_term(&counts)["ignored"]), (1, 1));
    }

    /// The labels are the report's own words.
    #[test]
    fn causes_and_probes_have_the_words_of_the_report() {
        for cause in Cause::VARIANTS {
            assert_eq!(<&str>::from(cause), word(cause));
        }
        for kind in ProbeKind::VARIANTS {
            assert_eq!(<&str>::from(kind), word(kind));
        }
    }
}
