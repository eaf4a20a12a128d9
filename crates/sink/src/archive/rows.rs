//! Tables that are made of structs: the columns as a table in the source, the rows field by field.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};

/// A table of columns: name, type, encoding, whether null, meaning.
macro_rules! columns {
    ($($name:literal $ty:ident $enc:ident $null:ident $meaning:literal;)+) => {
        &[$($crate::archive::ArchiveColumn {
            name: $name,
            field_type: lapwing_event::FieldType::$ty,
            encoding: lapwing_event::Encoding::$enc,
            nullable: columns!(@$null),
            meaning: $meaning,
        }),+]
    };
    (@null) => { true };
    (@set) => { false };
}
pub(super) use columns;

/// Structs that become rows.
pub(super) struct Rows<'a, T>(pub(super) &'a [T]);

impl<'a, T> Rows<'a, T> {
    pub(super) fn text<S: AsRef<str>>(&self, of: impl Fn(&'a T) -> Option<S>) -> ArrayRef {
        Arc::new(self.0.iter().map(of).collect::<StringArray>())
    }

    pub(super) fn number(&self, of: impl Fn(&'a T) -> Option<i64>) -> ArrayRef {
        Arc::new(self.0.iter().map(of).collect::<Int64Array>())
    }

    pub(super) fn float(&self, of: impl Fn(&'a T) -> Option<f64>) -> ArrayRef {
        Arc::new(self.0.iter().map(of).collect::<Float64Array>())
    }

    pub(super) fn time(&self, of: impl Fn(&'a T) -> Option<i64>) -> ArrayRef {
        let times = self.0.iter().map(of).collect::<TimestampMicrosecondArray>();
        Arc::new(times.with_timezone("UTC"))
    }

    pub(super) fn flag(&self, of: impl Fn(&'a T) -> bool) -> ArrayRef {
        Arc::new(self.0.iter().map(|row| Some(of(row))).collect::<BooleanArray>())
    }
}
