//! An open alert: what it has absorbed, and the messages it gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use lapwing_event::time::{DAY, format_duration};
use lapwing_event::vocabulary::REASON_CODES;
use lapwing_event::{
    Alert, AlertKey, AlertRule, Evidence, EvidenceSet, FieldId, Fixed, Incomplete, KeyValue, Level,
    MAX_SAMPLES, Message, Partition, ResolvedBecause, Status, Window, alert_id,
};
use serde::{Deserialize, Serialize};

use crate::covered::Covered;
use crate::entry::{Entry, NO_FILE, NO_REASON};
use crate::name;
use crate::rule::{Measure, Rule, Template};
use crate::window::Windows;

/// Different values of one fact that an alert's text names.
const MAX_FACTS: usize = 3;
/// Longest fact in an alert's text, characters.
const MAX_FACT_CHARS: usize = 200;
/// An event whose absence was told is waited for no longer than this.
pub(crate) const EXPIRY: i64 = DAY;

/// An open alert.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Episode {
    id: Arc<str>,
    revision: u32,
    level: Level,
    count: u64,
    value: Option<Fixed>,
    by_reason: BTreeMap<u16, u64>,
    pub(crate) opened_at: i64,
    window_start: i64,
    /// The end of the last window that held.
    pub(crate) last_end: i64,
    /// What the clock of the key showed when the alert last absorbed a window.
    pub(crate) absorbed_at: i64,
    covered: Covered,
    next_update: Option<Fixed>,
    first: Place,
    latest: Place,
    samples: Vec<Place>,
    pub(crate) facts: Facts,
    incomplete: Vec<Incomplete>,
}

/// What has come to a key at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Come<'a> {
    /// An event.
    pub(crate) arrived: Option<&'a Entry>,
    /// Windows that hold now, by their ends.
    pub(crate) ends: &'a [i64],
    /// What the clock of the key shows.
    pub(crate) clock: i64,
}

/// Where an entry stands.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) time: i64,
    pub(crate) offset: i64,
    pub(crate) file: u32,
    pub(crate) line: u32,
    pub(crate) reason: u16,
}

impl From<&Entry> for Place {
    fn from(e: &Entry) -> Self {
        Self { time: e.time, offset: e.offset, file: e.file, line: e.line, reason: e.reason }
    }
}

/// The values of fields that the text of an alert names, by field.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Facts(Vec<Fact>);

/// The values of one field.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Fact {
    values: Vec<Box<str>>,
    has_more: bool,
}

impl Facts {
    /// Remembers the values of an event.
    pub(crate) fn learn(&mut self, facts: impl Iterator<Item = Option<KeyValue>>) {
        for (n, value) in facts.enumerate() {
            if self.0.len() <= n {
                self.0.push(Fact::default());
            }
            let Some(value) = value else { continue };
            let known = &mut self.0[n];
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
}

/// What messages of one rule and key have in common.
pub(crate) struct Subject<'a> {
    pub(crate) partition: &'a Partition,
    pub(crate) rule: &'a Rule,
    /// The group key, encoded; it is read only when there is something to say.
    pub(crate) key: &'a [u8],
    pub(crate) files: &'a [Arc<str>],
}

impl Subject<'_> {
    fn alert_key(&self) -> AlertKey {
        let names = self.rule.group_by.iter().map(|f| f.spec().name.into());
        AlertKey(names.zip(name::decode(self.key)).collect())
    }
}

impl Episode {
    /// An alert that has absorbed nothing yet; `opened_at` is the earliest of its windows.
    pub(crate) fn new(subject: &Subject<'_>, opened_at: i64) -> Self {
        let (rule, partition) = (subject.rule, subject.partition);
        let key = subject.alert_key();
        let nowhere =
            Place { time: opened_at, offset: 0, file: NO_FILE, line: 0, reason: NO_REASON };
        Self {
            id: alert_id(&rule.id, &partition.source_id, &partition.name, &key, opened_at),
            revision: 0,
            level: rule.level,
            count: 0,
            value: None,
            by_reason: BTreeMap::new(),
            opened_at,
            window_start: i64::MAX,
            last_end: i64::MIN,
            absorbed_at: i64::MIN,
            covered: Covered::default(),
            next_update: None,
            first: nowhere,
            latest: nowhere,
            samples: Vec::new(),
            facts: Facts::default(),
            incomplete: match partition.split.keeps_together(&rule.group_by) {
                true => Vec::new(),
                false => vec![Incomplete::Partition],
            },
        }
    }

