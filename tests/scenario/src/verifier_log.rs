//! PURE: the statistics at the end of the verifier's log (`print_verification_stats` in
//! `kernel/bpf/verifier.c`, 5.2 and later).

/// The cost of a program for the verifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Instructions gone through, over all paths. The kernel gives up at a million.
    pub instructions: u64,
    /// Bytes of stack of the program and of each function in it, as the verifier writes them: `120+64`.
    pub stack: String,
    /// Their sum, which no call chain can exceed; the kernel allows a chain 512. (7.2 adds the largest chain by its
    /// own rules, `max 128`. It is left out: older kernels do not have it, and numbers are for comparing.)
    pub stack_bytes: u64,
    /// States kept to compare others with, in total.
    pub states: u64,
    /// The most at one time.
    pub peak_states: u64,
}

/// Reads the end of `log`; `None` where the statistics are not in it.
pub fn parse(log: &str) -> Option<Cost> {
    let last = |start: &str| log.lines().rev().find_map(|line| line.strip_prefix(start));
    let processed: Vec<_> = last("processed ")?.split_whitespace().collect();
    let after = |name: &str| {
        let at = processed.iter().position(|word| *word == name)?;
        processed.get(at + 1)?.parse().ok()
    };
    let stack = last("stack depth ")?.split_whitespace().next()?;
    let depths = stack.split('+').map(|depth| depth.parse::<u64>().ok());
    Some(Cost {
        instructions: processed.first()?.parse().ok()?,
        stack: stack.to_owned(),
        stack_bytes: depths.sum::<Option<u64>>()?,
        states: after("total_states")?,
        peak_states: after("peak_states")?,
    })
}

#[cfg(test)]
mod tests;
