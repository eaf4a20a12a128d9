#!/usr/bin/env python3
"""How many files an hour of a quiet topic leaves in the archive, before and after `lapwing compact`.

An hour of 10 records a second on 12 partitions with epochs of 5 minutes, sixty times as fast: a minute of 600
records a second with epochs of 5 seconds. Needs what kafka_rate.py needs.
"""

import os
import pathlib
import subprocess
import tempfile
import time

import compare
import kafka_broker
import kafka_rate

PARTITIONS, RATE, SECONDS = 12, 600, 60

CONFIG = """\
sources:
  - id: agents
    type: kafka
    brokers: "{bootstrap}"
    group: files
    topics: [{{name: files, partitioned_by: [agent.id]}}]
    partial: accept
    format: native
state: {work}/state
archive: {{path: {work}/archive, epoch: 5s}}
alerts: {{stdout: none}}
http: {{listen: "127.0.0.1:{port}"}}
"""


def main() -> None:
    kafka_rate.prepare_venv()
    lapwing = str((kafka_rate.RELEASE / "lapwing").resolve())
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        with kafka_broker.Broker(work / "broker") as broker:
            records = run(lapwing, broker, work)
        before = count(work)
        subprocess.run([lapwing, "compact", "--config", "lapwing.yml", "--date",
                        time.strftime("%Y-%m-%d", time.gmtime())], cwd=work, check=True)
        after = count(work)
        subprocess.run([lapwing, "checkpoint", "verify", "--config", "lapwing.yml"], cwd=work, check=True)
        print(f"machine: {compare.machine()}; {records} records")
        print(f"files before {before}, after {after}")


def run(lapwing: str, broker: kafka_broker.Broker, work: pathlib.Path) -> int:
    import confluent_kafka
    from confluent_kafka.admin import NewTopic

    new = NewTopic("files", PARTITIONS, 1, config={"message.timestamp.type": "LogAppendTime"})
    broker.admin.create_topics([new])["files"].result()
    port = kafka_broker.free_ports(1)[0]
    (work / "lapwing.yml").write_text(CONFIG.format(bootstrap=broker.bootstrap, work=work, port=port))
    lines = subprocess.run([lapwing, "simulate", "--events", str(RATE * SECONDS)],
                           capture_output=True, check=True).stdout.splitlines()
    with (work / "stderr").open("w") as err:
        child = subprocess.Popen([lapwing, "run", "--config", "lapwing.yml"], cwd=work, stderr=err)
    producer = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap, "log_level": 3})
    began = time.time()
    for number, line in enumerate(lines):
        producer.produce("files", line, partition=number % PARTITIONS)
        producer.poll(0)
        time.sleep(max(0, began + number / RATE - time.time()))
    producer.flush(30)
    while kafka_rate.metric(port, "lapwing_records_total") < len(lines):
        time.sleep(0.1)
    child.terminate()
    child.wait(60)
    return len(lines)


def count(work: pathlib.Path) -> dict:
    tables = ["events", "rejected", "alerts"]
    return {table: sum(name.endswith(".parquet") for _, _, names in os.walk(work / "archive" / table)
                       for name in names) for table in tables}


if __name__ == "__main__":
    main()
