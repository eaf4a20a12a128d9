//! The end-to-end tests, in one binary: the program as a user runs it.

#[path = "suite/bad_input.rs"]
mod bad_input;
#[cfg(feature = "kafka")]
#[path = "suite/broker.rs"]
mod broker;
#[path = "suite/cases.rs"]
mod cases;
#[path = "suite/endpoint.rs"]
mod endpoint;
#[path = "suite/faults.rs"]
mod faults;
#[path = "suite/follow.rs"]
mod follow;
#[cfg(feature = "kafka")]
#[path = "suite/kafka.rs"]
mod kafka;
#[cfg(feature = "kafka")]
#[path = "suite/kafka_replay.rs"]
mod kafka_replay;
#[path = "suite/laws.rs"]
mod laws;
#[path = "suite/maintenance.rs"]
mod maintenance;
#[cfg(feature = "s3")]
#[path = "suite/moto.rs"]
mod moto;
#[path = "suite/openclaw.rs"]
mod openclaw;
#[path = "suite/program.rs"]
mod program;
#[cfg(feature = "kafka")]
#[path = "suite/raw_record.rs"]
mod raw_record;
#[path = "suite/reload.rs"]
mod reload;
#[path = "suite/running.rs"]
mod running;
#[path = "suite/schemas.rs"]
mod schemas;
#[path = "suite/simulated.rs"]
mod simulated;
