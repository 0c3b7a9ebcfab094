//! The table of metrics: each has one name, one unit, one line. The exposition follows it, and so does the table in
//! `deploy/monitoring/README.md` (`cargo xtask docs` compiles this file too, so it needs nothing but the standard library).

/// Type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Rises only, while the agent runs.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values by size.
    Histogram,
    /// Always 1; its labels have the information.
    Info,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name without the unit and without its kind's suffix (`_total`, `_info`).
    pub stem: &'static str,
    pub kind: MetricKind,
    /// A base unit of Prometheus, unless it is a plain number.
    pub unit: Option<&'static str>,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// Its help text.
    pub doc: &'static str,
}

impl Row {
    /// The name of its samples; a histogram's have suffixes.
    #[must_use]
    pub fn name(&self) -> String {
        let unit = self.unit.map_or_else(String::new, |unit| format!("_{unit}"));
        let end = match self.kind {
            MetricKind::Counter => "_total",
            MetricKind::Info => "_info",
            MetricKind::Gauge | MetricKind::Histogram => "",
        };
        format!("{}{unit}{end}", self.stem)
    }

    /// The names that a query can have.
    #[must_use]
    pub fn samples(&self) -> Vec<String> {
        let ends: &[&str] =
            if self.kind == MetricKind::Histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
        ends.iter().map(|end| format!("{}{end}", self.name())).collect()
    }
}

const fn row(
    stem: &'static str,
    kind: MetricKind,
    unit: Option<&'static str>,
    labels: &'static [&'static str],
    doc: &'static str,
) -> Row {
    Row { stem, kind, unit, labels, doc }
}

/// An enum with a list of all its variants.
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
        ContainerEnds,
        ProbeKills,
        IgnoredTerms,
        ReportLatency,
        LinesWritten,
        OutputBlocked,
        OutputWaiting,
        JournalSize,
        JournalOldest,
        Reports,
        ReportsFiltered,
        Lost,
        LostInRing,
        OrphanedRecords,
        MarkedAlreadyDying,
        LimitWritesMet,
        RoutineMemcgOoms,
        FoldedNoVictims,
        KernelFailedAllocations,
        UnsureExits,
        EndsNotReported,
        ExitsOfOthers,
        MessagesDropped,
        SinkFailures,
        PodIndexSynced,
        PodIndexPods,
        PodIndexContainers,
        PodIndexRefused,
        PodIndexAge,
        KubeWrites,
        KubeWritesWaiting,
    }
}

