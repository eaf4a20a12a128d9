//! Joins dictionary columns of several chunks into one with each value once, so that a predicate is
//! evaluated once per value of a batch.

use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, PrimitiveArray, StringArray};
use arrow_buffer::{NullBuffer, NullBufferBuilder, ScalarBuffer};
use hashbrown::HashTable;

/// Not yet given a key in the joined dictionary.
const UNKNOWN: i32 = -1;

/// Joins stretches of rows, each of one of the arrays.
pub(crate) fn join_terms(arrays: &[&ArrayRef], runs: &[(usize, Range<usize>)]) -> ArrayRef {
    let sources: Vec<Source<'_>> = arrays.iter().map(|array| Source::new(array)).collect();
    let mut maps: Vec<Vec<i32>> = sources.iter().map(|s| vec![UNKNOWN; s.values.len()]).collect();
    let mut joined = Distinct::default();
    let rows = runs.iter().map(|(_, rows)| rows.len()).sum();
    let mut keys: Vec<i32> = Vec::with_capacity(rows);
    let mut valid = NullBufferBuilder::new(rows);
    for (array, rows) in runs {
        let (source, map) = (&sources[*array], &mut maps[*array]);
        for row in rows.clone() {
            if source.nulls.is_some_and(|nulls| nulls.is_null(row)) {
                keys.push(0);
                valid.append_null();
                continue;
            }
            let key = &mut map[source.keys[row] as usize];
            if *key == UNKNOWN {
                *key = joined.intern(source.values.value(source.keys[row] as usize));
            }
            keys.push(*key);
            valid.append_non_null();
        }
    }
    let keys = PrimitiveArray::<Int32Type>::new(ScalarBuffer::from(keys), valid.finish());
    let values = StringArray::from_iter_values(joined.values);
    let array = DictionaryArray::try_new(keys, Arc::new(values));
    Arc::new(array.expect("every key was given by this dictionary"))
}

struct Source<'a> {
    keys: &'a [i32],
    nulls: Option<&'a NullBuffer>,
    values: &'a StringArray,
}

impl<'a> Source<'a> {
    fn new(array: &'a ArrayRef) -> Self {
        let array = array.as_dictionary::<Int32Type>();
        let keys = array.keys();
        Self { keys: keys.values(), nulls: keys.nulls(), values: array.values().as_string() }
    }
}

/// Distinct texts, numbered in the order of their first appearance.
#[derive(Default)]
struct Distinct<'a> {
    values: Vec<&'a str>,
    table: HashTable<i32>,
    hasher: foldhash::fast::FixedState,
}

impl<'a> Distinct<'a> {
    fn intern(&mut self, text: &'a str) -> i32 {
        let hash = self.hasher.hash_one(text);
        let values = &self.values;
        if let Some(key) = self.table.find(hash, |&key| values[key as usize] == text) {
            return *key;
        }
        let key = self.values.len() as i32;
        self.values.push(text);
        let (values, hasher) = (&self.values, &self.hasher);
        self.table.insert_unique(hash, key, |&key| hasher.hash_one(values[key as usize]));
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_rows_read_the_same_and_each_value_stands_once() {
        let texts = |rows: &[Option<&str>]| -> ArrayRef {
            Arc::new(rows.iter().copied().collect::<DictionaryArray<Int32Type>>())
        };
        let a = texts(&[Some("x"), None, Some("y")]);
        let b = texts(&[Some("unused"), Some("y"), Some("x")]);
        let joined = join_terms(&[&a, &b], &[(0, 0..2), (1, 1..3), (0, 2..3)]);
        let joined = joined.as_dictionary::<Int32Type>();
        let rows: Vec<_> =
            joined.downcast_dict::<StringArray>().expect("text").into_iter().collect();
        assert_eq!(rows, [Some("x"), None, Some("y"), Some("x"), Some("y")]);
        assert_eq!(joined.values().len(), 2);
    }
}
