//! What windows cost: events of one and of many keys, in order and out of order, by kind of rule;
//! bytes of state per key. Run by `cargo bench -p lapwing --bench windows`; see benches/README.md.
//!
//! Only the detector is measured: batches are made beforehand. Every comparison is a ratio within
//! one run, rounds alternating, medians shown.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use lapwing_detector::rule::{RuleSet, RuleSource, load_rules};
use lapwing_detector::{Detector, Limits};
use lapwing_event::{Batch, Event, EventColumns, FieldId, LogTimeOrigin, Partition, Split};

const SECOND: i64 = 1_000_000;
/// 2026-11-22T00:00:00Z.
const START: i64 = 1_795_305_600 * SECOND;
const BATCH: usize = 8192;
const ROUNDS: usize = 5;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--work", work, events] => {
            let events = events.parse().expect("a number of events");
            run(&mut Work::named(work, events));
        }
        ["--memory", work, events] => {
            let events = events.parse().expect("a number of events");
            println!("{}", memory(&Work::named(work, events)));
        }
        ["--instructions"] => instructions(),
        [] => report(),
        _ => panic!("expected nothing, --instructions, or --work or --memory NAME EVENTS"),
    }
}

/// A stream of events for a rule.
struct Work {
    rules: Arc<RuleSet>,
    batches: Vec<Batch>,
}

/// Kinds of rules, by name and what stands under `correlation:` beside the rest.
const KINDS: [(&str, &str); 6] = [
    ("event_count", "condition: {gte: 1000000000}"),
    ("value_count", "condition: {field: tool.target, gte: 1000000000}"),
    ("value_sum", "condition: {field: usage.input_tokens, gte: 1000000000000}"),
    ("value_avg", "condition: {field: usage.input_tokens, gt: 1000000000}"),
    ("temporal", ""),
    ("temporal_ordered", ""),
];

impl Work {
    /// `ordered`, `shuffled` (5 % of the events come up to five minutes late), `none` (no rule
    /// selects them), `window` (one key, all in its window), `window-shuffled`, `keys-1` and `keys-10`
    /// (one and ten events a key); after a colon the kind of rule.
    fn named(name: &str, events: usize) -> Self {
        let (base, kind) = name.split_once(':').unwrap_or((name, "event_count"));
        // Up to a million events of one key lie within one hour, and a million of all keys.
        let (keys, step) = match base {
            "window" | "window-shuffled" => (1, 3_000),
            "keys-1" => (events, 3_000),
            "keys-10" => (events / 10, 3_000),
            _ => (1000, 10_000),
        };
        let mut order: Vec<usize> = (0..events).collect();
        if base.ends_with("shuffled") {
            shuffle(&mut order, (300 * SECOND / step) as usize);
        }
        let selected = if base == "none" { "model" } else { "tool" };
        Self { rules: rules(kind), batches: batches(&order, keys, step, selected) }
    }
}

/// Moves every twentieth event back by up to `most` places.
fn shuffle(order: &mut [usize], most: usize) {
    let mut random = 88_172_645_463_325_252_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for n in 0..order.len() {
        if next() % 20 == 0 {
            let to = (n + 1 + next() as usize % most).min(order.len() - 1);
            order[n..=to].rotate_left(1);
        }
    }
}

fn rules(kind: &str) -> Arc<RuleSet> {
    let (_, rest) = KINDS.iter().find(|(k, _)| *k == kind).expect("a kind of rule");
    let is_temporal = kind.starts_with("temporal");
    let referred = if is_temporal { "[first, second]" } else { "[first]" };
    let detection = |name: &str, selection: &str| {
        format!(
            "title: T\nname: {name}\nlogsource: {{category: agent_audit}}\ndetection:\n  s: {selection}\n  condition: s\nlevel: low\n---\n"
        )
    };
    let text = format!(
        "{}{}title: T\nid: 11111111-1111-1111-1111-111111111111\nname: bench\ncorrelation:\n  type: {kind}\n  rules: {referred}\n  group-by: [session.id]\n  timespan: 1h\n  {rest}\nlevel: low\n",
        detection("first", "{kind: tool}"),
        if is_temporal { detection("second", "{outcome: error}") } else { String::new() },
    );
    let source = RuleSource { name: "bench.yml".into(), text, is_builtin: false };
    Arc::new(load_rules(&[source]).expect("the rule is valid"))
}

