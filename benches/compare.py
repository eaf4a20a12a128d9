#!/usr/bin/env python3
"""Lapwing against DuckDB: archive a file of events as Parquet and find what three rules find.

Makes the events, runs both in turn, checks that both found the same, and only then prints what it
took. Needs Python 3.9 on Linux and a built `lapwing`; DuckDB comes from PyPI into benches/.venv.
"""

import argparse
import collections
import datetime
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv

import duckdb_side

DUCKDB_VERSION = "2.0.0"
HERE = pathlib.Path(__file__).resolve().parent
VENV_PYTHON = HERE / ".venv" / "bin" / "python"

Run = collections.namedtuple("Run", "cpu_s wall_s rss_mib parquet_bytes")


def main() -> None:
    args = arguments()
    load = os.getloadavg()[0]
    prepare_venv()
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        work = pathlib.Path(work)
        events = args.file or simulate(args, work / "events.jsonl")
        runs = {"lapwing": [], "duckdb": [], "start": []}
        keys = None
        # Round 0 warms the page cache and is not counted.
        for number in range(args.rounds + 1):
            sides = ["lapwing", "duckdb"] if number % 2 else ["duckdb", "lapwing"]
            measured, found = {}, {}
            for side in sides:
                measured[side], found[side] = run_side(side, args, events, work)
            measured["start"] = measure([VENV_PYTHON, HERE / "duckdb_side.py", "--only-start"])
            assert_same(found)
            keys = collections.Counter(rule for rule, _ in found["duckdb"])
            for side in runs if number else []:
                runs[side].append(measured[side])
        report = render(args, events, runs, keys, load)
    print(report)
    if args.write:
        (HERE / "RESULTS.md").write_text(report)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--incidents", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lapwing", type=pathlib.Path,
                        default=HERE.parent / "target" / "release" / "lapwing")
    parser.add_argument("--file", type=pathlib.Path, help="use these events, make none")
    parser.add_argument("--work", type=pathlib.Path, help="folder for temporary files")
    parser.add_argument("--write", action="store_true", help="write benches/RESULTS.md")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    if not args.lapwing.exists():
        parser.error(f"{args.lapwing} does not exist: cargo build --release, or --lapwing PATH")
    return args


def prepare_venv() -> None:
    """A virtual environment with exactly the pinned DuckDB."""
    check = f"import duckdb; assert duckdb.__version__ == '{DUCKDB_VERSION}'"
    if VENV_PYTHON.exists() and not subprocess.run(
        [VENV_PYTHON, "-c", check], stderr=subprocess.DEVNULL, check=False
    ).returncode:
        return
    venv.create(HERE / ".venv", with_pip=True)
    subprocess.run([VENV_PYTHON, "-m", "pip", "install", "-q", f"duckdb=={DUCKDB_VERSION}"],
                   check=True)
    subprocess.run([VENV_PYTHON, "-c", check], check=True)


def simulate(args: argparse.Namespace, file: pathlib.Path) -> pathlib.Path:
    numbers = ["--events", args.events, "--seed", args.seed, "--incidents", args.incidents]
    command = [args.lapwing, "simulate", *map(str, numbers), "--out", file]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return file


def run_side(side: str, args: argparse.Namespace, events: pathlib.Path, work: pathlib.Path):
    """One run: what it took, and what it found."""
    archive, out = work / "archive", work / "found.jsonl"
    shutil.rmtree(archive, ignore_errors=True)
    out.unlink(missing_ok=True)
    if side == "lapwing":
        command = [args.lapwing, "replay", events, "--archive", archive, "--rules",
                   HERE / "three-rules", "--no-builtin-rules", "--alerts", out, "-q",
                   "--threads", str(args.threads)]
    else:
        command = [VENV_PYTHON, HERE / "duckdb_side.py", "--events", events, "--archive", archive,
                   "--found", out, "--threads", str(args.threads)]
    run = measure(command)
    size = sum(f.stat().st_size for f in archive.rglob("*.parquet"))
    read = found_by_lapwing if side == "lapwing" else found_by_duckdb
    return run._replace(parquet_bytes=size), read(out)


def measure(command: list) -> Run:
    """Runs a child to its end. Its peak memory counts from its fork on, so it is at least this
    script's own, some 20 MiB; results are therefore kept small."""
    began = time.monotonic()
    child = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall_s = time.monotonic() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{command[0]} failed with {child.returncode}")
    return Run(usage.ru_utime + usage.ru_stime, wall_s, usage.ru_maxrss / 1024, 0)


def found_by_duckdb(file: pathlib.Path) -> dict:
    """(rule, key) -> first and last end of a window that holds, microseconds."""
    found: dict = {}
    with file.open() as lines:
        for line in lines:
            row = json.loads(line)
            widen(found, (row["rule"], (row["key_1"], row["key_2"])), row["holds_at"],
                  row["holds_at"])
    return found


