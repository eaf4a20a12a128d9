//! Checkpoints: per partition a chain of manifests, each created only if its number is free and
//! linked to the one before by its hash. A manifest is the only commit point there is.
//!
//! A folder, or a prefix in S3, holds for each source and partition:
//! `<source>/<partition>/<number>.json` (manifests), `state-<number>-<attempt>` (detector states) and
//! `handed-over` (a note of the last manifest whose messages were handed over; losing it repeats them).

mod archive;
mod chain;
mod claim;
mod compact;
mod error;
mod ledger;
mod maintain;
mod manifest;
mod prune;
mod retain;
mod store;
mod swap;
mod verify;

pub(crate) use archive::ArchivePlace;
pub(crate) use chain::{Appended, Chain, random_id};
pub(crate) use claim::{Claimed, Resume, claim, go_on};
pub(crate) use compact::{CompactOptions, Compacted, TARGET_BYTES, compact};
pub use error::CheckpointError;
pub use ledger::Break;
pub(crate) use maintain::{Upkeep, chains_of};
pub(crate) use manifest::sha256;
pub use manifest::{
    AlertsEntry, ClaimEntry, CompactEntry, Cursor, Entry, EpochEntry, FileEntry, MANIFEST_VERSION,
    Manifest, RetainEntry, StateEntry, SummaryEntry,
};
pub(crate) use prune::prune;
pub(crate) use retain::{KeepDays, retain};
pub use store::{ChainStore, Place, chains};
pub(crate) use verify::{Verified, verify};
