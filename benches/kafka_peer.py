"""The other side of the Kafka bench: the same work as a pipeline in Python.

Consumes a topic of native events to the end that it has at the start, writes all their fields as
Parquet with zstd, and counts in three sliding windows. Prints what it did and took as JSON. Run by
kafka_rate.py with confluent-kafka, orjson and pyarrow.

It does less than Lapwing: its windows take events in the order in which they come, it writes no
positions, drops unknown keys, takes repeated records twice, and keeps no state for a restart.
"""

import argparse
import collections
import datetime
import gc
import json
import sys
import time

import confluent_kafka
import orjson
import pyarrow
import pyarrow.parquet

import duckdb_side

# Rows of one row group; larger ones were not faster.
ROWS = 65_536
# Messages taken at once; the call waits no longer than this if fewer are there.
MESSAGES, WAIT_S = 10_000, 0.1
# If nothing comes for so long before the end, something is broken.
SILENCE_S = 60
ARROW = {"VARCHAR": pyarrow.string(), "BIGINT": pyarrow.int64(), "DOUBLE": pyarrow.float64(),
         # Converted after parsing, a whole column at once.
         "TIMESTAMP": pyarrow.string()}
TIME = pyarrow.timestamp("us", "UTC")


def main() -> None:
    """Does what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--parquet", required=True, help="the file to write")
    args = parser.parse_args()
    began = time.monotonic()
    # There are no cycles to be found among events, and looking for them takes half the time.
    gc.disable()
    windows = [Window(*rule) for rule in rules()]
    nested, flat = schemas()
    rows = 0
    with pyarrow.parquet.ParquetWriter(args.parquet, flat, compression="zstd",
                                       compression_level=1) as writer:
        pending = []
        for values in batches(args.bootstrap, args.topic):
            events = [orjson.loads(value) for value in values]
            for event in events:
                kind = event["kind"]
                if kind == "auth" or kind == "tool":
                    for window in windows:
                        window.push(kind, event)
            pending += events
            if len(pending) >= ROWS:
                rows += write(writer, pending, nested, flat)
                pending = []
        rows += write(writer, pending, nested, flat)
    print(json.dumps({
        "rows": rows,
        "cpu_s": round(time.process_time(), 2),
        "wall_s": round(time.monotonic() - began, 3),
        "held": {window.name: window.held for window in windows},
        "versions": f"confluent-kafka {confluent_kafka.__version__}, orjson"
                    f" {orjson.__version__}, pyarrow {pyarrow.__version__}",
    }))


def batches(bootstrap: str, topic: str):
    """The values of all records that the topic has now, in lists."""
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": bootstrap, "group.id": "kafka-peer", "enable.auto.commit": False,
        "enable.partition.eof": True,
        # The end of a partition is told after an empty fetch, which waits so long.
        "fetch.wait.max.ms": 20})
    partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
    consumer.assign([confluent_kafka.TopicPartition(topic, partition,
                                                    confluent_kafka.OFFSET_BEGINNING)
                     for partition in partitions])
    ends_to_come = len(partitions)
    heard = time.monotonic()
    while ends_to_come:
        messages = consumer.consume(MESSAGES, WAIT_S)
        values = []
        for message in messages:
            error = message.error()
            if error is None:
                values.append(message.value())
            elif error.code() == confluent_kafka.KafkaError._PARTITION_EOF:
                ends_to_come -= 1
            else:
                sys.exit(f"topic {topic} at {bootstrap} cannot be read: {error}")
        if messages:
            heard = time.monotonic()
        elif time.monotonic() - heard > SILENCE_S:
            sys.exit(f"topic {topic} at {bootstrap}: nothing came for {SILENCE_S} s")
        yield values
    consumer.close()


def schemas():
    """As JSON has the fields, and as the columns of the file."""
    tree: dict = {}
    for name, kind in duckdb_side.FIELDS.items():
        head, _, tail = name.partition(".")
        if tail:
            tree.setdefault(head, []).append((tail, ARROW[kind]))
        else:
            tree[head] = ARROW[kind]
    nested = pyarrow.schema([(name, pyarrow.struct(kind) if isinstance(kind, list) else kind)
                             for name, kind in tree.items()])
    flat = []
    for name, kind in tree.items():
        if isinstance(kind, list):
            flat += [(f"{name}_{member}", inner) for member, inner in kind]
        else:
            flat.append((name, TIME if name == "time" else kind))
    return nested, pyarrow.schema(flat)


def write(writer, events: list, nested, flat) -> int:
    """Writes events as one row group."""
    if not events:
        return 0
    # Twice as fast as `Table.from_pylist`.
    rows = pyarrow.array(events, pyarrow.struct(list(nested)))
    columns = pyarrow.Table.from_struct_array(rows).flatten().columns
    columns[0] = columns[0].cast(TIME)
    writer.write_table(pyarrow.Table.from_arrays(columns, schema=flat), row_group_size=ROWS)
    return len(events)


def rules():
    """The three rules of benches/three-rules: name, selection, key, threshold, timespan."""
    selections = {"auth_failures": auth_failed, "tool_denied_burst": tool_denied,
                  "tool_denied_repeat": tool_denied}
    for name, _, first, second, at_least, minutes in duckdb_side.RULES:
        keys = [path(first), path(second)]
        yield name, selections[name], keys, at_least, minutes * 60


def path(column: str):
    """The group and the member of a column, or just the name."""
    name = next(name for name in duckdb_side.FIELDS if name.replace(".", "_") == column)
    head, _, tail = name.partition(".")
    return head, tail


def auth_failed(kind: str, event: dict) -> bool:
    if kind != "auth" or event.get("outcome") not in ("failure", "denied"):
        return False
    if event.get("reason", {}).get("code") == "rate_limited":
        return False
    address = event.get("source", {}).get("ip")
    return address is not None and not address.startswith("127.") and address != "::1"


def tool_denied(kind: str, event: dict) -> bool:
    if kind != "tool" or event.get("outcome") != "denied":
        return False
    return event.get("reason", {}).get("code") not in ("user_rejected", "user_abort", "plan_mode")


class Window:
    """Occurrences within a timespan, by key; `held` counts how often a key reached the threshold."""

    def __init__(self, name, selects, keys, at_least, timespan_s) -> None:
        self.name, self.selects, self.keys = name, selects, keys
        self.at_least, self.timespan_s = at_least, timespan_s
        self.entries = collections.defaultdict(collections.deque)
        self.sums = collections.Counter()
        self.held = 0

    def push(self, kind: str, event: dict) -> None:
        if not self.selects(kind, event):
            return
        key = tuple(event.get(head, {}).get(tail) if tail else event.get(head)
                    for head, tail in self.keys)
        moment = datetime.datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp()
        entries, count = self.entries[key], event.get("count", 1)
        before = self.sums[key]
        while entries and entries[0][0] <= moment - self.timespan_s:
            before -= entries.popleft()[1]
        entries.append((moment, count))
        self.sums[key] = before + count
        if before < self.at_least <= before + count:
            self.held += 1


if __name__ == "__main__":
    main()
