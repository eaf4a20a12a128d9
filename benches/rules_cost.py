#!/usr/bin/env python3
"""What rules add to archiving, and what disorder adds to rules: ratios of CPU time in one run.

Replays one file of simulated events into an archive without rules, with the three rules of the comparison
with DuckDB and with the built-in rules; then evaluates the three rules on the same events, with 0 % and
with 5 % of them arriving late. Needs Python 3.9 on Linux or macOS and a built `lapwing`.
"""

import argparse
import os
import pathlib
import platform
import resource
import shutil
import statistics
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
THREE = HERE / "three-rules" / "three.yml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lapwing", type=pathlib.Path, default=HERE.parent / "target/release/lapwing")
    args = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; "
          f"{args.events} events, {args.rounds} rounds, medians of CPU seconds")
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        ordered, shuffled = work / "ordered.jsonl", work / "shuffled.jsonl"
        for file, disorder in [(ordered, 0), (shuffled, 0.05)]:
            run([args.lapwing, "simulate", "--events", args.events, "--incidents", 12,
                 "--disorder", disorder, "--out", file])
        archive = ["--archive", work / "archive"]
        three = ["--no-builtin-rules", "--rules", THREE]
        works = {
            "archive": (ordered, [*archive, "--no-builtin-rules"]),
            "archive and three rules": (ordered, [*archive, *three]),
            "archive and built-in rules": (ordered, archive),
            "three rules, in order": (ordered, three),
            "three rules, 5 % late": (shuffled, three),
        }
        seconds = {name: [] for name in works}
        # Round 0 warms the page cache and is not counted.
        for number in range(args.rounds + 1):
            for name, (file, options) in works.items():
                shutil.rmtree(work / "archive", ignore_errors=True)
                took = run([args.lapwing, "replay", *options, file])
                seconds[name] += [took] if number else []
    median = {name: statistics.median(took) for name, took in seconds.items()}
    for name, took in median.items():
        print(f"  {name:28}{took:7.2f} s")
    ratio = lambda a, b: f"{median[a] / median[b]:.3f}"
    print("three rules on top of archiving   ", ratio("archive and three rules", "archive"))
    print("built-in rules on top of archiving", ratio("archive and built-in rules", "archive"))
    print("5 % late against in order         ", ratio("three rules, 5 % late", "three rules, in order"))


def run(command) -> float:
    """Runs a command to its end; its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([str(c) for c in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
