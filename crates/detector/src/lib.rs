//! Events to alerts: rules, windows, state. No I/O, no clock, no async.
//!
//! The whole seam is [`Detector::push`], [`Detector::advance`], [`Detector::finish`], and the state
//! written out ([`Detector::snapshot`]) and read back ([`Detector::restore`]).

pub mod pack;
pub mod possible;
pub mod rule;
pub mod yaml;

mod covered;
mod detector;
mod entry;
mod episode;
mod gap;
mod key;
mod keys;
mod loss;
mod name;
mod plan;
mod row;
mod select;
mod single;
mod state;
mod watch;
mod window;

pub use detector::{Detector, Limits, Pushed, RuleStats};
pub use state::StateError;
