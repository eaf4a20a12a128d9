//! The words that every part of Lapwing speaks: fields, events, batches, rejected records, alerts,
//! and where the files of an archive lie. No I/O, no clock.

pub mod archive;
pub mod time;
pub mod vocabulary;

mod alert;
mod batch;
mod columns;
mod event;
mod field;
mod fixed;
mod rejected;
pub mod schema;

pub use alert::{
    Alert, AlertKey, AlertRule, Evidence, EvidenceSet, Incomplete, KeyValue, Level, MAX_SAMPLES,
    Message, ResolvedBecause, Status, Window, alert_id, hex,
};
pub use batch::{Batch, LogTimeOrigin, Partition, Split};
pub use columns::{EventArrays, EventColumns};
pub use event::Event;
pub use field::{
    EVENT_FIELDS, Encoding, FIELDS, FieldId, FieldSpec, FieldType, Origin, event_schema,
};
pub use fixed::Fixed;
pub use rejected::{REJECTED_PREFIX_BYTES, Reject, RejectReason, RejectedAt, RejectedRecord};
