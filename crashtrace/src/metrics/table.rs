//! The table of metrics: each has one name, one unit, one line. What is served follows it, and so does the table in
//! `deploy/monitoring/README.md` (`cargo xtask docs` compiles this file too, so it needs nothing but the standard library).

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises while the agent runs.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
    /// Always 1; its labels are what it tells.
    Info,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name without the unit and without what its kind adds (`_total`, `_info`).
    pub stem: &'static str,
    /// What it is.
    pub kind: Kind,
    /// A base unit of Prometheus, where it is no plain number.
    pub unit: Option<&'static str>,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub doc: &'static str,
}

impl Row {
    /// The name of its samples; a histogram's have more behind it.
    #[must_use]
    pub fn name(&self) -> String {
        let unit = self.unit.map_or_else(String::new, |unit| format!("_{unit}"));
        let end = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        format!("{}{unit}{end}", self.stem)
    }

    /// The names that a query can have.
    #[must_use]
    pub fn samples(&self) -> Vec<String> {
        let ends: &[&str] = if self.kind == Kind::Histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
        ends.iter().map(|end| format!("{}{end}", self.name())).collect()
    }
}

const fn row(
    stem: &'static str,
    kind: Kind,
    unit: Option<&'static str>,
    labels: &'static [&'static str],
    doc: &'static str,
) -> Row {
    Row { stem, kind, unit, labels, doc }
}

