//! The alert that says records were gone before they could be read: `lapwing.gap`, opened and resolved at
//! once, since nothing that comes later changes it.

use std::collections::BTreeMap;

use lapwing_event::{
    Alert, AlertKey, AlertRule, Evidence, EvidenceSet, Fixed, KeyValue, Level, Message, Partition,
    RejectReason, RejectedAt, ResolvedBecause, Status, Window, alert_id,
};

/// The rule id of `lapwing.gap`.
const RULE_ID: &str = "2b1f6c0a-8f0e-4c1d-9d7e-5a3c1e9b7f62";
/// Its name.
const RULE_NAME: &str = "lapwing.gap";

/// The messages about a rejected record, if it stands for records that are gone.
pub(crate) fn messages(rejected: &RejectedAt, partition: &Partition) -> Option<[Message; 2]> {
    if rejected.record.reason != RejectReason::Lost {
        return None;
    }
    let opened = opened(rejected, partition);
    let resolved = Alert {
        revision: 2,
        status: Status::Resolved,
        resolved_at: Some(opened.opened_at),
        resolved_because: Some(ResolvedBecause::Quiet),
        ..opened.clone()
    };
    let log_time = rejected.log_time;
    Some([Message { alert: opened, log_time }, Message { alert: resolved, log_time }])
}

fn opened(rejected: &RejectedAt, partition: &Partition) -> Alert {
    let (offset, at) = (rejected.offset, rejected.log_time);
    let key = AlertKey(vec![("log.offset".into(), KeyValue::Int(offset))]);
    let place = Evidence { offset, file: None, line: None, time: at, reason: None };
    Alert {
        id: alert_id(RULE_ID, &partition.source_id, &partition.name, &key, at),
        revision: 1,
        status: Status::Opened,
        level: Level::High,
        rule: AlertRule { id: RULE_ID.into(), name: RULE_NAME.into() },
        source_id: partition.source_id.clone(),
        partition: partition.name.clone(),
        key,
        title: "Records were deleted before they were read".into(),
        description: format!(
            "Of {} partition {}, {}; what they would have shown is not known",
            partition.source_id, partition.name, rejected.record.detail
        ),
        next_step:
            "Keep the topic's records for longer than Lapwing may be down (retention.ms), and \
                    look why it was behind; if somebody deleted them on purpose, find out who."
                .into(),
        count: 1,
        value: Fixed::from(1),
        by_reason: BTreeMap::new(),
        window: Window { start: at, end: at },
        opened_at: at,
        last_at: at,
        resolved_at: None,
        resolved_because: None,
        evidence: EvidenceSet { first: place.clone(), latest: place.clone(), samples: vec![place] },
        complete: false,
        incomplete_because: Vec::new(),
        open_at_end: false,
    }
}
