//! Pieces of chunks become a batch: positions, log time and flags are added, and columns of several
//! chunks are joined. A batch that is one piece shares the memory of its chunk.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::BooleanBufferBuilder;
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray, new_empty_array, new_null_array,
};
use arrow_buffer::BooleanBuffer;
use arrow_select::concat::concat;
use arrow_select::interleave::interleave;
use hashbrown::HashMap;
use lapwing_event::{Batch, EVENT_FIELDS, FieldId, FieldType, Partition, RejectedAt, event_schema};

use super::log_time::{TimedChunk, event_times};
use super::merge::Piece;
use crate::decode::Places;

/// Rows per stretch from which copying stretches is faster than picking rows.
const ROWS_WORTH_A_COPY: usize = 16;

/// The format of a batch whose records come from logs of several formats.
pub(crate) const MIXED_FORMATS: &str = "mixed";

/// A batch that is being put together.
#[derive(Default)]
pub(crate) struct BatchBuilder {
    chunks: Vec<Arc<TimedChunk>>,
    /// Where a chunk stands in `chunks`, by its address.
    places: HashMap<usize, usize, foldhash::fast::FixedState>,
    pieces: Vec<(usize, Range<usize>)>,
    records: usize,
}

/// What is the same for all records of a batch.
pub(crate) struct Stamp<'a> {
    /// The partition.
    pub(crate) partition: &'a Arc<Partition>,
    /// The offset of the first record.
    pub(crate) first_offset: i64,
    /// No log time is smaller.
    pub(crate) first_log_time: i64,
    /// How far a time may be ahead of log time without being flagged, microseconds.
    pub(crate) max_future_skew: i64,
}

impl BatchBuilder {
    /// The number of records so far.
    pub(crate) fn records(&self) -> usize {
        self.records
    }

    /// Whether the batch is one piece to the end of its chunk.
    pub(crate) fn is_rest_of_a_chunk(&self) -> bool {
        match &self.pieces[..] {
            [(chunk, records)] => records.end == self.chunks[*chunk].chunk.records(),
            _ => false,
        }
    }

    /// Adds records at the end.
    pub(crate) fn push(&mut self, piece: Piece) {
        self.records += piece.records.len();
        let address = Arc::as_ptr(&piece.chunk) as usize;
        let place = *self.places.entry(address).or_insert(self.chunks.len());
        if place == self.chunks.len() {
            self.chunks.push(piece.chunk);
        }
        match self.pieces.last_mut() {
            Some((last, records)) if *last == place && records.end == piece.records.start => {
                records.end = piece.records.end;
            }
            _ => self.pieces.push((place, piece.records)),
        }
    }

    /// The batch; the builder is empty again.
    pub(crate) fn finish(&mut self, stamp: &Stamp<'_>) -> Batch {
        let Self { chunks, pieces, records, .. } = std::mem::take(self);
        let mut columns = LogColumns::default();
        let mut rejected = Vec::new();
        let mut digests = Vec::with_capacity(records);
        let mut runs = Vec::with_capacity(pieces.len());
        let mut offset = stamp.first_offset;
        for (place, records) in pieces {
            let timed = &*chunks[place];
            let rows = event_rows(timed, &records);
            columns.append(timed, records.start, rows.clone(), offset, stamp);
            append_rejected(timed, &records, offset, stamp, &mut rejected);
            digests.extend_from_slice(&timed.chunk.digests[records.clone()]);
            if !rows.is_empty() {
                runs.push((place, rows));
            }
            offset += records.len() as i64;
        }
        let mut arrays = event_columns(&chunks, &runs);
        arrays.extend(columns.finish(stamp));
        Batch {
            partition: stamp.partition.clone(),
            events: RecordBatch::try_new(event_schema(), arrays)
                .expect("the arrays are made to the schema"),
            rejected,
            digests,
            format: common_format(&chunks),
        }
    }
}

fn common_format(chunks: &[Arc<TimedChunk>]) -> &'static str {
    let mut formats = chunks.iter().map(|chunk| chunk.chunk.format);
    let first = formats.next().unwrap_or(MIXED_FORMATS);
    if formats.all(|format| format == first) { first } else { MIXED_FORMATS }
}

/// The events among some records of a chunk.
fn event_rows(timed: &TimedChunk, records: &Range<usize>) -> Range<usize> {
    let of_event = &timed.chunk.record_of_event;
    let row = |record: usize| of_event.partition_point(|at| (*at as usize) < record);
    row(records.start)..row(records.end)
}

fn append_rejected(
    timed: &TimedChunk,
    records: &Range<usize>,
    offset: i64,
    stamp: &Stamp<'_>,
    rejected: &mut Vec<RejectedAt>,
) {
    let all = &timed.chunk.rejected;
    let from = all.partition_point(|(at, _)| (*at as usize) < records.start);
    let of_piece = all[from..].iter().take_while(|(at, _)| (*at as usize) < records.end);
    rejected.extend(of_piece.map(|(at, record)| {
        let at = *at as usize;
        let (offset, file, line) = match &timed.chunk.places {
            Places::Lines { file, lines } => {
                (offset + (at - records.start) as i64, Some(file.clone()), Some(lines[at]))
            }
            Places::Offsets(offsets) => (offsets[at], None, None),
        };
        let log_time = timed.log_times[at].max(stamp.first_log_time);
        RejectedAt { offset, log_time, file, line, record: record.clone() }
    }));
}

/// The columns that an event has from its log.
#[derive(Default)]
struct LogColumns {
    offsets: Vec<i64>,
    log_times: Vec<i64>,
    /// Lines and files; empty where the records are not in files.
    lines: Vec<i64>,
    file_keys: Vec<i32>,
    files: Vec<Arc<str>>,
    file_places: HashMap<Arc<str>, i32, foldhash::fast::FixedState>,
    corrected: Flags,
    clamped: Flags,
}

