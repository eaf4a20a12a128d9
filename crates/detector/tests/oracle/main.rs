//! The detector against a plain recount: random cases (`laws.rs`) and named traps (`traps.rs`,
//! `bounds.rs`). `recount.rs` says what a case must raise by the specification of windows, and
//! shares no code with the engine but the types at the seam; `engine.rs` runs the detector.
//!
//! `LAPWING_CASES` sets the number of random cases. Failing seeds are kept in `failing-seeds.txt`.

mod bounds;
mod case;
mod engine;
mod generate;
mod laws;
mod recount;
mod shares;
mod short;
mod traps;
