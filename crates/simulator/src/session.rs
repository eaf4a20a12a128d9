//! Background traffic: what one agent does in one session when nothing is wrong.
//!
//! A session never fires a rule: at most [`MAX_DENIALS`] of its tool calls are denied for a reason
//! that counts, which is below every threshold (5 and 10); its targets are not sensitive; its
//! context is compacted at 80 % and never passes [`MAX_CONTEXT_PERCENT`]; it has no overflow, no
//! failed recovery and no denied loop.

use crate::corpus::{CLIENTS, DENIALS, MODELS, TOOLS, TargetKind};
use crate::fleet::{Agent, Fleet};
use crate::line::{Line, TimeText};
use crate::random::{Id, Random};

/// Tool calls of a session that a policy or a sandbox denies, at most.
const MAX_DENIALS: u64 = 2;
/// How full a context gets, at most; the rule for pressure begins at 95 %.
const MAX_CONTEXT_PERCENT: u64 = 88;

/// A session under way.
pub(crate) struct Session {
    id: Id,
    trace: Id,
    run: Id,
    mode: &'static str,
    /// What is left of the run, the next step last.
    steps: Vec<Step>,
    runs_left: u64,
    denials_left: u64,
    tokens: u64,
    messages: u64,
    sequence: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Connect,
    Start,
    RunStart,
    Receive,
    Model,
    Tool,
    /// A call that a person refuses; such denials are no sign of an attack.
    RefusedTool,
    Usage,
    Compaction,
    Check,
    Ask,
    Grant,
    Refuse,
    Request,
    Send,
    RunEnd,
    End,
}

