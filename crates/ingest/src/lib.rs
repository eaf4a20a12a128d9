//! Bytes to events: sources of records and the formats they are written in.

pub mod decode;
pub mod format;
pub mod json;
pub mod source;

pub use decode::{DecodeOptions, KeepRaw};
pub use source::kafka::{Decoders, LentDecoder, LogTimeStep, ReadBefore, TopicCursor, TopicReader};
pub use source::{
    ArchiveOptions, ArchiveSource, FollowCursor, FollowOptions, FollowSource, Next, RefusedLog,
    ReplayOptions, ReplaySource, Source, SourceError, SourceStats, Start, clock_us,
    default_source_id, is_archive,
};
