//! Joins sources, detectors and sinks: the pipeline, the configuration, the command line.

pub mod cli;
pub mod config;
pub mod coverage;
pub mod docs;
pub mod metrics;
pub mod pipeline;
pub mod report;
pub mod rules;

mod archiver;
pub mod checkpoint;
mod committer;
mod endpoint;
mod lane;
mod outbox;
mod progress;
mod summary;
mod work;
