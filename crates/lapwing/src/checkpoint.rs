//! Checkpoints: per partition a chain of manifests, each created only if its number is free and
//! linked to the one before by its hash. A manifest is the only commit point there is.
//!
//! A folder, or a prefix in S3, holds for each source and partition:
//! `<source>/<partition>/<number>.json` (manifests), `state-<number>-<attempt>` (detector states) and
//! `handed-over` (a note of the last manifest whose messages were handed over; losing it repeats them).

mod archive;
mod chain;
mod claim;
mod error;
mod manifest;
mod store;

pub(crate) use archive::ArchivePlace;
pub(crate) use chain::{Appended, Chain, now_us, random_id};
pub(crate) use claim::{Claimed, Resume, claim, go_on};
pub use error::CheckpointError;
pub(crate) use manifest::sha256;
pub use manifest::{
    AlertsEntry, ClaimEntry, Cursor, Entry, EpochEntry, FileEntry, MANIFEST_VERSION, Manifest,
    StateEntry,
};
pub use store::{ChainStore, Place, chains};
