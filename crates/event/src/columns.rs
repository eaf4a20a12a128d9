//! Events become columns: rows are appended field by field, dictionary columns intern their
//! values once per batch, and a column that no row touches costs nothing until the end.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow_array::builder::{ArrayBuilder, StringBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Float64Array, Int64Array, PrimitiveArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow_buffer::{NullBufferBuilder, ScalarBuffer};
use hashbrown::HashTable;

use crate::event::Event;
use crate::field::{EVENT_FIELDS, FieldId, FieldType};
use crate::rejected::{Reject, RejectReason};
use crate::vocabulary::{Term, nearest};

/// The event columns of a batch while it is being filled: everything but the log's own columns.
#[derive(Debug)]
pub struct EventColumns {
    rows: usize,
    columns: Vec<Column>,
    closed: Vec<usize>,
}

#[derive(Debug)]
enum Column {
    Term(TermColumn),
    Text(StringBuilder),
    Number { values: Vec<i64>, valid: NullBufferBuilder, time: bool },
    Float { values: Vec<f64>, valid: NullBufferBuilder },
}

/// The finished event columns of a batch, in the order of the table.
#[derive(Debug, Clone)]
pub struct EventArrays {
    /// The number of events.
    pub rows: usize,
    /// One array per field of an [`Event`].
    pub arrays: Vec<ArrayRef>,
}

impl Default for EventColumns {
    fn default() -> Self {
        let spec = |i: usize| FieldId::all().nth(i).expect("within the table").spec();
        let columns = (0..EVENT_FIELDS)
            .map(|i| match spec(i).field_type {
                FieldType::Term => Column::Term(TermColumn::new(spec(i).terms)),
                FieldType::Text => Column::Text(StringBuilder::new()),
                FieldType::Count | FieldType::Time => Column::Number {
                    values: Vec::new(),
                    valid: NullBufferBuilder::new(0),
                    time: spec(i).field_type == FieldType::Time,
                },
                FieldType::Float => {
                    Column::Float { values: Vec::new(), valid: NullBufferBuilder::new(0) }
                }
                FieldType::Flag => unreachable!("flags are the log's own columns"),
            })
            .collect();
        let closed = (0..EVENT_FIELDS).filter(|&i| spec(i).terms.is_some()).collect();
        Self { rows: 0, columns, closed }
    }
}

