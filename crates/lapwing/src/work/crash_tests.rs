//! Processes that end, are held or are told lies at every single step of their work, in a folder and in
//! S3: whoever comes next goes on with nothing lost, nothing twice, and the same alerts to the byte.

mod fate;
mod ground;
#[cfg(feature = "s3")]
#[path = "../../../../tests/suite/moto.rs"]
mod moto;
mod world;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use lapwing_detector::Limits;
use lapwing_detector::rule::RuleSet;
use lapwing_ingest::{DecodeOptions, Decoders};
use lapwing_sink::EncoderMemory;
use tokio::runtime::Runtime;

use super::Shared;
use super::keep::{Rest, keep, take_over};
use super::registry::Registry;
use crate::committer::Progress;
use crate::config::Config;
use crate::lane::{EpochLimits, LaneOptions};
use crate::outbox::Outbox;
use fate::{Fate, FatedReceiver, Life, Turn};
use ground::Ground;
use world::{Act, Stamp, World, WorldSource, quiet, refused};

/// Records of an epoch: few, so that each run has several.
const EPOCH_RECORDS: u64 = 7;
/// Runs at a time: most of them wait.
const AT_A_TIME: usize = 8;
/// How long a process may take, if it does not end before.
const PATIENCE: Duration = Duration::from_secs(60);

const CONFIG: &str = "sources:\n  - {id: agents, type: file, include: [unused]}\nstate: unused\n";

fn rules() -> &'static Arc<RuleSet> {
    static RULES: OnceLock<Arc<RuleSet>> = OnceLock::new();
    RULES.get_or_init(|| {
        let config = Config::parse("test", CONFIG).expect("a configuration");
        config.rules.load().expect("the built-in rules")
    })
}

/// Alerts that are opened, updated and resolved, by records and by silence; records that are rejected;
/// timestamps that the clock has a part in; several epochs, with alerts ahead of them and between.
fn long_script() -> Vec<Act> {
    use Stamp::{Appended, Created, Unknown};
    let refused = |id: &str, ip: &str, at: i64, stamp: Stamp| (stamp, refused(id, ip, at));
    let at = |id: &str, ip: &str, at: i64| refused(id, ip, at, Appended(at));
    let still = |id: &str, at: i64| (Appended(at), quiet(id, at));
    vec![
        Act::Records(vec![still("q1", 0), at("a1", "a", 1), at("a2", "a", 2)]),
        Act::Settle,
        Act::Records(vec![at("b1", "b", 3), (Appended(3), "no json".to_owned()), at("a3", "a", 4)]),
        Act::Records(vec![at("a4", "a", 5), still("q2", 6), at("c1", "c", 7)]),
        Act::Settle,
        Act::Records((0..9).map(|n| still(&format!("r{n}"), 10 + n)).collect()),
        // Everything is resolved by silence.
        Act::Clock(3600),
        Act::Settle,
        // A record with an older timestamp is raised to the tick.
        Act::Records(vec![at("a5", "a", 3500), at("d1", "d", 3500)]),
        Act::Settle,
        Act::Records(vec![
            refused("e1", "e", 3590, Created(40_000)),
            still("q3", 3600),
            refused("e2", "e", 3600, Unknown),
        ]),
        Act::Settle,
        Act::Clock(3705),
        Act::Records((0..5).map(|n| still(&format!("s{n}"), 3705 + n)).collect()),
        Act::Records(vec![refused("e3", "e", 3710, Unknown), at("f1", "f", 3710)]),
        Act::Settle,
        Act::Clock(9000),
        Act::Settle,
        Act::Clock(9100),
        Act::Records(vec![at("a6", "a", 9101), still("q4", 9102), at("g1", "g", 9103)]),
    ]
}

/// One alert that silence resolves between two epochs.
fn short_script() -> Vec<Act> {
    let at = |id: &str, at: i64| (Stamp::Appended(at), refused(id, "a", at));
    vec![
        Act::Records((0..4).map(|n| at(&format!("a{n}"), n)).collect()),
        Act::Settle,
        Act::Records((4..9).map(|n| at(&format!("a{n}"), n)).collect()),
        Act::Clock(3600),
        Act::Settle,
        Act::Records((0..3).map(|n| at(&format!("b{n}"), 3500 + n)).collect()),
    ]
}

/// What all processes of a run need.
struct Stage {
    ground: Ground,
    world: Arc<World>,
    rules: Arc<RuleSet>,
}

/// What is said of a process that has come to rest or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ran {
    steps: u64,
    has_ended: bool,
    is_lost: bool,
}

