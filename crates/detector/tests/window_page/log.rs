//! A log of made records, read by a detector one record at a time, and what it says.
//!
//! Times are written as on the page, `12:05:00`, and mean 22 November 2026; a record is read when
//! it happens unless a test says otherwise.

use std::sync::Arc;

use lapwing_detector::rule::{RuleSet, RuleSource, load_rules};
use lapwing_detector::{Detector, Limits, Pushed, RuleStats};
use lapwing_event::time::parse_time;
use lapwing_event::{
    Alert, Batch, Event, EventColumns, FieldId, LogTimeOrigin, Message, Partition, Split, Status,
    Window,
};

/// The time that stands for `12:05:00`, or for a whole `2026-11-23T12:05:00`.
pub(crate) fn at(time: &str) -> i64 {
    let day = if time.contains('T') { "" } else { "2026-11-22T" };
    parse_time(&format!("{day}{time}Z")).expect("a time")
}

/// What the windows of an alert cover.
pub(crate) fn window(start: &str, end: &str) -> Window {
    Window { start: at(start), end: at(end) }
}

/// A record before it is read.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    time: i64,
    read_at: Option<i64>,
    texts: Vec<(FieldId, String)>,
    numbers: Vec<(FieldId, i64)>,
    fractions: Vec<(FieldId, f64)>,
}

/// A failed login from 198.51.100.7.
pub(crate) fn failure(time: &str) -> Record {
    let login = Record {
        time: at(time),
        read_at: None,
        texts: Vec::new(),
        numbers: Vec::new(),
        fractions: Vec::new(),
    };
    let login = login.text(FieldId::Kind, "auth").text(FieldId::Outcome, "failure");
    login.text(FieldId::SourceIp, "198.51.100.7")
}

/// Failed logins from 198.51.100.7.
pub(crate) fn failures<const N: usize>(times: [&str; N]) -> [Record; N] {
    times.map(failure)
}

/// A login from 198.51.100.7 that succeeded.
pub(crate) fn success(time: &str) -> Record {
    failure(time).text(FieldId::Outcome, "success")
}

/// A tool call by the agent `main`.
pub(crate) fn call(time: &str) -> Record {
    failure(time).text(FieldId::Kind, "tool").text(FieldId::AgentId, "main")
}

impl Record {
    pub(crate) fn read_at(self, time: &str) -> Self {
        Self { read_at: Some(at(time)), ..self }
    }

    /// The same at another time, in microseconds, and read at that of a log.
    pub(crate) fn moved(self, time: i64, read_at: i64) -> Self {
        Self { time, read_at: Some(read_at), ..self }
    }

    pub(crate) fn by(self, source_ip: &str) -> Self {
        self.text(FieldId::SourceIp, source_ip)
    }

    pub(crate) fn without(mut self, field: FieldId) -> Self {
        self.texts.retain(|(f, _)| *f != field);
        self
    }

    pub(crate) fn id(self, id: &str) -> Self {
        self.text(FieldId::Id, id)
    }

    pub(crate) fn count(self, count: i64) -> Self {
        self.number(FieldId::Count, count)
    }

    pub(crate) fn text(mut self, field: FieldId, value: &str) -> Self {
        self = self.without(field);
        self.texts.push((field, value.into()));
        self
    }

    pub(crate) fn number(mut self, field: FieldId, value: i64) -> Self {
        self.numbers.push((field, value));
        self
    }

    pub(crate) fn cost(mut self, dollars: f64) -> Self {
        self.fractions.push((FieldId::UsageCostUsd, dollars));
        self
    }

    /// The log time at which it is read, unless the log is further already.
    pub(crate) fn log_time(&self) -> i64 {
        self.read_at.unwrap_or(self.time)
    }

    fn event(&self) -> Event {
        let mut event = Event::default();
        event.set_int(FieldId::Time, self.time);
        self.texts.iter().for_each(|(field, value)| event.set_text(*field, value));
        self.numbers.iter().for_each(|(field, value)| event.set_int(*field, *value));
        self.fractions.iter().for_each(|(field, value)| event.set_float(*field, *value));
        event
    }
}

/// A partition, the detector that watches it, and what it has said so far.
pub(crate) struct Log {
    pub(crate) detector: Detector,
    pub(crate) messages: Vec<Message>,
    partition: Arc<Partition>,
    limits: Limits,
    offset: i64,
    log_time: i64,
}

impl Log {
    /// A log whose records are read as they are written, watched by the rules in a YAML text.
    pub(crate) fn of(rules: &str) -> Self {
        Self::with(rules, LogTimeOrigin::Observed, Limits::default())
    }

    /// A file that is replayed.
    pub(crate) fn replayed(rules: &str) -> Self {
        Self::with(rules, LogTimeOrigin::Replayed, Limits::default())
    }