impl LogColumns {
    fn append(
        &mut self,
        timed: &TimedChunk,
        first_record: usize,
        rows: Range<usize>,
        offset: i64,
        stamp: &Stamp<'_>,
    ) {
        let records = timed.chunk.record_of_event[rows.clone()].iter().map(|at| *at as usize);
        match &timed.chunk.places {
            Places::Lines { file, lines } => {
                let key = self.file_key(file);
                self.file_keys.resize(self.file_keys.len() + rows.len(), key);
                let offset_of = |record: usize| offset + (record - first_record) as i64;
                self.offsets.extend(records.clone().map(offset_of));
                self.lines.extend(records.map(|record| lines[record]));
            }
            Places::Offsets(offsets) => self.offsets.extend(records.map(|at| offsets[at])),
        }
        let times = event_times(&timed.chunk);
        for row in rows {
            let record = timed.chunk.record_of_event[row] as usize;
            let log_time = timed.log_times[record].max(stamp.first_log_time);
            let is_corrected = timed.corrected.as_ref().is_some_and(|corrected| corrected[row]);
            self.log_times.push(log_time);
            self.corrected.push(is_corrected);
            self.clamped.push(times[row].saturating_sub(log_time) > stamp.max_future_skew);
        }
    }

    fn file_key(&mut self, file: &Arc<str>) -> i32 {
        *self.file_places.entry(file.clone()).or_insert_with(|| {
            self.files.push(file.clone());
            self.files.len() as i32 - 1
        })
    }

    /// In the order of the schema.
    fn finish(self, stamp: &Stamp<'_>) -> [ArrayRef; 8] {
        let rows = self.offsets.len();
        let partition = StringArray::from_iter_values([&*stamp.partition.name]);
        let null = |field: FieldId| new_null_array(&field.spec().field_type.arrow(), rows);
        let (files, lines) = match self.files.is_empty() {
            true => (null(FieldId::LogFile), null(FieldId::LogLine)),
            false => (
                dictionary(self.file_keys, StringArray::from_iter_values(self.files)),
                Arc::new(Int64Array::from(self.lines)) as ArrayRef,
            ),
        };
        [
            dictionary(vec![0; rows], partition),
            Arc::new(Int64Array::from(self.offsets)),
            Arc::new(TimestampMicrosecondArray::from(self.log_times).with_timezone("UTC")),
            files,
            lines,
            self.corrected.finish(rows),
            self.clamped.finish(rows),
            Flags::default().finish(rows),
        ]
    }
}

fn dictionary(keys: Vec<i32>, values: StringArray) -> ArrayRef {
    let array = DictionaryArray::<Int32Type>::try_new(Int32Array::from(keys), Arc::new(values));
    Arc::new(array.expect("every key is within the values"))
}

/// A column of flags that are nearly all false: nothing is allocated before the first that is not.
#[derive(Default)]
struct Flags {
    rows: usize,
    set: Vec<usize>,
}

impl Flags {
    fn push(&mut self, flag: bool) {
        if flag {
            self.set.push(self.rows);
        }
        self.rows += 1;
    }

    fn finish(self, rows: usize) -> ArrayRef {
        if self.set.is_empty() {
            return Arc::new(BooleanArray::new(BooleanBuffer::new_unset(rows), None));
        }
        let mut flags = BooleanBufferBuilder::new(rows);
        flags.append_n(rows, false);
        self.set.into_iter().for_each(|row| flags.set_bit(row, true));
        Arc::new(BooleanArray::new(flags.finish(), None))
    }
}

/// The events' own columns, of stretches of rows of chunks.
fn event_columns(chunks: &[Arc<TimedChunk>], runs: &[(usize, Range<usize>)]) -> Vec<ArrayRef> {
    let fields = FieldId::all().take(EVENT_FIELDS);
    match runs {
        [] => return fields.map(|f| new_empty_array(&f.spec().field_type.arrow())).collect(),
        [(place, rows)] => {
            let arrays = chunks[*place].chunk.events.arrays.iter();
            return arrays.map(|array| array.slice(rows.start, rows.len())).collect();
        }
        _ => {}
    }
    let rows: usize = runs.iter().map(|(_, rows)| rows.len()).sum();
    let picks: Vec<(usize, usize)> = match rows >= runs.len() * ROWS_WORTH_A_COPY {
        true => Vec::new(),
        false => runs.iter().flat_map(|(place, r)| r.clone().map(|row| (*place, row))).collect(),
    };
    fields
        .map(|field| {
            let arrays: Vec<&ArrayRef> =
                chunks.iter().map(|c| &c.chunk.events.arrays[field.index()]).collect();
            let field_type = field.spec().field_type;
            if arrays.iter().all(|array| array.null_count() == array.len()) {
                return new_null_array(&field_type.arrow(), rows);
            }
            match field_type {
                FieldType::Term => super::terms::join_terms(&arrays, runs),
                _ => join(&arrays, runs, &picks),
            }
        })
        .collect()
}

fn join(
    arrays: &[&ArrayRef],
    runs: &[(usize, Range<usize>)],
    picks: &[(usize, usize)],
) -> ArrayRef {
    let joined = if picks.is_empty() {
        let slices: Vec<ArrayRef> =
            runs.iter().map(|(place, r)| arrays[*place].slice(r.start, r.len())).collect();
        concat(&slices.iter().map(|slice| &**slice).collect::<Vec<_>>())
    } else {
        interleave(&arrays.iter().map(|array| &***array).collect::<Vec<_>>(), picks)
    };
    joined.expect("the arrays of a field have one type")
}