def found_by_lapwing(file: pathlib.Path) -> dict:
    """The same from the latest message of each alert. The first window that holds ends one
    timespan after its start; `opened_at` may be later, if an older event arrived after it."""
    columns = {name: ((first, second), minutes * 60_000_000)
               for name, _, first, second, _, minutes in duckdb_side.RULES}
    latest: dict = {}
    with file.open() as lines:
        for line in lines:
            alert = json.loads(line)
            if alert["revision"] >= latest.get(alert["id"], alert)["revision"]:
                latest[alert["id"]] = alert
    found: dict = {}
    for alert in latest.values():
        rule = alert["rule"]["name"]
        if rule not in columns:
            sys.exit(f"the rules of the comparison do not include {rule}")
        names, timespan_us = columns[rule]
        values = {name.replace(".", "_"): value for name, value in alert["key"].items()}
        key = (rule, tuple(values[name] for name in names))
        widen(found, key, microseconds(alert["window"]["start"]) + timespan_us,
              microseconds(alert["window"]["end"]))
    return found


def widen(found: dict, key: tuple, first: int, last: int) -> None:
    """Makes the stretch of a key include another one."""
    known_first, known_last = found.get(key, (first, last))
    found[key] = (min(first, known_first), max(last, known_last))


def microseconds(text: str) -> int:
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    epoch = datetime.datetime.fromtimestamp(0, datetime.timezone.utc)
    return (moment - epoch) // datetime.timedelta(microseconds=1)


def assert_same(found: dict) -> None:
    """Stops unless both found the same keys with the same first and last window."""
    ours, theirs = found["lapwing"], found["duckdb"]
    missing = [name for name, *_ in duckdb_side.RULES if not any(k[0] == name for k in theirs)]
    if missing:
        sys.exit(f"no event fires {', '.join(missing)}: such a comparison would prove nothing")
    if ours == theirs:
        return
    different = sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
    for key in different[:10]:
        print(f"{key}: lapwing {ours.get(key)}, duckdb {theirs.get(key)}", file=sys.stderr)
    sys.exit(f"{len(different)} keys differ; no times are printed")


def render(args, events, runs, keys, load) -> str:
    """The report: what was compared, on what, and what it took."""
    ours, theirs, start = (
        Run(*map(statistics.median, zip(*runs[side]))) for side in ("lapwing", "duckdb", "start")
    )
    net_cpu_s, net_wall_s = theirs.cpu_s - start.cpu_s, theirs.wall_s - start.wall_s
    mib = 1 << 20
    with events.open("rb") as file:
        lines = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(mib), b""))
    size = events.stat().st_size
    fired = ", ".join(f"{rule} {n}" for rule, n in sorted(keys.items()))

    def row(what: str, ours: float, theirs: float, net: float, form: str) -> str:
        return f"| {what} | {ours:{form}} | {theirs:{form}} | {net:{form}} | {ours / net:.2f} |"

    return "\n".join([
        "# Archive and detect: Lapwing and DuckDB",
        "",
        "Written by `benches/compare.py`. Both read the same file of events, write every field to",
        "Parquet (zstd), and find the windows of three counting rules. Both found the same keys with",
        f"the same first and last window ({fired}).",
        "",
        "| | Lapwing | DuckDB | DuckDB less its start | Lapwing / DuckDB less its start |",
        "|---|---:|---:|---:|---:|",
        row("CPU, user + system (s)", ours.cpu_s, theirs.cpu_s, net_cpu_s, ".2f"),
        row("wall (s)", ours.wall_s, theirs.wall_s, net_wall_s, ".2f"),
        row("peak memory (MiB)", ours.rss_mib, theirs.rss_mib, theirs.rss_mib, ".0f"),
        row("Parquet (MiB)", ours.parquet_bytes / mib, theirs.parquet_bytes / mib,
            theirs.parquet_bytes / mib, ".1f"),
        "",
        f"Medians of {args.rounds} rounds after one that is not counted; the sides take turns in",
        f"going first. Starting Python and DuckDB takes {start.cpu_s:.2f} CPU s and"
        f" {start.wall_s:.2f} s, and is",
        "subtracted where the column says so; its memory is not.",
        "",
        f"- Input: {lines:,} events, {size / mib:.1f} MiB, {size / max(lines, 1):.0f} bytes a line",
        f"- Machine: {machine()}",
        f"- Load average before the first run: {load:.2f}"
        + (" (not idle: do not quote these figures)" if load > 0.5 else ""),
        f"- Versions: {version(args.lapwing)}, DuckDB {DUCKDB_VERSION},"
        f" Python {platform.python_version()}",
        f"- Lapwing: `lapwing replay FILE --archive DIR --rules benches/three-rules"
        f" --no-builtin-rules --alerts FILE -q --threads {args.threads}`",
        f"- DuckDB: `duckdb_side.py --events FILE --archive DIR --found FILE --threads"
        f" {args.threads}`",
        "",
    ])


def version(lapwing: pathlib.Path) -> str:
    said = subprocess.run([lapwing, "--version"], capture_output=True, text=True, check=False)
    return said.stdout.strip() or "lapwing (unknown version)"


def machine() -> str:
    def first(file: str, label: str) -> str:
        lines = pathlib.Path(file).read_text().splitlines()
        return next((l.split(":", 1)[1].strip() for l in lines if l.startswith(label)), "unknown")

    memory = first("/proc/meminfo", "MemTotal").split()[0]
    gib = f"{int(memory) / (1 << 20):.0f} GiB" if memory.isdigit() else memory
    return (f"{first('/proc/cpuinfo', 'model name')}, {len(os.sched_getaffinity(0))} cores, {gib},"
            f" Linux {platform.release()}")


if __name__ == "__main__":
    main()
