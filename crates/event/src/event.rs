//! One record, normalised: what a format writes and the columns take over.
//!
//! The texts of all fields lie in one buffer that is used again for the next record, so a
//! format may compute a value without allocating, and nothing borrows from the record.

use crate::field::{EVENT_FIELDS, FieldId, FieldType};

/// A normalised record. Setting a field twice keeps the last value.
#[derive(Debug)]
pub struct Event {
    set: u64,
    slots: [Slot; EVENT_FIELDS],
    text: String,
}

/// A value: a number by its bits, or a stretch of the text buffer.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    bits: u64,
    len: u32,
}

impl Default for Event {
    fn default() -> Self {
        Self { set: 0, slots: [Slot::default(); EVENT_FIELDS], text: String::new() }
    }
}

impl Event {
    /// Forgets every field, keeping the buffers.
    pub fn clear(&mut self) {
        self.set = 0;
        self.text.clear();
    }

    /// Sets a text field. The text is bounded by the longest record, 4 GiB.
    pub fn set_text(&mut self, field: FieldId, value: &str) {
        debug_assert!(matches!(field.spec().field_type, FieldType::Term | FieldType::Text));
        let slot = Slot { bits: self.text.len() as u64, len: value.len() as u32 };
        self.text.push_str(value);
        self.put(field, slot);
    }

    /// Sets a text field if there is a value.
    pub fn set_text_if(&mut self, field: FieldId, value: Option<&str>) {
        if let Some(value) = value {
            self.set_text(field, value);
        }
    }

    /// Sets a whole number or a time (microseconds).
    pub fn set_int(&mut self, field: FieldId, value: i64) {
        debug_assert!(matches!(field.spec().field_type, FieldType::Count | FieldType::Time));
        self.put(field, Slot { bits: value as u64, len: 0 });
    }

    /// Sets a floating-point number.
    pub fn set_float(&mut self, field: FieldId, value: f64) {
        debug_assert_eq!(field.spec().field_type, FieldType::Float);
        self.put(field, Slot { bits: value.to_bits(), len: 0 });
    }

    fn put(&mut self, field: FieldId, slot: Slot) {
        self.slots[field.index()] = slot;
        self.set |= 1 << field.index();
    }

    /// Whether the field has a value.
    pub fn has(&self, field: FieldId) -> bool {
        self.set & (1 << field.index()) != 0
    }

    /// The text of a field.
    pub fn text(&self, field: FieldId) -> Option<&str> {
        let slot = self.slots[field.index()];
        self.has(field).then(|| &self.text[slot.bits as usize..][..slot.len as usize])
    }

    /// The whole number or the time of a field.
    pub fn int(&self, field: FieldId) -> Option<i64> {
        self.has(field).then(|| self.slots[field.index()].bits as i64)
    }

    /// The floating-point number of a field.
    pub fn float(&self, field: FieldId) -> Option<f64> {
        self.has(field).then(|| f64::from_bits(self.slots[field.index()].bits))
    }

    /// The indices of the fields that have a value, ascending.
    pub(crate) fn set_indices(&self) -> impl Iterator<Item = usize> + use<> {
        let mut rest = self.set;
        std::iter::from_fn(move || {
            let index = rest.trailing_zeros() as usize;
            (rest != 0).then(|| {
                rest &= rest - 1;
                index
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_field_is_kept_and_clear_forgets_all() {
        let mut event = Event::default();
        event.set_text(FieldId::ToolName, "read");
        event.set_text(FieldId::AgentId, "main");
        event.set_text(FieldId::ToolName, "exec");
        event.set_int(FieldId::Count, 3);
        assert_eq!(event.text(FieldId::ToolName), Some("exec"));
        assert_eq!(event.text(FieldId::AgentId), Some("main"));
        assert_eq!(event.int(FieldId::Count), Some(3));
        assert_eq!(event.set_indices().count(), 3);
        event.clear();
        assert_eq!(event.text(FieldId::ToolName), None);
    }
}