    /// An alert about a silence of this length that began with these events.
    pub(crate) fn of_silence(subject: &Subject<'_>, last: &[Entry], span: i64) -> Self {
        let (first, latest) = (&last[0], &last[last.len() - 1]);
        let opened_at = first.time.saturating_add(span);
        Self {
            value: Some(Fixed::default()),
            window_start: first.time,
            last_end: opened_at,
            first: first.into(),
            latest: latest.into(),
            samples: vec![first.into()],
            ..Self::new(subject, opened_at)
        }
    }

    /// Absorbs what has come; `value` is the largest (or smallest) that the condition compared in
    /// any of the windows.
    pub(crate) fn absorb(
        &mut self,
        rule: &Rule,
        windows: &Windows,
        come: &Come<'_>,
        value: Option<Fixed>,
    ) {
        let Come { arrived, ends, clock } = *come;
        let mut counted: Vec<Entry> = Vec::new();
        counted.extend(arrived.filter(|e| self.covered.contains(e.time)));
        if counted.is_empty() && ends.is_empty() {
            return;
        }
        if !ends.is_empty() {
            self.absorbed_at = self.absorbed_at.max(clock);
        }
        let before = windows.has_repeats().then(|| self.covered.clone());
        for end in ends {
            let start = end.saturating_sub(rule.timespan);
            for (from, to) in self.covered.add(start, *end) {
                counted.extend(windows.list.range(from, to));
            }
            self.window_start = self.window_start.min(start);
            self.last_end = self.last_end.max(*end);
        }
        counted.sort_unstable_by_key(Entry::order);
        for entry in &counted {
            self.witness(entry);
            let known = before.as_ref().and_then(|before| {
                let records = windows.records_of(entry.id).into_iter();
                let is_counted = |r: &Entry| match arrived {
                    Some(arrived) if r.order() == arrived.order() => r.order() < entry.order(),
                    _ if before.contains(r.time) => true,
                    _ => self.covered.contains(r.time) && r.order() < entry.order(),
                };
                records.filter(is_counted).max_by(carries)
            });
            self.count(entry, known.as_ref());
        }
        let is_better = |value: &Fixed| match self.value {
            None => true,
            Some(known) if rule.condition.asks_for_less() => *value < known,
            Some(known) => *value > known,
        };
        if let Some(value) = value.filter(is_better) {
            self.value = Some(value);
            self.level = self.level.max(rule.level_of(value));
        }
    }

    /// Counts an entry that has come to lie in a window, given the counted record of the same id
    /// that stands for it: an id counts once, with its largest count.
    fn count(&mut self, entry: &Entry, known: Option<&Entry>) {
        let (count, known_count) = (u64::from(entry.count), known.map_or(0, |k| k.count.into()));
        self.count = self.count.saturating_add(count.saturating_sub(known_count));
        if known.is_none_or(|known| carries(entry, known).is_gt()) {
            if let Some(known) = known {
                let of_known = self.by_reason.entry(known.reason).or_insert(0);
                *of_known = of_known.saturating_sub(known_count);
            }
            let of_entry = self.by_reason.entry(entry.reason).or_insert(0);
            *of_entry = of_entry.saturating_add(count);
        }
    }

