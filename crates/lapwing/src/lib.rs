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
mod checkpoint;
mod endpoint;
mod follower;
mod progress;
mod summary;
