//! A test case: one rule with its bounds, and the records and ticks of one partition. Plain data
//! that both sides read: `recount.rs` counts it, `engine.rs` writes it down as YAML and batches.

use std::fmt;

use lapwing_event::{FieldId, Fixed, KeyValue, Level};

pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;
/// 2026-01-01T00:00:00Z: cases begin here, so that log times are whole and readable.
pub(crate) const START: i64 = 1_767_225_600 * SECOND;

/// The id of the rule of every case.
pub(crate) const RULE_ID: &str = "11111111-1111-1111-1111-111111111111";
/// Its name.
pub(crate) const RULE_NAME: &str = "rule";

/// Where the records of every case come from.
pub(crate) const SOURCE: &str = "s";
pub(crate) const PARTITION: &str = "0";
/// The file they stand in, a line each.
pub(crate) const FILE: &str = "f.log";

pub(crate) const TOOLS: [&str; 3] = ["exec", "read", "write"];
pub(crate) const ADDRESSES: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
pub(crate) const OUTCOMES: [&str; 2] = ["denied", "success"];
pub(crate) const TARGETS: [&str; 5] = ["/a", "/b", "/c", "/d", "/e"];
pub(crate) const REASONS: [&str; 3] = ["token_mismatch", "plan_mode", "timeout"];

/// One rule, one partition, everything that happens in it.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) rule: CaseRule,
    pub(crate) bounds: Bounds,
    /// Whether log time is a guess from the records, so that clocks wait for 24 h more.
    pub(crate) is_replayed: bool,
    pub(crate) steps: Vec<Step>,
}

/// A rule as the specification of windows describes it.
#[derive(Debug, Clone)]
pub(crate) struct CaseRule {
    pub(crate) measure: Measure,
    /// Which events it counts; one entry for each position of the rule's list.
    pub(crate) picks: Vec<Pick>,
    /// The condition: all parts hold. Empty for absence; for temporal rules it means "all picks".
    pub(crate) parts: Vec<(Ask, Fixed)>,
    /// Microseconds, as all durations here.
    pub(crate) timespan: i64,
    /// 0 if absent.
    pub(crate) hold_for: i64,
    pub(crate) lateness: i64,
    pub(crate) resolve_after: i64,
    pub(crate) group_by: Vec<Group>,
    pub(crate) skips_null_keys: bool,
    /// The rule's own level is low; these are above it.
    pub(crate) levels: Vec<(Level, Fixed)>,
}

/// What is compared with the condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Measure {
    EventCount,
    ValueCount,
    Sum(Number),
    Avg(Number),
    Temporal,
    TemporalOrdered,
    Absence,
}

/// The number that is added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Number {
    /// `usage.input_tokens`, whole.
    Tokens,
    /// `usage.cost_usd`, a decimal.
    Cost,
}

/// A comparison of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    Gt,
    Gte,
    Lt,
    Lte,
    Eq,
}

/// A detection; they overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pick {
    /// Every tool event.
    Any,
    /// Those denied.
    Denied,
    /// Those of the tool exec.
    Exec,
    /// Those of the tool write.
    Write,
}

/// A field that events are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Session,
    Tool,
    Address,
}

/// What a detector may keep, per rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) keys: usize,
    pub(crate) entries: usize,
    pub(crate) values: usize,
    pub(crate) open_alerts: usize,
}

/// More than any case fills.
pub(crate) const ROOMY: Bounds =
    Bounds { keys: 10_000, entries: 10_000, values: 10_000, open_alerts: 10_000 };

/// A record or a tick, and what the engine goes through after it.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) what: What,
    /// Whether the batch ends here.
    pub(crate) cut: bool,
    /// Whether the state is written out and read back here.
    pub(crate) restart: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    Record(Record),
    /// Log time passes up to here without a record.
    Tick(i64),
}

/// What a record is to the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An event that rules may select.
    Tool,
    /// An event that no rule selects.
    Other,
    /// No event at all.
    Rejected,
}

/// A record; texts by their place in the lists above, sessions by number.
#[derive(Clone, Copy)]
pub(crate) struct Record {
    pub(crate) log_time: i64,
    pub(crate) time: i64,
    pub(crate) kind: Kind,
    pub(crate) session: Option<u16>,
    pub(crate) tool: Option<u8>,
    pub(crate) address: Option<u8>,
    pub(crate) outcome: Option<u8>,
    /// Product and id.
    pub(crate) id: Option<(u8, u8)>,
    pub(crate) count: Option<i64>,
    pub(crate) target: Option<u8>,
    pub(crate) tokens: Option<i64>,
    /// Thousandths of a dollar.
    pub(crate) cost: Option<i64>,
    pub(crate) reason: Option<u8>,
}

impl Case {
    /// How long clocks wait beyond log time.
    pub(crate) fn slack(&self) -> i64 {
        if self.is_replayed { DAY } else { 0 }
    }

    /// The records, in order; the offset of each is its index.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.steps.iter().filter_map(|s| match &s.what {
            What::Record(record) => Some(record),
            What::Tick(_) => None,
        })
    }
}

