//! An open alert: what it has absorbed, and the messages it gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use lapwing_event::time::format_duration;
use lapwing_event::vocabulary::REASON_CODES;
use lapwing_event::{
    Alert, AlertKey, AlertRule, Evidence, EvidenceSet, FieldId, Incomplete, KeyValue, Level,
    MAX_SAMPLES, Message, Partition, Status, Window, alert_id,
};
use serde::{Deserialize, Serialize};

use crate::rule::{Rule, Template};
use crate::window::{Entries, Entry, Holding, NO_FILE, NO_REASON};

/// Different values of one fact that an alert's text names.
const MAX_FACTS: usize = 3;
/// Longest fact in an alert's text, characters.
const MAX_FACT_CHARS: usize = 200;

/// An open alert.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Episode {
    id: Arc<str>,
    revision: u32,
    level: Level,
    count: u64,
    value: u64,
    by_reason: BTreeMap<u16, u64>,
    opened_at: i64,
    window_start: i64,
    /// The end of the last window that held.
    pub(crate) last_end: i64,
    /// The end of the window absorbed last; windows after it need only look at newer entries.
    absorbed_end: i64,
    opening_value: u64,
    next_update: u64,
    first: Place,
    latest: Place,
    samples: Vec<Place>,
    facts: Vec<Fact>,
    incomplete: Vec<Incomplete>,
}

/// Where an entry stands.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) time: i64,
    pub(crate) offset: i64,
    pub(crate) file: u32,
    pub(crate) line: i64,
    pub(crate) reason: u16,
}

impl From<&Entry> for Place {
    fn from(e: &Entry) -> Self {
        Self { time: e.time, offset: e.offset, file: e.file, line: e.line, reason: e.reason }
    }
}

/// The values of one field that the text names.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Fact {
    values: Vec<Box<str>>,
    has_more: bool,
}

/// What messages of one rule and key have in common.
pub(crate) struct Subject<'a> {
    pub(crate) partition: &'a Partition,
    pub(crate) rule: &'a Rule,
    pub(crate) key: &'a [KeyValue],
    pub(crate) files: &'a [Arc<str>],
}

impl Subject<'_> {
    fn alert_key(&self) -> AlertKey {
        let names = self.rule.group_by.iter().map(|f| f.spec().name.into());
        AlertKey(names.zip(self.key.iter().cloned()).collect())
    }
}

impl Episode {
    /// Opens an alert for the windows that hold; `opened_at` is the earliest new one.
    pub(crate) fn open(
        subject: &Subject<'_>,
        entries: &mut Entries,
        holding: &[Holding],
        opened_at: i64,
    ) -> Self {
        let rule = subject.rule;
        let partition = subject.partition;
        let id = alert_id(
            &rule.id,
            &partition.source_id,
            &partition.name,
            &subject.alert_key(),
            opened_at,
        );
        let place = Place::from(entries.get(holding[0].from));
        let mut episode = Self {
            id,
            revision: 0,
            level: rule.level,
            count: 0,
            value: 0,
            by_reason: BTreeMap::new(),
            opened_at,
            window_start: i64::MAX,
            last_end: i64::MIN,
            absorbed_end: i64::MIN,
            opening_value: 0,
            next_update: u64::MAX,
            first: place,
            latest: place,
            samples: Vec::new(),
            facts: vec![Fact::default(); rule.facts.len()],
            incomplete: Vec::new(),
        };
        episode.absorb(subject, entries, holding);
        episode.opening_value = episode.value;
        episode.next_update = episode.opening_value.saturating_mul(2);
        while episode.next_update <= episode.count && episode.next_update < u64::MAX {
            episode.next_update = episode.next_update.saturating_mul(2);
        }
        episode
    }

