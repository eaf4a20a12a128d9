#!/usr/bin/env python3
"""How long an alert takes, from the arrival of its record at the broker until it was handed over.

Starts a broker and `lapwing run`, produces simulated events at a steady rate and among them, every few
milliseconds, one that raises an alert by itself; then prints what the program says of itself
(`lapwing_alert_latency_seconds`) and what the alerts' file shows from outside. With `--idle` there is nothing
but one such record after the other, with pauses, on one of the partitions. Needs what kafka_rate.py needs.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import tempfile
import threading
import time
import urllib.request

import compare
import kafka_broker
import kafka_rate

CONFIG = """\
sources:
  - id: agents
    type: kafka
    brokers: "{bootstrap}"
    group: latency
    topics: [{{name: {topic}, partitioned_by: [agent.id]}}]
    partial: accept
    format: native
state: {work}/state
archive: {{path: {work}/archive, epoch: {epoch}}}
alerts: {{stdout: none, file: {work}/alerts.jsonl}}
rules: {{builtin: false, paths: [{work}/rule.yml]}}
http: {{listen: "127.0.0.1:{port}"}}
"""

RULE = """\
title: marked
id: 0d9b7c52-7c1d-4a38-9a10-3f0b8f0f7a01
name: marked
logsource: {category: agent_audit}
detection: {marked: {kind: auth, outcome: denied, client.name: marked}, condition: marked}
level: low
lapwing: {group-by: [source.ip]}
"""


def main() -> None:
    args = arguments()
    load = os.getloadavg()[0]
    kafka_rate.prepare_venv()
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        with kafka_broker.Broker(work / "broker") as broker:
            measure(args, broker, work, load)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=int, default=50_000, help="records a second")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--marked-every-ms", type=float, default=10)
    parser.add_argument("--idle", type=int, metavar="N",
                        help="nothing but N records that raise alerts, --pause seconds apart")
    parser.add_argument("--pause", type=float, default=60)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--epoch", default="5m")
    parser.add_argument("--lapwing", type=pathlib.Path, default=kafka_rate.RELEASE / "lapwing")
    args = parser.parse_args()
    args.lapwing = args.lapwing.resolve()
    return args


def measure(args, broker: kafka_broker.Broker, work: pathlib.Path, load: float) -> None:
    from confluent_kafka.admin import NewTopic

    topic, port = "latency", kafka_broker.free_ports(1)[0]
    new = NewTopic(topic, args.partitions, replication_factor=1,
                   config={"message.timestamp.type": "LogAppendTime"})
    broker.admin.create_topics([new])[topic].result()
    (work / "rule.yml").write_text(RULE)
    (work / "lapwing.yml").write_text(CONFIG.format(
        bootstrap=broker.bootstrap, topic=topic, work=work, port=port, epoch=args.epoch))
    with (work / "stderr").open("w") as err:
        child = subprocess.Popen([str(args.lapwing), "run", "--config", "lapwing.yml"],
                                 cwd=work, stderr=err)
    try:
        while kafka_rate.metric(port, "lapwing_partitions") < args.partitions:
            time.sleep(0.1)
        seen = Seen(work / "alerts.jsonl")
        sent, records, rate = produce(args, broker, topic)
        wait(lambda: len(seen.at) >= len(sent), "all alerts")
        time.sleep(2)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            page = answer.read().decode()
    finally:
        child.terminate()
        child.wait(60)
    report(args, page, sent, seen.at, records, rate, load)


class Seen:
    """When each alert appeared in the file, by its key."""

    def __init__(self, path: pathlib.Path) -> None:
        self.at, self.path = {}, path
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self) -> None:
        while not self.path.exists():
            time.sleep(0.001)
        with self.path.open() as file:
            rest = ""
            while True:
                text = file.read()
                now = time.time()
                if not text:
                    time.sleep(0.001)
                    continue
                *lines, rest = (rest + text).split("\n")
                for line in lines:
                    self.at.setdefault(json.loads(line)["key"]["source.ip"], now)


def produce(args, broker: kafka_broker.Broker, topic: str) -> tuple:
    """When each marked record was produced, by its key; the number of records, and the rate reached."""
    import confluent_kafka

    producer = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 2,
                                         "acks": 1, "log_level": 3})
    sent = {}

    def mark() -> None:
        key = f"m{len(sent)}"
        now = time.time()
        event = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)), "kind": "auth",
                 "outcome": "denied", "client": {"name": "marked"}, "source": {"ip": key}}
        sent[key] = now
        producer.produce(topic, json.dumps(event).encode(), partition=len(sent) % args.partitions
                         if args.idle is None else 0)

    if args.idle is not None:
        for _ in range(args.idle):
            mark()
            producer.flush()
            time.sleep(args.pause)
        return sent, len(sent), 0
    lines = subprocess.run([str(args.lapwing), "simulate", "--events", "20000", "--incidents", "0"],
                           capture_output=True, check=True).stdout.splitlines()
    began, count, next_mark = time.time(), 0, 0.0
    while (elapsed := time.time() - began) < args.seconds:
        while count < elapsed * args.rate:
            for line in lines[count % 20000:count % 20000 + 50]:
                producer.produce(topic, line, partition=count % args.partitions)
            count += 50
            if elapsed * 1000 >= next_mark:
                mark()
                next_mark += args.marked_every_ms
            producer.poll(0)
        time.sleep(0.0005)
    producer.flush(60)
    return sent, count + len(sent), (count + len(sent)) / (time.time() - began)


def wait(holds, what: str) -> None:
    until = time.monotonic() + 120
    while not holds():
        if time.monotonic() > until:
            raise SystemExit(f"waited in vain for {what}")
        time.sleep(0.05)


def report(args, page: str, sent: dict, seen: dict, records: int, rate: float, load: float) -> None:
    inside = dict(re.findall(r'^lapwing_alert_latency_seconds{quantile="(\S+)"} (\S+)', page, re.M))
    outside = sorted(seen[key] - at for key, at in sent.items() if key in seen)
    print(f"machine: {compare.machine()}; the broker and the producer run on it, too; load {load:.2f}")
    print(f"{records:,} records on {args.partitions} partitions, {rate:,.0f} a second,"
          f" {len(sent)} alerts, {len(outside)} seen")
    print("| | p50 ms | p99 ms | p99.9 ms |\n|---|---:|---:|---:|")
    cells = [f"{float(inside[q]) * 1000:.0f}" for q in ("0.5", "0.99", "0.999")]
    print(f"| arrival at the broker to handed over | {' | '.join(cells)} |")
    cells = [f"{outside[min(int(len(outside) * q), len(outside) - 1)] * 1000:.0f}"
             for q in (0.5, 0.99, 0.999)]
    print(f"| producer's call to the line in the file | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
