//! The log file of an OpenClaw gateway, one JSON object a line. A line means something by its
//! message; lines without a meaning of their own become events of kind `other`.
//!
//! OpenClaw writes several lines for most facts, and a format has no memory: the line that
//! carries most becomes the event, the others keep the id they share with it.

mod agent;
mod connection;
mod context;
mod control;
mod info;
mod line;
mod tool;

use lapwing_event::{Event, FieldId, Reject};

use self::line::Line;
use super::openclaw::{PRODUCT, set_message};
use super::{Format, FormatInfo};
use crate::json::{Json, Value};

/// The gateway's log file.
pub(super) struct OpenClawGateway;

impl Format for OpenClawGateway {
    fn info(&self) -> &'static FormatInfo {
        &info::INFO
    }

    fn recognise(&self, record: &[u8], json: &mut Json) -> bool {
        json.parse(record, |record| Ok(line::is_openclaw(record))).unwrap_or(false)
    }

    fn decode(&self, record: &[u8], json: &mut Json, event: &mut Event) -> Result<(), Reject> {
        json.parse(record, |record| read_record(record, event))
    }
}

fn read_record(record: Value<'_>, event: &mut Event) -> Result<(), Reject> {
    let line = Line::new(record)?;
    event.set_int(FieldId::Time, line.time);
    event.set_text(FieldId::Product, PRODUCT);
    event.set_text_if(FieldId::InstanceId, line.hostname);
    event.set_text_if(FieldId::TraceId, record.str_at("traceId"));
    event.set_text(FieldId::Kind, "other");
    if let Some(count) = line.dropped() {
        event.set_text(FieldId::Action, "log.dropped");
        event.set_int(FieldId::Count, count);
    }
    set_message(event, line.message);
    line.set_run(event);
    if let Some(known) = KNOWN.iter().find(|known| known.is(&line)) {
        (known.read)(&line, event);
    }
    Ok(())
}

/// A line whose message has a meaning.
struct Known {
    writer: Writer,
    /// How its message starts.
    start: &'static str,
    /// Sets what it means; whatever it leaves alone stays an event of kind `other`.
    read: fn(&Line<'_>, &mut Event),
}

/// Who writes a line. The answers of models and the output of programs are logged as messages too,
/// by the console, which has no subsystem and level INFO: without this check, a model could
/// write events.
enum Writer {
    /// A subsystem whose name starts with this.
    Subsystem(&'static str),
    /// Whoever reports errors.
    Errors,
}

impl Known {
    fn is(&self, line: &Line<'_>) -> bool {
        let written_by = match self.writer {
            Subsystem(name) => line.subsystem.starts_with(name),
            Errors => line.is_error,
        };
        written_by && line.message.starts_with(self.start)
    }
}

/// A row of the table below.
const fn known(writer: Writer, start: &'static str, read: fn(&Line<'_>, &mut Event)) -> Known {
    Known { writer, start, read }
}

use Writer::{Errors, Subsystem};

/// The lines with a meaning. No start is the start of another one of the same writer.
static KNOWN: &[Known] = &[
    known(Subsystem("gateway"), "closed before connect ", connection::closed),
    known(Subsystem("gateway"), "unauthorized conn=", connection::part_of_a_connection),
    known(Subsystem("gateway"), "handshake timeout conn=", connection::part_of_a_connection),
    known(Subsystem("gateway"), "hook auth throttled for ", connection::hook_throttled),
    known(Subsystem("hooks"), "hook auth throttled for ", connection::hook_throttled),
    known(Subsystem("gateway"), "⇄ res ✓ ", control::answered),
    known(Subsystem("gateway"), "⇄ res ✗ ", control::refused),
    known(Subsystem("gateway"), "device pairing ", control::device_pairing),
    known(Subsystem("gateway"), "device token ", control::device_token),
    known(
        Subsystem("gateway"),
        "security audit: device access upgrade requested ",
        control::device_upgrade,
    ),
    known(Subsystem("gateway"), "config.", control::config_written),
    known(Errors, "[tools] ", tool::failed),
    known(Subsystem("diagnostic"), "tool loop: ", tool::looped),
    known(Subsystem("agent"), "[context-overflow-diag] ", context::overflowed),
    known(Subsystem("agent"), "auto-compaction ", context::compacted),
    known(Subsystem("agent"), "[context-overflow-recovery] ", context::recovered),
    known(Subsystem("agent"), "embedded run agent end", agent::ended_in_error),
    known(Subsystem("agent"), "[agent] run ", agent::ended),
    known(
        Subsystem("main-session-restart-recovery"),
        "started interrupted main session: ",
        agent::recovered,
    ),
];