    /// Absorbs windows that hold, in the order of their ends.
    pub(crate) fn absorb(
        &mut self,
        subject: &Subject<'_>,
        entries: &mut Entries,
        holding: &[Holding],
    ) {
        for window in holding {
            self.cover(entries, window);
            self.value = self.value.max(window.value);
            self.last_end = self.last_end.max(window.end);
            let start = window.end.saturating_sub(subject.rule.timespan);
            self.window_start = self.window_start.min(start);
            self.absorbed_end = window.end;
        }
        self.level = self.level.max(subject.rule.level_of(self.value));
    }

    /// Counts the entries of a window that were not counted yet.
    ///
    /// After the window that ends at the entry before, everything up to that entry is covered.
    fn cover(&mut self, entries: &mut Entries, window: &Holding) {
        for index in (window.from..window.to).rev() {
            let entry = *entries.get(index);
            if entry.time <= self.absorbed_end && self.absorbed_end < window.end && entry.covered {
                break;
            }
            if entry.covered {
                continue;
            }
            entries.get_mut(index).covered = true;
            let counted = entries.covered_count_of_id(index);
            let more = entry.count.saturating_sub(counted);
            self.count = self.count.saturating_add(more);
            *self.by_reason.entry(entry.reason).or_insert(0) += more;
            if counted == 0 {
                self.witness(&entry);
            }
        }
    }

    fn witness(&mut self, entry: &Entry) {
        let place = Place::from(entry);
        let order = |p: &Place| (p.time, p.offset);
        if order(&place) < order(&self.first) {
            self.first = place;
        }
        if order(&place) > order(&self.latest) {
            self.latest = place;
        }
        // Samples are the first ones by place, so that counting downwards does not matter.
        let at = self.samples.partition_point(|s| order(s) < order(&place));
        self.samples.insert(at, place);
        self.samples.truncate(MAX_SAMPLES);
    }

    /// Remembers the facts of an arrival for the text.
    pub(crate) fn learn(&mut self, facts: impl Iterator<Item = Option<KeyValue>>) {
        for (known, value) in self.facts.iter_mut().zip(facts) {
            let Some(value) = value else { continue };
            let text = bounded(&value.to_string());
            if known.values.contains(&text) {
                continue;
            }
            match known.values.len() < MAX_FACTS {
                true => known.values.push(text),
                false => known.has_more = true,
            }
        }
    }

    /// Says that events may be missing; whether that is news.
    pub(crate) fn lose(&mut self, because: Incomplete) -> bool {
        let at = self.incomplete.binary_search(&because);
        at.map_err(|at| self.incomplete.insert(at, because)).is_err()
    }

    /// The message that opens the alert.
    pub(crate) fn opened(&mut self, subject: &Subject<'_>, log_time: i64) -> Message {
        self.message(subject, Status::Opened, None, log_time)
    }

    /// The message that an arrival calls for: the count reached its next mark, the level rose, or
    /// the alert became incomplete.
    pub(crate) fn updated(
        &mut self,
        subject: &Subject<'_>,
        level_before: Level,
        is_incomplete_news: bool,
        log_time: i64,
    ) -> Option<Message> {
        let is_marked = self.count >= self.next_update;
        while self.next_update <= self.count && self.next_update < u64::MAX {
            self.next_update = self.next_update.saturating_mul(2);
        }
        (is_marked || self.level > level_before || is_incomplete_news)
            .then(|| self.message(subject, Status::Updated, None, log_time))
    }

    /// The level now.
    pub(crate) fn level(&self) -> Level {
        self.level
    }

    /// The message at the end of a bounded input.
    pub(crate) fn at_end(&mut self, subject: &Subject<'_>, log_time: i64) -> Message {
        let mut message = self.message(subject, Status::Updated, None, log_time);
        message.alert.open_at_end = true;
        message
    }

    /// The message that resolves the alert.
    pub(crate) fn resolved(&mut self, subject: &Subject<'_>, at: i64, log_time: i64) -> Message {
        self.message(subject, Status::Resolved, Some(at), log_time)
    }

