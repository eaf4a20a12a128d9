//! Alerts as readable text for a terminal: a block when an alert opens, one line when it changes
//! or is resolved. Text that comes from logs is escaped and bounded, since it is untrusted.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::io::Write;
use std::sync::Arc;

use lapwing_event::time::{SECOND, format_duration, format_time};
use lapwing_event::{Alert, Evidence, Level, Message, Status};

use crate::{Sink, SinkError};

/// Characters of a group key that are shown: eight fields of some length.
const KEY_CHARS: usize = 256;
/// Characters of a description or a next step that are shown: some six lines of a terminal.
const SENTENCE_CHARS: usize = 512;
/// Characters of a file name in evidence that are shown.
const FILE_CHARS: usize = 128;

/// How the text looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TextStyle {
    /// Whether the level is coloured with ANSI escape sequences.
    pub colour: bool,
}

/// Writes messages as text. Remembers what it last said of each open alert; the detector bounds
/// how many are open.
#[derive(Debug)]
pub struct TextAlerts<W> {
    out: W,
    style: TextStyle,
    said: HashMap<Arc<str>, Said>,
}

/// What was last printed of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Said {
    count: u64,
    level: Level,
    complete: bool,
}

impl<W: Write + Send> TextAlerts<W> {
    /// Writes to `out`.
    pub fn new(out: W, style: TextStyle) -> Self {
        Self { out, style, said: HashMap::new() }
    }

    /// Gives back what is written to.
    pub fn into_inner(self) -> W {
        self.out
    }

    /// The text of a message; empty if it says nothing new.
    fn text(&mut self, alert: &Alert) -> String {
        let now = Said { count: alert.count, level: alert.level, complete: alert.complete };
        let before = match alert.status {
            Status::Resolved => self.said.remove(&alert.id),
            _ => self.said.insert(alert.id.clone(), now),
        };
        let head = head(alert, self.style);
        match (alert.status, before) {
            (Status::Opened, _) => opened(&head, alert),
            (Status::Resolved, _) => format!("{head}  {}\n", resolved(alert)),
            (Status::Updated, Some(before)) if before == now => String::new(),
            (Status::Updated, before) => format!("{head}  {}\n", updated(alert, before, now)),
        }
    }
}

impl<W: Write + Send> Sink for TextAlerts<W> {
    fn write_messages(&mut self, messages: &[Message]) -> Result<(), SinkError> {
        let text: String = messages.iter().map(|m| self.text(&m.alert)).collect();
        self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).map_err(cannot_print)
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.out.flush().map_err(cannot_print)
    }
}

fn cannot_print(source: std::io::Error) -> SinkError {
    SinkError::Alerts { to: "the terminal".into(), source }
}

/// Level, rule, time and key.
fn head(alert: &Alert, style: TextStyle) -> String {
    let level = alert.level.word().to_uppercase();
    let (on, off) = if style.colour { (colour(alert.level), "\x1b[0m") } else { ("", "") };
    let rule = Printable(&alert.rule.name, KEY_CHARS);
    let at = match alert.status {
        Status::Opened => alert.opened_at,
        Status::Updated => alert.last_at,
        Status::Resolved => alert.resolved_at.unwrap_or(alert.last_at),
    };
    let key = alert.key.to_string();
    let gap = if key.is_empty() { "" } else { "  " };
    format!("{on}{level}{off}  {rule}  {}{gap}{}", time(at), Printable(&key, KEY_CHARS))
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::Critical => "\x1b[1;31m",
        Level::High => "\x1b[31m",
        Level::Medium => "\x1b[33m",
        Level::Low => "\x1b[36m",
        Level::Informational => "\x1b[2m",
    }
}

/// Whole seconds: `2026-11-22 16:01:13Z`.
fn time(us: i64) -> String {
    let text = format_time(us - us.rem_euclid(SECOND));
    text.replace('T', " ").replace(".000Z", "Z")
}

