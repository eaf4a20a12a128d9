//! Seeded, labelled audit logs of a fleet of agents, in the native format.
//!
//! In goes a [`Scenario`]; out come JSON Lines and a list of [`Incident`]s: what a detector has
//! to find in them. The same scenario gives the same bytes on every platform: no clock, no
//! floating-point functions, no hash order.

pub mod recount;

mod corpus;
mod fleet;
mod incident;
mod line;
mod noise;
mod random;
mod scenario;
mod session;
mod stream;

pub use incident::{Incident, IncidentKind, write_truth};
pub use scenario::{Disorder, Planned, Scenario, demo_scenario};
pub use stream::{Stats, write};
