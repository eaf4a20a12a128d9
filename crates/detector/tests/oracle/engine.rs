//! The detector under test: a case's rule as YAML, its records as batches, its ticks and restarts
//! as they come.

use std::sync::Arc;

use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use lapwing_detector::rule::{RuleSet, RuleSource, load_rules};
use lapwing_detector::{Detector, Limits};
use lapwing_event::{
    Batch, Event, EventColumns, FieldId, Fixed, LogTimeOrigin, Message, Partition, Reject,
    RejectReason, RejectedAt, RejectedRecord, Split, event_schema,
};

use crate::case::{
    Ask, Bounds, Case, CaseRule, FILE, Group, Kind, Measure, Number, OUTCOMES, PARTITION, Pick,
    REASONS, RULE_ID, RULE_NAME, Record, SECOND, SOURCE, TARGETS, TOOLS, What,
};
use crate::recount::Outcome;

/// Runs a case through the detector.
pub(crate) fn run(case: &Case) -> Outcome {
    let mut engine = Engine::new(rules(&yaml(&case.rule)), case.is_replayed, case.bounds);
    for step in &case.steps {
        match &step.what {
            What::Record(record) => engine.record(*record),
            What::Tick(log_time) => engine.tick(*log_time),
        }
        if step.cut {
            engine.flush();
        }
        if step.restart {
            engine.restart();
        }
    }
    engine.finish()
}

/// A detector with the records that wait for the end of their batch.
pub(crate) struct Engine {
    rules: Arc<RuleSet>,
    partition: Arc<Partition>,
    limits: Limits,
    pub(crate) detector: Detector,
    waiting: Vec<Record>,
    next_offset: i64,
    pub(crate) outcome: Outcome,
}

impl Engine {
    pub(crate) fn new(rules: Arc<RuleSet>, is_replayed: bool, bounds: Bounds) -> Self {
        let origin = if is_replayed { LogTimeOrigin::Replayed } else { LogTimeOrigin::Observed };
        let partition = Arc::new(Partition {
            source_id: SOURCE.into(),
            name: PARTITION.into(),
            log_time_origin: origin,
            split: Split::Whole,
        });
        let limits = Limits {
            keys: bounds.keys,
            entries_per_key: bounds.entries,
            values_per_key: bounds.values,
            open_alerts: bounds.open_alerts,
        };
        Self {
            detector: Detector::new(rules.clone(), partition.clone(), limits),
            rules,
            partition,
            limits,
            waiting: Vec::new(),
            next_offset: 0,
            outcome: Outcome::default(),
        }
    }

    pub(crate) fn record(&mut self, record: Record) {
        self.waiting.push(record);
    }

    pub(crate) fn tick(&mut self, log_time: i64) {
        self.flush();
        let messages = self.detector.advance(log_time);
        self.hear(messages);
    }

    /// Ends the batch.
    pub(crate) fn flush(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let records = std::mem::take(&mut self.waiting);
        let batch = batch(&self.partition, &records, self.next_offset);
        self.next_offset += records.len() as i64;
        let pushed = self.detector.push(&batch);
        let offsets = batch.event_offsets();
        self.outcome.late.extend(pushed.late_rows.iter().map(|row| offsets[*row as usize]));
        self.hear(pushed.messages);
    }

    /// Writes the state out and reads it back.
    pub(crate) fn restart(&mut self) {
        let closed = self.restart_with(self.rules.clone());
        assert_eq!(closed, [], "rules that did not change close nothing");
    }

    /// Writes the state out and reads it back for other rules; what that closes.
    pub(crate) fn restart_with(&mut self, rules: Arc<RuleSet>) -> Vec<Message> {
        let state = self.snapshot();
        self.rules = rules;
        let (detector, closed) = self.restored(&state).expect("its own state");
        self.detector = detector;
        closed
    }

    pub(crate) fn snapshot(&mut self) -> Vec<u8> {
        self.flush();
        self.detector.snapshot()
    }

    /// Another detector from a state.
    pub(crate) fn restored(
        &self,
        state: &[u8],
    ) -> Result<(Detector, Vec<Message>), lapwing_detector::StateError> {
        Detector::restore(self.rules.clone(), self.partition.clone(), self.limits, state)
    }

