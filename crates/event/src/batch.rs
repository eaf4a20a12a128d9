//! A batch: many records of one partition, in order, as columns. It is what sources hand out,
//! what the detector scans and what the archive writes.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, BooleanArray, Int64Array, TimestampMicrosecondArray};

use crate::columns::EventArrays;
use crate::field::{FieldId, event_schema};
use crate::rejected::RejectedAt;

/// Where the log time of a partition comes from; it decides how far its clock is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogTimeOrigin {
    /// Observed when the record was written or read: a broker's timestamp, a follower's clock.
    Observed,
    /// Worked out from the records of a file that is replayed.
    Replayed,
}

impl LogTimeOrigin {
    /// The word in archive files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::Replayed => "replayed",
        }
    }

    /// How long a key's clock waits beyond log time, microseconds: a replayed file's log time is a
    /// guess from its records, and 24 h is the span in which a forged time is recognised.
    pub fn slack(self) -> i64 {
        match self {
            Self::Observed => 0,
            Self::Replayed => crate::time::DAY,
        }
    }
}

/// How the records of a source are spread over its partitions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Split {
    /// They are not: one partition has all of them.
    Whole,
    /// Records with equal values of these fields are in one partition; without fields, nobody knows.
    By(Arc<[FieldId]>),
}

impl Split {
    /// Whether all records of a group are in one partition.
    pub fn keeps_together(&self, group_by: &[FieldId]) -> bool {
        match self {
            Self::Whole => true,
            Self::By(fields) => !fields.is_empty() && fields.iter().all(|f| group_by.contains(f)),
        }
    }

    /// The names of the fields, as archive files keep them; `None` for a whole source.
    pub fn to_text(&self) -> Option<String> {
        match self {
            Self::Whole => None,
            Self::By(fields) => {
                let names: Vec<&str> = fields.iter().map(|field| field.spec().name).collect();
                Some(names.join(","))
            }
        }
    }

    /// The counterpart of [`to_text`](Self::to_text); `None` if a field is not known.
    pub fn from_text(text: Option<&str>) -> Option<Self> {
        let Some(text) = text else { return Some(Self::Whole) };
        let names = text.split(',').filter(|name| !name.is_empty());
        Some(Self::By(names.map(FieldId::by_name).collect::<Option<_>>()?))
    }
}

/// One ordered log of one source: the unit of order, state and ownership.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Partition {
    /// The configured id of the source.
    pub source_id: Arc<str>,
    /// The partition's name within it: a Kafka partition, or "0" for files.
    pub name: Arc<str>,
    /// Where its log time comes from.
    pub log_time_origin: LogTimeOrigin,
    /// Which records of the source it has.
    pub split: Split,
}

/// Records of one partition in order: events as columns, rejected records as rows.
///
/// Offsets ascend, log time never falls, and rejected records and events share both.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The partition they come from.
    pub partition: Arc<Partition>,
    /// The events, in [`event_schema`](crate::event_schema).
    pub events: RecordBatch,
    /// The rejected records, by ascending offset.
    pub rejected: Vec<RejectedAt>,
    /// A 64-bit digest of the bytes of each record, events and rejected records together, by
    /// ascending offset. Empty where the records were read from an archive.
    pub digests: Vec<u64>,
    /// The format the records were read in, or "archive".
    pub format: &'static str,
}

impl Batch {
    /// Events that were made rather than read, as the lines of a file: the first has this offset,
    /// each the log time given for it.
    ///
    /// # Panics
    /// If there are not as many log times as events.
    pub fn of_made_events(
        partition: &Arc<Partition>,
        events: EventArrays,
        first_offset: i64,
        log_times: Vec<i64>,
        file: &str,
    ) -> Self {
        let EventArrays { rows, mut arrays } = events;
        let same = |text: &str| -> ArrayRef {
            let mut builder = StringDictionaryBuilder::<Int32Type>::new();
            (0..rows).for_each(|_| builder.append_value(text));
            Arc::new(builder.finish())
        };
        let last = first_offset + rows as i64;
        let log_times = TimestampMicrosecondArray::from(log_times).with_timezone("UTC");
        arrays.push(same(&partition.name));
        arrays.push(Arc::new(Int64Array::from_iter_values(first_offset..last)));
        arrays.push(Arc::new(log_times));
        arrays.push(same(file));
        arrays.push(Arc::new(Int64Array::from_iter_values(first_offset + 1..=last)));
        let flags: ArrayRef = Arc::new(BooleanArray::from(vec![false; rows]));
        arrays.extend([flags.clone(), flags.clone(), flags]);
        let events = RecordBatch::try_new(event_schema(), arrays);
        Self {
            partition: partition.clone(),
            events: events.expect("one log time for each event"),
            rejected: Vec::new(),
            digests: Vec::new(),
            format: "native",
        }
    }

    /// The number of records.
    pub fn records(&self) -> usize {
        self.events.num_rows() + self.rejected.len()
    }

    /// The first and the last offset; `None` for an empty batch.
    pub fn offsets(&self) -> Option<(i64, i64)> {
        let events = self.event_offsets();
        let first = [events.first(), self.rejected.first().map(|r| &r.offset)];
        let last = [events.last(), self.rejected.last().map(|r| &r.offset)];
        let first = first.into_iter().flatten().min()?;
        let last = last.into_iter().flatten().max()?;
        Some((*first, *last))
    }

    /// The offset of each event.
    pub fn event_offsets(&self) -> &[i64] {
        self.events.column(FieldId::LogOffset.index()).as_primitive::<Int64Type>().values()
    }

    /// The log time of each event, microseconds.
    pub fn event_log_times(&self) -> &[i64] {
        let column = self.events.column(FieldId::LogTime.index());
        column.as_primitive::<TimestampMicrosecondType>().values()
    }

    /// The time of each event as the record says it, microseconds.
    pub fn event_times(&self) -> &[i64] {
        let column = self.events.column(FieldId::Time.index());
        column.as_primitive::<TimestampMicrosecondType>().values()
    }

    /// The log time of the last record; `None` for an empty batch.
    pub fn log_time(&self) -> Option<i64> {
        let rejected = self.rejected.last().map(|r| r.log_time);
        self.event_log_times().last().copied().max(rejected)
    }
}
