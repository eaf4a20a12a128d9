//! The clock of this machine: the one place where sources and their callers read it.

use std::time::SystemTime;

/// Microseconds since 1970.
pub fn clock_us() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since_epoch.map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX))
}
