//! Alerts as text.

use lapwing_event::{Incomplete, KeyValue, Level, Message, Status};
use lapwing_sink::{Sink, TextAlerts, TextStyle};

use crate::messages::{message, next};
use crate::records::{MIDNIGHT, SECOND};

fn text(messages: &[Message], colour: bool) -> String {
    let mut sink = TextAlerts::new(Vec::new(), TextStyle { colour });
    for message in messages {
        sink.write_messages(std::slice::from_ref(message)).expect("written");
    }
    sink.finish().expect("finished");
    String::from_utf8(sink.into_inner()).expect("text")
}

#[test]
fn an_alert_is_a_block_when_it_opens_and_a_line_afterwards() {
    let opened = message("a");
    let grown = next(&opened, Status::Updated, |a| {
        a.count = 8;
        a.last_at += 60 * SECOND;
        a.level = Level::Critical;
    });
    let cut = next(&grown, Status::Updated, |a| {
        a.complete = false;
        a.incomplete_because = vec![Incomplete::Entries];
    });
    let resolved = next(&cut, Status::Resolved, |a| a.resolved_at = Some(MIDNIGHT + 900 * SECOND));
    let expected = "\
HIGH  auth_failures  2026-11-22 00:00:33Z  product=openclaw source.ip=203.0.113.50 tenant=(none)
    4 failed attempts within 5 min
    block the address
    run2.2.log:20 … run2.2.log:33 (4 occurrences)
CRITICAL  auth_failures  2026-11-22 00:01:33Z  product=openclaw source.ip=203.0.113.50 tenant=(none)  updated: 4 → 8 occurrences, level high → critical
CRITICAL  auth_failures  2026-11-22 00:01:33Z  product=openclaw source.ip=203.0.113.50 tenant=(none)  updated: incomplete: entries
CRITICAL  auth_failures  2026-11-22 00:15:00Z  product=openclaw source.ip=203.0.113.50 tenant=(none)  resolved: 8 occurrences in 1 min 13 s
";
    assert_eq!(text(&[opened, grown, cut, resolved], false), expected);
}

#[test]
fn the_end_of_the_input_alone_is_no_news() {
    let opened = message("a");
    let end = next(&opened, Status::Updated, |a| a.open_at_end = true);
    assert_eq!(text(&[opened.clone(), end], false), text(std::slice::from_ref(&opened), false));
    let grown = next(&opened, Status::Updated, |a| {
        a.open_at_end = true;
        a.count = 5;
    });
    let said = text(&[opened, grown], false);
    assert!(said.ends_with("updated: 4 → 5 occurrences, open at the end of the input\n"), "{said}");
}

#[test]
fn text_of_logs_is_escaped_and_bounded() {
    let mut message = message("a");
    message.alert.key.0[0].1 = KeyValue::Text("x\x1b]0;owned\x07\ny".into());
    message.alert.description = format!("\u{202e}{}", "d".repeat(5000));
    message.alert.evidence.first.file = Some("a\rb.log".into());
    let said = text(&[message], false);
    assert!(said.contains("product=x\\x1b]0;owned\\x07\\ny source.ip"), "{said}");
    assert!(said.contains("\\u{202e}ddd") && said.contains("d…\n"), "{said}");
    assert!(said.contains("a\\rb.log:20"), "{said}");
    assert!(said.chars().all(|c| c == '\n' || !c.is_control()));
    assert!(said.len() < 1000);
}

#[test]
fn only_the_level_is_coloured_and_only_if_asked() {
    let said = text(&[message("a")], true);
    assert!(said.starts_with("\x1b[31mHIGH\x1b[0m  auth_failures  "), "{said}");
    assert_eq!(said.matches('\x1b').count(), 2);
    assert!(!text(&[message("a")], false).contains('\x1b'));
}
