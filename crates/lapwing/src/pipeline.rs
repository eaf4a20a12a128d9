//! The one path of every record: source -> detector of its partition -> archive and alerts.
//! `run` and `replay` differ in what is plugged in, and in nothing here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::BooleanArray;
use hdrhistogram::Histogram;
use lapwing_detector::rule::RuleSet;
use lapwing_detector::{Detector, Limits};
use lapwing_event::{Batch, FieldId, Message, Partition};
use lapwing_sink::Sink;

use crate::report::Report;

/// Longest latency that the histogram tells apart, one minute; longer ones count as one minute.
const MAX_LATENCY_US: u64 = 60_000_000;

/// Batches of a source to what a sink takes of them.
pub struct Pipeline<S> {
    rules: Arc<RuleSet>,
    limits: Limits,
    detectors: BTreeMap<(Arc<str>, Arc<str>), Detector>,
    sink: S,
    report: Report,
}

impl<S: Sink> Pipeline<S> {
    /// A pipeline that ends in a sink.
    pub fn new(rules: Arc<RuleSet>, limits: Limits, sink: S) -> Self {
        let histogram = Histogram::new_with_bounds(1, MAX_LATENCY_US, 2);
        let mut report = Report::default();
        report.detect_us = Some(histogram.expect("the bounds are those the histogram asks for"));
        Self { rules, limits, detectors: BTreeMap::new(), sink, report }
    }

    /// The rules.
    pub fn rules(&self) -> &Arc<RuleSet> {
        &self.rules
    }

    /// The numbers so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Group keys that are remembered now, over all partitions and rules.
    pub fn keys(&self) -> usize {
        self.detectors.values().map(Detector::keys).sum()
    }

    /// Alerts that are open now, over all partitions and rules.
    pub fn open_alerts(&self) -> usize {
        self.detectors.values().map(Detector::open_alerts).sum()
    }

    /// Where everything ends.
    pub fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }

    /// Takes over the state of a partition: `messages` are about alerts of rules that have changed
    /// since it was written.
    ///
    /// # Errors
    /// What stopped a sink.
    pub fn adopt(
        &mut self,
        partition: &Partition,
        detector: Detector,
        messages: &[Message],
    ) -> anyhow::Result<()> {
        self.detectors.insert(key(partition), detector);
        self.hand_over(messages)
    }

    /// The state of a partition, written out.
    pub fn snapshot(&mut self, partition: &Partition) -> Option<Vec<u8>> {
        self.detectors.get_mut(&key(partition)).map(Detector::snapshot)
    }

    /// Takes the next records of a partition.
    ///
    /// # Errors
    /// What stopped a sink.
    pub fn take(&mut self, mut batch: Batch) -> anyhow::Result<()> {
        let start = Instant::now();
        let pushed = self.detector(&batch.partition).push(&batch);
        flag_late(&mut batch, &pushed.late_rows);
        self.hand_over(&pushed.messages)?;
        let elapsed_us = start.elapsed().as_micros() as u64;
        if let Some(histogram) = &mut self.report.detect_us {
            histogram.saturating_record(elapsed_us.max(1));
        }
        self.report.count_batch(&batch);
        Ok(self.sink.write_batch(&batch)?)
    }

    /// Lets log time pass on a partition that has no records.
    ///
    /// # Errors
    /// What stopped a sink.
    pub fn tick(&mut self, partition: &Arc<Partition>, log_time: i64) -> anyhow::Result<()> {
        let messages = self.detector(partition).advance(log_time);
        self.hand_over(&messages)
    }

    /// Says of every open alert that the input has ended.
    ///
    /// # Errors
    /// What stopped a sink.
    pub fn end_of_input(&mut self) -> anyhow::Result<()> {
        let messages: Vec<Message> =
            self.detectors.values_mut().flat_map(Detector::finish).collect();
        self.hand_over(&messages)
    }

    /// Brings everything to rest.
    ///
    /// # Errors
    /// What stopped a sink.
    pub fn finish(mut self) -> anyhow::Result<(Report, S)> {
        self.sink.finish()?;
        for detector in self.detectors.values() {
            self.report.count_stats(&detector.stats());
        }
        self.report.close();
        Ok((self.report, self.sink))
    }

    fn detector(&mut self, partition: &Arc<Partition>) -> &mut Detector {
        self.detectors
            .entry(key(partition))
            .or_insert_with(|| Detector::new(self.rules.clone(), partition.clone(), self.limits))
    }

    fn hand_over(&mut self, messages: &[Message]) -> anyhow::Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        self.report.count_messages(messages);
        Ok(self.sink.write_messages(messages)?)
    }
}

fn key(partition: &Partition) -> (Arc<str>, Arc<str>) {
    (partition.source_id.clone(), partition.name.clone())
}

/// Sets the `late` flag of these rows.
fn flag_late(batch: &mut Batch, rows: &[u32]) {
    if rows.is_empty() {
        return;
    }
    let mut flags = vec![false; batch.events.num_rows()];
    rows.iter().for_each(|row| flags[*row as usize] = true);
    let mut columns = batch.events.columns().to_vec();
    columns[FieldId::Late.index()] = Arc::new(BooleanArray::from(flags));
    let events = arrow_array::RecordBatch::try_new(batch.events.schema(), columns);
    batch.events = events.expect("a column of the same type and length was put in");
}
