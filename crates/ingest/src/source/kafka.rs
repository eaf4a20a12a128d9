//! Kafka topics as sources. A consumer of a group reads all partitions assigned to a process in one
//! thread and puts their records, as they are, into the inbox of each partition; a [`TopicReader`]
//! per partition turns them into batches. What is committed, and when, is the caller's.

mod address;
#[cfg(feature = "kafka")]
mod client;
#[cfg(feature = "kafka")]
mod consumer;
#[cfg(feature = "kafka")]
mod error;
mod log_time;
mod reader;
#[cfg(feature = "kafka")]
mod replay;

pub use address::{OffsetRange, TopicAddress};
#[cfg(feature = "kafka")]
pub use client::KafkaSettings;
#[cfg(feature = "kafka")]
pub use consumer::{
    Arrival, Assigned, AssignedAt, Assignee, Inbox, Outlet, TopicPartition, consume,
};
#[cfg(feature = "kafka")]
pub use error::KafkaSourceError;
pub use log_time::LogTimeStep;
pub use reader::{Decoders, LentDecoder, ReadBefore, TopicCursor, TopicReader};
#[cfg(feature = "kafka")]
pub use replay::{KafkaReplayOptions, KafkaReplaySource};
