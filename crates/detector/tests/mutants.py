#!/usr/bin/env python3
"""Takes out or bends one line of the engine at a time and says whether the tests notice.

    python3 crates/detector/tests/mutants.py [--target FOLDER] [NAME ...]

Works on a copy of the sources, with a build folder of its own. Each mutant must make
`cargo test -p lapwing-detector` fail; exit status 1 if one survives. Python 3.9, standard library.
"""

import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
SRC = "crates/detector/src/"

# Name, file, what stands there (once), what the mutant has instead.
MUTANTS = [
    ("the start of a window is inside (values)", "window/times.rs",
     "time.max(before.saturating_add(span))", "time.max(before.saturating_add(span) + 1)"),
    ("the start of a window is inside (ids)", "window/envelope.rs",
     "end < time.saturating_add(span);", "end <= time.saturating_add(span);"),
    ("the end of a window is outside", "window.rs",
     "let edge = time.saturating_sub(span);", "let edge = time.saturating_sub(span) + 1;"),
    ("`for` forgets that its stretch is closed", "plan.rs",
     " + i64::from(rule.hold_for > 0)", ""),
    ("gt is taken for gte", "plan.rs", "limit.0.div_euclid(unit) + 1", "limit.0.div_euclid(unit)"),
    ("equal times satisfy one order only", "window/sequence.rs",
     "while first > 0 && self.fit(first - 1, rest - 1, time) {", "while false {"),
    ("one event serves two steps", "window/sequence.rs",
     "if supply[group].1.len() < supply[group].2 {", "if true {"),
    ("an event out of order changes no other window", "window.rs",
     "self.list.change(Change { by, ..*change }, found);", "let _ = (by, change, &found);"),
    ("a window that held may hold anew", "window/list.rs",
     "                    *mark = Mark::Done;", "                    *mark = Mark::Open;"),
    ("a whole chunk does not tell which windows hold", "window/chunk.rs",
     "if self.open > 0 && self.largest_open.saturating_add(shift) >= threshold {", "if false {"),
    ("lateness has no tolerance at its bound", "watch.rs",
     "if row.time < newest.saturating_sub(scene.plan.lateness) {",
     "if row.time <= newest.saturating_sub(scene.plan.lateness) {"),
    ("lateness is judged by log time", "watch.rs",
     "if row.time < newest.saturating_sub(scene.plan.lateness) {",
     "if row.time < row.log_time.max(newest).saturating_sub(scene.plan.lateness) {"),
    ("skew is the largest instead of the smallest", "watch.rs",
     "key.least_skew = key.least_skew.min(skew);", "key.least_skew = key.least_skew.max(skew);"),
    ("a replayed log's time is trusted", "watch.rs",
     "let slack = self.partition.log_time_origin.slack();", "let slack = 0;"),
    ("keys are forgotten too early", "watch.rs",
     "newest.saturating_add(self.plan.timespan).saturating_add(self.plan.lateness);",
     "newest.saturating_add(self.plan.timespan);"),
    ("entries are forgotten too early", "plan.rs",
     "newest.saturating_sub(self.lateness).saturating_sub(span)", "newest.saturating_sub(span)"),
    ("keys with many events are evicted first", "keys.rs",
     "self.ends.iter().map(|ends| ends.oldest)", "self.ends.iter().rev().map(|ends| ends.oldest)"),
    ("an eviction is not remembered", "watch.rs",
     "self.evicted_until = self.evicted_until.max(Some(lost_until));", "let _ = lost_until;"),
    ("an alert resolves before its lateness has passed", "key.rs",
     "let quiet = plan.resolve_after.saturating_add(plan.lateness);",
     "let quiet = plan.resolve_after;"),
    ("late decisions do not wait for the last moment", "plan.rs",
     "self.lateness.saturating_add(span).saturating_add(1)", "self.lateness.saturating_add(span)"),
    ("updates come at three times", "episode.rs",
     "Some(Fixed(2 * base.max(", "Some(Fixed(3 * base.max("),
    ("a repeated record counts again", "window.rs",
     "records if records.iter().any(|r| entry.is_repeated_by(r)) => Some(Taken::Repeated),", ""),
    ("an id counts as often as it comes", "episode.rs",
     "count.saturating_sub(known_count)", "count"),
    ("the union of windows counts its start", "covered.rs",
     "is_some_and(|(start, _)| *start < time)", "is_some_and(|(start, _)| *start <= time)"),
    ("a dropped entry still counts", "window.rs",
     "self.remove_first(plan, true);", "self.remove_first(plan, false);"),
    ("a bound is passed over in silence", "key.rs",
     "self.lost.entries = true;\n            desk.losses", "desk.losses"),
    ("a restart decides windows anew", "window/list.rs",
     "for_each(|(i, mark)| chunk.set_mark(i, *mark));", "for_each(drop);"),
    ("a silence is told twice", "key.rs",
     "next.is_some_and(|next| next <= time.saturating_add(span)) || self.episode.is_some()",
     "next.is_some_and(|next| next < time.saturating_add(span))"),
    ("a silence never expires", "episode.rs",
     "pub(crate) const EXPIRY: i64 = DAY;", "pub(crate) const EXPIRY: i64 = 2 * DAY;"),
    ("null is no group", "watch.rs", "NullKeys::Skip && !is_whole", "NullKeys::Skip || !is_whole"),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", type=pathlib.Path, help="build folder to use")
    parser.add_argument("names", nargs="*", help="parts of names; all mutants if none is given")
    args = parser.parse_args()
    chosen = [m for m in MUTANTS if not args.names or any(n in m[0] for n in args.names)]
    survivors = 0
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        copy = work / "lapwing"
        ignored = shutil.ignore_patterns("target", ".git", ".venv")
        shutil.copytree(ROOT, copy, ignore=ignored)
        target = args.target or work / "target"
        if not tests_pass(copy, target):
            sys.exit("the tests fail without any mutant")
        for name, file, old, new in chosen:
            survivors += not is_caught(copy, target, name, copy / SRC / file, old, new)
    print(f"{len(chosen)} mutants, {survivors} survived")
    return int(survivors > 0)


def is_caught(copy, target, name, path, old, new) -> bool:
    text = path.read_text()
    if text.count(old) != 1:
        sys.exit(f"{name}: {path.name} has {text.count(old)} times: {old}")
    path.write_text(text.replace(old, new))
    start = time.monotonic()
    caught = not tests_pass(copy, target, name)
    path.write_text(text)
    print(f"{'caught' if caught else 'SURVIVED':9}{time.monotonic() - start:6.1f} s  {name}", flush=True)
    return caught


def tests_pass(copy, target, mutant=None) -> bool:
    """Whether the tests pass; a mutant that does not compile is a mistake in the list above."""
    command = ["cargo", "test", "--quiet", "--offline", "-p", "lapwing-detector", "--target-dir", target]
    if subprocess.run([*command, "--no-run"], cwd=copy, capture_output=True).returncode:
        sys.exit(f"does not compile: {mutant or 'the project'}")
    # Fewer cases than usual are enough to notice what is wrong in every case.
    env = {**os.environ, "LAPWING_CASES": "2000"}
    # A mutant may also make the engine run for ever: then the whole group of processes is stopped.
    tests = subprocess.Popen(command, cwd=copy, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                             start_new_session=True, env=env)
    try:
        return tests.wait(timeout=900) == 0
    except subprocess.TimeoutExpired:
        os.killpg(tests.pid, signal.SIGKILL)
        return False


if __name__ == "__main__":
    sys.exit(main())
