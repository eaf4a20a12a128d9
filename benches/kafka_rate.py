#!/usr/bin/env python3
"""Lapwing on a Kafka topic, against a bare librdkafka and against a pipeline in Python.

Starts a broker, fills topics with simulated events, and in one run lets each side read each topic to
its end, in turn; checks that all have read and archived everything; then prints what it took. Needs
Python 3.9 on Linux, Java 17, Maven, and `cargo build --release -p lapwing --bins --examples`.
"""

import argparse
import collections
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv

import compare
import kafka_broker

PACKAGES = ["confluent-kafka==2.16.1", "orjson==3.13.0", "pyarrow==26.0.1"]
HERE = pathlib.Path(__file__).resolve().parent
RELEASE = HERE.parent / "target" / "release"
VENV = kafka_broker.KEPT / "venv"
VENV_PYTHON = VENV / "bin" / "python"
SIDES = ["floor", "lapwing", "peer"]
# A side that takes longer than this hangs.
LIMIT_S = 900
# How often memory and progress are looked at; each look costs this script some 0.3 ms.
LOOK_EVERY_S = 0.05

# How `lapwing run` is told to read a topic. Two of the three rules group by other fields than the
# one that the topic is partitioned by, which has to be accepted; their counts stay within a partition.
CONFIG = """\
sources:
  - id: agents
    type: kafka
    brokers: "{bootstrap}"
    group: {group}
    topics: [{{name: {topic}, partitioned_by: [agent.id]}}]
    partial: accept
    format: native
state: {work}/state
archive: {{path: {work}/archive}}
alerts: {{stdout: none}}
rules: {{builtin: false, paths: [{rules}]}}
http: {{listen: "127.0.0.1:{port}"}}
"""

Run = collections.namedtuple("Run", "cpu_s wall_s rss_mib parquet_mib")
Topic = collections.namedtuple("Topic", "name partitions records size_bytes")


def main() -> None:
    args = arguments()
    load = os.getloadavg()[0]
    prepare_venv()
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        work = pathlib.Path(work)
        with kafka_broker.Broker(work / "broker") as broker:
            report = [head(args, load)]
            for partitions in args.partitions:
                topic = fill(args, broker, partitions)
                runs = {side: [] for side in args.sides}
                # Round 0 warms the page cache and is not counted.
                for number in range(args.rounds + 1):
                    for side in args.sides[::1 if number % 2 else -1]:
                        run = run_side(side, args, broker, topic, work)
                        runs[side] += [run] if number else []
                report.append(render(args, topic, runs))
                broker.admin.delete_topics([topic.name])[topic.name].result()
    text = "\n".join(report)
    print(text)
    if args.write:
        (HERE / "KAFKA_RESULTS.md").write_text(text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--partitions", type=int, nargs="+", default=[4, 64],
                        help="one topic is made for each number")
    parser.add_argument("--compression", default="none", choices=["none", "gzip", "lz4", "zstd"],
                        help="of the batches in the topic")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--incidents", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", nargs="+", default=SIDES, choices=SIDES)
    parser.add_argument("--lapwing", type=pathlib.Path, default=RELEASE / "lapwing")
    parser.add_argument("--floor", type=pathlib.Path, default=RELEASE / "examples" / "kafka_floor")
    parser.add_argument("--work", type=pathlib.Path, help="folder for temporary files")
    parser.add_argument("--write", action="store_true", help="write benches/KAFKA_RESULTS.md")
    args = parser.parse_args()
    if args.rounds < 1 or args.events < 1 or min(args.partitions) < 1:
        parser.error("--rounds, --events and --partitions must be at least 1")
    # `lapwing` fills the topics, whichever sides are run.
    for option, program in [("--lapwing", args.lapwing), ("--floor", args.floor)]:
        if not program.exists() and (option == "--lapwing" or "floor" in args.sides):
            parser.error(f"{program} does not exist: cargo build --release -p lapwing --bins"
                         f" --examples, or {option} PATH")
    # Children run in folders of their own.
    args.lapwing, args.floor = args.lapwing.resolve(), args.floor.resolve()
    return args


def prepare_venv() -> None:
    """Goes on within a virtual environment that has exactly the pinned packages."""
    if pathlib.Path(sys.prefix) == VENV:
        return
    pinned = VENV / "pinned"
    if not pinned.exists() or pinned.read_text().split() != PACKAGES:
        venv.create(VENV, with_pip=True, clear=True)
        subprocess.run([VENV_PYTHON, "-m", "pip", "install", "-q", *PACKAGES], check=True)
        pinned.write_text("\n".join(PACKAGES))
    os.execv(VENV_PYTHON, [str(VENV_PYTHON), *sys.argv])