fn partition() -> Arc<Partition> {
    Arc::new(Partition {
        source_id: "bench".into(),
        name: "0".into(),
        log_time_origin: LogTimeOrigin::Observed,
        split: Split::Whole,
    })
}

/// Events `step` microseconds apart, in the order given.
fn batches(order: &[usize], keys: usize, step: i64, kind: &str) -> Vec<Batch> {
    let partition = partition();
    let mut log_time = i64::MIN;
    let mut batches = Vec::new();
    for (n, part) in order.chunks(BATCH).enumerate() {
        let mut columns = EventColumns::default();
        let mut log_times = Vec::new();
        for index in part {
            let time = START + *index as i64 * step;
            let mut event = Event::default();
            event.set_int(FieldId::Time, time);
            event.set_text(FieldId::Kind, kind);
            event.set_text(FieldId::SessionId, &format!("session-{}", index % keys));
            event.set_text(FieldId::ToolTarget, &format!("/srv/data/{}", index % 5000));
            event.set_int(FieldId::UsageInputTokens, (index % 1000) as i64);
            columns.push(&event).expect("a valid event");
            log_time = log_time.max(time);
            log_times.push(log_time);
        }
        let first = (n * BATCH) as i64;
        let events = columns.finish();
        batches.push(Batch::of_made_events(&partition, events, first, log_times, "bench.log"));
    }
    batches
}

/// Runs a work; seconds.
fn run(work: &mut Work) -> f64 {
    let mut detector = Detector::new(work.rules.clone(), partition(), Limits::default());
    let start = Instant::now();
    for batch in &work.batches {
        detector.push(batch);
    }
    start.elapsed().as_secs_f64()
}

/// Medians of several works, run in turn.
fn compare(works: &mut [Work]) -> Vec<f64> {
    let mut seconds: Vec<Vec<f64>> = vec![Vec::new(); works.len()];
    for _ in 0..ROUNDS {
        for (work, seconds) in works.iter_mut().zip(&mut seconds) {
            seconds.push(run(work));
        }
    }
    let median = |mut s: Vec<f64>| {
        s.sort_by(f64::total_cmp);
        s[s.len() / 2]
    };
    seconds.into_iter().map(median).collect()
}

fn report() {
    println!("{}, {} rounds, medians\n", machine(), ROUNDS);
    order_report(1_000_000);
    window_report(1_000_000);
    kinds_report(200_000);
    state_report(100_000);
}

fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find(|l| l.starts_with("model name"));
    let model = model.and_then(|l| l.split(": ").nth(1)).unwrap_or("unknown processor");
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("{model}, load {}", load.split(' ').next().unwrap_or_default())
}

fn order_report(events: usize) {
    let mut works = ["none", "ordered", "shuffled"].map(|name| Work::named(name, events));
    let [none, ordered, shuffled] = compare(&mut works)[..] else { unreachable!("three works") };
    println!("{events} events of 1000 keys, event_count over 1h");
    println!("  no event selected          {:7.1} ns an event", none * 1e9 / events as f64);
    println!("  in order                   {:7.1} ns", ordered * 1e9 / events as f64);
    println!("  5 % up to 5 min late       {:7.1} ns", shuffled * 1e9 / events as f64);
    println!("  out of order / in order    {:7.3}\n", shuffled / ordered);
}

