//! How `scenario verifier` reads the verifier's log; the ends of logs are those of real kernels.

use super::{Cost, parse};

const V5_10: &str = "\
verification time 389170 usec
stack depth 112+16+0+32+0+120+112
processed 143801 insns (limit 1000000) max_states_per_insn 17 total_states 3315 peak_states 2073 mark_read 396
";
const V6_1: &str = "\
verification time 1124 usec
stack depth 8+0
processed 337 insns (limit 1000000) max_states_per_insn 2 total_states 15 peak_states 15 mark_read 11
";
const V6_12: &str = "\
verification time 221 usec
stack depth 24
processed 17 insns (limit 1000000) max_states_per_insn 0 total_states 1 peak_states 1 mark_read 0
";
const V7_2: &str = "\
verification time 157856 usec
stack depth 104+0+120+112 max 128
insns processed 27342
processed 27342 insns (limit 1000000) max_states_per_insn 12 total_states 553 peak_states 425 mark_read 0
";

fn cost(instructions: u64, stack: &str, stack_bytes: u64, states: u64, peak_states: u64) -> Cost {
    Cost { instructions, stack: stack.to_owned(), stack_bytes, states, peak_states }
}

#[test]
fn every_kernel_is_understood() {
    assert_eq!(parse(V5_10), Some(cost(143_801, "112+16+0+32+0+120+112", 392, 3315, 2073)));
    assert_eq!(parse(V6_1), Some(cost(337, "8+0", 8, 15, 15)));
    assert_eq!(parse(V6_12), Some(cost(17, "24", 24, 1, 1)));
    assert_eq!(parse(V7_2), Some(cost(27_342, "104+0+120+112", 336, 553, 425)));
}

#[test]
fn text_before_the_end_does_not_count() {
    let log = format!("processed 1 insns total_states 2 peak_states 3\nstack depth 4\nfunc#0 @0\n{V6_1}");
    assert_eq!(parse(&log), parse(V6_1));
}

#[test]
fn a_log_that_lacks_a_number_is_no_answer() {
    assert_eq!(parse(""), None);
    for line in V6_1.lines().skip(1) {
        assert_eq!(parse(&V6_1.replace(line, "")), None, "without {line}");
    }
    for (from, to) in
        [("8+0", "8+"), ("8+0", ""), ("337", "many"), ("total_states 15", ""), ("peak_states 15", "")]
    {
        assert_eq!(parse(&V6_1.replace(from, to)), None, "{from} -> {to:?}");
    }
}
