//! Events to alerts: rules, windows, state. No I/O, no clock, no async.
//!
//! The whole seam is [`Detector::push`], [`Detector::advance`], [`Detector::finish`], and the state
//! written out ([`Detector::snapshot`]) and read back ([`Detector::restore`]).

pub mod pack;
pub mod possible;
pub mod rule;
pub mod yaml;

mod detector;
mod episode;
mod keys;
mod loss;
mod row;
mod select;
mod state;
mod window;

pub use detector::{Detector, Limits, Pushed, RuleStats};
pub use state::StateError;