fn opened(head: &str, alert: &Alert) -> String {
    let mut text = format!("{head}\n");
    let said = if alert.description.is_empty() { &alert.title } else { &alert.description };
    for line in [said, &alert.next_step].into_iter().filter(|line| !line.is_empty()) {
        let _ = writeln!(text, "    {}", Printable(line, SENTENCE_CHARS));
    }
    let _ = writeln!(text, "    {}", evidence(alert));
    if !alert.complete {
        let _ = writeln!(text, "    {}", incomplete(alert));
    }
    text
}

fn evidence(alert: &Alert) -> String {
    let (first, latest) = (&alert.evidence.first, &alert.evidence.latest);
    let noun = if alert.count == 1 { "occurrence" } else { "occurrences" };
    let first_place = place(first);
    if first.offset == latest.offset {
        return format!("{first_place} ({} {noun})", alert.count);
    }
    format!("{first_place} … {} ({} {noun})", place(latest), alert.count)
}

fn place(event: &Evidence) -> String {
    match (&event.file, event.line) {
        (Some(file), Some(line)) => format!("{}:{line}", Printable(file, FILE_CHARS)),
        _ => format!("offset {}", event.offset),
    }
}

fn incomplete(alert: &Alert) -> String {
    let words: Vec<_> = alert.incomplete_because.iter().map(|why| why.word()).collect();
    format!("incomplete: {}", words.join(", "))
}

fn updated(alert: &Alert, before: Option<Said>, now: Said) -> String {
    let mut changes = Vec::new();
    match before.map(|b| b.count) {
        Some(count) if count == now.count => {}
        Some(count) => changes.push(format!("{count} → {} occurrences", now.count)),
        None => changes.push(format!("{} occurrences", now.count)),
    }
    if let Some(before) = before.filter(|b| b.level != now.level) {
        changes.push(format!("level {} → {}", before.level, now.level));
    }
    if !now.complete && before.is_none_or(|b| b.complete) {
        changes.push(incomplete(alert));
    }
    if alert.open_at_end {
        changes.push("open at the end of the input".into());
    }
    format!("updated: {}", changes.join(", "))
}

fn resolved(alert: &Alert) -> String {
    let lasted = format_duration(alert.last_at - alert.evidence.first.time);
    let noun = if alert.count == 1 { "occurrence" } else { "occurrences" };
    format!("resolved: {} {noun} in {lasted}", alert.count)
}

/// Text cut to a number of characters, with everything escaped that a terminal would obey or
/// that would change how the rest reads: control characters, line and direction marks.
struct Printable<'a>(&'a str, usize);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        for c in chars.by_ref().take(self.1) {
            match c {
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c if c.is_control() => write!(f, "\\x{:02x}", c as u32)?,
                c if is_mark(c) => write!(f, "\\u{{{:x}}}", c as u32)?,
                c => f.write_char(c)?,
            }
        }
        if chars.next().is_some() { f.write_char('…') } else { Ok(()) }
    }
}

/// Invisible characters that reorder or break text (Unicode Standard Annex 9, "Trojan Source"),
/// and the zero-width ones that make two different names look alike.
fn is_mark(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrusted_text_cannot_steer_a_terminal() {
        let shown = |text: &str| Printable(text, 64).to_string();
        assert_eq!(shown("a\x1b[2Jb\u{9b}0m"), "a\\x1b[2Jb\\x9b0m");
        assert_eq!(shown("x\r\ny\t\u{7}"), "x\\r\\ny\\t\\x07");
        assert_eq!(shown("\u{202e}txt\u{200b}é"), "\\u{202e}txt\\u{200b}é");
        assert_eq!(Printable("abcdef", 3).to_string(), "abc…");
        assert_eq!(Printable("abc", 3).to_string(), "abc");
    }

    #[test]
    fn times_are_whole_seconds() {
        assert_eq!(time(1_795_363_273_196_000), "2026-11-22 16:01:13Z");
        assert_eq!(time(-1), "1969-12-31 23:59:59Z");
    }
}
