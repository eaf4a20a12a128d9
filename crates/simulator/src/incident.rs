//! Incidents: what can go wrong on request, and the record of what a detector has to find.

use std::io::{self, Write};

use lapwing_event::time::{HOUR, MINUTE, format_time};
use lapwing_event::{AlertKey, Level};
use serde::{Serialize, Serializer};

mod events;
mod schedule;
mod subject;

pub(crate) use schedule::{Scheduled, floor_ms, schedule};

/// One kind of incident for each built-in rule, named after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentKind {
    /// One address fails to log in, again and again.
    AuthFailures,
    /// The same from the gateway's own machine.
    AuthFailuresLocal,
    /// Many addresses fail to log in at one gateway.
    AuthSpray,
    /// An address is locked out and goes on.
    AuthLockout,
    /// An agent runs against its policy with many tools.
    ToolDeniedBurst,
    /// An agent insists on one tool.
    ToolDeniedRepeat,
    /// An agent tries many targets.
    ToolDeniedProbing,
    /// An agent reaches for credentials.
    SensitiveTargetDenied,
    /// A context no longer fits its model.
    ContextOverflow,
    /// A context cannot be made to fit.
    ContextUnrecovered,
    /// A context stays nearly full.
    ContextPressure,
    /// An agent repeats the same call until it is stopped.
    ToolLoop,
}

/// What a rule counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counts {
    Occurrences,
    /// Distinct values of a field.
    Values,
}

/// What the generator has to know of a rule to place an incident at or above its threshold.
pub(crate) struct Aim {
    pub(crate) rule: &'static str,
    /// The group-by fields.
    pub(crate) group_by: &'static [&'static str],
    pub(crate) counts: Counts,
    pub(crate) threshold: u64,
    pub(crate) timespan_us: i64,
    pub(crate) level: Level,
    /// From this value on the alert has this level.
    pub(crate) raised: Option<(u64, Level)>,
}

impl Aim {
    /// The level of an alert whose rule compares this value.
    pub(crate) fn level_at(&self, value: u64) -> Level {
        match self.raised {
            Some((from, level)) if value >= from => level,
            _ => self.level,
        }
    }
}

impl IncidentKind {
    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::AuthFailures,
        Self::AuthFailuresLocal,
        Self::AuthSpray,
        Self::AuthLockout,
        Self::ToolDeniedBurst,
        Self::ToolDeniedRepeat,
        Self::ToolDeniedProbing,
        Self::SensitiveTargetDenied,
        Self::ContextOverflow,
        Self::ContextUnrecovered,
        Self::ContextPressure,
        Self::ToolLoop,
    ];

    /// The name of the built-in rule that has to find it.
    pub fn rule(self) -> &'static str {
        self.aim().rule
    }

    /// The incident with this rule's name.
    pub fn by_rule(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.rule() == name)
    }

    pub(crate) fn aim(self) -> Aim {
        use Counts::{Occurrences, Values};
        use Level::{Critical, High, Low, Medium};
        const ADDRESS: &[&str] = &["product", "source.ip"];
        const SESSION: &[&str] = &["session.id"];
        let aim = |rule, group_by, counts, threshold, minutes: i64, level, raised| Aim {
            rule,
            group_by,
            counts,
            threshold,
            timespan_us: minutes * MINUTE,
            level,
            raised,
        };
        const HOUR_MINUTES: i64 = HOUR / MINUTE;
        match self {
            Self::AuthFailures => {
                aim("auth_failures", ADDRESS, Occurrences, 4, 5, High, Some((10, Critical)))
            }
            Self::AuthFailuresLocal => aim(
                "auth_failures_local",
                &["product", "instance.id", "actor.id"],
                Occurrences,
                4,
                5,
                Low,
                Some((50, High)),
            ),
            Self::AuthSpray => aim(
                "auth_spray",
                &["product", "instance.id"],
                Values,
                5,
                15,
                High,
                Some((20, Critical)),
            ),
            Self::AuthLockout => {
                aim("auth_lockout", ADDRESS, Occurrences, 1, 15, Medium, Some((10, High)))
            }
            Self::ToolDeniedBurst => aim(
                "tool_denied_burst",
                &["agent.id", "session.id"],
                Occurrences,
                10,
                5,
                Medium,
                Some((30, High)),
            ),
            Self::ToolDeniedRepeat => aim(
                "tool_denied_repeat",
                &["session.id", "tool.name"],
                Occurrences,
                5,
                10,
                Low,
                Some((20, High)),
            ),
            Self::ToolDeniedProbing => {
                aim("tool_denied_probing", SESSION, Values, 5, 10, High, None)
            }
            Self::SensitiveTargetDenied => aim(
                "sensitive_target_denied",
                &["product", "tool.target"],
                Occurrences,
                1,
                HOUR_MINUTES,
                Medium,
                Some((3, High)),
            ),
            Self::ContextOverflow => {
                aim("context_overflow", SESSION, Occurrences, 1, HOUR_MINUTES, Low, Some((3, High)))
            }
            Self::ContextUnrecovered => {
                aim("context_unrecovered", SESSION, Occurrences, 1, HOUR_MINUTES, High, None)
            }
            Self::ContextPressure => {
                aim("context_pressure", SESSION, Occurrences, 5, 15, Low, Some((20, Medium)))
            }
            Self::ToolLoop => {
                aim("tool_loop", SESSION, Occurrences, 1, HOUR_MINUTES, Medium, Some((5, High)))
            }
        }
    }
}

/// What a detector has to find: one alert of this rule and key, and only one.
///
/// The events of an incident lie within one timespan of its rule and nothing else has its key,
/// so that the alert's count is `occurrences` and its value `distinct`, or `occurrences` where
/// the rule counts those. An incident may fire other rules as well; those are not listed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Incident {
    /// What happened.
    pub kind: IncidentKind,
    /// The rule that has to find it.
    pub rule: &'static str,
    /// The group key, in the order of the rule's group-by fields.
    pub key: AlertKey,
    /// The time of the first event that counts, microseconds.
    #[serde(rename = "first_time", serialize_with = "rfc3339")]
    pub first_time_us: i64,
    /// The time of the last one.
    #[serde(rename = "last_time", serialize_with = "rfc3339")]
    pub last_time_us: i64,
    /// Occurrences: the sum of `count`, which is 1 where an event has none.
    pub occurrences: u64,
    /// The level that the alert reaches.
    pub expected_level: Level,
    /// For a rule that counts distinct values, how many there are.
    pub distinct: Option<u64>,
}

fn rfc3339<S: Serializer>(us: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_time(*us))
}

/// Writes incidents as JSON Lines: the keys of [`Incident`], times as RFC 3339, the group key as
/// an object.
///
/// # Errors
/// Those of `out`.
pub fn write_truth(truth: &[Incident], out: &mut impl Write) -> io::Result<()> {
    for incident in truth {
        serde_json::to_writer(&mut *out, incident)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}