def fill(args, broker: kafka_broker.Broker, partitions: int) -> Topic:
    """A topic of simulated events, keyed by agent; events without an agent have no key."""
    import confluent_kafka
    import orjson
    from confluent_kafka.admin import NewTopic

    name = f"agents-{partitions}"
    configs = {"message.timestamp.type": "LogAppendTime"}
    new = NewTopic(name, partitions, replication_factor=1, config=configs)
    broker.admin.create_topics([new])[name].result()
    producer = confluent_kafka.Producer({
        "bootstrap.servers": broker.bootstrap, "enable.idempotence": True, "linger.ms": 20,
        "batch.size": 262_144, "compression.type": args.compression,
        # A fresh broker needs a moment before it hands out producer ids, which is logged as a warning.
        "log_level": 3,
        # The same partition for the same key as Kafka's own clients.
        "partitioner": "murmur2_random"})
    failures = []

    def delivered(error, _) -> None:
        if error:
            failures.append(error)

    # Times of the past, which no broker's clock is behind; the same bytes in each run.
    command = [args.lapwing, "simulate", "--events", args.events, "--seed", args.seed,
               "--incidents", args.incidents, "--start", "2026-01-01T00:00:00Z"]
    simulate = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE)
    records = size_bytes = 0
    for line in simulate.stdout:
        value = line.rstrip(b"\n")
        key = orjson.loads(value).get("agent", {}).get("id")
        while True:
            try:
                producer.produce(name, value, key, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.1)
        records, size_bytes = records + 1, size_bytes + len(value)
        if not records % 1000:
            producer.poll(0)
    if simulate.wait() or producer.flush(60) or failures:
        sys.exit(f"topic {name} could not be filled: {failures[:3]}")
    return Topic(name, partitions, records, size_bytes)


def run_side(side: str, args, broker: kafka_broker.Broker, topic: Topic, work: pathlib.Path) -> Run:
    """One run of one side; stops unless it has read everything."""
    folder = work / "side"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "archive" / "events").mkdir(parents=True)
    if side == "floor":
        run, said = measure([args.floor, broker.bootstrap, topic.name], folder)
        check(side, topic, json.loads(said)["records"])
        return run
    if side == "peer":
        command = [VENV_PYTHON, HERE / "kafka_peer.py", "--bootstrap", broker.bootstrap, "--topic",
                   topic.name, "--parquet", folder / "archive" / "events" / "all.parquet"]
        run, _ = measure(command, folder)
    else:
        run = run_lapwing(args, broker, topic, folder)
    files = list((folder / "archive").rglob("*.parquet"))
    check(side, topic, sum(rows(file) for file in files if "alerts" not in file.parts))
    size = sum(file.stat().st_size for file in files)
    return run._replace(parquet_mib=size / (1 << 20))


def run_lapwing(args, broker: kafka_broker.Broker, topic: Topic, folder: pathlib.Path) -> Run:
    """Runs until it has read all records, then asks it to stop, whereupon it archives the rest."""
    shutil.rmtree(folder / "archive")
    port = kafka_broker.free_ports(1)[0]
    (folder / "lapwing.yml").write_text(CONFIG.format(
        bootstrap=broker.bootstrap, group=f"lapwing-{time.monotonic_ns()}", topic=topic.name,
        work=folder, rules=HERE / "three-rules", port=port))

    def is_done() -> bool:
        return metric(port, "lapwing_records_total") >= topic.records

    return measure([args.lapwing, "run", "--config", "lapwing.yml"], folder, is_done)[0]


