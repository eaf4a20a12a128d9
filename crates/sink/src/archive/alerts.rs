//! The table of alerts: its columns, its rows, and how the files of a run replace those of an
//! earlier run over the same records. Alerts are derived from the records, so the newest stand.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use arrow_array::RecordBatch;
use lapwing_event::archive::{ARCHIVE_VERSION, ArchiveFile, META_LOG_TIME, META_VERSION, Table};
use lapwing_event::time::format_date;
use lapwing_event::{Message, Partition};
use serde::Serialize;

use super::ArchiveReport;
use super::error::{ArchiveError, cannot_read};
use super::existing;
use super::folder::{self, Stage, Temporary};
use super::layout::{ArchiveColumn, properties, schema};
use super::range::RangeFile;
use super::rows::{Rows, columns};
use super::table::{TableFile, TableLayout, WholeFile};

static COLUMNS: &[ArchiveColumn] = columns! {
    "id" Text DeltaLength set "the alert's id: the same history gives the same id";
    "revision" Count Delta set "1 for the opening, one more for each further message";
    "status" Term Dictionary set "opened, updated or resolved";
    "level" Term Dictionary set "informational, low, medium, high or critical";
    "rule_id" Term Dictionary set "the rule's id";
    "rule_name" Term Dictionary set "the rule's name";
    "partition" Term Dictionary set "the partition of the source";
    "key" Text DeltaLength set "the group-by fields with their values, as a JSON object";
    "title" Text DeltaLength set "what happened, in one line; quotes untrusted text";
    "description" Text DeltaLength set "what happened, with the facts; quotes untrusted text";
    "next_step" Text DeltaLength set "what a person can do";
    "count" Count Delta set "occurrences in a holding window of this alert";
    "value" Float Plain set "the value that the condition compared, exact up to 2^53";
    "by_reason" Text DeltaLength set "occurrences by reason code, as a JSON object";
    "window_start" Time Delta set "the start of the first holding window, exclusive";
    "window_end" Time Delta set "the end of the last holding window, inclusive";
    "opened_at" Time Delta set "the end of the earliest window that held when it opened";
    "last_at" Time Delta set "the time of the latest event counted";
    "resolved_at" Time Delta null "when it was resolved, on the clock of its key";
    "resolved_because" Term Dictionary null "quiet, seen, expired or rule_changed";
    "first_offset" Count Delta set "the first event: its offset in the partition, from 0";
    "first_file" Term Dictionary null "the first event: the file it came from";
    "first_line" Count Delta null "the first event: its line there, from 1";
    "latest_offset" Count Delta set "the latest event: its offset in the partition, from 0";
    "latest_file" Term Dictionary null "the latest event: the file it came from";
    "latest_line" Count Delta null "the latest event: its line there, from 1";
    "samples" Text DeltaLength set "the first events counted, at most five, as a JSON array";
    "complete" Flag Plain set "whether every event that could count was there to be counted";
    "incomplete_because" Text DeltaLength set "if not, why, as a JSON array of words";
    "open_at_end" Flag Plain set "whether the input ended while it was open";
    "log_time" Time Delta set "log time of the record or tick that raised the message";
    "alert" Text DeltaLength set "the whole alert, as JSON";
};

/// The columns of the table of alerts.
pub fn alert_columns() -> &'static [ArchiveColumn] {
    COLUMNS
}

/// Messages turned into rows at a time, to bound the memory of their JSON texts to a few MB.
const MESSAGES_AT_ONCE: usize = 1024;

/// Rows per row group; an archive has few alerts compared to events.
const ROWS_PER_ROW_GROUP: usize = 65_536;

/// Writes the messages of a run over a span of offsets of a partition, then removes the
/// files of earlier runs that lie within. A file that is the same already stays as it is.
pub(super) fn replace(
    root: &Path,
    partition: &Partition,
    span: (i64, i64),
    messages: Vec<Message>,
    report: &mut ArchiveReport,
) -> Result<(), ArchiveError> {
    let mut superseded = existing::files(root, Table::Alerts, partition)?;
    superseded.retain(|f| span.0 <= f.first && f.last <= span.1);
    for (date, messages) in by_date(messages) {
        let file = ArchiveFile::new(partition, date, span);
        let path = root.join(file.path(Table::Alerts));
        let folder = path.parent().expect("a file of an archive lies in a folder");
        let temporary = Temporary::create(folder, &file.partition, file.first)?;
        let whole = write(temporary, partition, &messages)?;
        keep_if_different(whole, &path, report)?;
        superseded.retain(|f| *f != file);
    }
    for file in superseded {
        folder::remove(&root.join(file.path(Table::Alerts)))?;
        report.alert_files_replaced += 1;
    }
    Ok(())
}

