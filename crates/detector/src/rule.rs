//! Rules: what they select, how they count, and what an alert of theirs says. Loaded from YAML in
//! the Sigma form (`rule/load.rs`); everything here is checked and compiled.

mod bound;
mod condition;
mod correlation;
mod detection;
mod document;
mod extension;
mod fingerprint;
mod level;
mod load;
mod selection;
mod template;
mod test;

use std::sync::Arc;

use lapwing_event::{FieldId, Fixed, Level};

pub use condition::Expr;
pub use load::{RuleSource, load_rules};
pub use selection::{Compare, Matcher, Op, Pattern, Predicate};
pub(crate) use template::Number;
pub use template::Template;
pub use test::{ExpectedAlert, RuleTest};

/// Events come at most this much out of order, unless a rule says otherwise.
pub const DEFAULT_ALLOWED_LATENESS: i64 = 10 * lapwing_event::time::MINUTE;
/// The window of a plain detection: five minutes.
pub const DEFAULT_TIMESPAN: i64 = 5 * lapwing_event::time::MINUTE;

/// What a rule compares with its condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// The number of occurrences (`event_count`).
    EventCount,
    /// The number of distinct values of a field (`value_count`); null is no value.
    ValueCount(FieldId),
    /// The sum of a field that is a number (`value_sum`); null adds nothing.
    ValueSum(FieldId),
    /// The mean of a field that is a number (`value_avg`), rounded down to 1e-9; null is left out.
    ValueAvg(FieldId),
    /// How many of the rule's detections have an event (`temporal`).
    Temporal,
    /// Whether each detection has an event of its own, in the order given (`temporal_ordered`).
    TemporalOrdered,
    /// Whether an event of the key follows within the timespan (`lapwing: expected`).
    Absence,
}

/// What the value of a window must be for the window to hold: all parts are true of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The comparisons.
    pub parts: Vec<(Compare, Fixed)>,
}

impl Condition {
    /// At least this much.
    pub fn at_least(least: i64) -> Self {
        Self { parts: vec![(Compare::Gte, Fixed::from(least))] }
    }

    /// Whether a value fulfils it.
    pub fn holds(&self, value: Fixed) -> bool {
        self.parts.iter().all(|(compare, limit)| match compare {
            Compare::Eq => value == *limit,
            Compare::Gt => value > *limit,
            Compare::Gte => value >= *limit,
            Compare::Lt => value < *limit,
            Compare::Lte => value <= *limit,
        })
    }

    /// Whether it asks for much only (`gt`, `gte`), so that more events can only make it truer.
    pub fn asks_for_more(&self) -> bool {
        self.parts.iter().all(|(compare, _)| matches!(compare, Compare::Gt | Compare::Gte))
    }

    /// Whether it asks for little only (`lt`, `lte`).
    pub fn asks_for_less(&self) -> bool {
        self.parts.iter().all(|(compare, _)| matches!(compare, Compare::Lt | Compare::Lte))
    }
}

/// What happens to events whose group key has a null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NullKeys {
    /// Null is a group of its own, as in SQL.
    Group,
    /// They are not counted.
    Skip,
}

/// A rule, ready to run.
#[derive(Debug)]
pub struct Rule {
    /// Its id, a UUID.
    pub id: Arc<str>,
    /// Its name: short, unique in a rule set.
    pub name: Arc<str>,
    /// Its title.
    pub title: String,
    /// What it finds and why that matters.
    pub description: String,
    /// Where it was loaded from.
    pub source: Arc<str>,
    /// Whether it runs unless somebody switches it on or off.
    pub enabled: bool,
    /// Tags, for instance `attack.t1110`.
    pub tags: Vec<String>,
    /// The detections whose events it counts, by index into the set, in the order of the rule; any
    /// of them selects. Each stands once, but for [`Measure::TemporalOrdered`].
    pub detections: Vec<usize>,
    /// What it compares.
    pub measure: Measure,
    /// What the value of a window must be for it to hold.
    pub condition: Condition,
    /// The fields that make up the group key.
    pub group_by: Vec<FieldId>,
    /// The length of the window, microseconds; of [`Measure::Absence`], how long an event may be
    /// waited for.
    pub timespan: i64,
    /// How long the condition must stay true without another event (`for`), microseconds; less
    /// than the timespan.
    pub hold_for: i64,
    /// What happens to null keys.
    pub null_keys: NullKeys,
    /// How much later than the newest event of its key an event may come, microseconds.
    pub allowed_lateness: i64,
    /// How long after the last holding window an alert stays open, microseconds.
    pub resolve_after: i64,
    /// The level at the threshold.
    pub level: Level,
    /// Higher levels with the values at which they begin, rising.
    pub levels: Vec<(Level, Fixed)>,
    /// The least time between two messages about one alert to one receiver, microseconds; for
    /// delivery, no matter of detection.
    pub repeat_interval: Option<i64>,
    /// The text of an alert.
    pub message: Template,
    /// What a person can do.
    pub next_step: Template,
    /// Fields that the texts use beyond the key: taken from the events as they come.
    pub facts: Vec<FieldId>,
    /// A digest of everything that decides which alerts it raises.
    pub fingerprint: u64,
    /// Its tests.
    pub tests: Vec<RuleTest>,
}

impl Rule {
    /// The level of a value at or above the threshold.
    pub fn level_of(&self, value: Fixed) -> Level {
        let reached = self.levels.iter().filter(|(_, from)| value >= *from);
        reached.map(|(level, _)| *level).fold(self.level, Level::max)
    }

    /// Whether a window is decided as soon as its events are there, since more events can only
    /// make it truer. Other windows wait until no event can come into them any more.
    pub fn decides_at_arrival(&self) -> bool {
        let is_rising = !matches!(self.measure, Measure::ValueAvg(_) | Measure::Absence);
        is_rising && self.condition.asks_for_more()
    }
}

/// A detection: a named expression over predicates.
#[derive(Debug)]
pub struct Detection {
    /// Its name.
    pub name: Arc<str>,
    /// The expression; leaves are indices into [`RuleSet::predicates`].
    pub expr: Expr,
}

/// Rules that run together, with the predicates they share.
#[derive(Debug, Default)]
pub struct RuleSet {
    /// Every distinct predicate.
    pub predicates: Vec<Predicate>,
    /// The detections.
    pub detections: Vec<Detection>,
    /// The rules, by name.
    pub rules: Vec<Rule>,
}

impl RuleSet {
    /// Keeps the rules for which `keep` says so.
    pub fn retain(&mut self, keep: impl FnMut(&Rule) -> bool) {
        self.rules.retain(keep);
    }

    /// The rule with this name.
    pub fn by_name(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|r| &*r.name == name)
    }
}