    pub(crate) fn finish(mut self) -> Outcome {
        self.flush();
        let messages = self.detector.finish();
        self.hear(messages);
        self.outcome
    }

    fn hear(&mut self, messages: Vec<Message>) {
        self.outcome.messages.extend(messages);
    }
}

pub(crate) fn rules(yaml: &str) -> Arc<RuleSet> {
    let source = RuleSource { name: "r.yml".into(), text: yaml.into(), is_builtin: false };
    match load_rules(&[source]) {
        Ok(rules) => Arc::new(rules),
        Err(error) => panic!("{error}\n{yaml}"),
    }
}

/// A rule in the Sigma form, with the detections it refers to.
pub(crate) fn yaml(rule: &CaseRule) -> String {
    yaml_as(rule, RULE_NAME, RULE_ID)
}

/// The same under another name.
pub(crate) fn yaml_as(rule: &CaseRule, name: &str, id: &str) -> String {
    if rule.measure == Measure::Absence {
        let keys = format!("expected: every {}, group-by: [{}]", s(rule.timespan), fields(rule));
        let lapwing = format!("{keys}, {}", lapwing(rule));
        return detection(rule.picks[0], name, &format!("id: {id}\nlapwing: {{{lapwing}}}\n"));
    }
    let mut picks = rule.picks.clone();
    picks.sort_by_key(|p| p.name());
    picks.dedup();
    let prefixed = |pick: &Pick| format!("{name}_{}", pick.name());
    let mut text: String = picks.iter().map(|pick| detection(*pick, &prefixed(pick), "")).collect();
    let listed: Vec<String> = rule.picks.iter().map(prefixed).collect();
    text += &format!(
        "---\ntitle: Rule\nid: {id}\nname: {name}\nlevel: low\nlapwing: {{{}, resolve_after: {}}}\n\
         correlation:\n  type: {}\n  rules: [{}]\n  timespan: {}\n",
        lapwing(rule),
        s(rule.resolve_after),
        type_of(rule.measure),
        listed.join(", "),
        s(rule.timespan),
    );
    if !rule.group_by.is_empty() {
        text += &format!("  group-by: [{}]\n", fields(rule));
    }
    if !rule.parts.is_empty() {
        text += &format!("  condition: {{{}}}\n", condition(rule));
    }
    text
}

fn detection(pick: Pick, name: &str, more: &str) -> String {
    let selection = match pick {
        Pick::Any => "kind: tool",
        Pick::Denied => "kind: tool, outcome: denied",
        Pick::Exec => "kind: tool, tool.name: exec",
        Pick::Write => "kind: tool, tool.name: write",
    };
    format!(
        "---\ntitle: Detection\nname: {name}\nlogsource: {{category: agent_audit}}\nlevel: low\n\
         detection: {{it: {{{selection}}}, condition: it}}\n{more}"
    )
}

fn lapwing(rule: &CaseRule) -> String {
    let mut keys = vec![
        format!("allowed_lateness: {}", s(rule.lateness)),
        format!("null_keys: {}", if rule.skips_null_keys { "skip" } else { "group" }),
    ];
    if rule.hold_for > 0 {
        keys.push(format!("for: {}", s(rule.hold_for)));
    }
    if !rule.levels.is_empty() {
        let level = |(level, from): &(_, Fixed)| format!("{level}: {from}");
        let levels: Vec<String> = rule.levels.iter().map(level).collect();
        keys.push(format!("levels: {{{}}}", levels.join(", ")));
    }
    keys.join(", ")
}

fn type_of(measure: Measure) -> &'static str {
    match measure {
        Measure::EventCount => "event_count",
        Measure::ValueCount => "value_count",
        Measure::Sum(_) => "value_sum",
        Measure::Avg(_) => "value_avg",
        Measure::Temporal => "temporal",
        Measure::TemporalOrdered => "temporal_ordered",
        Measure::Absence => unreachable!("absence is no correlation"),
    }
}

