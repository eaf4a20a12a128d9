//! Two lists of messages side by side, a line each, for people who read failing tests.

use std::fmt::Write;

use lapwing_event::{Evidence, Message};

use crate::case::{SECOND, START};
use crate::recount::Outcome;

/// What differs between what the engine said and what it should have said; `None` if nothing.
pub(crate) fn difference(actual: &Outcome, expected: &Outcome) -> Option<String> {
    if actual == expected {
        return None;
    }
    let mut extra: Vec<String> = actual.messages.iter().map(short).collect();
    let mut text = String::from("\n");
    for message in &expected.messages {
        let line = short(message);
        let same = extra.iter().position(|other| *other == line);
        let mark = if same.is_some() { "=" } else { "- expected" };
        let _ = writeln!(text, "{mark} {line}");
        same.map(|at| extra.remove(at));
    }
    for line in extra {
        let _ = writeln!(text, "+ engine   {line}");
    }
    if actual.late != expected.late {
        let _ = writeln!(text, "late: {:?}, expected {:?}", actual.late, expected.late);
    }
    Some(text)
}

/// All that is compared, in one line; times in seconds since the start of the cases.
fn short(message: &Message) -> String {
    let Message { alert, log_time } = message;
    let time = |time: i64| (time - START) as f64 / SECOND as f64;
    let place = |e: &Evidence| {
        let reason = e.reason.as_deref().unwrap_or("-");
        format!("{}@{}:{reason}", e.offset, time(e.time))
    };
    let samples: Vec<String> = alert.evidence.samples.iter().map(place).collect();
    let resolved = alert.resolved_at.map(time).zip(alert.resolved_because);
    format!(
        "{} {} {:?} at {} {} {} [{}] ({}, {}] opened {} last {} count {} value {} {:?} \
         resolved {resolved:?} first {} latest {} samples {} {:?} {}{}",
        &alert.id[..6],
        alert.revision,
        alert.status,
        time(*log_time),
        alert.level,
        alert.rule.name,
        alert.key,
        time(alert.window.start),
        time(alert.window.end),
        time(alert.opened_at),
        time(alert.last_at),
        alert.count,
        alert.value,
        alert.by_reason,
        place(&alert.evidence.first),
        place(&alert.evidence.latest),
        samples.join(" "),
        alert.incomplete_because,
        if alert.complete { "complete" } else { "incomplete" },
        if alert.open_at_end { ", open at the end" } else { "" },
    )
}