impl Session {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self {
            id: Id::new(random),
            trace: Id::new(random),
            run: Id::new(random),
            mode: ["interactive", "headless", "plan"][random.skewed(3)],
            steps: vec![Step::Start, Step::Connect],
            runs_left: random.between(2, 10),
            denials_left: random.below(MAX_DENIALS + 1),
            tokens: random.between(8_000, 30_000),
            messages: 1,
            sequence: 0,
        }
    }

    /// Whether its last event was written.
    pub(crate) fn is_over(&self) -> bool {
        self.steps.is_empty() && self.runs_left == 0
    }

    /// Writes its next event. Must not be over.
    pub(crate) fn write(
        &mut self,
        agent: &Agent,
        fleet: &Fleet,
        time_us: i64,
        clock: &mut TimeText,
        random: &mut Random,
        out: &mut Vec<u8>,
    ) {
        if self.steps.is_empty() {
            self.plan_run(random);
        }
        let step = self.steps.pop().unwrap_or(Step::End);
        let (kind, action, outcome) = step.words();
        let instance = &fleet.instances[agent.instance];
        let mut line = Line::begin(out, clock, time_us, Id::new(random));
        line.text("product", instance.product);
        if matches!(step, Step::Start | Step::Connect) {
            line.text("product_version", instance.version);
        }
        line.open("instance").text("id", &instance.id).close();
        if step == Step::Connect {
            line.text("kind", kind).text("action", action).text("outcome", outcome);
            return connect(&mut line, agent, random);
        }
        if matches!(step, Step::Tool | Step::RefusedTool) {
            line.text("kind", kind).text("action", action);
            self.tool(step, agent, fleet, random, &mut line);
            return line.end();
        }
        line.text("kind", kind).text("action", action).text("outcome", outcome);
        self.who(step, agent, &mut line);
        match step {
            Step::Model => self.model_call(agent, random, &mut line),
            Step::Usage => self.usage(agent, &mut line),
            Step::Compaction => self.compaction(agent, random, &mut line),
            Step::Check => {
                line.open("decision").text("by", "policy").close();
                let policy = ["tools.exec", "tools.network", "tools.files"][random.skewed(3)];
                line.open("policy").text("id", policy).close();
            }
            Step::Ask | Step::Grant | Step::Refuse => self.approval(step, agent, &mut line),
            Step::Request => {
                let status = [200, 200, 204, 304, 404][random.below(5) as usize];
                line.open("source").text("ip", "192.0.2.10").close();
                line.open("http").number("status", status).close();
                line.number("duration_ms", random.between(1, 400));
            }
            Step::Receive | Step::Send => {
                let actor = line.open("actor").text("id", &agent.operator).text("type", "user");
                actor.close();
            }
            Step::RunEnd => {
                line.number("duration_ms", random.between(4_000, 400_000));
            }
            _ => {}
        }
        line.open("trace").hex32("id", self.trace).close();
        line.number("sequence", self.sequence).end();
    }

    fn plan_run(&mut self, random: &mut Random) {
        self.runs_left -= 1;
        self.run = Id::new(random);
        self.trace = Id::new(random);
        let steps = &mut self.steps;
        if self.runs_left == 0 {
            steps.push(Step::End);
        }
        steps.extend([Step::RunEnd, Step::Send]);
        for call in 0..random.between(4, 14) {
            if call % 2 == 1 {
                steps.push(Step::Usage);
            }
            for _ in 0..random.between(1, 3) {
                match random.below(24) {
                    0 => steps.extend([Step::RefusedTool, Step::Refuse, Step::Ask]),
                    1 | 2 => steps.extend([Step::Tool, Step::Grant, Step::Ask]),
                    3 | 4 => steps.extend([Step::Tool, Step::Check]),
                    5 => steps.extend([Step::Tool, Step::Request]),
                    _ => steps.push(Step::Tool),
                }
            }
            steps.push(Step::Model);
        }
        steps.extend([Step::Receive, Step::RunStart]);
    }

    /// Agent, session and run.
    fn who(&mut self, step: Step, agent: &Agent, line: &mut Line<'_>) {
        self.sequence += 1;
        line.open("agent").text("id", &agent.id);
        if step == Step::RunStart {
            line.text_if("parent_id", agent.parent.as_deref());
        }
        line.close().open("session").uuid("id", self.id);
        if step == Step::Start {
            let key = format!("agent:{}:main", agent.id);
            line.text("key", &key).text("mode", self.mode);
        }
        line.close();
        if !matches!(step, Step::Start | Step::End) {
            line.open("run").uuid("id", self.run).close();
        }
    }

    fn tool(
        &mut self,
        step: Step,
        agent: &Agent,
        fleet: &Fleet,
        random: &mut Random,
        line: &mut Line<'_>,
    ) {
        let tool = &TOOLS[random.skewed(TOOLS.len())];
        let (outcome, reason, by) = self.tool_result(step, tool.target, random);
        line.text("outcome", outcome);
        self.who(step, agent, line);
        line.open("tool").text("name", tool.name).text_if("server", tool.server);
        // The product of two uniform numbers: some targets are used much more than others.
        let target = random.skewed(3_000) as u64;
        line.text_if("target", fleet.targets.get(tool.target, target));
        line.hex16("call_id", "call_", Id::new(random));
        if random.once_in(4) {
            line.hex32("arguments_hash", Id::new(random));
        }
        line.close();
        if let Some(by) = by {
            line.open("decision").text("by", by).close();
        }
        if let Some(reason) = reason {
            line.open("reason").text("code", reason).close();
        }
        if outcome != "denied" {
            line.number("duration_ms", random.between(2, 1_500) * random.between(1, 8));
        }
        line.number("sequence", self.sequence);
        self.tokens += random.between(50, 900);
        self.messages += 1;
    }

    /// Outcome, reason code and who decided.
    fn tool_result(
        &mut self,
        step: Step,
        target: TargetKind,
        random: &mut Random,
    ) -> (&'static str, Option<&'static str>, Option<&'static str>) {
        if step == Step::RefusedTool {
            return ("denied", Some("user_rejected"), Some("user"));
        }
        if self.mode == "plan" && target == TargetKind::Command && random.once_in(4) {
            return ("denied", Some("plan_mode"), Some("policy"));
        }
        match random.below(64) {
            0 if self.denials_left > 0 => {
                self.denials_left -= 1;
                let (reason, by) = random.pick(&DENIALS);
                ("denied", Some(reason), Some(by))
            }
            1 => ("failure", Some("execution_failed"), None),
            2 => ("failure", Some("not_found"), None),
            3 => ("timeout", Some("timeout"), None),
            _ => ("success", None, None),
        }
    }

    fn model_call(&mut self, agent: &Agent, random: &mut Random, line: &mut Line<'_>) {
        let model = &MODELS[agent.model];
        let (input, output) = (random.between(40, 3_000), random.between(20, 1_200));
        let cost = (input * model.input_price + output * model.output_price) / 1_000;
        line.open("model").text("name", model.name).text("provider", model.provider).close();
        line.open("usage").number("input_tokens", input).number("output_tokens", output);
        line.number("cache_read_tokens", self.tokens);
        line.millionths("cost_usd", cost).close();
        line.number("duration_ms", random.between(600, 25_000));
        self.messages += 1;
        self.grow(input + output, model.limit_tokens);
    }

    fn usage(&mut self, agent: &Agent, line: &mut Line<'_>) {
        let limit = MODELS[agent.model].limit_tokens;
        self.grow(0, limit);
        line.open("context").number("tokens", self.tokens).number("limit", limit);
        line.number("messages", self.messages).close();
        if self.tokens * 10 > limit * 8 {
            self.steps.push(Step::Compaction);
        }
    }

    fn compaction(&mut self, agent: &Agent, random: &mut Random, line: &mut Line<'_>) {
        let before = self.tokens;
        self.tokens = before / random.between(4, 8);
        self.messages = 1 + self.messages / 8;
        line.open("context").number("limit", MODELS[agent.model].limit_tokens);
        line.number("tokens_before", before).number("tokens_after", self.tokens).close();
    }

    fn approval(&self, step: Step, agent: &Agent, line: &mut Line<'_>) {
        if step != Step::Ask {
            line.open("actor").text("id", &agent.operator).text("type", "operator").close();
            line.open("decision").text("by", "user").close();
        }
        if step == Step::Refuse {
            line.open("reason").text("code", "user_rejected").close();
        }
    }

    fn grow(&mut self, tokens: u64, limit: u64) {
        self.tokens = (self.tokens + tokens).min(limit * MAX_CONTEXT_PERCENT / 100);
    }
}

