//! How fast an archive is written; run it with
//! `cargo test --release -p lapwing-sink -- --ignored --nocapture speed`.

use std::time::Instant;

use lapwing_sink::{Archive, ArchiveOptions, Sink, event_columns};

use crate::read;
use crate::records::{MIDNIGHT, SECOND, batches, records};

#[test]
#[ignore = "a measurement, not a claim"]
fn speed_of_a_million_events() {
    let mut records = records(1_000_000, MIDNIGHT);
    for record in &mut records {
        record.rejected = false;
        record.log_time = MIDNIGHT + (record.log_time - MIDNIGHT) / SECOND;
    }
    let batches = batches(&records, 8192);
    let folder = tempfile::tempdir().expect("a folder");
    let mut archive = Archive::open(folder.path(), ArchiveOptions::default()).expect("opened");
    let (start, start_cpu_s) = (Instant::now(), cpu_s());
    for batch in &batches {
        archive.write_batch(batch).expect("written");
    }
    archive.finish().expect("finished");
    let (elapsed, used_s) = (start.elapsed(), cpu_s() - start_cpu_s);
    eprintln!("{used_s:.2} CPU-s, {elapsed:?} for {:?}", archive.report());
    let metadata = read::metadata(&folder.path().join(&read::names(folder.path())[0]));
    for (i, column) in event_columns().iter().enumerate() {
        let sizes = metadata.row_groups().iter().map(|g| g.column(i).compressed_size());
        eprintln!("{:>10} bytes  {}", sizes.sum::<i64>(), column.name);
    }
}

/// CPU seconds of this thread.
fn cpu_s() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).map_or(f64::NAN, |ns| ns / 1e9)
}
