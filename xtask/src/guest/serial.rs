//! Parses a guest's serial ports: the results between their markers, and a panic on the console. Pure. The guest's side of the
//! protocol is `init.sh`.

/// The prefix of each line of the protocol.
const MARK: &str = "crashtrace-guest: ";

/// The beginning of the line in which the kernel panics.
const PANIC: &str = "Kernel panic - not syncing";

/// The second serial port, as it is received.
#[derive(Debug, Default)]
pub(crate) struct Results {
    received: Vec<u8>,
    /// Up to here `received` is parsed: complete lines only.
    understood: usize,
    /// Where the output of the command begins.
    started: Option<usize>,
    end: Option<End>,
}

/// The end, as the guest reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The command returned this status; the shell reports 128 + n for a signal.
    Status(i32),
    /// `/init` could not set the guest up.
    Failed(String),
}

impl Results {
    /// Takes newly received bytes, and returns the complete lines of the command in them.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        if self.end.is_some() {
            return Vec::new(); // A process that outlived the command may still write.
        }
        self.received.extend_from_slice(bytes);
        let mut lines = Vec::new();
        while self.end.is_none()
            && let Some(length) = self.received[self.understood..].iter().position(|byte| *byte == b'\n')
        {
            let begin = self.understood;
            self.understood += length + 1;
            let line = String::from_utf8_lossy(&self.received[begin..begin + length]).into_owned();
            match line.strip_prefix(MARK).map(|said| said.split_once(' ').unwrap_or((said, ""))) {
                Some(("started", "")) if self.started.is_none() => self.started = Some(self.understood),
                Some(("ended", status)) if status.parse::<i32>().is_ok() => {
                    self.end = status.parse().ok().map(End::Status);
                    self.cut(begin);
                }
                Some(("failed", why)) => {
                    self.end = Some(End::Failed(why.to_owned()));
                    self.cut(begin);
                }
                // Before the start only firmware writes.
                _ if self.started.is_some() => lines.push(line),
                _ => {}
            }
        }
        if self.end.is_some() && lines.last().is_some_and(String::is_empty) {
            lines.pop(); // The newline that `say` puts before its line.
        }
        lines
    }

    /// Cuts the text before a closing marker, without the newline that `say` added.
    fn cut(&mut self, marker: usize) {
        let text = &self.received[..marker];
        self.received.truncate(text.strip_suffix(b"\n").unwrap_or(text).len());
        // These differ only if the command forged the marker: its text is empty then.
        self.started = self.started.map(|start| start.min(self.received.len()));
    }

    /// Whether the guest's user space is up.
    pub(crate) fn started(&self) -> bool {
        self.started.is_some()
    }

    /// How it ended, if it did.
    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// The command's output, with invalid UTF-8 replaced.
    pub(crate) fn text(&self) -> String {
        let start = self.started.unwrap_or(self.received.len());
        String::from_utf8_lossy(&self.received[start..]).into_owned()
    }
}

/// The reason of a kernel panic, if the console shows one.
pub(crate) fn panic(console: &str) -> Option<String> {
    let line = console.lines().find(|line| line.contains(PANIC))?;
    let (_, reason) = line.split_once(PANIC)?;
    Some(reason.trim_start_matches(':').trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Results {
        let mut results = Results::default();
        results.push(text.as_bytes());
        results
    }

    #[test]
    fn keeps_the_output_between_the_markers_as_it_was() {
        let results = all("crashtrace-guest: started\na\n\n b\n\ncrashtrace-guest: ended 0\n");
        assert_eq!(results.text(), "a\n\n b\n");
        assert_eq!(results.end(), Some(&End::Status(0)));
        let unfinished = all("crashtrace-guest: started\nno newline\ncrashtrace-guest: ended 137\n");
        assert_eq!(unfinished.text(), "no newline");
        assert_eq!(unfinished.end(), Some(&End::Status(137)));
        let silent = all("crashtrace-guest: started\n\ncrashtrace-guest: ended 1\n");
        assert_eq!(silent.text(), "");
        assert_eq!(silent.end(), Some(&End::Status(1)));
    }

    #[test]
    fn the_parts_do_not_matter() {
        let text = "\0junk\ncrashtrace-guest: started\none\ntw\u{f6}\n\ncrashtrace-guest: ended 3\nafter\n";
        let mut results = Results::default();
        let mut lines = Vec::new();
        for byte in text.bytes() {
            lines.extend(results.push(&[byte]));
        }
        assert_eq!(results.text(), "one\ntw\u{f6}\n");
        assert_eq!(results.end(), Some(&End::Status(3)));
        assert_eq!(lines[..2], ["one", "tw\u{f6}"]);
    }

    #[test]
    fn a_guest_that_vanished_has_output_and_no_end() {
        let results = all("crashtrace-guest: started\none\ntwo");
        assert!(results.started());
        assert_eq!(results.end(), None);
        assert_eq!(results.text(), "one\ntwo");
        assert!(!all("half a boo").started());
    }

    #[test]
    fn a_failed_set_up_is_no_status() {
        let results =
            all("crashtrace-guest: started\n\ncrashtrace-guest: failed cannot mount cgroup (memory)\n");
        assert_eq!(results.end(), Some(&End::Failed("cannot mount cgroup (memory)".to_owned())));
    }

    #[test]
    fn a_marker_counts_only_as_a_line_of_its_own() {
        let results =
            all("crashtrace-guest: started\nx crashtrace-guest: ended 0\ncrashtrace-guest: ended soon\n");
        assert_eq!(results.end(), None);
    }

    #[test]
    fn finds_the_panic() {
        let console = "[    9.1] sysrq: Trigger a crash\r\n\
                       [    9.2] Kernel panic - not syncing: sysrq triggered crash\r\n[    9.3] CPU: 0\r\n";
        assert_eq!(panic(console).as_deref(), Some("sysrq triggered crash"));
        assert_eq!(panic("[    9.1] all is well\n"), None);
    }
}
