//! A key with one event, in a few dozen bytes: most keys of a flood never have a second one.

use serde::{Deserialize, Serialize};

use crate::entry::{Arrival, Entry};
use crate::key::Key;
use crate::plan::Plan;
use crate::rule::Measure;
use crate::window::Found;

/// What there is to know of a key with one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Single {
    pub(crate) entry: Entry,
    /// A digest of the value that is counted.
    pub(crate) value: Option<u128>,
    /// Its log time − event time.
    pub(crate) skew: i64,
    /// Whether an earlier key of this name may have been evicted.
    pub(crate) is_after_eviction: bool,
}

impl Single {
    /// Whether the window of this event alone holds, so that there is an alert to be kept.
    pub(crate) fn holds_alone(arrival: &Arrival, plan: &Plan) -> bool {
        let entry = &arrival.entry;
        let figure = match plan.measure {
            Measure::EventCount => i128::from(entry.count),
            Measure::ValueCount(_) => i128::from(arrival.value.is_some()),
            Measure::ValueSum(_) => i128::from(entry.fact.as_number().unwrap_or(0)),
            Measure::Temporal => i128::from(entry.fact.as_positions().count_ones()),
            // An order takes two events.
            Measure::TemporalOrdered => return false,
            Measure::ValueAvg(_) | Measure::Absence => return true,
        };
        figure >= plan.threshold
    }

    /// The name of a key and its event, as bytes.
    pub(crate) fn pack(&self, name: &[u8]) -> Box<[u8]> {
        postcard::to_stdvec(&(name, self)).expect("bytes and numbers can be encoded").into()
    }

    /// Reads what [`pack`](Self::pack) wrote.
    pub(crate) fn unpack(bytes: &[u8]) -> (&[u8], Self) {
        postcard::from_bytes(bytes).expect("written by pack, or checked when it was read back")
    }

    /// Whether bytes that were read back are what [`pack`](Self::pack) writes.
    pub(crate) fn is_packed(bytes: &[u8]) -> bool {
        postcard::from_bytes::<(&[u8], Self)>(bytes).is_ok()
    }

    /// The name alone.
    pub(crate) fn name(bytes: &[u8]) -> &[u8] {
        postcard::take_from_bytes::<&[u8]>(bytes).expect("written by pack").0
    }

    /// The key that has this event.
    pub(crate) fn into_key(self, plan: &Plan) -> Key {
        let mut key = Key::new(plan, self.entry.time, self.skew);
        key.lost.evicted = self.is_after_eviction;
        let arrival = Arrival { entry: self.entry, value: self.value };
        key.windows.insert(&arrival, plan, &mut Found::default());
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Fact, NO_REASON};

    #[test]
    fn an_event_is_a_few_dozen_bytes_and_comes_back_as_it_was() {
        let single = Single {
            entry: Entry {
                time: 1_774_000_000_000_000,
                offset: 10_000_000,
                id: u64::MAX,
                fact: Fact::NONE,
                line: 10_000_000,
                file: 3,
                count: 1,
                reason: NO_REASON,
            },
            value: None,
            skew: 250_000,
            is_after_eviction: false,
        };
        let mut name = Vec::new();
        crate::name::write_text("openclaw", &mut name);
        crate::name::write_text("203.0.113.200", &mut name);
        let bytes = single.pack(&name);
        assert!(bytes.len() <= 70, "{} bytes", bytes.len());
        assert_eq!(Single::unpack(&bytes), (&name[..], single));
        assert_eq!(Single::name(&bytes), name);
    }
}