def metric(port: int, name: str) -> float:
    """The sum of all samples of a metric; 0 as long as the endpoint is not there."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            page = answer.read().decode()
    except (urllib.error.URLError, OSError):
        return 0
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)", page, re.M))


def rows(file: pathlib.Path) -> int:
    import pyarrow.parquet

    return pyarrow.parquet.read_metadata(file).num_rows


def check(side: str, topic: Topic, found: int) -> None:
    if found != topic.records:
        sys.exit(f"{side}: {found} records of {topic.name} instead of {topic.records}; no times are"
                 " printed")


def measure(command: list, folder: pathlib.Path, is_done=None):
    """Runs a child to its end, which it is asked for once `is_done`; also what it printed."""
    with (folder / "stdout").open("w+") as out, (folder / "stderr").open("w+") as err:
        began = time.monotonic()
        child = subprocess.Popen([str(part) for part in command], cwd=folder, stdout=out, stderr=err)
        rss_kib, is_asked = 0, False
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            wall_s = time.monotonic() - began
            if pid:
                break
            rss_kib = peak_kib(child.pid) or rss_kib
            if not is_asked and is_done and is_done():
                child.send_signal(signal.SIGTERM)
                is_asked = True
            if wall_s > LIMIT_S:
                child.kill()
            time.sleep(LOOK_EVERY_S)
        child.returncode = os.waitstatus_to_exitcode(status)
        said = [file.seek(0) or file.read() for file in (out, err)]
    if child.returncode or (is_done and not is_asked):
        sys.exit(f"{command[0]} ended with {child.returncode}:\n{said[1][-4096:]}")
    return Run(usage.ru_utime + usage.ru_stime, wall_s, rss_kib / 1024, 0), said[0]


def peak_kib(pid: int) -> int:
    """The most that a process has had in memory; 0 if it is gone."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.M)
    return int(found.group(1)) if found else 0


def head(args, load: float) -> str:
    broken = " (not idle: do not quote these figures)" if load > 0.5 else ""
    kafka = re.search(r"<artifactId>kafka_[\d.]+</artifactId>\s*<version>([\d.]+)<",
                      kafka_broker.POM.read_text()).group(1)
    return "\n".join([
        "# Kafka topics: Lapwing, a bare librdkafka, a pipeline in Python",
        "",
        "Written by `benches/kafka_rate.py`. Each side reads the same topic, already full, from its",
        "first record to its last. The floor only counts records. Lapwing and the pipeline archive all",
        "as Parquet (zstd, level 1) and evaluate three counting rules; both archived every record.",
        "",
        f"- Machine: {compare.machine()}; the broker runs on it, too",
        f"- Load average before: {load:.2f}{broken}",
        f"- Versions: {compare.version(args.lapwing)}, Apache Kafka {kafka},"
        f" Python {platform.python_version()}, {', '.join(p.replace('==', ' ') for p in PACKAGES)}",
        f"- Command: `python3 {' '.join(['benches/kafka_rate.py', *sys.argv[1:]])}`",
        f"- Medians of {args.rounds} rounds after one that is not counted; the order of the sides"
        " alternates.",
        "- Processes are measured from their start to their end; Lapwing is stopped (SIGTERM) once it",
        "  has read everything.",
        "",
    ])


def render(args, topic: Topic, runs: dict) -> str:
    """The table of a topic, with the sides that were run."""
    medians = {side: Run(*map(statistics.median, zip(*runs[side]))) for side in runs}
    names = {"floor": "floor", "lapwing": "Lapwing", "peer": "Python"}
    pairs = [(a, b) for a, b in [("lapwing", "floor"), ("lapwing", "peer"), ("peer", "floor")]
             if a in runs and b in runs]
    columns = [names[side] for side in runs] + [f"{names[a]} / {names[b]}" for a, b in pairs]

    def row(what: str, value, form: str, is_compared: bool = True) -> str:
        cells = [format(value(run), form) if value(run) else "" for run in medians.values()]
        for a, b in pairs:
            above, below = value(medians[a]), value(medians[b])
            cells.append(f"{above / below:.2f}" if below and is_compared else "")
        return f"| {what} | {' | '.join(cells)} |"

    return "\n".join([
        f"## {topic.partitions} partitions",
        "",
        f"{topic.records:,} records, {topic.size_bytes / topic.records:.0f} bytes each, keyed by agent,"
        f" LogAppendTime, compression {args.compression}.",
        "",
        f"| | {' | '.join(columns)} |",
        f"|---|{'---:|' * len(columns)}",
        row("CPU, user + system (s)", lambda run: run.cpu_s, ".2f"),
        row("CPU a record (µs)", lambda run: run.cpu_s * 1e6 / topic.records, ".2f", False),
        row("wall (s)", lambda run: run.wall_s, ".2f"),
        row("records a second, wall", lambda run: topic.records / run.wall_s, ",.0f", False),
        row("peak memory (MiB)", lambda run: run.rss_mib, ".0f"),
        row("Parquet (MiB)", lambda run: run.parquet_mib, ".1f"),
        "",
    ])


if __name__ == "__main__":
    main()