    fn message(
        &mut self,
        subject: &Subject<'_>,
        status: Status,
        resolved_at: Option<i64>,
        log_time: i64,
    ) -> Message {
        self.revision += 1;
        let rule = subject.rule;
        let alert = Alert {
            id: self.id.clone(),
            revision: self.revision,
            status,
            level: self.level,
            rule: AlertRule { id: rule.id.clone(), name: rule.name.clone() },
            source_id: subject.partition.source_id.clone(),
            partition: subject.partition.name.clone(),
            key: subject.alert_key(),
            title: rule.title.clone(),
            description: self.text(&rule.message, subject),
            next_step: self.text(&rule.next_step, subject),
            count: self.count,
            value: self.value,
            by_reason: self.by_reason(),
            window: Window { start: self.window_start, end: self.last_end },
            opened_at: self.opened_at,
            last_at: self.latest.time,
            resolved_at,
            evidence: EvidenceSet {
                first: evidence(&self.first, subject.files),
                latest: evidence(&self.latest, subject.files),
                samples: self.samples.iter().map(|p| evidence(p, subject.files)).collect(),
            },
            complete: self.incomplete.is_empty(),
            incomplete_because: self.incomplete.clone(),
            open_at_end: false,
        };
        Message { alert, log_time }
    }

    fn by_reason(&self) -> BTreeMap<Arc<str>, u64> {
        let named = self.by_reason.iter().filter(|(code, _)| **code != NO_REASON);
        named.filter(|(_, n)| **n > 0).map(|(code, n)| (reason_name(*code), *n)).collect()
    }

    fn text(&self, template: &Template, subject: &Subject<'_>) -> String {
        use crate::rule::Number;
        let field = |field: FieldId| self.fact(field, subject);
        let number = |number: Number| match number {
            Number::Count => Some(self.count.to_string()),
            Number::Value => Some(self.value.to_string()),
            Number::Span => {
                let span = self.latest.time - self.first.time;
                (span > 0).then(|| format_duration(span))
            }
            Number::ByReason => self.reasons_by_count(),
        };
        template.render(&field, &number)
    }

    /// `token_mismatch ×4, token_missing ×1`; `None` where no event gave a reason.
    fn reasons_by_count(&self) -> Option<String> {
        let mut reasons: Vec<_> = self.by_reason().into_iter().collect();
        reasons.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        let reasons: Vec<String> = reasons.iter().map(|(r, n)| format!("{r} ×{n}")).collect();
        (!reasons.is_empty()).then(|| reasons.join(", "))
    }

    fn fact(&self, field: FieldId, subject: &Subject<'_>) -> Option<String> {
        let rule = subject.rule;
        if let Some(at) = rule.group_by.iter().position(|f| *f == field) {
            return match &subject.key[at] {
                KeyValue::Null => None,
                value => Some(bounded(&value.to_string()).into()),
            };
        }
        let at = rule.facts.iter().position(|f| *f == field)?;
        let fact = self.facts.get(at).filter(|f| !f.values.is_empty())?;
        let more = if fact.has_more { ", …" } else { "" };
        Some(format!("{}{more}", fact.values.join(", ")))
    }

    /// Makes room for the facts of a rule whose texts have changed.
    pub(crate) fn fit_facts(&mut self, rule: &Rule) {
        if self.facts.len() != rule.facts.len() {
            self.facts = vec![Fact::default(); rule.facts.len()];
        }
    }
}

fn bounded(text: &str) -> Box<str> {
    match text.char_indices().nth(MAX_FACT_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]).into(),
        None => text.into(),
    }
}

fn reason_name(code: u16) -> Arc<str> {
    REASON_CODES.get(usize::from(code)).map_or("other", |t| t.value).into()
}

pub(crate) fn evidence(place: &Place, files: &[Arc<str>]) -> Evidence {
    Evidence {
        offset: place.offset,
        file: (place.file != NO_FILE).then(|| files.get(place.file as usize).cloned()).flatten(),
        line: (place.line > 0).then_some(place.line),
        time: place.time,
        reason: (place.reason != NO_REASON).then(|| reason_name(place.reason)),
    }
}