fn condition(rule: &CaseRule) -> String {
    let part = |(ask, bound): &(Ask, Fixed)| {
        let word = match ask {
            Ask::Gt => "gt",
            Ask::Gte => "gte",
            Ask::Lt => "lt",
            Ask::Lte => "lte",
            Ask::Eq => "eq",
        };
        format!("{word}: {bound}")
    };
    let mut parts: Vec<String> = rule.parts.iter().map(part).collect();
    match rule.measure {
        Measure::ValueCount => parts.push("field: tool.target".into()),
        Measure::Sum(Number::Tokens) | Measure::Avg(Number::Tokens) => {
            parts.push("field: usage.input_tokens".into());
        }
        Measure::Sum(Number::Cost) | Measure::Avg(Number::Cost) => {
            parts.push("field: usage.cost_usd".into());
        }
        _ => {}
    }
    parts.join(", ")
}

fn fields(rule: &CaseRule) -> String {
    let names: Vec<&str> = rule.group_by.iter().map(|g| g.field().spec().name).collect();
    names.join(", ")
}

fn s(span: i64) -> String {
    assert_eq!(span % SECOND, 0, "rules have whole seconds");
    format!("{}s", span / SECOND)
}

/// A batch of records in the order given; offsets count on from `first_offset`.
fn batch(partition: &Arc<Partition>, records: &[Record], first_offset: i64) -> Batch {
    let mut columns = EventColumns::default();
    let (mut offsets, mut log_times, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
    for (offset, record) in (first_offset..).zip(records) {
        if record.kind == Kind::Rejected {
            rejected.push(reject(offset, record.log_time));
            continue;
        }
        columns.push(&event(record)).expect("a valid event");
        offsets.push(offset);
        log_times.push(record.log_time);
    }
    let arrays = columns.finish();
    let rows = arrays.rows;
    let terms = |text: &str| {
        let mut builder = StringDictionaryBuilder::<Int32Type>::new();
        (0..rows).for_each(|_| builder.append_value(text));
        Arc::new(builder.finish()) as ArrayRef
    };
    let lines = Int64Array::from_iter_values(offsets.iter().map(|offset| offset + 1));
    let mut all = arrays.arrays;
    all.push(terms(PARTITION));
    all.push(Arc::new(Int64Array::from(offsets)));
    all.push(Arc::new(TimestampMicrosecondArray::from(log_times).with_timezone("UTC")));
    all.push(terms(FILE));
    all.push(Arc::new(lines));
    all.extend([(); 3].map(|()| Arc::new(BooleanArray::from(vec![false; rows])) as ArrayRef));
    Batch {
        partition: partition.clone(),
        events: RecordBatch::try_new(event_schema(), all).expect("the schema"),
        rejected,
        digests: Vec::new(),
        format: "native",
    }
}

fn event(record: &Record) -> Event {
    let mut event = Event::default();
    event.set_int(FieldId::Time, record.time);
    event.set_text(FieldId::Kind, if record.kind == Kind::Tool { "tool" } else { "session" });
    for group in [Group::Session, Group::Tool, Group::Address] {
        event.set_text_if(group.field(), record.text(group).as_deref());
    }
    let mut text = |field, list: &[&str], index: Option<u8>| {
        event.set_text_if(field, index.map(|n| list[usize::from(n)]));
    };
    text(FieldId::Outcome, &OUTCOMES, record.outcome);
    text(FieldId::ToolTarget, &TARGETS, record.target);
    text(FieldId::ReasonCode, &REASONS, record.reason);
    text(FieldId::Product, &TOOLS, record.id.map(|(product, _)| product));
    event.set_text_if(FieldId::Id, record.id.map(|(_, id)| format!("id{id}")).as_deref());
    for (field, number) in
        [(FieldId::Count, record.count), (FieldId::UsageInputTokens, record.tokens)]
    {
        if let Some(number) = number {
            event.set_int(field, number);
        }
    }
    if let Some(cost) = record.cost {
        event.set_float(FieldId::UsageCostUsd, cost as f64 / 1000.0);
    }
    event
}

fn reject(offset: i64, log_time: i64) -> RejectedAt {
    let record = RejectedRecord::new(Reject::new(RejectReason::NotJson, ""), b"{", 1);
    RejectedAt { offset, log_time, file: Some(FILE.into()), line: Some(offset + 1), record }
}