impl Metric {
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "a table")]
    pub const fn row(self) -> Row {
        use MetricKind::{Counter, Gauge, Histogram, Info};
        match self {
            Self::Build => row(
                "crashtrace_build",
                Info,
                None,
                &["version", "layout"],
                "Version of the agent, and of the layout of its kernel records.",
            ),
            Self::Hooks => row(
                "crashtrace_hooks",
                Info,
                None,
                &["tier", "allocations"],
                "Hooks in use: on the OOM killer (fentry, kprobe, raw_tp) and on failed allocations (the same, or none).",
            ),
            Self::BlindSpots => row(
                "crashtrace_blind_spots",
                Gauge,
                None,
                &[],
                "Number of things that these hooks do not see; the stream's first line lists them.",
            ),
            Self::RingSize => row(
                "crashtrace_ring_size",
                Gauge,
                Some("bytes"),
                &[],
                "Size in bytes of the ring buffer between the kernel and the agent.",
            ),
            Self::Ready => row(
                "crashtrace_ready",
                Gauge,
                None,
                &[],
                "1 while the hooks are in place, the agent's loop runs and standard output accepts lines, else 0: the answer of /readyz.",
            ),
            Self::Incidents => row(
                "crashtrace_incidents",
                Counter,
                None,
                &["kind", "cause", "level"],
                "Reported incidents, by kind, cause and level of the first line. Folded incidents count as one incident.",
            ),
            Self::OomKills => row(
                "crashtrace_oom_kills",
                Counter,
                None,
                &["cause", "level"],
                "Processes killed by the OOM killer, folded kills included.",
            ),
            Self::FailedAllocations => row(
                "crashtrace_failed_allocations",
                Counter,
                None,
                &["order", "class"],
                "Reported failed allocations, folded ones included, by order (0 to 10, other, none) and gfp class: nowarn, atomic, sleeping, nowait.",
            ),
            Self::ContainerEnds => row(
                "crashtrace_container_ends",
                Counter,
                None,
                &["cause", "how"],
                "Ends of containers, reported or not, by cause and by exit code (0, 1-125, 126, 127, 128+) or signal.",
            ),
            Self::ProbeKills => row(
                "crashtrace_probe_kills",
                Counter,
                None,
                &["probe"],
                "Containers that ended because a probe failed, reported or not, by kind of probe.",
            ),
            Self::IgnoredTerms => row(
                "crashtrace_ignored_terms",
                Counter,
                None,
                &["how"],
                "Containers that SIGTERM did not end, and SIGKILL did: their process ignores it (ignored), or got it and did not end in time (handled).",
            ),
            Self::ReportLatency => row(
                "crashtrace_report_latency",
                Histogram,
                Some("seconds"),
                &["kind"],
                "Seconds from the kernel's decision until its first line was written. Folded kills are left out. Folded failed allocations wait up to one second by design; ends of containers whose reason Kubernetes has wait up to five seconds.",
            ),
            Self::LinesWritten => row(
                "crashtrace_lines_written",
                Counter,
                None,
                &[],
                "Lines written to standard output, lines about the agent included. With a journal, lines written to the journal.",
            ),
            Self::OutputBlocked => row(
                "crashtrace_output_blocked",
                Gauge,
                Some("seconds"),
                &[],
                "Seconds for which standard output has blocked the current line; 0 if it does not block. From five seconds on the agent is not ready.",
            ),
            Self::OutputWaiting => row(
                "crashtrace_output_waiting_lines",
                Gauge,
                None,
                &[],
                "Lines that wait for standard output, lines in the journal included. Without a journal at most 256 KiB of lines wait here; further records wait in the ring.",
            ),
            Self::JournalSize => row(
                "crashtrace_journal_size",
                Gauge,
                Some("bytes"),
                &[],
                "Size in bytes of the journal's files, lines that are delivered already included. Absent without --journal.",
            ),
            Self::JournalOldest => row(
                "crashtrace_journal_oldest",
                Gauge,
                Some("seconds"),
                &[],
                "Age in seconds of the oldest line in the journal that standard output has not taken; 0 if there is no such line. Absent without --journal.",
            ),
            Self::Reports => row(
                "crashtrace_reports",
                Counter,
                None,
                &[],
                "Lines about incidents, further revisions included.",
            ),
            Self::ReportsFiltered => row(
                "crashtrace_reports_filtered",
                Counter,
                None,
                &[],
                "Lines about incidents that --cause and --namespace dropped.",
            ),
            Self::Lost => row(
                "crashtrace_lost",
                Counter,
                None,
                &["stage", "reason"],
                "Records, incidents and lines missing from the reports, by stage and reason: records without room in the ring (ring), unreadable records (decode), failed allocations that were counted and have no record, and ends of containers for which the ring had no room to spare (kernel), ends of containers in a storm of them (pipeline), lines that the journal dropped undelivered or that were damaged in it (journal).",
            ),
            Self::LostInRing => row(
                "crashtrace_lost_in_ring",
                Counter,
                None,
                &["what"],
                "Killed processes, failed allocations and ends of containers that the ring had no room for: a part of crashtrace_lost_total of stage ring. The rest of that count are further facts about OOM kills.",
            ),
            Self::OrphanedRecords => row(
                "crashtrace_orphaned_records",
                Counter,
                None,
                &["record"],
                "Ends of OOM kills, and records of memory holders, whose decision was lost.",
            ),
            Self::MarkedAlreadyDying => row(
                "crashtrace_marked_already_dying",
                Counter,
                None,
                &[],
                "Tasks that were already dying when the OOM killer marked them. These are no incidents.",
            ),
            Self::LimitWritesMet => row(
                "crashtrace_limit_writes_met",
                Counter,
                None,
                &[],
                "Lowered limits that were reached without another victim. They are no incidents.",
            ),
            Self::RoutineMemcgOoms => row(
                "crashtrace_routine_memcg_ooms",
                Counter,
                None,
                &[],
                "Memory cgroup OOMs that needed no kill.",
            ),
            Self::FoldedNoVictims => row(
                "crashtrace_folded_no_victims",
                Counter,
                None,
                &[],
                "OOMs without a victim that were folded into others in the kernel.",
            ),
            Self::KernelFailedAllocations => row(
                "crashtrace_kernel_failed_allocations",
                Counter,
                None,
                &["counted_as"],
                "Failed allocations counted in the kernel: to_report; nowarn, which the caller expects; of_victim, by processes that the OOM killer had killed. Only to_report is reported.",
            ),
            Self::UnsureExits => row(
                "crashtrace_unsure_exits",
                Counter,
                None,
                &[],
                "Ends of processes in containers that are not reported, because it is unknown whether it was the container's first process.",
            ),
            Self::EndsNotReported => row(
                "crashtrace_ends_not_reported",
                Counter,
                None,
                &["reason"],
                "Ends of containers without a line: Kubernetes stopped them on purpose (stopped), they were done (done), or --exits wants none (unwanted).",
            ),
            Self::ExitsOfOthers => row(
                "crashtrace_exits_of_others",
                Counter,
                None,
                &["of"],
                "Ends of processes that are no container's (no_container), and of sandboxes (sandbox). They are no incidents.",
            ),
            Self::MessagesDropped => row(
                "crashtrace_messages_dropped",
                Counter,
                None,
                &["reason"],
                "Messages about the agent that were not written to standard error: it did not accept them (unwritable), or there were too many of their kind (too_many).",
            ),
            Self::SinkFailures => row(
                "crashtrace_sink_failures",
                Counter,
                None,
                &[],
                "Failures of sinks other than standard output: a recording that failed, a record that it left out, or a journal that could not be written.",
            ),
            Self::PodIndexSynced => row(
                "crashtrace_pod_index_synced",
                Gauge,
                None,
                &["source"],
                "1 while the pods from this source (kube, cri) are complete and current, else 0: reports may then lack names.",
            ),
            Self::PodIndexPods => row(
                "crashtrace_pod_index_pods",
                Gauge,
                None,
                &["source"],
                "Pods known from this source; from cri including pods gone for up to ten minutes.",
            ),
            Self::PodIndexContainers => row(
                "crashtrace_pod_index_containers",
                Gauge,
                None,
                &["source"],
                "Containers known from this source, including containers gone for up to ten minutes.",
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
                "Seconds since the last message from this source: kube sends a message about once a minute, cri is listed every five minutes.",
            ),
            Self::KubeWrites => row(
                "crashtrace_kube_writes",
                Counter,
                None,
                &["object", "result"],
                "Writes to the API server of reports on pods and of Events (object report, event): taken by it (written), to be tried again (failed), changes that went with another write (coalesced), objects whose pod was gone (gone), incidents of reports that were left out for want of memory (left_out).",
            ),
            Self::KubeWritesWaiting => row(
                "crashtrace_kube_writes_waiting",
                Gauge,
                None,
                &["object"],
                "Reports on pods, and Events, that wait to be written to the API server.",
            ),
        }
    }
}