    /// A log read as it is written, by a detector with these limits.
    pub(crate) fn bounded(rules: &str, limits: Limits) -> Self {
        Self::with(rules, LogTimeOrigin::Observed, limits)
    }

    fn with(rules: &str, log_time_origin: LogTimeOrigin, limits: Limits) -> Self {
        let partition = Partition {
            source_id: "gw1".into(),
            name: "0".into(),
            log_time_origin,
            split: Split::Whole,
        };
        let partition = Arc::new(partition);
        Self {
            detector: Detector::new(load(rules), partition.clone(), limits),
            messages: Vec::new(),
            partition,
            limits,
            offset: 0,
            log_time: i64::MIN,
        }
    }

    /// Reads records as one batch; the outcome of it.
    pub(crate) fn push(&mut self, records: &[Record]) -> Pushed {
        let mut columns = EventColumns::default();
        let mut log_times = Vec::new();
        for record in records {
            columns.push(&record.event()).expect("a valid event");
            self.log_time = self.log_time.max(record.log_time());
            log_times.push(self.log_time);
        }
        let events = columns.finish();
        let batch =
            Batch::of_made_events(&self.partition, events, self.offset, log_times, "gw.log");
        self.offset += records.len() as i64;
        let pushed = self.detector.push(&batch);
        self.messages.extend(pushed.messages.iter().cloned());
        pushed
    }

    /// Reads a record; the messages it raised.
    pub(crate) fn read(&mut self, record: Record) -> Vec<Message> {
        self.push(&[record]).messages
    }

    /// Reads records one after another; the messages they raised.
    pub(crate) fn read_all(&mut self, records: impl IntoIterator<Item = Record>) -> Vec<Message> {
        records.into_iter().flat_map(|record| self.read(record)).collect()
    }

    /// Lets log time pass without a record; the messages that gives.
    pub(crate) fn tick(&mut self, time: &str) -> Vec<Message> {
        self.tick_at(at(time))
    }

    pub(crate) fn tick_at(&mut self, time: i64) -> Vec<Message> {
        self.log_time = self.log_time.max(time);
        let messages = self.detector.advance(time);
        self.messages.extend(messages.iter().cloned());
        messages
    }

    /// Ends the input; the messages that gives.
    pub(crate) fn end(&mut self) -> Vec<Message> {
        let messages = self.detector.finish();
        self.messages.extend(messages.iter().cloned());
        messages
    }

    /// Writes the state out and goes on from it with these rules; the messages that gives.
    pub(crate) fn restart(&mut self, rules: &str) -> Vec<Message> {
        let state = self.detector.snapshot();
        let restored = Detector::restore(load(rules), self.partition.clone(), self.limits, &state);
        let (detector, messages) = restored.expect("its own state");
        self.detector = detector;
        self.messages.extend(messages.iter().cloned());
        messages
    }

    /// What has become of each alert, in the order in which they were opened.
    pub(crate) fn alerts(&self) -> Vec<Alert> {
        let mut alerts: Vec<Alert> = Vec::new();
        for Message { alert, .. } in &self.messages {
            match alerts.iter_mut().find(|known| known.id == alert.id) {
                Some(known) => *known = alert.clone(),
                None => alerts.push(alert.clone()),
            }
        }
        alerts
    }

    /// What has become of the only alert there was.
    pub(crate) fn alert(&self) -> Alert {
        let mut alerts = self.alerts();
        assert_eq!(alerts.len(), 1, "one alert: {alerts:#?}");
        alerts.remove(0)
    }

    /// What has become of the alerts of a rule, in the order in which they were opened.
    pub(crate) fn alerts_of(&self, rule: &str) -> Vec<Alert> {
        self.alerts().into_iter().filter(|alert| &*alert.rule.name == rule).collect()
    }

    /// What the only rule has seen.
    pub(crate) fn stats(&self) -> RuleStats {
        self.detector.stats()[0]
    }
}

fn load(rules: &str) -> Arc<RuleSet> {
    let source = RuleSource { name: "page.yml".into(), text: rules.into(), is_builtin: false };
    Arc::new(load_rules(&[source]).expect("valid rules"))
}

/// Their statuses and counts.
pub(crate) fn told(messages: &[Message]) -> Vec<(Status, u64)> {
    messages.iter().map(|m| (m.alert.status, m.alert.count)).collect()
}

/// Numbers from 0 that nobody has chosen, the same for a seed; each below what is asked for.
pub(crate) fn numbers(seed: u64) -> impl FnMut(u64) -> i64 {
    let mut state = seed;
    move |below| {
        // Knuth's linear congruential generator (MMIX); its high bits are the good ones.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % below) as i64
    }
}
