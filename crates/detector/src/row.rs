//! One selected row of a batch: its key, its arrival, its facts.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use lapwing_event::vocabulary::REASON_CODES;
use lapwing_event::{Batch, FieldId, FieldType, KeyValue};

use crate::entry::{Arrival, Entry, Fact, NO_FILE, NO_REASON};
use crate::name;
use crate::rule::Measure;

/// The columns of a batch that every selected row needs.
pub(crate) struct Columns<'a> {
    events: &'a RecordBatch,
    times: &'a [i64],
    log_times: &'a [i64],
    offsets: &'a [i64],
    /// The number of each reason code in the dictionary of the batch.
    reasons: Vec<u16>,
}

/// One row.
pub(crate) struct Row<'a> {
    events: &'a RecordBatch,
    files: &'a [u32],
    reasons: &'a [u16],
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
        let reasons = batch.events.column(FieldId::ReasonCode.index());
        let reasons = reasons.as_dictionary::<Int32Type>().values().as_string::<i32>();
        let number = |reason: Option<&str>| {
            let number = REASON_CODES.iter().position(|t| Some(t.value) == reason);
            number.map_or(NO_REASON, |number| number as u16)
        };
        Self {
            reasons: reasons.iter().map(number).collect(),
            events: &batch.events,
            times: batch.event_times(),
            log_times: batch.event_log_times(),
            offsets: batch.event_offsets(),
        }
    }

    /// A row; its log time is at least `log_time`, since ticks may have moved it on.
    pub(crate) fn row<'r>(&'r self, index: usize, files: &'r [u32], log_time: i64) -> Row<'r> {
        let log_time = self.log_times[index].max(log_time);
        Row {
            events: self.events,
            files,
            reasons: &self.reasons,
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
                let numbers = column.as_primitive::<Float64Type>();
                let number = numbers.is_valid(self.index).then(|| numbers.value(self.index))?;
                Some(KeyValue::Text(format!("{number:.2}").into()))
            }
            FieldType::Flag => None,
        }
    }

    /// Writes its group key; says whether all of its fields have values.
    pub(crate) fn write_key(&self, group_by: &[FieldId], out: &mut Vec<u8>) -> bool {
        let mut is_whole = true;
        for field in group_by {
            let number = match field.spec().field_type {
                FieldType::Count => self.int(*field),
                _ => None,
            };
            match (number, self.text(*field)) {
                (Some(number), _) => name::write_int(number, out),
                (None, Some(text)) => name::write_text(text, out),
                (None, None) => {
                    name::write_null(out);
                    is_whole = false;
                }
            }
        }
        is_whole
    }

    /// The values of the fields that a text names.
    pub(crate) fn facts(&self, fields: &[FieldId]) -> impl Iterator<Item = Option<KeyValue>> {
        fields.iter().map(|f| self.value(*f))
    }

    /// What windows need of it; `positions` are those of the detections that select it.
    pub(crate) fn arrival(&self, measure: Measure, positions: u16) -> Arrival {
        let fact = match measure {
            Measure::ValueSum(field) | Measure::ValueAvg(field) => {
                self.number(field).map_or(Fact::NONE, Fact::number)
            }
            Measure::Temporal | Measure::TemporalOrdered => Fact::positions(positions),
            Measure::EventCount | Measure::ValueCount(_) | Measure::Absence => Fact::NONE,
        };
        let value = match measure {
            Measure::ValueCount(field) => self.value(field).map(|value| value_digest(&value)),
            _ => None,
        };
        Arrival { entry: Entry { fact, ..self.entry() }, value }
    }

    fn entry(&self) -> Entry {
        let file = self.events.column(FieldId::LogFile.index()).as_dictionary::<Int32Type>();
        let file = file.key(self.index).and_then(|key| self.files.get(key));
        let reason = self.events.column(FieldId::ReasonCode.index()).as_dictionary::<Int32Type>();
        let reason = reason.key(self.index).and_then(|key| self.reasons.get(key));
        let count = self.int(FieldId::Count).unwrap_or(1).clamp(1, i64::from(u32::MAX));
        Entry {
            time: self.time,
            offset: self.offset,
            id: self.id_digest(),
            fact: Fact::NONE,
            line: self.int(FieldId::LogLine).and_then(|l| u32::try_from(l).ok()).unwrap_or(0),
            file: file.copied().unwrap_or(NO_FILE),
            count: count as u32,
            reason: reason.copied().unwrap_or(NO_REASON),
        }
    }

    /// A number in the unit of its field: whole, or steps of 1e-9 up to 9.2e9.
    fn number(&self, field: FieldId) -> Option<i64> {
        match field.spec().field_type {
            FieldType::Float => {
                let column = self.events.column(field.index());
                let numbers = column.as_primitive::<Float64Type>();
                let number = numbers.is_valid(self.index).then(|| numbers.value(self.index))?;
                Some((number * 1e9).round() as i64)
            }
            _ => self.int(field),
        }
    }

    /// A digest of (product, id); 0 without an id.
    fn id_digest(&self) -> u64 {
        let Some(id) = self.text(FieldId::Id) else { return 0 };
        let product = self.text(FieldId::Product).unwrap_or_default();
        xxh3_64_with_seed(id.as_bytes(), xxh3_64(product.as_bytes())).max(1)
    }
}

/// A digest that nobody can make collide, so that counts of distinct values are exact even where
/// the values are an attacker's.
fn value_digest(value: &KeyValue) -> u128 {
    let digest: [u8; 32] = match value {
        KeyValue::Text(text) => Sha256::digest(text.as_bytes()),
        value => Sha256::digest(value.to_string().as_bytes()),
    }
    .into();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    u128::from_le_bytes(half)
}