fn window_report(events: usize) {
    let mut works = ["window", "window-shuffled"].map(|name| Work::named(name, events));
    let [ordered, shuffled] = compare(&mut works)[..] else { unreachable!("two works") };
    println!("{events} events of one key within its window of 1h");
    println!("  in order                   {:7.1} ns an event", ordered * 1e9 / events as f64);
    println!("  5 % up to 5 min late       {:7.1} ns", shuffled * 1e9 / events as f64);
    println!("  out of order / in order    {:7.3}", shuffled / ordered);
    let (memory, state) = measured_memory("window", events);
    println!("  memory                     {:7.1} bytes an event", memory / events as f64);
    println!("  state written out          {:7.1} bytes an event\n", state / events as f64);
}

fn kinds_report(events: usize) {
    println!("{events} events of 1000 keys by kind of rule, against event_count in order");
    let mut works: Vec<Work> = Vec::new();
    for (kind, _) in KINDS {
        works.push(Work::named(&format!("ordered:{kind}"), events));
        works.push(Work::named(&format!("shuffled:{kind}"), events));
    }
    let seconds = compare(&mut works);
    for ((kind, _), pair) in KINDS.iter().zip(seconds.chunks(2)) {
        let (ordered, shuffled) = (pair[0] / seconds[0], pair[1] / seconds[0]);
        println!("  {kind:18} in order {ordered:6.2}   5 % late {shuffled:6.2}");
    }
    println!();
}

/// Bytes of state for keys with one event and with ten.
fn state_report(keys: usize) {
    println!(
        "bytes a key, {keys} keys (memory: growth of the resident set; state: as written out)"
    );
    for (kind, _) in KINDS {
        let mut line = format!("  {kind:18}");
        for per_key in [1, 10] {
            let work = format!("keys-{per_key}:{kind}");
            let (memory, state) = measured_memory(&work, keys * per_key);
            let (memory, state) = (memory / keys as f64, state / keys as f64);
            line += &format!("   {per_key:2} events: memory {memory:5.0}, state {state:4.0}");
        }
        println!("{line}");
    }
}

/// What a detector adds to the memory of a process of its own, and its state as written out.
fn measured_memory(work: &str, events: usize) -> (f64, f64) {
    let this = std::env::current_exe().expect("this program");
    let args = ["--memory", work, &events.to_string()];
    let out = Command::new(this).args(args).output().expect("this program can be run");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let [memory, state] = numbers[..] else { panic!("two numbers, not {text:?}") };
    (memory, state)
}

fn memory(work: &Work) -> String {
    let before = resident_bytes();
    let mut detector = Detector::new(work.rules.clone(), partition(), Limits::default());
    work.batches.iter().for_each(|batch| _ = detector.push(batch));
    let memory = resident_bytes().saturating_sub(before);
    format!("{memory} {}", detector.snapshot().len())
}

fn resident_bytes() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|n| n.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

/// Instructions, which no noise upsets, counted by callgrind: of each work less those of making its
/// events.
fn instructions() {
    const EVENTS: usize = 50_000;
    let count = |work: &str, events: usize| -> f64 {
        let this = std::env::current_exe().expect("this program");
        let out = Command::new("valgrind")
            .args([
                "--tool=callgrind",
                "--callgrind-out-file=/dev/null",
                "--toggle-collect=*Detector*push*",
            ])
            .arg(this)
            .args(["--work", work, &events.to_string()])
            .output()
            .expect("valgrind is needed to count instructions");
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        let line = text.lines().find(|l| l.contains("Collected")).expect("callgrind counts");
        let number = line.rsplit(' ').next().expect("a number").replace(',', "");
        let number: f64 = number.parse().expect("a number");
        assert!(number > 0.0 || work == "none", "callgrind saw no call of Detector::push");
        number
    };
    println!("instructions in the detector, {EVENTS} events");
    let mut found = BTreeMap::new();
    for work in ["none", "ordered", "shuffled", "window", "window-shuffled"] {
        let total = count(work, EVENTS);
        println!("  {work:18} {:8.0} an event", total / EVENTS as f64);
        found.insert(work, total);
    }
    println!("  shuffled / ordered               {:.3}", found["shuffled"] / found["ordered"]);
    let ratio = found["window-shuffled"] / found["window"];
    println!("  window-shuffled / window         {ratio:.3}");
}