fn by_date(mut messages: Vec<Message>) -> BTreeMap<String, Vec<Message>> {
    messages.sort_by(|a, b| (&a.alert.id, a.alert.revision).cmp(&(&b.alert.id, b.alert.revision)));
    let mut dates: BTreeMap<String, Vec<Message>> = BTreeMap::new();
    for message in messages {
        dates.entry(format_date(message.log_time)).or_default().push(message);
    }
    dates
}

/// Writes the messages of an epoch over a span of offsets of a partition, a file for each day,
/// under names that wait for their manifest.
pub(super) fn staged(
    stage: &Stage,
    partition: &Partition,
    span: (i64, i64),
    messages: Vec<Message>,
) -> Result<Vec<RangeFile>, ArchiveError> {
    let mut files = Vec::new();
    for (date, messages) in by_date(messages) {
        let file = ArchiveFile::new(partition, date, span);
        let temporary = Temporary::staged(stage, Table::Alerts, &file)?;
        let whole = write(temporary, partition, &messages)?;
        files.push(RangeFile { file, table: Table::Alerts, whole });
    }
    Ok(files)
}

/// The layout of the table.
pub(super) fn layout() -> TableLayout {
    TableLayout {
        schema: schema(COLUMNS),
        properties: properties(COLUMNS),
        rows_per_row_group: ROWS_PER_ROW_GROUP,
    }
}

fn write(
    temporary: (Temporary, File),
    partition: &Partition,
    messages: &[Message],
) -> Result<WholeFile, ArchiveError> {
    let mut table = TableFile::new(temporary, &layout())?;
    for messages in messages.chunks(MESSAGES_AT_ONCE) {
        table.write(&rows(messages))?;
    }
    table.complete(&[
        (META_VERSION, ARCHIVE_VERSION.to_owned()),
        (META_LOG_TIME, partition.log_time_origin.word().to_owned()),
    ])
}

fn keep_if_different(
    whole: WholeFile,
    path: &Path,
    report: &mut ArchiveReport,
) -> Result<(), ArchiveError> {
    if path.exists() {
        let old = fs::read(path).map_err(cannot_read(path))?;
        let new = whole.temporary.path();
        if old == fs::read(new).map_err(cannot_read(new))? {
            report.alerts_unchanged += whole.rows;
            return Ok(());
        }
        report.alert_files_replaced += 1;
    }
    whole.temporary.keep(path)?;
    report.files_written += 1;
    report.bytes_written += whole.size_bytes;
    report.alerts_written += whole.rows;
    Ok(())
}

fn rows(messages: &[Message]) -> RecordBatch {
    let alerts: Vec<_> = messages.iter().map(|m| &m.alert).collect();
    let of = Rows(&alerts);
    let columns = vec![
        of.text(|a| Some(&a.id)),
        of.number(|a| Some(i64::from(a.revision))),
        of.text(|a| Some(a.status.word())),
        of.text(|a| Some(a.level.word())),
        of.text(|a| Some(&a.rule.id)),
        of.text(|a| Some(&a.rule.name)),
        of.text(|a| Some(&a.partition)),
        of.text(|a| Some(json(&a.key))),
        of.text(|a| Some(&a.title)),
        of.text(|a| Some(&a.description)),
        of.text(|a| Some(&a.next_step)),
        of.number(|a| Some(a.count as i64)),
        of.float(|a| Some(a.value.to_f64())),
        of.text(|a| Some(json(&a.by_reason))),
        of.time(|a| Some(a.window.start)),
        of.time(|a| Some(a.window.end)),
        of.time(|a| Some(a.opened_at)),
        of.time(|a| Some(a.last_at)),
        of.time(|a| a.resolved_at),
        of.text(|a| a.resolved_because.map(|b| b.word())),
        of.number(|a| Some(a.evidence.first.offset)),
        of.text(|a| a.evidence.first.file.as_deref()),
        of.number(|a| a.evidence.first.line),
        of.number(|a| Some(a.evidence.latest.offset)),
        of.text(|a| a.evidence.latest.file.as_deref()),
        of.number(|a| a.evidence.latest.line),
        of.text(|a| Some(json(&a.evidence.samples))),
        of.flag(|a| a.complete),
        of.text(|a| Some(json(&a.incomplete_because))),
        of.flag(|a| a.open_at_end),
        Rows(messages).time(|m| Some(m.log_time)),
        of.text(|a| Some(json(a))),
    ];
    RecordBatch::try_new(schema(COLUMNS), columns).expect("the rows are made for the columns")
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("alerts have text keys and finite numbers")
}
