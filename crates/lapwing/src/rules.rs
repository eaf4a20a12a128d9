//! Which rules run: the built-in ones, those from files and folders, those switched on and off.
//! Also runs the tests that rules carry.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use arrow_array::{BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use lapwing_detector::pack::builtin_sources;
use lapwing_detector::rule::{ExpectedAlert, Rule, RuleSet, RuleSource, RuleTest, load_rules};
use lapwing_detector::{Detector, Limits};
use lapwing_event::vocabulary::nearest;
use lapwing_event::{
    Alert, Batch, Event, EventColumns, FieldId, KeyValue, LogTimeOrigin, Partition, Split, Status,
    event_schema,
};
use lapwing_ingest::format::format_by_name;
use lapwing_ingest::json::Json;

/// Which rules to load.
#[derive(Debug, Clone, Default)]
pub struct RuleSelection {
    /// Files of rules, and folders of `.yml` and `.yaml` files.
    pub paths: Vec<PathBuf>,
    /// Whether the built-in rules are left out.
    pub without_builtin: bool,
    /// Names of rules to switch off.
    pub disable: Vec<String>,
    /// Names of rules to switch on that are off by themselves.
    pub enable: Vec<String>,
}

impl RuleSelection {
    /// Every rule there is, whether it runs or not.
    ///
    /// # Errors
    /// A file that cannot be read, a rule that is wrong.
    pub fn load_all(&self) -> anyhow::Result<RuleSet> {
        let mut sources = if self.without_builtin { Vec::new() } else { builtin_sources() };
        for path in &self.paths {
            read_sources(path, &mut sources)?;
        }
        Ok(load_rules(&sources)?)
    }

    /// The rules that run.
    ///
    /// # Errors
    /// As [`load_all`](Self::load_all); a name to switch on or off that no rule has.
    pub fn load(&self) -> anyhow::Result<Arc<RuleSet>> {
        let mut set = self.load_all()?;
        for name in self.disable.iter().chain(&self.enable) {
            if set.by_name(name).is_none() {
                let known = set.rules.iter().map(|r| &*r.name);
                let hint = nearest(name, known).map(|n| format!("; did you mean {n}?"));
                bail!("there is no rule {name}{}", hint.unwrap_or_default());
            }
        }
        set.retain(|rule| {
            let is_named = |names: &[String]| names.iter().any(|n| **n == *rule.name);
            !is_named(&self.disable) && (rule.enabled || is_named(&self.enable))
        });
        Ok(Arc::new(set))
    }
}

fn read_sources(path: &Path, sources: &mut Vec<RuleSource>) -> anyhow::Result<()> {
    let metadata = fs::metadata(path)
        .with_context(|| format!("{}: no such file or folder of rules", path.display()))?;
    if !metadata.is_dir() {
        let text = fs::read_to_string(path)
            .with_context(|| format!("{}: cannot be read as text", path.display()))?;
        sources.push(RuleSource { name: path.display().to_string(), text, is_builtin: false });
        return Ok(());
    }
    let listed =
        fs::read_dir(path).with_context(|| format!("{}: cannot be listed", path.display()))?;
    let mut files = Vec::new();
    for entry in listed {
        let file = entry.with_context(|| format!("{}: cannot be listed", path.display()))?.path();
        let is_yaml = file.extension().is_some_and(|e| e == "yml" || e == "yaml");
        if file.is_dir() || is_yaml {
            files.push(file);
        }
    }
    files.sort();
    let before = sources.len();
    for file in &files {
        read_sources(file, sources)?;
    }
    if sources.len() == before && files.is_empty() {
        bail!("{}: holds no .yml or .yaml file", path.display());
    }
    Ok(())
}

/// The result of one test of a rule.
#[derive(Debug)]
pub struct TestResult {
    /// The rule.
    pub rule: Arc<str>,
    /// The test.
    pub test: String,
    /// What went wrong, if anything.
    pub failure: Option<String>,
}

