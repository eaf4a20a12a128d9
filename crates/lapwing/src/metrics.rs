//! Every metric of `run`, in one table: what `/metrics` shows and what `schemas/metrics.md` lists.
//! Numbers come in, a page in the Prometheus text format goes out; nothing is counted here.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use lapwing_detector::rule::RuleSet;
use lapwing_event::vocabulary::{KINDS, OUTCOMES};
use lapwing_event::{Level, RejectReason, Status};
use lapwing_ingest::SourceStats;
use lapwing_sink::ArchiveReport;

use crate::report::Report;
use MetricType::{Counter, Gauge, Summary};

/// The numbers of a running program at one moment.
#[derive(Debug)]
pub struct Numbers {
    /// The sources, with what was read of each.
    pub sources: Vec<(String, SourceStats)>,
    /// Events by kind and outcome, every pair there is.
    pub kinds: Vec<(&'static str, &'static str, u64)>,
    /// Rejected records by reason, every reason there is.
    pub rejected: Vec<(&'static str, u64)>,
    /// Events that were late for at least one rule.
    pub late: u64,
    /// Events whose time was ahead of log time.
    pub clamped: u64,
    /// Alert messages by rule, level and status.
    pub messages: BTreeMap<(Arc<str>, Level, Status), u64>,
    /// Alerts that are open.
    pub open_alerts: usize,
    /// Group keys that are remembered, over all rules.
    pub keys: usize,
    /// What was archived.
    pub archived: ArchiveReport,
    /// Epochs and messages that wait for their manifests.
    pub commit_queue: usize,
    /// What the encoders of all partitions hold, bytes.
    pub encoder_bytes: usize,
    /// Partitions that are read.
    pub lanes: usize,
    /// Records of Kafka sources that were not read yet, by source.
    pub lag: Vec<(String, u64)>,
    /// From the arrival of a record to its alert being handed over, microseconds.
    pub alert_latency_us: Option<Histogram<u64>>,
    /// When everything read was last at rest.
    pub checkpointed: SystemTime,
    /// Time from handing a batch to the detector until its alerts were handed over, microseconds.
    pub detect_us: Option<Histogram<u64>>,
}

impl Numbers {
    /// Takes what a report says; the rest is the caller's.
    ///
    /// Counters whose labels are known beforehand begin at 0, so that the first of a kind is an increase
    /// for a query too.
    pub fn of(report: &Report, rules: &RuleSet) -> Self {
        let outcomes = || OUTCOMES.iter().map(|term| term.value).chain([""]);
        let pairs = KINDS.iter().flat_map(|kind| outcomes().map(|outcome| (kind.value, outcome)));
        let count = |kind: &str, outcome: &str| {
            report.kinds.get(&(kind.into(), outcome.into())).copied().unwrap_or(0)
        };
        let rejected = |reason| report.rejected.get(&reason).map_or(0, |(count, _)| *count);
        let mut messages = BTreeMap::new();
        for rule in &rules.rules {
            let levels = rule.levels.iter().map(|(level, _)| *level).chain([rule.level]);
            for level in levels {
                for status in [Status::Opened, Status::Updated, Status::Resolved] {
                    messages.insert((rule.name.clone(), level, status), 0);
                }
            }
        }
        messages.extend(report.messages.clone());
        Self {
            sources: Vec::new(),
            kinds: pairs.map(|(kind, outcome)| (kind, outcome, count(kind, outcome))).collect(),
            rejected: RejectReason::ALL.map(|reason| (reason.name(), rejected(reason))).into(),
            late: report.late,
            clamped: report.clamped,
            messages,
            open_alerts: 0,
            keys: 0,
            archived: ArchiveReport::default(),
            commit_queue: 0,
            encoder_bytes: 0,
            lanes: 0,
            lag: Vec::new(),
            alert_latency_us: None,
            checkpointed: UNIX_EPOCH,
            detect_us: report.detect_us.clone(),
        }
    }
}

/// What a metric is to Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricType {
    /// It only grows, until the process ends or SIGHUP begins the work anew.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Quantiles, with the sum and the number of observations since the process began.
    Summary,
}

impl MetricType {
    /// The word in the text format.
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Summary => "summary",
        }
    }
}

/// A metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name, with the unit last.
    pub name: &'static str,
    /// Its type.
    pub metric_type: MetricType,
    /// The unit of its values.
    pub unit: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
    samples: fn(&Numbers, &mut Samples<'_>),
}

