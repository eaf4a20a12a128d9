//! `run` on topics of a real broker.