impl Stage {
    fn local(script: Vec<Act>) -> Self {
        let world = Arc::new(World::new(script, rules()));
        Self { ground: Ground::local(), world, rules: rules().clone() }
    }

    fn shared(&self, fate: &Arc<Fate>, runtime: &Runtime, batch: usize) -> Arc<Shared> {
        let receiver = FatedReceiver { received: self.world.received.clone(), fate: fate.clone() };
        Arc::new(Shared {
            config: Arc::new(Config::parse("test", CONFIG).expect("a configuration")),
            options: LaneOptions {
                rules: self.rules.clone(),
                limits: Limits::default(),
                epoch: EpochLimits {
                    age: Duration::from_secs(3600),
                    size_bytes: u64::MAX,
                    // Whoever reads two at a time ends an epoch after each, also where a tick came.
                    records: if batch == 2 { 1 } else { EPOCH_RECORDS },
                },
                memory: EncoderMemory::new(64 << 20),
            },
            runtime: runtime.handle().clone(),
            outbox: Arc::new(Outbox::new(vec![Box::new(receiver)])),
            state: self.ground.state(fate),
            archive: Some(self.ground.archive(fate)),
            alerts_every: Duration::ZERO,
            decoders: Decoders::new(1, DecodeOptions::default()),
            registry: Registry::default(),
            must_rest: Arc::new(AtomicBool::new(false)),
            failure: Mutex::default(),
        })
    }

    /// Runs a process until it ends or everything was read; it reads `batch` records at a time.
    fn run(&self, fate: &Arc<Fate>, batch: usize) -> Ran {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let shared = self.shared(fate, &runtime, batch);
        let (rest, progress) = (Arc::new(Rest::default()), Arc::new(Progress::default()));
        runtime.spawn(end_with(fate.clone(), shared.clone(), rest.clone()));
        let partition = self.world.partition.clone();
        let claimed = runtime.block_on(async {
            tokio::select! {
                claimed = take_over(&shared, partition.clone()) => Some(claimed),
                () = fate.end() => None,
            }
        });
        if let Some(claimed) = claimed {
            let claimed = claimed.expect("nothing is damaged");
            keep(&shared, &partition, claimed, &rest, &progress, |claimed| {
                let (world, fate) = (&self.world, fate);
                Ok(Box::new(WorldSource::open(world, claimed, fate, &rest, batch)))
            });
        }
        runtime.shutdown_background();
        let has_ended = fate.life() == Life::Ended;
        let failure = shared.failure.lock().expect("no panic").take();
        assert!(failure.is_none() || has_ended, "{:#}", failure.expect("a failure"));
        let is_lost = progress.is_lost.load(Ordering::Relaxed);
        Ran { steps: fate.steps(), has_ended, is_lost }
    }

    /// Runs the process that comes last, and checks what is there then.
    fn finish(&self, batch: usize) {
        let ran = self.run(&Fate::none(), batch);
        assert!(!ran.has_ended && !ran.is_lost && self.world.is_over());
        self.ground.check(&self.world);
    }
}

/// A process that has ended does nothing any more.
async fn end_with(fate: Arc<Fate>, shared: Arc<Shared>, rest: Arc<Rest>) {
    let has_ended = tokio::time::timeout(PATIENCE, fate.end()).await.is_ok();
    if !has_ended {
        eprintln!("a process did not come to rest within {PATIENCE:?}");
    }
    rest.must_discard.store(true, Ordering::Relaxed);
    rest.must_rest.store(true, Ordering::Relaxed);
    shared.must_rest.store(true, Ordering::Relaxed);
}

/// Does something for each number, some at a time; says which one failed.
fn for_each(what: &str, numbers: impl IntoIterator<Item = u64>, run: impl Fn(u64) + Sync) {
    let numbers: Vec<u64> = numbers.into_iter().collect();
    let next = AtomicU64::new(0);
    let began = Instant::now();
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(number) = numbers.get(next.fetch_add(1, Ordering::Relaxed) as usize)
                {
                    let ran =
                        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(*number)));
                    if ran.is_err() {
                        failed.lock().expect("no panic").push(*number);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no panic");
    assert!(failed.is_empty(), "{what}: these steps failed: {failed:?}");
    eprintln!("{what}: {} runs in {:?}", numbers.len(), began.elapsed());
}

/// How many steps an undisturbed run takes, after it was checked.
fn steps_of(stage: &Stage) -> u64 {
    let ran = stage.run(&Fate::none(), 3);
    assert!(!ran.has_ended && !ran.is_lost);
    stage.ground.check(&stage.world);
    ran.steps
}