/// Runs the tests of every rule of a set, each with that rule alone.
///
/// # Errors
/// None of its own; an event that cannot be read is a failed test.
pub fn run_tests(set: RuleSet) -> Vec<TestResult> {
    let set = Arc::new(set);
    let mut results = Vec::new();
    for rule in &set.rules {
        for test in &rule.tests {
            let failure = match alerts_of(&set, rule, test) {
                Ok(alerts) => compare(&test.alerts, &alerts),
                Err(error) => Some(format!("{error:#}")),
            };
            results.push(TestResult { rule: rule.name.clone(), test: test.name.clone(), failure });
        }
    }
    results
}

/// The alerts of one rule in a test, as they stand at the end.
fn alerts_of(set: &Arc<RuleSet>, rule: &Rule, test: &RuleTest) -> anyhow::Result<Vec<Alert>> {
    let batch = native_batch(&test.events)?;
    let mut detector = Detector::new(set.clone(), batch.partition.clone(), Limits::default());
    let mut messages = detector.push(&batch).messages;
    if let Some(until) = test.until {
        let last = batch.log_time();
        ensure!(last.is_none_or(|last| last <= until), "until lies before the last event");
        messages.extend(detector.advance(until));
    }
    messages.extend(detector.finish());
    let mut alerts: Vec<Alert> = Vec::new();
    for message in messages.into_iter().filter(|m| m.alert.rule.name == rule.name) {
        match alerts.iter_mut().find(|a| a.id == message.alert.id) {
            Some(alert) => *alert = message.alert,
            None => alerts.push(message.alert),
        }
    }
    Ok(alerts)
}

/// A batch of native events in the order of their times, each read at its own time.
fn native_batch(lines: &[String]) -> anyhow::Result<Batch> {
    let native = format_by_name("native").expect("the native format is always there");
    let mut json = Json::default();
    let mut read = Vec::new();
    for line in lines {
        let mut event = Event::default();
        native
            .decode(line.as_bytes(), &mut json, &mut event)
            .map_err(|reject| anyhow::anyhow!("{}: {} in {line}", reject.reason, reject.detail))?;
        read.push((event.int(FieldId::Time), event, line));
    }
    read.sort_by_key(|(time, ..)| *time);
    let mut columns = EventColumns::default();
    for (_, event, line) in &read {
        columns
            .push(event)
            .map_err(|reject| anyhow::anyhow!("{}: {} in {line}", reject.reason, reject.detail))?;
    }
    let arrays = columns.finish();
    let rows = arrays.rows;
    let mut all = arrays.arrays;
    let times: Vec<i64> = read.iter().filter_map(|(time, ..)| *time).collect();
    let terms = |text: &str| {
        let mut builder =
            arrow_array::builder::StringDictionaryBuilder::<arrow_array::types::Int32Type>::new();
        (0..rows).for_each(|_| builder.append_value(text));
        builder.finish()
    };
    all.push(Arc::new(terms("0")));
    all.push(Arc::new(Int64Array::from_iter_values(0..rows as i64)));
    all.push(Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")));
    all.push(Arc::new(terms("test")));
    all.push(Arc::new(Int64Array::from_iter_values(1..=rows as i64)));
    let flags = BooleanArray::from(vec![false; rows]);
    all.extend((0..3).map(|_| Arc::new(flags.clone()) as _));
    Ok(Batch {
        partition: Arc::new(Partition {
            source_id: "test".into(),
            name: "0".into(),
            log_time_origin: LogTimeOrigin::Observed,
            split: Split::Whole,
        }),
        events: RecordBatch::try_new(event_schema(), all)?,
        rejected: Vec::new(),
        digests: Vec::new(),
        format: "native",
    })
}

/// What differs between the alerts expected and those raised.
fn compare(expected: &[ExpectedAlert], raised: &[Alert]) -> Option<String> {
    let mut rest: Vec<&Alert> = raised.iter().collect();
    let mut missing = Vec::new();
    for alert in expected {
        match rest.iter().position(|a| fits(alert, a)) {
            Some(at) => drop(rest.remove(at)),
            None => missing.push(format!("expected {}", in_words(alert))),
        }
    }
    let show = |a: &&Alert| {
        let status = status_word(is_open(a));
        format!("raised {} count={} value={} {} {status}", a.key, a.count, a.value, a.level)
    };
    missing.extend(rest.iter().map(show));
    (!missing.is_empty()).then(|| missing.join("; "))
}

/// What a test expects of an alert, as it could stand in the test.
fn in_words(expected: &ExpectedAlert) -> String {
    let key = expected.key.iter().map(|(field, value)| {
        let value = value.as_deref().unwrap_or("(none)");
        format!("{field}={value}")
    });
    let mut words: Vec<String> = key.collect();
    words.extend(expected.count.map(|n| format!("count={n}")));
    words.extend(expected.value.map(|n| format!("value={n}")));
    words.extend(expected.level.map(|level| level.to_string()));
    words.extend(expected.is_open.map(|open| status_word(open).to_owned()));
    match words.is_empty() {
        true => "an alert".to_owned(),
        false => words.join(" "),
    }
}

fn status_word(is_open: bool) -> &'static str {
    if is_open { "open" } else { "resolved" }
}

