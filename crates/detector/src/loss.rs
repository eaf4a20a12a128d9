//! The alert that says a rule forgot something it would have counted: one per rule and episode,
//! `lapwing.window_incomplete`.

use std::collections::BTreeMap;
use std::sync::Arc;

use lapwing_event::{
    Alert, AlertKey, AlertRule, EvidenceSet, Fixed, Incomplete, KeyValue, Level, Message,
    Partition, ResolvedBecause, Status, Window, alert_id,
};
use serde::{Deserialize, Serialize};

use crate::episode::{Place, evidence};
use crate::rule::Rule;

/// The rule id of `lapwing.window_incomplete`.
const RULE_ID: &str = "6f2b2f0e-1d5e-4c55-9a0b-0c8f3a7d4e11";
/// Its name.
const RULE_NAME: &str = "lapwing.window_incomplete";

/// What a rule has lost since the episode began.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Loss {
    opened_at: i64,
    last_at: i64,
    /// The log time after which the episode is over if nothing more is lost.
    pub(crate) due: i64,
    revision: u32,
    count: u64,
    next_update: u64,
    because: Vec<Incomplete>,
    first: Place,
    latest: Place,
}

impl Loss {
    /// Counts a loss; gives a message when the episode begins and when its count doubles.
    pub(crate) fn count(
        loss: &mut Option<Self>,
        because: Incomplete,
        at: Place,
        log_time: i64,
        rule: &Rule,
        partition: &Partition,
        files: &[Arc<str>],
    ) -> Option<Message> {
        let due = log_time.saturating_add(rule.timespan).saturating_add(rule.allowed_lateness);
        let is_new = loss.is_none();
        let this = loss.get_or_insert_with(|| Self {
            opened_at: at.time,
            last_at: at.time,
            due,
            revision: 0,
            count: 0,
            next_update: 1,
            because: Vec::new(),
            first: at,
            latest: at,
        });
        this.due = due;
        this.last_at = this.last_at.max(at.time);
        this.latest = at;
        this.count += 1;
        if !this.because.contains(&because) {
            this.because.push(because);
            this.because.sort_unstable();
        }
        if this.count < this.next_update {
            return None;
        }
        this.next_update = this.next_update.saturating_mul(2);
        let status = if is_new { Status::Opened } else { Status::Updated };
        Some(this.message(status, None, log_time, rule, partition, files))
    }

    /// The message that ends the episode, at a log time.
    pub(crate) fn resolved(
        &mut self,
        at: i64,
        because: ResolvedBecause,
        rule: &Rule,
        partition: &Partition,
        files: &[Arc<str>],
    ) -> Message {
        self.message(Status::Resolved, Some((at, because)), at, rule, partition, files)
    }

    /// The message at the end of a bounded input.
    pub(crate) fn at_end(
        &mut self,
        log_time: i64,
        rule: &Rule,
        partition: &Partition,
        files: &[Arc<str>],
    ) -> Message {
        let mut message = self.message(Status::Updated, None, log_time, rule, partition, files);
        message.alert.open_at_end = true;
        message
    }

    fn message(
        &mut self,
        status: Status,
        resolved: Option<(i64, ResolvedBecause)>,
        log_time: i64,
        rule: &Rule,
        partition: &Partition,
        files: &[Arc<str>],
    ) -> Message {
        self.revision += 1;
        let key = AlertKey(vec![("rule".into(), KeyValue::Text((&*rule.name).into()))]);
        let alert = Alert {
            id: alert_id(RULE_ID, &partition.source_id, &partition.name, &key, self.opened_at),
            revision: self.revision,
            status,
            level: Level::Medium,
            rule: AlertRule { id: RULE_ID.into(), name: RULE_NAME.into() },
            source_id: partition.source_id.clone(),
            partition: partition.name.clone(),
            key,
            title: "A rule had more to remember than it may".into(),
            description: format!(
                "{} forgot {} times what it would have counted; alerts of this rule may be missing \
                 or too small from {} on",
                rule.name,
                self.count,
                lapwing_event::time::format_time(self.opened_at)
            ),
            next_step:
                "Somebody may be flooding the log with new keys: look at the sources of its \
                        events. If the traffic is real, raise the limits of the detector."
                    .into(),
            count: self.count,
            value: Fixed::from(i64::try_from(self.count).unwrap_or(i64::MAX)),
            by_reason: BTreeMap::new(),
            window: Window { start: self.opened_at, end: self.last_at },
            opened_at: self.opened_at,
            last_at: self.last_at,
            resolved_at: resolved.map(|(at, _)| at),
            resolved_because: resolved.map(|(_, because)| because),
            evidence: EvidenceSet {
                first: evidence(&self.first, files),
                latest: evidence(&self.latest, files),
                samples: vec![evidence(&self.first, files)],
            },
            complete: false,
            incomplete_because: self.because.clone(),
            open_at_end: false,
        };
        Message { alert, log_time }
    }
}