#[test]
fn an_undisturbed_run_is_whole_and_its_script_has_everything() {
    let stage = Stage::local(long_script());
    let steps = steps_of(&stage);
    let expected = stage.world.expected();
    let statuses: Vec<_> = expected.messages.iter().map(|m| m.alert.status).collect();
    use lapwing_event::Status::{Opened, Resolved, Updated};
    for status in [Opened, Updated, Resolved] {
        assert!(statuses.contains(&status), "{status:?} in {statuses:?}");
    }
    assert!(steps > 60, "{steps} steps");
    stage.finish(5);
}

#[test]
fn after_an_end_at_any_step_the_next_process_goes_on_and_nothing_is_lost_or_doubled() {
    let steps = steps_of(&Stage::local(long_script()));
    for turn in [Turn::EndsBefore, Turn::EndsAfter] {
        for_each(&format!("{turn:?}"), 1..=steps + 2, |step| {
            let stage = Stage::local(long_script());
            let ran = stage.run(&Fate::new(step, turn), 3);
            assert!(ran.has_ended || step + 4 > steps, "it ended at step {step}");
            stage.ground.leave_half_files(&stage.world);
            stage.finish(4);
        });
    }
}

#[test]
fn after_two_ends_at_any_steps_the_third_process_goes_on() {
    let steps = steps_of(&Stage::local(short_script()));
    // Every second step, and then every fifth.
    let pairs: Vec<(u64, u64)> = (1..=steps)
        .step_by(2)
        .flat_map(|first| (1 + first % 5..=steps).step_by(5).map(move |second| (first, second)))
        .collect();
    let turns = [Turn::EndsAfter, Turn::EndsBefore];
    for_each("two ends", 0..pairs.len() as u64, |pair| {
        let (first, second) = pairs[pair as usize];
        let stage = Stage::local(short_script());
        stage.run(&Fate::new(first, turns[(first / 2 % 2) as usize]), 3);
        stage.run(&Fate::new(second, turns[(second % 2) as usize]), 2);
        stage.ground.leave_half_files(&stage.world);
        stage.finish(4);
    });
}

#[test]
fn a_step_that_fails_or_whose_reply_is_lost_is_tried_again() {
    let steps = steps_of(&Stage::local(short_script()));
    for turn in [Turn::Fails, Turn::Lies] {
        for_each(&format!("{turn:?}"), 1..=steps, |step| {
            let stage = Stage::local(short_script());
            let ran = stage.run(&Fate::new(step, turn), 3);
            assert!(!ran.has_ended && !ran.is_lost);
            stage.finish(4);
        });
    }
}

#[test]
fn a_process_that_was_held_while_another_took_over_writes_nothing() {
    let steps = steps_of(&Stage::local(short_script()));
    for turn in [Turn::HeldBefore, Turn::HeldAfter] {
        for_each(&format!("{turn:?}"), 1..=steps, |step| {
            let stage = Stage::local(short_script());
            hold_and_overtake(&stage, step, turn);
        });
    }
}

fn hold_and_overtake(stage: &Stage, step: u64, turn: Turn) {
    let fate = Fate::new(step, turn);
    std::thread::scope(|scope| {
        let held = scope.spawn(|| stage.run(&fate, 3));
        if !fate.is_held_before(|| held.is_finished()) {
            return;
        }
        let has_claimed = stage.ground.committed_offset(&stage.world).is_some();
        let all = stage.world.expected().rows.len() as i64;
        let was_complete = stage.ground.committed_offset(&stage.world) == Some(all);
        let ran = stage.run(&Fate::none(), 2);
        assert!(!ran.has_ended && !ran.is_lost);
        let before = stage.ground.committed();
        fate.let_go();
        let ran = held.join().expect("it does not panic");
        assert!(!ran.has_ended);
        if has_claimed {
            assert_eq!(stage.ground.committed(), before, "it writes nothing");
            assert!(ran.is_lost || was_complete, "it knows that it has lost the partition");
        }
    });
    stage.finish(4);
}