/// A person connects before the session starts: no agent, no session yet.
fn connect(line: &mut Line<'_>, agent: &Agent, random: &mut Random) {
    let (client, version) = random.pick(&CLIENTS);
    line.open("actor").text("id", &agent.operator).text("type", "operator").close();
    let office = format!("192.0.2.{}", random.between(20, 250));
    line.open("source").text("ip", &office).text("peer_ip", "127.0.0.1").close();
    line.open("client").text("name", client).text("version", version).close();
    line.open("http").number("status", 101).close();
    line.open("trace").hex32("id", Id::new(random)).close();
    line.number("duration_ms", random.between(1, 60)).end();
}

impl Step {
    /// Kind, action and, except for tools, outcome.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Connect => ("auth", "auth.connect", "success"),
            Self::Start => ("session", "session.start", "success"),
            Self::RunStart => ("run", "run.start", "success"),
            Self::Receive => ("message", "message.receive", "success"),
            Self::Model => ("model", "model.call", "success"),
            Self::Tool | Self::RefusedTool => ("tool", "tool.execute", ""),
            Self::Usage => ("context", "context.usage", "success"),
            Self::Compaction => ("context", "context.compaction", "success"),
            Self::Check => ("policy", "policy.check", "success"),
            Self::Ask => ("approval", "approval.request", "success"),
            Self::Grant => ("approval", "approval.decide", "success"),
            Self::Refuse => ("approval", "approval.decide", "denied"),
            Self::Request => ("network", "network.request", "success"),
            Self::Send => ("message", "message.send", "success"),
            Self::RunEnd => ("run", "run.end", "success"),
            Self::End => ("session", "session.end", "success"),
        }
    }
}