impl EventColumns {
    /// The number of events so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Appends an event, or says why it is none; then nothing was appended.
    pub fn push(&mut self, event: &Event) -> Result<(), Reject> {
        let keys = self.check(event)?;
        for index in event.set_indices() {
            let field = &mut self.columns[index];
            let id = FieldId::by_index(index);
            match field {
                Column::Term(column) => match keys.of(index) {
                    Some(key) => column.push_key(self.rows, key),
                    None => {
                        let key = column.intern(event.text(id).unwrap_or_default());
                        column.push_key(self.rows, key);
                    }
                },
                Column::Text(values) => {
                    pad_text(values, self.rows);
                    values.append_value(event.text(id).unwrap_or_default());
                }
                Column::Number { values, valid, .. } => {
                    pad(values, valid, self.rows);
                    values.push(event.int(id).unwrap_or_default());
                    valid.append_non_null();
                }
                Column::Float { values, valid } => {
                    pad(values, valid, self.rows);
                    values.push(event.float(id).unwrap_or_default());
                    valid.append_non_null();
                }
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Checks what every event must have, and interns the values of the closed lists.
    fn check(&mut self, event: &Event) -> Result<ClosedKeys, Reject> {
        if !event.has(FieldId::Time) {
            return Err(Reject::new(RejectReason::NoTime, "time is missing"));
        }
        if !event.has(FieldId::Kind) {
            return Err(Reject::new(RejectReason::NoKind, "kind is missing"));
        }
        if event.int(FieldId::Count).is_some_and(|n| n < 1) {
            return Err(Reject::new(RejectReason::WrongType, "count must be at least 1"));
        }
        let mut keys = ClosedKeys::default();
        for &index in &self.closed {
            let id = FieldId::by_index(index);
            let (Some(text), Column::Term(column)) = (event.text(id), &mut self.columns[index])
            else {
                continue;
            };
            let key = column.intern_closed(text).ok_or_else(|| unknown_value(id, text))?;
            keys.push(index, key);
        }
        Ok(keys)
    }

    /// The columns as arrays; the builder is empty again.
    pub fn finish(&mut self) -> EventArrays {
        let rows = std::mem::take(&mut self.rows);
        let mut arrays: Vec<ArrayRef> =
            self.columns.iter_mut().enumerate().map(|(i, c)| c.finish(i, rows)).collect();
        arrays[FieldId::ContextUtilization.index()] = utilization(&arrays, rows);
        EventArrays { rows, arrays }
    }
}

/// The keys of the closed-list fields of one event; there are four such fields.
#[derive(Default)]
struct ClosedKeys {
    items: [(usize, i32); 4],
    len: usize,
}

impl ClosedKeys {
    fn push(&mut self, column: usize, key: i32) {
        self.items[self.len] = (column, key);
        self.len += 1;
    }

    fn of(&self, column: usize) -> Option<i32> {
        self.items[..self.len].iter().find(|(c, _)| *c == column).map(|(_, key)| *key)
    }
}

fn unknown_value(field: FieldId, text: &str) -> Reject {
    let spec = field.spec();
    let known = spec.terms.unwrap_or_default().iter().map(|t| t.value);
    let hint = nearest(text, known).map(|k| format!("; did you mean {k:?}?")).unwrap_or_default();
    let shown: String = text.chars().take(64).collect();
    Reject::new(
        RejectReason::UnknownValue,
        format!("{}: {shown:?} is not in the published list{hint}", spec.name),
    )
}

impl Column {
    fn finish(&mut self, index: usize, rows: usize) -> ArrayRef {
        let field_type = FieldId::by_index(index).spec().field_type;
        match self {
            Self::Term(column) => {
                column.finish(rows).unwrap_or_else(|| new_null_array(&field_type.arrow(), rows))
            }
            Self::Text(values) => {
                if values.is_empty() {
                    return new_null_array(&field_type.arrow(), rows);
                }
                pad_text(values, rows);
                Arc::new(values.finish())
            }
            Self::Number { values, valid, time } => {
                if values.is_empty() {
                    return new_null_array(&field_type.arrow(), rows);
                }
                pad(values, valid, rows);
                let values = ScalarBuffer::from(std::mem::take(values));
                let array = Int64Array::new(values, valid.finish());
                if *time {
                    let times: PrimitiveArray<_> = array.reinterpret_cast();
                    let times: TimestampMicrosecondArray = times;
                    Arc::new(times.with_timezone("UTC"))
                } else {
                    Arc::new(array)
                }
            }
            Self::Float { values, valid } => {
                if values.is_empty() {
                    return new_null_array(&field_type.arrow(), rows);
                }
                pad(values, valid, rows);
                let values = ScalarBuffer::from(std::mem::take(values));
                Arc::new(Float64Array::new(values, valid.finish()))
            }
        }
    }
}

fn pad<T: Default + Clone>(values: &mut Vec<T>, valid: &mut NullBufferBuilder, rows: usize) {
    let missing = rows - values.len();
    if missing > 0 {
        values.resize(rows, T::default());
        valid.append_n_nulls(missing);
    }
}

fn pad_text(values: &mut StringBuilder, rows: usize) {
    values.append_nulls(rows - values.len());
}

fn utilization(arrays: &[ArrayRef], rows: usize) -> ArrayRef {
    let number = |field: FieldId| arrays[field.index()].as_any().downcast_ref::<Int64Array>();
    let (Some(tokens), Some(limits)) =
        (number(FieldId::ContextTokens), number(FieldId::ContextLimit))
    else {
        unreachable!("counts are Int64 columns");
    };
    if tokens.null_count() == rows || limits.null_count() == rows {
        return new_null_array(&FieldType::Float.arrow(), rows);
    }
    let values = tokens.iter().zip(limits).map(|pair| match pair {
        (Some(tokens), Some(limit)) if limit > 0 => Some(tokens as f64 / limit as f64),
        _ => None,
    });
    Arc::new(Float64Array::from_iter(values))
}

/// A dictionary column: keys per row, each distinct value once.
#[derive(Debug)]
struct TermColumn {
    keys: Vec<i32>,
    valid: NullBufferBuilder,
    values: StringBuilder,
    table: HashTable<i32>,
    hasher: foldhash::fast::FixedState,
    terms: Option<&'static [Term]>,
    last: i32,
}

impl TermColumn {
    fn new(terms: Option<&'static [Term]>) -> Self {
        Self {
            keys: Vec::new(),
            valid: NullBufferBuilder::new(0),
            values: StringBuilder::new(),
            table: HashTable::new(),
            hasher: foldhash::fast::FixedState::default(),
            terms,
            last: -1,
        }
    }

    fn value(values: &StringBuilder, key: i32) -> &[u8] {
        let offsets = values.offsets_slice();
        let (start, end) = (offsets[key as usize], offsets[key as usize + 1]);
        &values.values_slice()[start as usize..end as usize]
    }

    fn intern(&mut self, text: &str) -> i32 {
        self.find(text).unwrap_or_else(|| self.insert(text))
    }

    /// Interns a value of a closed list; the list is searched once per distinct value.
    fn intern_closed(&mut self, text: &str) -> Option<i32> {
        if let Some(key) = self.find(text) {
            return Some(key);
        }
        let known = self.terms.is_none_or(|terms| terms.iter().any(|t| t.value == text));
        known.then(|| self.insert(text))
    }

    fn find(&mut self, text: &str) -> Option<i32> {
        if self.last >= 0 && Self::value(&self.values, self.last) == text.as_bytes() {
            return Some(self.last);
        }
        let hash = self.hasher.hash_one(text.as_bytes());
        let values = &self.values;
        let found = self.table.find(hash, |&key| Self::value(values, key) == text.as_bytes());
        found.copied().inspect(|&key| self.last = key)
    }

    fn insert(&mut self, text: &str) -> i32 {
        let hash = self.hasher.hash_one(text.as_bytes());
        let key = self.table.len() as i32;
        self.values.append_value(text);
        let (values, hasher) = (&self.values, &self.hasher);
        self.table.insert_unique(hash, key, |&key| hasher.hash_one(Self::value(values, key)));
        self.last = key;
        key
    }

    fn push_key(&mut self, row: usize, key: i32) {
        pad(&mut self.keys, &mut self.valid, row);
        self.keys.push(key);
        self.valid.append_non_null();
    }

    fn finish(&mut self, rows: usize) -> Option<ArrayRef> {
        self.last = -1;
        self.table.clear();
        let values = self.values.finish();
        if self.keys.is_empty() {
            return None;
        }
        pad(&mut self.keys, &mut self.valid, rows);
        let keys = ScalarBuffer::from(std::mem::take(&mut self.keys));
        let keys = PrimitiveArray::<Int32Type>::new(keys, self.valid.finish());
        let array = DictionaryArray::try_new(keys, Arc::new(values));
        Some(Arc::new(array.expect("every key was given by this dictionary")))
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;

    use super::*;

    fn event(kind: &str) -> Event {
        let mut event = Event::default();
        event.set_int(FieldId::Time, 1);
        event.set_text(FieldId::Kind, kind);
        event
    }

    #[test]
    fn rows_read_back_equal_with_nulls_where_nothing_was_set() {
        let mut columns = EventColumns::default();
        for i in 0..5 {
            let mut event = event("tool");
            if i % 2 == 0 {
                event.set_text(FieldId::ToolName, if i == 0 { "exec" } else { "read" });
                event.set_text(FieldId::Id, &format!("id{i}"));
                event.set_int(FieldId::DurationMs, i);
            }
            columns.push(&event).expect("valid");
        }
        let arrays = columns.finish();
        assert_eq!(arrays.rows, 5);
        let tool = arrays.arrays[FieldId::ToolName.index()].as_dictionary::<Int32Type>();
        let tool = tool.downcast_dict::<arrow_array::StringArray>().expect("text");
        let tools: Vec<_> = tool.into_iter().collect();
        assert_eq!(tools, [Some("exec"), None, Some("read"), None, Some("read")]);
        let ids: Vec<_> = arrays.arrays[FieldId::Id.index()].as_string::<i32>().iter().collect();
        assert_eq!(ids, [Some("id0"), None, Some("id2"), None, Some("id4")]);
        assert_eq!(columns.finish().rows, 0);
    }

    #[test]
    fn a_rejected_event_leaves_nothing_behind() {
        let mut columns = EventColumns::default();
        let mut bad = event("tool");
        bad.set_text(FieldId::Outcome, "denid");
        let reject = columns.push(&bad).expect_err("not in the list");
        assert_eq!(reject.reason, RejectReason::UnknownValue);
        assert!(reject.detail.contains("did you mean \"denied\""), "{}", reject.detail);
        assert_eq!(columns.rows(), 0);
        columns.push(&event("auth")).expect("valid");
        let arrays = columns.finish();
        assert_eq!(arrays.rows, 1);
        assert!(arrays.arrays.iter().all(|a| a.len() == 1));
    }

    #[test]
    fn utilization_is_derived_where_both_parts_are_known() {
        let mut columns = EventColumns::default();
        for (tokens, limit) in [(Some(95), Some(100)), (Some(5), None), (Some(5), Some(0))] {
            let mut event = event("context");
            tokens.into_iter().for_each(|n| event.set_int(FieldId::ContextTokens, n));
            limit.into_iter().for_each(|n| event.set_int(FieldId::ContextLimit, n));
            columns.push(&event).expect("valid");
        }
        let arrays = columns.finish();
        let array = arrays.arrays[FieldId::ContextUtilization.index()]
            .as_primitive::<arrow_array::types::Float64Type>();
        assert_eq!(array.iter().collect::<Vec<_>>(), [Some(0.95), None, None]);
    }

    #[test]
    fn there_are_four_closed_lists() {
        assert_eq!(EventColumns::default().closed.len(), 4);
    }
}
