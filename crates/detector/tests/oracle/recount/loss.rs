//! The alert that says the rule had to forget something: `lapwing.window_incomplete`.

use std::collections::{BTreeMap, BTreeSet};

use lapwing_event::{
    Alert, AlertKey, AlertRule, EvidenceSet, Fixed, Incomplete, KeyValue, Level, Message,
    ResolvedBecause, Status, Window, alert_id,
};

use super::alert::evidence;
use crate::case::{PARTITION, RULE_NAME, SOURCE};

/// The rule id of the alert about losses.
const LOSS_ID: &str = "6f2b2f0e-1d5e-4c55-9a0b-0c8f3a7d4e11";

/// A thing that was lost: time, offset and reason of the event at which that happened.
pub(crate) type Lost = (i64, i64, Option<u8>);

/// An episode of losses.
#[derive(Debug)]
pub(crate) struct Loss {
    lost: Vec<Lost>,
    because: BTreeSet<Incomplete>,
    /// The log time at which it is over, unless more is lost.
    pub(crate) due: i64,
    revision: u32,
}

impl Loss {
    pub(crate) fn new() -> Self {
        Self { lost: Vec::new(), because: BTreeSet::new(), due: i64::MIN, revision: 0 }
    }

    /// One more; a message when the count is a power of two.
    pub(crate) fn count(
        &mut self,
        because: Incomplete,
        at: Lost,
        due: i64,
        log_time: i64,
    ) -> Option<Message> {
        self.lost.push(at);
        self.because.insert(because);
        self.due = due;
        let status = if self.lost.len() == 1 { Status::Opened } else { Status::Updated };
        self.lost.len().is_power_of_two().then(|| self.message(status, None, log_time))
    }

    /// The message at which it ends.
    pub(crate) fn resolved(&mut self) -> Message {
        self.message(Status::Resolved, Some(self.due), self.due)
    }

    /// The message at the end of the input.
    pub(crate) fn at_end(&mut self, log_time: i64) -> Message {
        let mut message = self.message(Status::Updated, None, log_time);
        message.alert.open_at_end = true;
        message
    }

    fn message(&mut self, status: Status, resolved_at: Option<i64>, log_time: i64) -> Message {
        self.revision += 1;
        let key = AlertKey(vec![("rule".into(), KeyValue::Text(RULE_NAME.into()))]);
        let (first, latest) = (self.lost[0], self.lost[self.lost.len() - 1]);
        let last_at = self.lost.iter().map(|(time, ..)| *time).max().expect("one at least");
        let alert = Alert {
            id: alert_id(LOSS_ID, SOURCE, PARTITION, &key, first.0),
            revision: self.revision,
            status,
            level: Level::Medium,
            rule: AlertRule { id: LOSS_ID.into(), name: "lapwing.window_incomplete".into() },
            source_id: SOURCE.into(),
            partition: PARTITION.into(),
            key,
            title: String::new(),
            description: String::new(),
            next_step: String::new(),
            count: self.lost.len() as u64,
            value: Fixed::from(self.lost.len() as i64),
            by_reason: BTreeMap::new(),
            window: Window { start: first.0, end: last_at },
            opened_at: first.0,
            last_at,
            resolved_at,
            resolved_because: resolved_at.map(|_| ResolvedBecause::Quiet),
            evidence: EvidenceSet {
                first: evidence(first.0, first.1, first.2),
                latest: evidence(latest.0, latest.1, latest.2),
                samples: vec![evidence(first.0, first.1, first.2)],
            },
            complete: false,
            incomplete_because: self.because.iter().copied().collect(),
            open_at_end: false,
        };
        Message { alert, log_time }
    }
}