const fn metric(
    name: &'static str,
    metric_type: MetricType,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    samples: fn(&Numbers, &mut Samples<'_>),
) -> Metric {
    Metric { name, metric_type, unit, labels, help, samples }
}

/// Every metric, in the order of the page.
pub static METRICS: &[Metric] = &[
    metric("lapwing_build_info", Gauge, "1", &["version"], "the version that runs", |_, out| {
        out.add(&[env!("CARGO_PKG_VERSION")], 1);
    }),
    metric(
        "lapwing_records_total",
        Counter,
        "records",
        &["source"],
        "records read, events and rejected ones",
        |numbers, out| out.add_sources(numbers, |source| source.records),
    ),
    metric(
        "lapwing_read_bytes_total",
        Counter,
        "bytes",
        &["source"],
        "bytes of the lines read, before rejection; of a line that is too long what was kept",
        |numbers, out| out.add_sources(numbers, |source| source.bytes_read),
    ),
    metric(
        "lapwing_unread_bytes",
        Gauge,
        "bytes",
        &["source"],
        "bytes of followed logs, as of the last look at each, that have not become records yet; an unfinished line is among them",
        |numbers, out| out.add_sources(numbers, |source| source.unread_bytes),
    ),
    metric(
        "lapwing_followed_logs",
        Gauge,
        "logs",
        &["source"],
        "logs that are followed, those refused among them",
        |numbers, out| out.add_sources(numbers, |source| source.logs),
    ),
    metric(
        "lapwing_refused_logs",
        Gauge,
        "logs",
        &["source"],
        "logs that are not read, since no format recognises them",
        |numbers, out| out.add_sources(numbers, |source| source.refused.len() as u64),
    ),
    metric(
        "lapwing_events_total",
        Counter,
        "events",
        &["kind", "outcome"],
        "events by kind and outcome; the outcome is empty where an event has none",
        |numbers, out| {
            numbers.kinds.iter().for_each(|(kind, outcome, n)| out.add(&[kind, outcome], *n));
        },
    ),
    metric(
        "lapwing_rejected_records_total",
        Counter,
        "records",
        &["reason"],
        "records that are not events, by reason",
        |numbers, out| numbers.rejected.iter().for_each(|(why, n)| out.add(&[why], *n)),
    ),
    metric(
        "lapwing_late_events_total",
        Counter,
        "events",
        &[],
        "events that came too late for at least one rule",
        |numbers, out| out.add(&[], numbers.late),
    ),
    metric(
        "lapwing_clamped_events_total",
        Counter,
        "events",
        &[],
        "events whose time was ahead of log time by more than `ingest.max_future_skew`",
        |numbers, out| out.add(&[], numbers.clamped),
    ),
    metric(
        "lapwing_alert_messages_total",
        Counter,
        "messages",
        &["rule", "level", "status"],
        "alert messages by rule, level, and status: opened, updated, resolved",
        |numbers, out| {
            for ((rule, level, status), count) in &numbers.messages {
                out.add(&[rule, level.word(), status.word()], *count);
            }
        },
    ),
    metric("lapwing_open_alerts", Gauge, "alerts", &[], "alerts that are open", |numbers, out| {
        out.add(&[], numbers.open_alerts as u64);
    }),
    metric(
        "lapwing_group_keys",
        Gauge,
        "keys",
        &[],
        "group keys that are remembered, over all rules and partitions",
        |numbers, out| out.add(&[], numbers.keys as u64),
    ),
    metric(
        "lapwing_archived_files_total",
        Counter,
        "files",
        &[],
        "Parquet files created in finished epochs, of all three tables",
        |numbers, out| out.add(&[], numbers.archived.files_written),
    ),
    metric(
        "lapwing_archived_bytes_total",
        Counter,
        "bytes",
        &[],
        "bytes of these files",
        |numbers, out| out.add(&[], numbers.archived.bytes_written),
    ),
    metric(
        "lapwing_archived_rows_total",
        Counter,
        "rows",
        &["table"],
        "rows of these files",
        |numbers, out| {
            let archived = &numbers.archived;
            out.add(&["events"], archived.events_written);
            out.add(&["rejected"], archived.rejected_written);
            out.add(&["alerts"], archived.alerts_written);
        },
    ),
    metric(
        "lapwing_commit_queue_jobs",
        Gauge,
        "epochs and groups of messages",
        &[],
        "what waits for its manifest, over all partitions; at 4 a partition is read no further",
        |numbers, out| out.add(&[], numbers.commit_queue as u64),
    ),
    metric(
        "lapwing_encoder_bytes",
        Gauge,
        "bytes",
        &[],
        "what the encoders of all partitions hold in memory; beyond `archive.memory_bytes` row groups become smaller",
        |numbers, out| out.add(&[], numbers.encoder_bytes as u64),
    ),
    metric(
        "lapwing_partitions",
        Gauge,
        "partitions",
        &[],
        "partitions that this process reads; followed files are one of each source",
        |numbers, out| out.add(&[], numbers.lanes as u64),
    ),
    metric(
        "lapwing_lag_records",
        Gauge,
        "records",
        &["source"],
        "records of the Kafka partitions of this process that were not read yet, as of the last second",
        |numbers, out| numbers.lag.iter().for_each(|(id, n)| out.add(&[id], *n)),
    ),
    metric(
        "lapwing_checkpoint_timestamp_seconds",
        Gauge,
        "seconds since 1970",
        &[],
        "since when records of some partition have been read and not committed, or now; its age is `time()` minus this",
        |numbers, out| {
            let since = numbers.checkpointed.duration_since(UNIX_EPOCH).unwrap_or_default();
            out.line("", &[], &since.as_secs_f64().to_string());
        },
    ),
    metric(
        "lapwing_detect_seconds",
        Summary,
        "seconds",
        &["quantile"],
        "from handing a batch to the detector until its alerts were handed over, to files too; since the start or SIGHUP",
        |numbers, out| {
            if let Some(histogram) = &numbers.detect_us {
                out.add_summary(histogram);
            }
        },
    ),
    metric(
        "lapwing_alert_latency_seconds",
        Summary,
        "seconds",
        &["quantile"],
        "from the log time that raised a message, the arrival of its record, until it was committed and handed over; since the start or SIGHUP",
        |numbers, out| {
            if let Some(histogram) = &numbers.alert_latency_us {
                out.add_summary(histogram);
            }
        },
    ),
];

/// The quantiles of a summary.
const QUANTILES: [(&str, f64); 4] = [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99), ("0.999", 0.999)];