fn fits(expected: &ExpectedAlert, alert: &Alert) -> bool {
    let has = |(name, wanted): &(String, Option<String>)| {
        alert.key.0.iter().any(|(field, value)| {
            let found = match value {
                KeyValue::Null => None,
                value => Some(value.to_string()),
            };
            **field == **name && found == *wanted
        })
    };
    expected.key.iter().all(has)
        && expected.count.is_none_or(|n| n == alert.count)
        && expected.value.is_none_or(|n| n == alert.value)
        && expected.level.is_none_or(|l| l == alert.level)
        && expected.is_open.is_none_or(|open| open == is_open(alert))
}

fn is_open(alert: &Alert) -> bool {
    alert.status != Status::Resolved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_of_the_built_in_rules_pass() {
        let set = RuleSelection::default().load_all().expect("the pack is valid");
        let results = run_tests(set);
        assert!(results.len() >= 14);
        let failed: Vec<_> = results.iter().filter(|r| r.failure.is_some()).collect();
        assert!(failed.is_empty(), "{failed:#?}");
    }

    #[test]
    fn silence_goes_on_until_a_test_says() {
        let rule = |until: &str, status: &str| {
            let text = format!(
                "title: T\nname: r\nid: 5b1c5f0e-6a57-4f0c-8d6e-0e5d1f8a9c11\nlevel: low\n\
                 logsource: {{category: agent_audit}}\n\
                 detection: {{s: {{kind: tool}}, condition: s}}\n\
                 lapwing:\n  tests:\n  - name: t\n    events: [{{kind: tool, at: 5m}}]\n    \
                 {until}\n    alerts: [{{value: 1, status: {status}}}]\n"
            );
            let source = RuleSource { name: "r.yml".into(), text, is_builtin: false };
            run_tests(load_rules(&[source]).expect("valid")).remove(0).failure
        };
        // Resolved after the timespan, 5 minutes, and the allowed lateness, 10 minutes.
        assert_eq!(rule("", "open"), None);
        assert_eq!(rule("until: 19m", "open"), None);
        assert_eq!(rule("until: 20m", "resolved"), None);
        assert_eq!(rule("until: 1m", "open").as_deref(), Some("until lies before the last event"));
        let failure = "expected value=1 resolved; raised agent.id=(none) count=1 value=1 low open";
        assert_eq!(rule("", "resolved").as_deref(), Some(failure));
    }

    #[test]
    fn a_test_that_expects_something_else_fails() {
        let expected = ExpectedAlert { count: Some(5), ..ExpectedAlert::default() };
        let failure = compare(&[expected], &[]);
        assert_eq!(failure.as_deref(), Some("expected count=5"));
    }

    #[test]
    fn an_unknown_rule_to_disable_is_refused_with_a_hint() {
        let selection =
            RuleSelection { disable: vec!["auth_failure".into()], ..RuleSelection::default() };
        let error = selection.load().expect_err("unknown").to_string();
        assert_eq!(error, "there is no rule auth_failure; did you mean auth_failures?");
    }
}
