//! A made-up alert, as the detector would raise it.

use lapwing_event::{
    Alert, AlertKey, AlertRule, Evidence, EvidenceSet, KeyValue, Level, Message, Status, Window,
};

use crate::records::{MIDNIGHT, SECOND};

fn evidence(line: i64) -> Evidence {
    Evidence {
        offset: line - 1,
        file: Some("run2.2.log".into()),
        line: Some(line),
        time: MIDNIGHT + line * SECOND,
        reason: Some("token_mismatch".into()),
    }
}

/// An opened alert of four events.
pub(crate) fn message(id: &str) -> Message {
    let alert = Alert {
        id: id.into(),
        revision: 1,
        status: Status::Opened,
        level: Level::High,
        rule: AlertRule { id: "b0d6".into(), name: "auth_failures".into() },
        source_id: "gw1".into(),
        partition: "0".into(),
        key: AlertKey(vec![
            ("product".into(), KeyValue::Text("openclaw".into())),
            ("source.ip".into(), KeyValue::Text("203.0.113.50".into())),
            ("tenant".into(), KeyValue::Null),
        ]),
        title: "repeated authentication failures".into(),
        description: "4 failed attempts within 5 min".into(),
        next_step: "block the address".into(),
        count: 4,
        value: 4.into(),
        by_reason: [("token_mismatch".into(), 4)].into(),
        window: Window { start: MIDNIGHT, end: MIDNIGHT + 33 * SECOND },
        opened_at: MIDNIGHT + 33 * SECOND,
        last_at: MIDNIGHT + 33 * SECOND,
        resolved_at: None,
        resolved_because: None,
        evidence: EvidenceSet {
            first: evidence(20),
            latest: evidence(33),
            samples: vec![evidence(20), evidence(33)],
        },
        complete: true,
        incomplete_because: Vec::new(),
        open_at_end: false,
    };
    Message { alert, log_time: MIDNIGHT + 33 * SECOND }
}

/// The next message of the same alert.
pub(crate) fn next(before: &Message, status: Status, change: impl FnOnce(&mut Alert)) -> Message {
    let mut message = before.clone();
    message.alert.revision += 1;
    message.alert.status = status;
    change(&mut message.alert);
    message
}
