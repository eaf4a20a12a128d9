//! The events of incidents, one function for each family of rules.

use crate::corpus::{AUTH_REASONS, CLIENTS, DENIALS, MODELS, TOOLS, TargetKind};
use crate::fleet::{Agent, Fleet, Instance};
use crate::incident::IncidentKind;
use crate::incident::schedule::{Part, Scheduled};
use crate::incident::subject::Subject;
use crate::line::{Line, TimeText, uuid_text};
use crate::random::{Id, Random};

/// Targets of an incident that is not about its targets: fewer than the 5 that are probing.
const FEW_TARGETS: u64 = 4;
/// How full a context under pressure is, in percent; the rule's threshold.
const PRESSURE_PERCENT: u64 = 95;

/// Writes the events of one subject.
pub(crate) struct Writer<'a> {
    fleet: &'a Fleet,
    subject: &'a Subject,
    random: Random,
    clock: TimeText,
    lines: &'a mut Vec<Scheduled>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(
        fleet: &'a Fleet,
        subject: &'a Subject,
        random: Random,
        lines: &'a mut Vec<Scheduled>,
    ) -> Self {
        Self { fleet, subject, random, clock: TimeText::new(), lines }
    }

    pub(crate) fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// The start of the subject's session and run, in the two seconds before its first event.
    pub(crate) fn begin_session(&mut self, first_us: i64) {
        for (before_us, kind, action) in
            [(2_000_000, "session", "session.start"), (1_000_000, "run", "run.start")]
        {
            self.write(first_us - before_us, |line, writer| {
                writer.head(kind, action, "success", line);
                line.open("trace").hex32("id", writer.subject.trace).close();
            });
        }
    }

    /// Writes one event of an incident.
    pub(crate) fn event(&mut self, kind: IncidentKind, part: &Part, time_us: i64) {
        use IncidentKind::*;
        let mut random = self.random.fork();
        self.write(time_us, |line, writer| match kind {
            AuthFailures | AuthFailuresLocal | AuthSpray | AuthLockout => {
                writer.auth(kind, part, &mut random, line);
            }
            ToolDeniedBurst | ToolDeniedRepeat | ToolDeniedProbing | SensitiveTargetDenied => {
                writer.denied_tool(kind, part.value, &mut random, line);
            }
            ContextOverflow | ContextUnrecovered | ContextPressure => {
                writer.context(kind, part.value, line);
            }
            ToolLoop => writer.tool_loop(&mut random, line),
        });
    }

    /// The value of a group-by field in the events of an incident.
    pub(crate) fn key_value(&self, kind: IncidentKind, field: &str) -> String {
        match field {
            "product" if kind == IncidentKind::SensitiveTargetDenied => {
                self.gateway().product.to_owned()
            }
            "product" => self.subject.product.to_owned(),
            "instance.id" => self.subject.instance.clone(),
            "actor.id" => self.subject.actor.clone(),
            "source.ip" => self.subject.address.clone(),
            "agent.id" => self.agent().id.clone(),
            "session.id" => uuid_text(self.subject.session),
            "tool.name" => self.insisted_tool().to_owned(),
            "tool.target" => self.subject.sensitive_target(),
            _ => unreachable!("no built-in rule groups by {field}"),
        }
    }

    /// One line: what all events have, what `fill` adds.
    fn write(&mut self, time_us: i64, fill: impl FnOnce(&mut Line<'_>, &Self)) {
        let mut out = Vec::with_capacity(512);
        let id = Id::new(&mut self.random);
        let mut line = Line::begin(&mut out, &mut self.clock, time_us, id);
        fill(&mut line, self);
        line.end();
        self.lines.push(Scheduled { time_us, line: out });
    }

    fn agent(&self) -> &Agent {
        &self.fleet.agents[self.subject.agent]
    }

    /// Where an agent works; failed logins are at the subject's own gateway instead.
    fn gateway(&self) -> &Instance {
        &self.fleet.instances[self.agent().instance]
    }

    fn head(&self, kind: &str, action: &str, outcome: &str, line: &mut Line<'_>) {
        line.text("product", self.gateway().product);
        line.open("instance").text("id", &self.gateway().id).close();
        line.text("kind", kind).text("action", action).text("outcome", outcome);
        line.open("agent").text("id", &self.agent().id).close();
        line.open("session").uuid("id", self.subject.session).close();
        line.open("run").uuid("id", self.subject.run).close();
    }

    fn auth(&self, kind: IncidentKind, part: &Part, random: &mut Random, line: &mut Line<'_>) {
        let subject = self.subject;
        let lockout = kind == IncidentKind::AuthLockout;
        let outcome = if lockout || random.once_in(2) { "denied" } else { "failure" };
        line.text("product", subject.product).text("product_version", subject.version);
        line.open("instance").text("id", &subject.instance).close();
        line.text("kind", "auth").text("action", "auth.connect").text("outcome", outcome);
        if part.occurrences > 1 {
            line.number("count", part.occurrences);
        }
        let spray = subject.spray_address(part.value);
        let address = match kind {
            IncidentKind::AuthFailuresLocal => {
                line.open("actor").text("id", &subject.actor).text("type", "device").close();
                [Some("127.0.0.1"), Some("::1"), None][random.below(3) as usize]
            }
            IncidentKind::AuthSpray => Some(spray.as_str()),
            _ => Some(subject.address.as_str()),
        };
        if let Some(address) = address {
            line.open("source").text("ip", address).text("peer_ip", "127.0.0.1").close();
        }
        let (client, version) = random.pick(&CLIENTS);
        line.open("client").text("name", client).text("version", version).close();
        let reason = if lockout { "rate_limited" } else { random.pick(&AUTH_REASONS) };
        line.open("reason").text("code", reason).close();
        line.open("http").number("status", if lockout { 429 } else { 401 }).close();
        line.open("trace").hex32("id", Id::new(random)).close();
        line.number("duration_ms", random.between(1, 30));
    }

    fn denied_tool(&self, kind: IncidentKind, n: u64, random: &mut Random, line: &mut Line<'_>) {
        self.head("tool", "tool.execute", "denied", line);
        // Fewer calls of one tool than the 5 that are insisting, where the rule is another.
        let tool = match kind {
            IncidentKind::ToolDeniedRepeat => self.insisted_tool(),
            _ => TOOLS[n as usize % TOOLS.len()].name,
        };
        let target = match kind {
            IncidentKind::SensitiveTargetDenied => self.subject.sensitive_target(),
            IncidentKind::ToolDeniedProbing => format!("/srv/private/area-{n:02}/export.csv"),
            _ => self
                .fleet
                .targets
                .get(TargetKind::Path, 40 + n % FEW_TARGETS)
                .unwrap_or_default()
                .to_owned(),
        };
        line.open("tool").text("name", tool).text("target", &target);
        line.hex16("call_id", "call_", Id::new(random));
        line.hex32("arguments_hash", Id::new(random)).close();
        let (reason, by) = random.pick(&DENIALS);
        line.open("decision").text("by", by).close();
        line.open("reason").text("code", reason).text("message", "refused").close();
    }

    fn context(&self, kind: IncidentKind, n: u64, line: &mut Line<'_>) {
        let limit = MODELS[self.agent().model].limit_tokens;
        match kind {
            IncidentKind::ContextPressure => {
                self.head("context", "context.usage", "success", line);
                let tokens = ((limit * PRESSURE_PERCENT).div_ceil(100) + n * 100).min(limit);
                line.open("context").number("tokens", tokens).number("limit", limit);
                line.number("messages", 80 + n).close();
            }
            // An overflow tells no number of tokens, or it would count as pressure as well.
            IncidentKind::ContextOverflow => {
                self.head("context", "context.overflow", "failure", line);
                line.open("context").number("limit", limit).number("messages", 120 + n).close();
                line.open("reason").text("code", "context_length");
                line.text("message", "prompt is longer than the model takes").close();
            }
            _ => {
                self.head("context", "context.recovery", "failure", line);
                line.open("context").number("limit", limit).close();
                line.open("reason").text("code", "recovery_exhausted");
                line.text("message", "nothing left to compact").close();
            }
        }
        line.open("trace").hex32("id", self.subject.trace).close();
    }

    fn tool_loop(&self, random: &mut Random, line: &mut Line<'_>) {
        self.head("tool", "tool.loop", "denied", line);
        line.open("tool").text("name", "process").hex16("call_id", "call_", Id::new(random));
        line.hex32("arguments_hash", self.subject.trace).close();
        line.open("decision").text("by", "policy").close();
        line.open("reason").text("code", "loop_detected").close();
    }

    /// The tool that the subject insists on.
    fn insisted_tool(&self) -> &'static str {
        TOOLS[self.subject.agent % 6].name
    }
}
