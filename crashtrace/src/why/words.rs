//! Phrases of the diagnosis. PURE.

use std::fmt;

use jiff::Timestamp;

use super::facts::View;
use crate::phrase::{shell_word, signal, span};

/// The container that a sentence is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) namespace: Option<&'a str>,
    pub(super) pod: &'a str,
    pub(super) container: &'a str,
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "container {}", self.container)
    }
}

impl Subject<'_> {
    pub(super) fn log_command(&self, previous: bool) -> String {
        let namespace = self.namespace.map_or_else(String::new, |it| format!(" -n {}", shell_word(it)));
        let previous = if previous { " --previous" } else { "" };
        let (pod, container) = (shell_word(self.pod), shell_word(self.container));
        format!("kubectl logs{namespace} {pod} -c {container}{previous}")
    }
}

/// ` (512Mi)`, or nothing.
pub(super) fn oom_limit_words(view: &View<'_>) -> String {
    let limits = view.spec.and_then(|spec| spec.resources.as_ref()?.limits.as_ref());
    limits
        .and_then(|limits| limits.get("memory"))
        .map_or_else(String::new, |limit| format!(" ({})", limit.as_str().unwrap_or("?")))
}

/// Signals that end a program by their default action and are not those of another process's choice, which have causes of their own.
const OF_A_CRASH: [u8; 13] = [1, 2, 3, 4, 5, 6, 7, 8, 11, 13, 24, 25, 31];

/// The signal that a shell, or the kernel by way of the runtime, makes such a code of.
pub(super) fn signal_of_code(code: i32) -> Option<String> {
    let number = u8::try_from(code.checked_sub(128)?).ok()?;
    OF_A_CRASH.contains(&number).then(|| signal(number))
}

/// What to do where the runtime could not execute the program.
pub(super) fn start_remedy(message: &str) -> String {
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if has(&["exec format error"]) {
        "The image is for another architecture than the node, or the file is a script without `#!`: build it for the node's architecture."
    } else if has(&["permission denied"]) {
        "The file cannot be executed by the container's user: set its mode (chmod +x) in the image, or the user."
    } else if has(&["no such file or directory", "executable file not found", "not found"]) {
        "Check command and args: the program must exist in the image under that path, with its interpreter and its libraries' loader."
    } else {
        "The message has the runtime's words: check command, args, securityContext, mounts and devices of the container."
    }
    .to_owned()
}

/// `just now`, `40 seconds ago`, `3 minutes ago`, `5 hours ago`, `3 days ago`
pub(super) fn ago(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(then.as_second());
    let (count, unit) = match seconds {
        ..1 => return "just now".to_owned(),
        1..120 => (seconds, "second"),
        120..7200 => (seconds / 60, "minute"),
        7200..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

/// A time span in whole seconds: `40 s`, `12 min 3 s`.
pub(super) fn seconds(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        _ => span(seconds.saturating_mul(1_000_000_000)),
    }
}

/// How long ago it was, in seconds.
pub(super) fn seconds_since(now: Timestamp, then: Timestamp) -> u64 {
    u64::try_from(now.as_second().saturating_sub(then.as_second())).unwrap_or(0)
}

/// `1 restart`, `3 restarts`
pub(super) fn count(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_people_say_them() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let before = |seconds: i64| ago(now, Timestamp::from_second(1_000_000 - seconds).unwrap());
        assert_eq!(before(-5), "just now");
        assert_eq!(before(1), "1 second ago");
        assert_eq!(before(119), "119 seconds ago");
        assert_eq!(before(180), "3 minutes ago");
        assert_eq!(before(7199), "119 minutes ago");
        assert_eq!(before(7200), "2 hours ago");
        assert_eq!(before(86_400 * 3), "3 days ago");
        assert_eq!(
            (seconds(0), seconds(59), seconds(723)),
            ("0 s".into(), "59 s".into(), "12 min 3 s".into())
        );
    }

    #[test]
    fn a_command_is_safe_to_paste() {
        let subject = Subject { namespace: Some("shop"), pod: "api", container: "a b" };
        assert_eq!(subject.log_command(true), "kubectl logs -n shop api -c 'a b' --previous");
    }
}
