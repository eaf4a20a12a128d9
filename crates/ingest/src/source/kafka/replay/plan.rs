//! Finds out what there is to replay: the partitions of a topic, each from an offset to where it ends
//! now. Reads nothing.

use rdkafka::consumer::Consumer;
use rdkafka::{Offset, TopicPartitionList};
use tracing::warn;

use super::super::address::{OffsetRange, TopicAddress};
use super::super::client::{ANSWER_WITHIN, KafkaSettings};
use super::super::consumer::{TopicPartition, checked};
use super::super::error::KafkaSourceError;
use super::{KafkaReplayOptions, ReplayConsumer};

/// A part of a partition.
#[derive(Debug, Clone)]
pub(super) struct Span {
    /// Of which.
    pub(super) of: TopicPartition,
    /// The first offset.
    pub(super) start: i64,
    /// The offset after the last one.
    pub(super) end: i64,
}

/// What there is to read, by partition. With committed records alone, a partition ends before the first
/// transaction that is open.
pub(super) fn plan(
    consumer: &ReplayConsumer,
    settings: &KafkaSettings,
    address: &TopicAddress,
    options: &KafkaReplayOptions,
) -> Result<Vec<Span>, KafkaSourceError> {
    settings.check(consumer)?;
    let asked = Asked { consumer, settings, address };
    let numbers = asked.partitions()?;
    let mut spans = Vec::new();
    for range in asked.ranges(&numbers, &options.ranges)? {
        spans.push(asked.span(range)?);
    }
    if let Some(since) = options.since {
        asked.begin_at(since, &mut spans)?;
    }
    Ok(spans)
}

/// Who is asked, and for what.
struct Asked<'a> {
    consumer: &'a ReplayConsumer,
    settings: &'a KafkaSettings,
    address: &'a TopicAddress,
}

impl Asked<'_> {
    fn partitions(&self) -> Result<Vec<i32>, KafkaSourceError> {
        let metadata = self.settings.metadata(self.consumer, &self.address.topic)?;
        let topics = metadata.topics().iter().filter(|t| t.name() == self.address.topic);
        let mut numbers: Vec<i32> =
            topics.flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// A range for each partition that is read.
    fn ranges(
        &self,
        numbers: &[i32],
        given: &[OffsetRange],
    ) -> Result<Vec<OffsetRange>, KafkaSourceError> {
        if given.is_empty() {
            let whole =
                |number: &i32| OffsetRange { partition: Some(*number), start: None, end: None };
            return Ok(numbers.iter().map(whole).collect());
        }
        let mut ranges: Vec<OffsetRange> = Vec::new();
        for range in given {
            let number = match (range.partition, numbers) {
                (Some(number), _) if numbers.contains(&number) => number,
                (None, [only]) => *only,
                (Some(number), _) => {
                    let last = numbers.last().copied().unwrap_or_default();
                    let what = format!("there is no partition {number}; the last one is {last}");
                    return Err(self.wrong(*range, &what));
                }
                (None, _) => {
                    let what = format!(
                        "the topic has {} partitions; write for instance 0:{range}",
                        numbers.len()
                    );
                    return Err(self.wrong(*range, &what));
                }
            };
            if ranges.iter().any(|other| other.partition == Some(number)) {
                let what = format!("partition {number} is named twice; one range is read of it");
                return Err(self.wrong(*range, &what));
            }
            ranges.push(OffsetRange { partition: Some(number), ..*range });
        }
        ranges.sort_unstable_by_key(|range| range.partition);
        Ok(ranges)
    }

    fn span(&self, range: OffsetRange) -> Result<Span, KafkaSourceError> {
        let number = range.partition.unwrap_or_default();
        let of = checked(&self.settings.source_id, &self.address.topic, number)?;
        let (low, high) = self
            .consumer
            .fetch_watermarks(&self.address.topic, number, ANSWER_WITHIN)
            .map_err(|error| self.unreachable(&error))?;
        let (start, end) = (range.start.unwrap_or(low), range.end.unwrap_or(high));
        if start > high || end > high {
            let what = format!("partition {number} ends at offset {high} now; ask for less");
            return Err(self.wrong(range, &what));
        }
        if start < low {
            let partition = of.name();
            warn!(partition, from = low, asked = start, "the first records asked for are deleted");
        }
        Ok(Span { of, start: start.max(low), end })
    }

    /// Leaves out what comes before the first record of this time or a later one. Until there log time,
    /// the running maximum, is smaller; from there on it is not.
    fn begin_at(&self, since: i64, spans: &mut [Span]) -> Result<(), KafkaSourceError> {
        let since_ms = since.div_euclid(1000) + i64::from(since.rem_euclid(1000) > 0);
        let mut times = TopicPartitionList::new();
        for span in spans.iter() {
            let time = Offset::Offset(since_ms.max(0));
            times
                .add_partition_offset(&span.of.topic, span.of.number, time)
                .map_err(|error| self.unreachable(&error))?;
        }
        let found = self.consumer.offsets_for_times(times, ANSWER_WITHIN);
        let found = found.map_err(|error| self.unreachable(&error))?;
        for span in spans {
            let element = found.find_partition(&span.of.topic, span.of.number);
            let Some(element) = element else { continue };
            element.error().map_err(|error| self.unreachable(&error))?;
            span.start = match element.offset() {
                Offset::Offset(offset) => span.start.max(offset),
                Offset::End => span.end,
                _ => span.start,
            };
        }
        Ok(())
    }

    fn wrong(&self, range: OffsetRange, what: &str) -> KafkaSourceError {
        let address = self.address.to_string();
        KafkaSourceError::Address { address, what: format!("--offsets {range}: {what}") }
    }

    fn unreachable(&self, error: &rdkafka::error::KafkaError) -> KafkaSourceError {
        self.settings.unreachable(error, &self.consumer.context().talk)
    }
}