    fn witness(&mut self, entry: &Entry) {
        let place = Place::from(entry);
        let order = |p: &Place| (p.time, p.offset);
        if self.samples.is_empty() {
            (self.first, self.latest) = (place, place);
        }
        if order(&place) < order(&self.first) {
            self.first = place;
        }
        if order(&place) > order(&self.latest) {
            self.latest = place;
        }
        // Samples are the first ones by place, whatever the order of counting.
        let at = self.samples.partition_point(|s| order(s) < order(&place));
        if at < MAX_SAMPLES {
            self.samples.insert(at, place);
            self.samples.truncate(MAX_SAMPLES);
        }
    }

    /// Whether events at a time lie in a window of this alert.
    pub(crate) fn covers(&self, time: i64) -> bool {
        self.covered.contains(time)
    }

    /// Forgets what no event can touch any more.
    pub(crate) fn trim(&mut self, horizon: i64) {
        self.covered.trim(horizon);
    }

    /// Says that events may be missing; whether that is news.
    pub(crate) fn lose(&mut self, because: Incomplete) -> bool {
        let at = self.incomplete.binary_search(&because);
        at.map_err(|at| self.incomplete.insert(at, because)).is_err()
    }

    /// The message that opens the alert.
    pub(crate) fn opened(&mut self, subject: &Subject<'_>, log_time: i64) -> Message {
        let base = match subject.rule.measure {
            Measure::ValueSum(_) | Measure::ValueAvg(_) => count_as_value(self.count),
            _ => self.value.unwrap_or_default(),
        };
        self.next_update = Some(Fixed(2 * base.max(Fixed::from(1)).0));
        self.pass_marks();
        self.message(subject, Status::Opened, None, log_time)
    }

    /// Passes the marks that the count has reached; whether there was one.
    fn pass_marks(&mut self) -> bool {
        let count = count_as_value(self.count);
        let mut has_passed = false;
        while let Some(mark) = self.next_update.filter(|mark| *mark <= count) {
            self.next_update = mark.0.checked_mul(2).map(Fixed);
            has_passed = true;
        }
        has_passed
    }

    /// The message that an arrival or a decision calls for: the count reached its next mark, the
    /// level rose, or the alert became incomplete.
    pub(crate) fn updated(
        &mut self,
        subject: &Subject<'_>,
        level_before: Level,
        is_incomplete_news: bool,
        log_time: i64,
    ) -> Option<Message> {
        let is_marked = self.pass_marks();
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
    pub(crate) fn resolved(
        &mut self,
        subject: &Subject<'_>,
        at: i64,
        because: ResolvedBecause,
        log_time: i64,
    ) -> Message {
        self.message(subject, Status::Resolved, Some((at, because)), log_time)
    }

    fn message(
        &mut self,
        subject: &Subject<'_>,
        status: Status,
        resolved: Option<(i64, ResolvedBecause)>,
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
            value: self.value.unwrap_or_default(),
            by_reason: self.by_reason(),
            window: Window { start: self.window_start, end: self.last_end },
            opened_at: self.opened_at,
            last_at: self.latest.time,
            resolved_at: resolved.map(|(at, _)| at),
            resolved_because: resolved.map(|(_, because)| because),
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
            Number::Value => Some(self.value.unwrap_or_default().to_string()),
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
            return match name::decode(subject.key).get(at) {
                None | Some(KeyValue::Null) => None,
                Some(value) => Some(bounded(&value.to_string()).into()),
            };
        }
        let at = rule.facts.iter().position(|f| *f == field)?;
        let fact = self.facts.0.get(at).filter(|f| !f.values.is_empty())?;
        let more = if fact.has_more { ", …" } else { "" };
        Some(format!("{}{more}", fact.values.join(", ")))
    }
}

/// Which of two records of an id stands for it: the one with the larger count, then the earlier.
fn carries(a: &Entry, b: &Entry) -> std::cmp::Ordering {
    a.count.cmp(&b.count).then(b.order().cmp(&a.order()))
}

fn count_as_value(count: u64) -> Fixed {
    Fixed(i128::from(count) * Fixed::from(1).0)
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
        line: (place.line > 0).then_some(i64::from(place.line)),
        time: place.time,
        reason: (place.reason != NO_REASON).then(|| reason_name(place.reason)),
    }
}
