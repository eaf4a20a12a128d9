//! Made-up records in batches of any size, as a source would hand them out.

use std::sync::Arc;

use arrow_array::builder::{Int64Builder, StringDictionaryBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use lapwing_event::{
    Batch, Event, EventColumns, FieldId, LogTimeOrigin, Partition, Reject, RejectReason,
    RejectedAt, RejectedRecord, Split, event_schema,
};

/// 2026-11-22T00:00:00Z.
pub(crate) const MIDNIGHT: i64 = 1_795_305_600_000_000;
pub(crate) const SECOND: i64 = 1_000_000;

#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) offset: i64,
    pub(crate) log_time: i64,
    pub(crate) rejected: bool,
    pub(crate) seed: u64,
}

/// Records one second apart; every tenth is rejected.
pub(crate) fn records(count: i64, start: i64) -> Vec<Record> {
    (0..count)
        .map(|i| Record {
            offset: i,
            log_time: start + i * SECOND,
            rejected: i % 10 == 3,
            seed: (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        })
        .collect()
}

pub(crate) fn partition() -> Arc<Partition> {
    Arc::new(Partition {
        source_id: "gw1".into(),
        name: "0".into(),
        log_time_origin: LogTimeOrigin::Replayed,
        split: Split::Whole,
    })
}

pub(crate) fn batches(records: &[Record], size: usize) -> Vec<Batch> {
    records.chunks(size).map(batch).collect()
}

pub(crate) fn batch(records: &[Record]) -> Batch {
    let (rejected, events): (Vec<&Record>, Vec<&Record>) = records.iter().partition(|r| r.rejected);
    let mut columns = EventColumns::default();
    for record in &events {
        columns.push(&event(record)).expect("valid");
    }
    let mut arrays = columns.finish().arrays;
    arrays.extend(log_columns(&events));
    Batch {
        partition: partition(),
        events: RecordBatch::try_new(event_schema(), arrays).expect("columns of events"),
        rejected: rejected.into_iter().map(reject).collect(),
        digests: records.iter().map(|r| r.seed).collect(),
        format: "native",
    }
}

fn log_columns(events: &[&Record]) -> Vec<ArrayRef> {
    let mut partitions = StringDictionaryBuilder::<Int32Type>::new();
    let mut files = StringDictionaryBuilder::<Int32Type>::new();
    let mut lines = Int64Builder::new();
    for record in events {
        partitions.append_value("0");
        files.append_value(if record.offset < 50 { "run.1.log" } else { "run.log" });
        lines.append_value(record.offset + 1);
    }
    let times = TimestampMicrosecondArray::from_iter_values(events.iter().map(|r| r.log_time));
    let flag = |of: &dyn Fn(&Record) -> bool| -> ArrayRef {
        Arc::new(events.iter().map(|r| Some(of(r))).collect::<BooleanArray>())
    };
    vec![
        Arc::new(partitions.finish()),
        Arc::new(Int64Array::from_iter_values(events.iter().map(|r| r.offset))),
        Arc::new(times.with_timezone("UTC")),
        Arc::new(files.finish()),
        Arc::new(lines.finish()),
        flag(&|_| false),
        flag(&|r| r.seed % 97 == 0),
        flag(&|r| r.seed % 13 == 0),
    ]
}

/// About 25 fields, some rare, some in stretches, so that batches differ in which columns are
/// empty, full or mixed.
fn event(record: &Record) -> Event {
    use FieldId::{
        Action, AgentId, ContextTokens, DurationMs, HttpStatus, Id, InstanceId, Kind, ModelName,
        Outcome, Product, ProductVersion, Raw, ReasonCode, ReasonMessage, RunId, Sequence,
        SessionId, SessionKey, SourceIp, Time, ToolCallId, ToolName, ToolTarget, UsageCostUsd,
        UsageInputTokens, UsageOutputTokens,
    };
    let (n, of) = (record.seed >> 7, record.offset);
    let mut event = Event::default();
    event.set_int(Time, record.log_time - (n % 5_000_000) as i64);
    event.set_text(Id, &format!("{:016x}{:016x}", record.seed, !n));
    event.set_text(Product, "openclaw");
    event.set_text(ProductVersion, "2026.5.28");
    event.set_text(InstanceId, "gateway-1:18789");
    event.set_text(Kind, ["tool", "model", "auth"][(n % 3) as usize]);
    event.set_text(Action, ["tool.execute", "model.call", "auth.connect"][(n % 3) as usize]);
    event.set_text(Outcome, if n % 11 == 0 { "denied" } else { "success" });
    event.set_text(AgentId, &format!("agent-{}", n % 200));
    event.set_text(SessionId, &format!("session-{}", n % 5000));
    event.set_text(SessionKey, &format!("agent:main:{}", n % 5000));
    event.set_text(RunId, &format!("{:08x}-run-{}", of / 20, of / 20));
    event.set_text(SourceIp, &format!("10.0.{}.{}", n % 20, n % 250));
    event.set_text(ModelName, "gpt-5.2");
    event.set_int(DurationMs, (n % 100_000) as i64);
    event.set_int(Sequence, of);
    event.set_int(UsageInputTokens, (n % 20_000) as i64);
    event.set_int(UsageOutputTokens, (n % 900) as i64);
    event.set_float(UsageCostUsd, (n % 9_999) as f64 / 1e4);
    if n % 3 == 0 {
        event.set_text(ToolName, ["exec", "read", "write", "browser"][(n % 4) as usize]);
        event.set_text(ToolCallId, &format!("call_{:012x}", n & 0xffff_ffff_ffff));
        event.set_text(ToolTarget, &format!("/home/agent/project/src/{}.rs", n % 700));
    }
    if n % 11 == 0 {
        event.set_text(ReasonCode, "policy_denied");
        event.set_text(ReasonMessage, "denied by the operator's policy");
    }
    if of % 1000 > 800 {
        event.set_int(HttpStatus, 401);
        event.set_int(ContextTokens, (n % 200_000) as i64);
    }
    if n % 1009 == 0 {
        event.set_text(Raw, &format!("{{\"unmapped\":{n}}}"));
    }
    event
}

fn reject(record: &Record) -> RejectedAt {
    let bytes = format!("not json {}", record.seed);
    let reject = Reject::new(RejectReason::NotJson, "expected a value");
    RejectedAt {
        offset: record.offset,
        log_time: record.log_time,
        file: (record.offset % 20 != 3).then(|| "run.log".into()),
        line: Some(record.offset + 1),
        record: RejectedRecord::new(reject, bytes.as_bytes(), bytes.len() as u64),
    }
}