/// An alert that an epoch has left open and that was updated since, by a rule that is gone after the crash.
#[test]
fn an_alert_of_a_rule_that_is_gone_is_resolved_once_behind_everything_that_was_committed() {
    let at = |n: i64| (Stamp::Appended(n), refused(&format!("a{n}"), "a", n));
    let script = || {
        vec![
            Act::Records((0..4).map(at).collect()),
            Act::Settle,
            Act::Records((4..9).map(at).collect()),
            Act::Settle,
            Act::Records(
                (0..4).map(|n| (Stamp::Appended(9), quiet(&format!("q{n}"), 9))).collect(),
            ),
        ]
    };
    let changed = CONFIG.to_owned() + "rules: {disable: [auth_lockout]}\n";
    let changed = Config::parse("test", &changed).expect("a configuration");
    let changed = changed.rules.load().expect("the other rules");
    let steps = steps_of(&Stage::local(script()));
    let resolved = AtomicU64::new(0);
    for_each("a rule is gone", 1..=steps, |step| {
        let mut stage = Stage::local(script());
        stage.run(&Fate::new(step, Turn::EndsAfter), 3);
        let was_open = stage.ground.epochs(&stage.world).last().is_some_and(|e| e.open_alerts > 0);
        let was_committed = stage.ground.committed_messages(&stage.world);
        stage.rules = changed.clone();
        stage.world.stop_settling();
        stage.run(&Fate::new(1 + step % 23, Turn::EndsAfter), 2);
        let ran = stage.run(&Fate::none(), 4);
        assert!(!ran.has_ended && !ran.is_lost && stage.world.is_over());
        let mut messages = stage.ground.committed_messages(&stage.world);
        messages.sort_by_key(|message| message.alert.revision);
        let revisions: Vec<u32> = messages.iter().map(|message| message.alert.revision).collect();
        assert_eq!(revisions, (1..=messages.len() as u32).collect::<Vec<_>>());
        if was_open {
            assert_eq!(messages.len(), was_committed.len() + 1);
            let last = &messages.last().expect("a message").alert;
            assert_eq!(last.status, lapwing_event::Status::Resolved);
            resolved.fetch_add(1, Ordering::Relaxed);
        }
    });
    assert!(resolved.into_inner() > 5, "the case was met");
}

/// S3, as far as moto speaks it: a rename is a copy and a deletion, and names are not made under locks.
#[cfg(feature = "s3")]
mod s3 {
    use std::sync::Arc;

    use object_store::ObjectStore;
    use object_store::aws::AmazonS3Builder;
    use object_store::prefix::PrefixStore;

    use super::moto::{BUCKET, Moto};
    use super::*;

    /// Prefixes that no other run uses.
    fn stage(moto: &Moto) -> Stage {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let run = NEXT.fetch_add(1, Ordering::Relaxed);
        let store: Arc<dyn ObjectStore> = Arc::new(
            AmazonS3Builder::new()
                .with_endpoint(format!("http://{}", moto.address()))
                .with_allow_http(true)
                .with_bucket_name(BUCKET)
                .with_region("us-east-1")
                .with_access_key_id("test")
                .with_secret_access_key("test")
                .build()
                .expect("a client"),
        );
        let at = |name: &str| Arc::new(PrefixStore::new(store.clone(), format!("{run}/{name}")));
        let ground = Ground::remote(at("state"), at("archive"));
        let world = Arc::new(World::new(short_script(), rules()));
        Stage { ground, world, rules: rules().clone() }
    }

    #[test]
    fn after_an_end_at_any_step_the_next_process_goes_on() {
        let Some(moto) = Moto::get() else { return };
        let steps = steps_of(&stage(&moto));
        for (first, turn) in [(1, Turn::EndsBefore), (2, Turn::EndsAfter)] {
            for_each(&format!("S3, {turn:?}"), (first..=steps + 2).step_by(5), |step| {
                let stage = stage(&moto);
                stage.run(&Fate::new(step, turn), 3);
                stage.ground.leave_half_files(&stage.world);
                stage.finish(4);
            });
        }
    }

    #[test]
    fn a_process_that_was_held_writes_nothing() {
        let Some(moto) = Moto::get() else { return };
        let steps = steps_of(&stage(&moto));
        for (first, turn) in [(1, Turn::HeldAfter), (2, Turn::HeldBefore)] {
            for_each(&format!("S3, {turn:?}"), (first..=steps).step_by(12), |step| {
                hold_and_overtake(&stage(&moto), step, turn);
            });
        }
    }

    #[test]
    fn a_step_whose_reply_is_lost_is_tried_again() {
        let Some(moto) = Moto::get() else { return };
        let steps = steps_of(&stage(&moto));
        for_each("S3, Lies", (1..=steps).step_by(7), |step| {
            let stage = stage(&moto);
            let ran = stage.run(&Fate::new(step, Turn::Lies), 3);
            assert!(!ran.has_ended && !ran.is_lost);
            stage.finish(4);
        });
    }
}
