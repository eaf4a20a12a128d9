//! The sinks as their callers see them.

mod alerts;
mod archive;
mod crash;
mod messages;
mod read;
mod records;
mod replay;
mod speed;
mod text;