/// An enum, and all of its variants.
macro_rules! listed {
    ($(#[$attribute:meta])* pub enum $name:ident { $($variant:ident,)+ }) => {
        $(#[$attribute])*
        pub enum $name {
            $($variant,)+
        }

        impl $name {
            /// All, in the order in which they are served.
            pub const ALL: [Self; [$(Self::$variant),+].len()] = [$(Self::$variant),+];
        }
    };
}

listed! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Metric {
        Build,
        Hooks,
        BlindSpots,
        RingSize,
        Ready,
        Incidents,
        OomKills,
        FailedAllocations,
        ReportLatency,
        LinesWritten,
        OutputBlocked,
        OutputWaiting,
        Reports,
        ReportsFiltered,
        Lost,
        OrphanedRecords,
        MarkedAlreadyDying,
        LimitWritesMet,
        RoutineMemcgOoms,
        FoldedNoVictims,
        KernelFailedAllocations,
        MessagesDropped,
        SinkFailures,
        PodIndexSynced,
        PodIndexPods,
        PodIndexContainers,
        PodIndexRefused,
        PodIndexAge,
    }
}

impl Metric {
    /// Its row.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "a table")]
    pub const fn row(self) -> Row {
        use Kind::{Counter, Gauge, Histogram, Info};
        match self {
            Self::Build => row(
                "crashtrace_build",
                Info,
                None,
                &["version", "layout"],
                "Version of the agent, and of the layout of the kernel side's records.",
            ),
            Self::Hooks => row(
                "crashtrace_hooks",
                Info,
                None,
                &["tier", "allocations"],
                "The hooks in use: on the OOM killer (fentry, kprobe, raw_tp), and on failed allocations (the same, or none).",
            ),
            Self::BlindSpots => row(
                "crashtrace_blind_spots",
                Gauge,
                None,
                &[],
                "Things that these hooks do not see; the stream's first line has them.",
            ),
            Self::RingSize => row(
                "crashtrace_ring_size",
                Gauge,
                Some("bytes"),
                &[],
                "Size of the ring of records between the kernel and the agent.",
            ),
            Self::Ready => row(
                "crashtrace_ready",
                Gauge,
                None,
                &[],
                "1 while the hooks are in place, the loop goes round and standard output takes lines, else 0: what /readyz answers.",
            ),
            Self::Incidents => row(
                "crashtrace_incidents",
                Counter,
                None,
                &["kind", "cause", "level"],
                "Incidents reported, each once, by the fields of these names in its first line. Those that fold are one.",
            ),
            Self::OomKills => row(
                "crashtrace_oom_kills",
                Counter,
                None,
                &["cause", "level"],
                "Processes killed by the OOM killer that reports stand for, those of folded kills too.",
            ),
            Self::FailedAllocations => row(
                "crashtrace_failed_allocations",
                Counter,
                None,
                &["order", "class"],
                "Failed allocations that reports stand for, folded ones too: by order (0 to 10, other, none), and by what the one who asked said: expects it (nowarn), may use reserves (atomic), can wait (sleeping), or neither (nowait).",
            ),
            Self::ReportLatency => row(
                "crashtrace_report_latency",
                Histogram,
                Some("seconds"),
                &["kind"],
                "From the kernel's decision until the first line of its incident was written; kills that folded are not in it, and failed allocations that fold wait up to a second by design.",
            ),
            Self::LinesWritten => row(
                "crashtrace_lines_written",
                Counter,
                None,
                &[],
                "Lines of the stream that were written, the agent's own too.",
            ),
            Self::OutputBlocked => row(
                "crashtrace_output_blocked",
                Gauge,
                Some("seconds"),
                &[],
                "How long the line that is being written has waited for standard output to take it; 0 while none does. From five seconds on the agent is not ready.",
            ),
            Self::OutputWaiting => row(
                "crashtrace_output_waiting_lines",
                Gauge,
                None,
                &[],
                "Lines that wait for standard output. From 256 KiB of them on records wait in the ring.",
            ),
            Self::Reports => {
                row("crashtrace_reports", Counter, None, &[], "Lines about incidents, further revisions too.")
            }
            Self::ReportsFiltered => row(
                "crashtrace_reports_filtered",
                Counter,
                None,
                &[],
                "Lines about incidents that --cause and --namespace kept back.",
            ),
            Self::Lost => row(
                "crashtrace_lost",
                Counter,
                None,
                &["stage", "reason"],
                "What no report tells: records that found no room (ring), records that could not be read (decode), failed allocations that were counted and have no record (kernel).",
            ),
            Self::OrphanedRecords => row(
                "crashtrace_orphaned_records",
                Counter,
                None,
                &["record"],
                "Ends of OOM kills, and records of who held the memory, whose decision was lost.",
            ),
            Self::MarkedAlreadyDying => row(
                "crashtrace_marked_already_dying",
                Counter,
                None,
                &[],
                "Tasks that were dying already when the OOM killer marked them: no incidents.",
            ),
            Self::LimitWritesMet => row(
                "crashtrace_limit_writes_met",
                Counter,
                None,
                &[],
                "Lowered limits that were met while the kernel looked for another victim in vain: no incidents.",
            ),
            Self::RoutineMemcgOoms => row(
                "crashtrace_routine_memcg_ooms",
                Counter,
                None,
                &[],
                "OOMs of memory cgroups that ended without a kill because none was needed.",
            ),
            Self::FoldedNoVictims => row(
                "crashtrace_folded_no_victims",
                Counter,
                None,
                &[],
                "OOMs without a victim that the kernel side folded into others.",
            ),
            Self::KernelFailedAllocations => row(
                "crashtrace_kernel_failed_allocations",
                Counter,
                None,
                &["counted_as"],
                "Failed allocations that the kernel side counted: to_report; nowarn, which the one who asked expected; of_victim, of processes that the OOM killer had killed. Only the first are reported.",
            ),
            Self::MessagesDropped => row(
                "crashtrace_messages_dropped",
                Counter,
                None,
                &["reason"],
                "Messages about the agent itself that are not on standard error: it did not take them (unwritable), or there were many of their kind (too_many).",
            ),
            Self::SinkFailures => row(
                "crashtrace_sink_failures",
                Counter,
                None,
                &[],
                "Failures of sinks other than standard output: a recording that ended, or a record that it left out.",
            ),
            Self::PodIndexSynced => row(
                "crashtrace_pod_index_synced",
                Gauge,
                None,
                &["source"],
                "1 while what this source (kube, cri) told of pods is whole and current, else 0: reports may then lack names.",
            ),
            Self::PodIndexPods => row(
                "crashtrace_pod_index_pods",
                Gauge,
                None,
                &["source"],
                "Pods known by way of this source; of cri also those that are gone and kept for ten minutes.",
            ),
            Self::PodIndexContainers => row(
                "crashtrace_pod_index_containers",
                Gauge,
                None,
                &["source"],
                "Containers known by way of this source, with those that are gone and kept for ten minutes.",
            ),
            Self::PodIndexRefused => row(
                "crashtrace_pod_index_refused_pods",
                Counter,
                None,
                &["source"],
                "Pods that the index had no room for.",
            ),
            Self::PodIndexAge => row(
                "crashtrace_pod_index_age",
                Gauge,
                Some("seconds"),
                &["source"],
                "Since this source was last heard: kube sends something about once a minute, cri is asked every five.",
            ),
        }
    }
}