/// One step a line, since people read failing cases.
impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", self.rule)?;
        let origin = if self.is_replayed { "replayed" } else { "observed" };
        writeln!(f, "{origin}, {:?}", self.bounds)?;
        let mut offset = 0;
        for step in &self.steps {
            match &step.what {
                What::Tick(log_time) => write!(f, "   tick {}", since(*log_time))?,
                What::Record(record) => {
                    write!(f, "{offset:2} {record:?}")?;
                    offset += 1;
                }
            }
            let cut = if step.cut { " | cut" } else { "" };
            let restart = if step.restart { " | restart" } else { "" };
            writeln!(f, "{cut}{restart}")?;
        }
        Ok(())
    }
}

/// Only what is there.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} read {}", since(self.time), since(self.log_time))?;
        if self.kind != Kind::Tool {
            return write!(f, " {:?}", self.kind);
        }
        for group in [Group::Session, Group::Tool, Group::Address] {
            write!(f, " {}", self.text(group).as_deref().unwrap_or("-"))?;
        }
        let named = [
            ("outcome", self.outcome.map(i64::from)),
            ("product", self.id.map(|(product, _)| product.into())),
            ("id", self.id.map(|(_, id)| id.into())),
            ("count", self.count),
            ("target", self.target.map(i64::from)),
            ("tokens", self.tokens),
            ("cost", self.cost),
            ("reason", self.reason.map(i64::from)),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                write!(f, " {name}={value}")?;
            }
        }
        Ok(())
    }
}

/// Seconds since the start of the case.
fn since(time: i64) -> f64 {
    (time - START) as f64 / SECOND as f64
}

impl CaseRule {
    /// Event counts by session: what most traps vary.
    pub(crate) fn counting(least: i64, timespan: i64) -> Self {
        Self {
            measure: Measure::EventCount,
            picks: vec![Pick::Any],
            parts: vec![(Ask::Gte, Fixed::from(least))],
            timespan,
            hold_for: 0,
            lateness: 10 * MINUTE,
            resolve_after: timespan,
            group_by: vec![Group::Session],
            skips_null_keys: false,
            levels: Vec::new(),
        }
    }

    /// Silence by session: what the traps about absence vary.
    pub(crate) fn expecting(every: i64) -> Self {
        let measure = Measure::Absence;
        Self { measure, parts: Vec::new(), ..Self::counting(1, every) }
    }

    /// Whether a window is decided when its events arrive, since more can only make it truer.
    pub(crate) fn decides_at_arrival(&self) -> bool {
        let is_rising = !matches!(self.measure, Measure::Avg(_) | Measure::Absence);
        is_rising && self.parts.iter().all(|(ask, _)| matches!(ask, Ask::Gt | Ask::Gte))
    }

    /// Whether the condition has upper bounds only.
    pub(crate) fn asks_for_less(&self) -> bool {
        let is_upper = |(ask, _): &(Ask, Fixed)| matches!(ask, Ask::Lt | Ask::Lte);
        !self.parts.is_empty() && self.parts.iter().all(is_upper)
    }

    /// Whether a value fulfils the condition.
    pub(crate) fn allows(&self, value: Fixed) -> bool {
        if self.parts.is_empty() {
            return value == self.picks.len() as i64;
        }
        self.parts.iter().all(|(ask, bound)| match ask {
            Ask::Gt => value > *bound,
            Ask::Gte => value >= *bound,
            Ask::Lt => value < *bound,
            Ask::Lte => value <= *bound,
            Ask::Eq => value == *bound,
        })
    }
}

impl Pick {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Denied => "denied",
            Self::Exec => "exec",
            Self::Write => "write",
        }
    }

    pub(crate) fn selects(self, record: &Record) -> bool {
        record.kind == Kind::Tool
            && match self {
                Self::Any => true,
                Self::Denied => record.outcome == Some(0),
                Self::Exec => record.tool == Some(0),
                Self::Write => record.tool == Some(2),
            }
    }
}

impl Group {
    pub(crate) fn field(self) -> FieldId {
        match self {
            Self::Session => FieldId::SessionId,
            Self::Tool => FieldId::ToolName,
            Self::Address => FieldId::SourceIp,
        }
    }
}

impl Record {
    /// A tool event of a session that comes when it happens.
    pub(crate) fn at(time: i64, session: u16) -> Self {
        Self {
            log_time: time,
            time,
            kind: Kind::Tool,
            session: Some(session),
            tool: None,
            address: None,
            outcome: None,
            id: None,
            count: None,
            target: None,
            tokens: None,
            cost: None,
            reason: None,
        }
    }

    /// The text of a field that events are grouped by.
    pub(crate) fn text(&self, group: Group) -> Option<String> {
        match group {
            Group::Session => self.session.map(|n| format!("s{n}")),
            Group::Tool => self.tool.map(|n| TOOLS[usize::from(n)].into()),
            Group::Address => self.address.map(|n| ADDRESSES[usize::from(n)].into()),
        }
    }

    /// The group key.
    pub(crate) fn key(&self, group_by: &[Group]) -> Vec<KeyValue> {
        let value = |group: &Group| match self.text(*group) {
            Some(text) => KeyValue::Text(text.into()),
            None => KeyValue::Null,
        };
        group_by.iter().map(value).collect()
    }

    /// The number that is added up; a negative one counts as nothing.
    pub(crate) fn number(&self, number: Number) -> Option<Fixed> {
        let steps = match number {
            Number::Tokens => i128::from(self.tokens?) * 1_000_000_000,
            Number::Cost => i128::from(self.cost?) * 1_000_000,
        };
        Some(Fixed(steps.max(0)))
    }
}
