//! One selected event as windows keep it.

use lapwing_event::FieldId;
use serde::{Deserialize, Serialize};

use crate::rule::Measure;

/// One selected event, as far as windows and evidence need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Event time, microseconds.
    pub(crate) time: i64,
    /// Offset in the partition.
    pub(crate) offset: i64,
    /// Digest of (product, id); 0 without an id. It need not withstand an attacker: who can choose
    /// ids can have events taken for repetitions anyway, by repeating an id.
    pub(crate) id: u64,
    /// What the rule measures of it; see [`Fact`].
    pub(crate) fact: Fact,
    /// Its line; 0 without one.
    pub(crate) line: u32,
    /// Index of its file; [`NO_FILE`] without one.
    pub(crate) file: u32,
    /// Occurrences it stands for.
    pub(crate) count: u32,
    /// Index of its reason code; [`NO_REASON`] without one.
    pub(crate) reason: u16,
}

/// An entry without a file.
pub(crate) const NO_FILE: u32 = u32::MAX;
/// An entry without a reason code.
pub(crate) const NO_REASON: u16 = u16::MAX;

impl Entry {
    /// The order of entries: by time, then by arrival.
    pub(crate) fn order(&self) -> (i64, i64) {
        (self.time, self.offset)
    }

    /// Whether another record tells the same once more.
    pub(crate) fn is_repeated_by(&self, other: &Self) -> bool {
        (self.id, self.time, self.count, self.fact)
            == (other.id, other.time, other.count, other.fact)
    }
}

/// What a rule measures of an event, in one word: nothing; a number in the unit of its field; a value
/// by its place in the key's table; or the positions whose detections select it, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Fact(u64);

impl Fact {
    /// Nothing: null, or a rule that measures nothing of an event.
    pub(crate) const NONE: Self = Self(0);

    /// A number from 0.
    pub(crate) fn number(number: i64) -> Self {
        Self(number.max(0) as u64 + 1)
    }

    /// A value by its place.
    pub(crate) fn value(slot: u32) -> Self {
        Self(u64::from(slot) + 1)
    }

    /// The positions of the detections that select the event.
    pub(crate) fn positions(bits: u16) -> Self {
        Self(u64::from(bits))
    }

    /// The number.
    pub(crate) fn as_number(self) -> Option<i64> {
        self.0.checked_sub(1).map(|number| number as i64)
    }

    /// The place of the value.
    pub(crate) fn as_value(self) -> Option<u32> {
        self.0.checked_sub(1).map(|slot| slot as u32)
    }

    /// The positions.
    pub(crate) fn as_positions(self) -> u16 {
        self.0 as u16
    }
}

/// An event that arrives: its entry, and its value before it has a place in the key's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) entry: Entry,
    /// A digest of the value that `value_count` counts.
    pub(crate) value: Option<u128>,
}

/// The field that a measure reads.
pub(crate) fn measured_field(measure: Measure) -> Option<FieldId> {
    match measure {
        Measure::ValueCount(field) | Measure::ValueSum(field) | Measure::ValueAvg(field) => {
            Some(field)
        }
        Measure::EventCount | Measure::Temporal | Measure::TemporalOrdered | Measure::Absence => {
            None
        }
    }
}