/// The page of `/metrics`, in the Prometheus text format, version 0.0.4.
pub fn page(numbers: &Numbers) -> String {
    let mut text = String::new();
    for metric in METRICS {
        let Metric { name, help, .. } = metric;
        let _ = writeln!(text, "# HELP {name} {help} ({})", metric.unit);
        let _ = writeln!(text, "# TYPE {name} {}", metric.metric_type.word());
        (metric.samples)(numbers, &mut Samples { metric, text: &mut text });
    }
    text
}

/// The samples of one metric, as lines of the page.
struct Samples<'a> {
    metric: &'a Metric,
    text: &'a mut String,
}

impl Samples<'_> {
    fn add(&mut self, labels: &[&str], value: u64) {
        self.line("", labels, &value.to_string());
    }

    /// A value of each source.
    fn add_sources(&mut self, numbers: &Numbers, value: fn(&SourceStats) -> u64) {
        numbers.sources.iter().for_each(|(id, stats)| self.add(&[id], value(stats)));
    }

    fn add_summary(&mut self, histogram: &Histogram<u64>) {
        let seconds = |us: f64| (us / 1e6).to_string();
        for (label, quantile) in QUANTILES {
            let us = histogram.value_at_quantile(quantile) as f64;
            self.line("", &[label], &seconds(us));
        }
        self.line("_sum", &[], &seconds(histogram.mean() * histogram.len() as f64));
        self.line("_count", &[], &histogram.len().to_string());
    }

    fn line(&mut self, suffix: &str, labels: &[&str], value: &str) {
        let name = self.metric.name;
        let is_fitting = !suffix.is_empty() || labels.len() == self.metric.labels.len();
        debug_assert!(is_fitting, "{name}: one value for each label");
        let _ = write!(self.text, "{name}{suffix}");
        for (at, (label, value)) in self.metric.labels.iter().zip(labels).enumerate() {
            let open = if at == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{open}{label}=\"{}\"", escaped(value));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{close} {value}");
    }
}

/// A label's value as the text format asks for it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::RuleSelection;

    fn numbers() -> Numbers {
        let mut detect_us = Histogram::new_with_bounds(1, 1_000_000, 2).expect("bounds");
        (1..=100).for_each(|us| detect_us.record(us).expect("within bounds"));
        let mut report = Report::default();
        report.detect_us = Some(detect_us);
        report.kinds.insert(("auth".into(), "denied".into()), 4);
        report.kinds.insert(("tool".into(), "".into()), 3);
        report.messages.insert(("auth_failures".into(), Level::High, Status::Opened), 2);
        let rules = RuleSelection::default().load().expect("the built-in rules");
        let stats = SourceStats { records: 7, ..SourceStats::default() };
        Numbers { sources: vec![("gw\"1".into(), stats)], ..Numbers::of(&report, &rules) }
    }

    #[test]
    fn a_page_holds_every_metric_with_help_and_type_and_names_are_said_once() {
        let page = page(&numbers());
        let typed: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter_map(|rest| rest.split(' ').next())
            .collect();
        let names: Vec<&str> = METRICS.iter().map(|m| m.name).collect();
        assert_eq!(typed, names);
        let distinct: std::collections::BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(distinct.len(), names.len());
    }

    #[test]
    fn samples_carry_their_labels_and_values() {
        let page = page(&numbers());
        for line in [
            "lapwing_records_total{source=\"gw\\\"1\"} 7",
            "lapwing_events_total{kind=\"auth\",outcome=\"denied\"} 4",
            "lapwing_events_total{kind=\"tool\",outcome=\"\"} 3",
            "lapwing_alert_messages_total{rule=\"auth_failures\",level=\"high\",status=\"opened\"} 2",
            "lapwing_detect_seconds{quantile=\"0.5\"} 0.00005",
            "lapwing_detect_seconds_count 100",
            "lapwing_events_total{kind=\"model\",outcome=\"error\"} 0",
            "lapwing_rejected_records_total{reason=\"not_json\"} 0",
            "lapwing_alert_messages_total{rule=\"tool_loop\",level=\"medium\",status=\"opened\"} 0",
            "lapwing_open_alerts 0",
        ] {
            assert!(page.lines().any(|l| l == line), "{line} is not in\n{page}");
        }
    }
}
