//! One selected row of a batch: its key, its entry, its facts.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use sha2::{Digest, Sha256};

use lapwing_event::vocabulary::REASON_CODES;
use lapwing_event::{Batch, FieldId, FieldType, KeyValue};

use crate::episode::Place;
use crate::window::{Entry, NO_FILE, NO_REASON};

/// The columns of a batch that every selected row needs.
pub(crate) struct Columns<'a> {
    events: &'a RecordBatch,
    times: &'a [i64],
    log_times: &'a [i64],
    offsets: &'a [i64],
}

/// One row.
pub(crate) struct Row<'a> {
    events: &'a RecordBatch,
    files: &'a [u32],
    /// Its index in the batch.
    pub(crate) index: usize,
    /// Its event time: min(time, log time).
    pub(crate) time: i64,
    /// Its log time.
    pub(crate) log_time: i64,
    /// Its offset.
    pub(crate) offset: i64,
}

impl<'a> Columns<'a> {
    pub(crate) fn of(batch: &'a Batch) -> Self {
        Self {
            events: &batch.events,
            times: batch.event_times(),
            log_times: batch.event_log_times(),
            offsets: batch.event_offsets(),
        }
    }

    pub(crate) fn row(&self, index: usize, files: &'a [u32]) -> Row<'a> {
        let log_time = self.log_times[index];
        Row {
            events: self.events,
            files,
            index,
            time: self.times[index].min(log_time),
            log_time,
            offset: self.offsets[index],
        }
    }
}

impl Row<'_> {
    fn text(&self, field: FieldId) -> Option<&str> {
        let column = self.events.column(field.index());
        match field.spec().field_type {
            FieldType::Term => {
                let terms = column.as_dictionary::<Int32Type>();
                let key = terms.key(self.index)?;
                Some(terms.values().as_string::<i32>().value(key))
            }
            FieldType::Text => {
                let texts = column.as_string::<i32>();
                texts.is_valid(self.index).then(|| texts.value(self.index))
            }
            _ => None,
        }
    }

    fn int(&self, field: FieldId) -> Option<i64> {
        let column = self.events.column(field.index());
        let numbers = column.as_primitive_opt::<Int64Type>()?;
        numbers.is_valid(self.index).then(|| numbers.value(self.index))
    }

    fn value(&self, field: FieldId) -> Option<KeyValue> {
        let column = self.events.column(field.index());
        match field.spec().field_type {
            FieldType::Term | FieldType::Text => self.text(field).map(|t| KeyValue::Text(t.into())),
            FieldType::Count => self.int(field).map(KeyValue::Int),
            FieldType::Time => {
                let times = column.as_primitive::<TimestampMicrosecondType>();
                Some(KeyValue::Text(
                    lapwing_event::time::format_time(times.value(self.index)).into(),
                ))
            }
            FieldType::Float => {
                let numbers = column.as_primitive::<arrow_array::types::Float64Type>();
                let number = numbers.is_valid(self.index).then(|| numbers.value(self.index))?;
                Some(KeyValue::Text(format!("{number:.2}").into()))
            }
            FieldType::Flag => None,
        }
    }

    /// Its group key.
    pub(crate) fn key(&self, group_by: &[FieldId]) -> Box<[KeyValue]> {
        group_by.iter().map(|f| self.value(*f).unwrap_or(KeyValue::Null)).collect()
    }

    /// The values of the fields that a text names.
    pub(crate) fn facts(&self, fields: &[FieldId]) -> impl Iterator<Item = Option<KeyValue>> {
        fields.iter().map(|f| self.value(*f))
    }

    /// Where it stands.
    pub(crate) fn place(&self) -> Place {
        let file = self.events.column(FieldId::LogFile.index()).as_dictionary::<Int32Type>();
        let file = file.key(self.index).and_then(|key| self.files.get(key));
        let reason = self.text(FieldId::ReasonCode);
        let reason = reason.and_then(|r| REASON_CODES.iter().position(|t| t.value == r));
        Place {
            time: self.time,
            offset: self.offset,
            file: file.copied().unwrap_or(NO_FILE),
            line: self.int(FieldId::LogLine).unwrap_or(0),
            reason: reason.map_or(NO_REASON, |r| r as u16),
        }
    }

    /// What windows need of it; `distinct` is the field whose values are counted.
    pub(crate) fn entry(&self, distinct: Option<FieldId>) -> Entry {
        let Place { time, offset, file, line, reason } = self.place();
        Entry {
            time,
            offset,
            count: self.int(FieldId::Count).unwrap_or(1).clamp(1, Entry::MAX_COUNT) as u64,
            id: self.id_digest(),
            value: distinct.and_then(|f| self.value(f)).map_or(0, |v| value_digest(&v)),
            file,
            line,
            reason,
            covered: false,
        }
    }

    /// A digest of (product, id); 0 without an id.
    fn id_digest(&self) -> u128 {
        let Some(id) = self.text(FieldId::Id) else { return 0 };
        let product = self.text(FieldId::Product).unwrap_or_default();
        digest(&[product.as_bytes(), &[0], id.as_bytes()])
    }
}

fn value_digest(value: &KeyValue) -> u128 {
    digest(&[value.to_string().as_bytes()])
}

/// A digest that nobody can make collide, so that counts of ids and of distinct values are exact even
/// where these are an attacker's; never 0.
fn digest(parts: &[&[u8]]) -> u128 {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    let digest: [u8; 32] = hash.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    u128::from_le_bytes(half).max(1)
}
