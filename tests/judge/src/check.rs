//! Compares one line, field by field, and collects the faults.

use serde_json::Value;

use super::cast::{Place, Process, SLACK};
use super::catalogue::{Actor, Limit, Size};

const MIB: u64 = 1 << 20;

/// Compares one line.
pub(super) struct Check<'a> {
    line: &'a Value,
    pub(super) faults: Vec<String>,
}

impl<'a> Check<'a> {
    pub(super) fn new(line: &'a Value) -> Self {
        Self { line, faults: Vec::new() }
    }

    /// The value at `victims.0.pid`, say; null if there is none.
    pub(super) fn get(&self, path: &str) -> &'a Value {
        static NOTHING: Value = Value::Null;
        self.line.pointer(&format!("/{}", path.replace('.', "/"))).unwrap_or(&NOTHING)
    }

    /// The elements at a path.
    pub(super) fn list(&self, path: &str) -> &'a [Value] {
        self.get(path).as_array().map_or(&[][..], Vec::as_slice)
    }

    pub(super) fn fault(&mut self, path: &str, expected: impl std::fmt::Display) {
        self.faults.push(format!("{path}: expected {expected}, got {}", self.get(path)));
    }

    pub(super) fn eq(&mut self, path: &str, expected: impl Into<Value>) {
        let expected = expected.into();
        if *self.get(path) != expected {
            self.fault(path, expected);
        }
    }

    pub(super) fn within(&mut self, path: &str, (least, most): (u64, u64)) {
        if !self.get(path).as_u64().is_some_and(|value| (least..=most).contains(&value)) {
            self.fault(path, format!("{least} to {most}"));
        }
    }

    pub(super) fn within_mib(&mut self, path: &str, (least, most): (u64, u64)) {
        self.within(path, (least * MIB, most * MIB));
    }

    /// Any bytes, as reports escape them.
    pub(super) fn bytes(&mut self, path: &str, expected: &[u8]) {
        if self.get(path).as_str().map(undo).as_deref() != Some(expected) {
            self.fault(path, format!("{:?}", String::from_utf8_lossy(expected)));
        }
    }

    pub(super) fn owner(&mut self, path: &str, expected: &Value) {
        for (field, value) in expected.as_object().into_iter().flatten() {
            self.eq(&format!("{path}.{field}"), value.clone());
        }
    }

    /// Whether a list of sentences has words in it.
    pub(super) fn says(&mut self, path: &str, words: &str) {
        let it = self.get(path);
        let one = |sentence: &Value| sentence.as_str().is_some_and(|sentence| sentence.contains(words));
        if !one(it) && !self.list(path).iter().any(one) {
            self.fault(path, format!("one with {words:?} in it"));
        }
    }

    /// Whether neither summary nor evidence nor remedy has these words in it.
    pub(super) fn never_says(&mut self, words: &str) {
        for path in ["verdict.summary", "verdict.evidence", "verdict.remedy"] {
            let has = |sentence: &Value| sentence.as_str().is_some_and(|sentence| sentence.contains(words));
            if has(self.get(path)) || self.list(path).iter().any(has) {
                self.fault(path, format!("none with {words:?} in it"));
            }
        }
    }

    /// Whether it is said why a field is unknown.
    pub(super) fn unresolved(&mut self, field: &str) {
        let said =
            |gap: &&Value| gap["field"] == field && gap["reason"].as_str().is_some_and(|it| !it.is_empty());
        if self.list("unresolved").iter().find(said).is_none() {
            self.fault("unresolved", format!("one with the reason for {field}"));
        }
    }

    pub(super) fn limit(&mut self, limit: &Limit, place: &Place) {
        // Of one within bounds, what the line says.
        let bytes = match limit.mib {
            Size::Exact(mib) => mib * MIB,
            Size::Within(_) => self.get("limit.limit_bytes").as_u64().unwrap_or_default(),
        };
        self.bytes("limit.cgroup", &place.path);
        self.eq("limit.charged_at", limit.charged_at.as_str());
        self.owner("limit.owner", &place.owner);
        self.within_mib("limit.limit_bytes", limit.mib.range());
        self.eq("limit.unlimited", false);
        match limit.usage_mib {
            Some(range) => self.within_mib("limit.usage_bytes", range),
            None => self.within("limit.usage_bytes", (bytes - SLACK.min(bytes / 4), bytes)),
        }
        self.eq("limit.oom_group", limit.oom_group);
        match limit.shmem_mib {
            Some(range) => self.within_mib("limit.shmem_bytes", range),
            // Read after the kill, when the cgroup may be gone.
            None if self.get("limit.shmem_bytes").is_null() => self.unresolved("limit.shmem_bytes"),
            None => self.within("limit.shmem_bytes", (0, bytes)),
        }
        if let Some(range) = limit.swap_usage_mib {
            self.within_mib("limit.swap_usage_bytes", range);
        }
        if let Some(mib) = limit.swap_mib {
            self.eq("limit.swap_limit_bytes", mib * MIB);
            self.eq("limit.swap_unlimited", false);
        }
    }

    pub(super) fn process(&mut self, path: &str, process: &Process, special: Option<&Actor>) {
        let at = |field: &str| format!("{path}.{field}");
        self.eq(&at("pid"), process.pid);
        if let Some(tid) = process.tid {
            self.eq(&at("tid"), tid);
        }
        self.eq(&at("container_pid"), process.container_pid);
        self.bytes(&at("comm"), &process.comm);
        if let Some(comm) = &process.thread_comm {
            self.bytes(&at("thread_comm"), comm);
        }
        self.eq(&at("uid"), 0);
        self.eq(&at("oom_score_adj"), process.adj);
        self.within(&at("start_boottime_ns"), process.started_ns);
        self.within(&at("anon_bytes"), process.anon);
        self.within(&at("total_vm_bytes"), (process.anon.0, u64::MAX));
        let of_its_memory = (process.anon.0 / 512, process.anon.1 / 256 + SLACK);
        match special.and_then(|special| special.page_tables_mib) {
            Some(range) => self.within_mib(&at("page_table_bytes"), range),
            None => self.within(&at("page_table_bytes"), of_its_memory),
        }
        self.cgroup(path, process, special.is_some_and(|special| special.cgroup_cut));
        self.owner(&at("owner"), &process.owner);
        if let Some(range) = special.and_then(|special| special.swap_mib) {
            self.within_mib(&at("swap_bytes"), range);
        }
    }

    /// Which process it is, whatever has become of its memory.
    pub(super) fn identity(&mut self, path: &str, process: &Process) {
        let at = |field: &str| format!("{path}.{field}");
        self.eq(&at("pid"), process.pid);
        if let Some(tid) = process.tid {
            self.eq(&at("tid"), tid);
        }
        self.bytes(&at("comm"), &process.comm);
        self.eq(&at("uid"), 0);
        self.within(&at("start_boottime_ns"), process.started_ns);
        // The harness does not say where it is.
        if !process.path.is_empty() {
            // The record may have less of a deep path than an OOM's.
            let cut = *self.get(&at("cgroup_cut")) == true;
            self.cgroup(path, process, cut);
            self.owner(&at("owner"), &process.owner);
        }
    }

    fn cgroup(&mut self, path: &str, process: &Process, cut: bool) {
        let at = format!("{path}.cgroup");
        self.eq(&format!("{path}.cgroup_cut"), cut);
        if cut {
            // The reported text is the beginning of the path.
            let told = self.get(&at).as_str().map(undo).unwrap_or_default();
            let rest = process.path.strip_prefix(told.as_slice()).unwrap_or_default();
            if told.is_empty() || !rest.starts_with(b"/") {
                self.fault(&at, format!("the beginning of {:?}", String::from_utf8_lossy(&process.path)));
            }
        } else {
            self.bytes(&at, &process.path);
        }
    }
}

/// The bytes that a text of a report stands for: `\\` for a backslash, `\xNN` for a byte that is not UTF-8 or not shown. What
/// spells a character of ASCII is the name's own, and so is any other backslash.
pub(super) fn undo(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let (byte, length) = match after {
            [b'\\', ..] if first == b'\\' => (b'\\', 2),
            [b'x', high, low, ..] if first == b'\\' => match spelled(*high, *low) {
                Some(byte) if !(b' '..=b'~').contains(&byte) => (byte, 4),
                _ => (first, 1),
            },
            _ => (first, 1),
        };
        bytes.push(byte);
        rest = rest.get(length..).unwrap_or_default();
    }
    bytes
}

fn spelled(high: u8, low: u8) -> Option<u8> {
    let digits = [high, low];
    u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()
}
