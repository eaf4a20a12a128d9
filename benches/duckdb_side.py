"""The comparison's other side: DuckDB archives and detects from the same file.

Reads native events, writes all their fields to one Parquet file with zstd, and finds for three
counting rules the events at which a window holds. Run by compare.py in a process of its own.
"""

import argparse
import pathlib

# Every field that the native format has, with the type of its column; the names of the columns
# are those of Lapwing's archive. Keys not listed are dropped, where Lapwing keeps them.
FIELDS = {
    "time": "TIMESTAMP", "id": "VARCHAR", "product": "VARCHAR", "product_version": "VARCHAR",
    "instance.id": "VARCHAR", "tenant": "VARCHAR", "kind": "VARCHAR", "action": "VARCHAR",
    "outcome": "VARCHAR", "count": "BIGINT", "agent.id": "VARCHAR", "agent.parent_id": "VARCHAR",
    "session.id": "VARCHAR", "session.key": "VARCHAR", "session.mode": "VARCHAR",
    "run.id": "VARCHAR", "actor.id": "VARCHAR", "actor.type": "VARCHAR", "source.ip": "VARCHAR",
    "source.peer_ip": "VARCHAR", "client.name": "VARCHAR", "client.version": "VARCHAR",
    "tool.name": "VARCHAR", "tool.server": "VARCHAR", "tool.target": "VARCHAR",
    "tool.call_id": "VARCHAR", "tool.arguments_hash": "VARCHAR", "decision.by": "VARCHAR",
    "model.name": "VARCHAR", "model.provider": "VARCHAR", "usage.input_tokens": "BIGINT",
    "usage.output_tokens": "BIGINT", "usage.cache_read_tokens": "BIGINT",
    "usage.cache_write_tokens": "BIGINT", "usage.cost_usd": "DOUBLE", "context.tokens": "BIGINT",
    "context.limit": "BIGINT", "context.messages": "BIGINT", "context.tokens_before": "BIGINT",
    "context.tokens_after": "BIGINT", "reason.code": "VARCHAR", "reason.message": "VARCHAR",
    "policy.id": "VARCHAR", "http.status": "BIGINT", "trace.id": "VARCHAR",
    "duration_ms": "BIGINT", "sequence": "BIGINT",
}

AUTH_FAILED = """kind = 'auth' AND outcome IN ('failure', 'denied')
    AND reason_code IS DISTINCT FROM 'rate_limited'
    AND source_ip IS NOT NULL AND NOT starts_with(source_ip, '127.') AND source_ip <> '::1'"""
TOOL_DENIED = """kind = 'tool' AND outcome = 'denied'
    AND (reason_code IS NULL OR reason_code NOT IN ('user_rejected', 'user_abort', 'plan_mode'))"""

# name, selection, the two columns of the key, threshold, minutes
RULES = [
    ("auth_failures", AUTH_FAILED, "product", "source_ip", 4, 5),
    ("tool_denied_burst", TOOL_DENIED, "agent_id", "session_id", 10, 5),
    ("tool_denied_repeat", TOOL_DENIED, "session_id", "tool_name", 5, 10),
]


def columns() -> str:
    """The explicit schema of the JSON: nothing is left to detection."""
    tree: dict = {}
    for name, kind in FIELDS.items():
        head, _, tail = name.partition(".")
        if tail:
            tree.setdefault(head, {})[tail] = kind
        else:
            tree[head] = kind

    def shape(kind) -> str:
        if isinstance(kind, str):
            return kind
        return "STRUCT(" + ", ".join(f'"{name}" {inner}' for name, inner in kind.items()) + ")"

    return "{" + ", ".join(f"'{name}': '{shape(kind)}'" for name, kind in tree.items()) + "}"


def events(file: str) -> str:
    """All fields of a file of events, flattened."""
    flat = ", ".join(
        ".".join(f'"{part}"' for part in name.split(".")) + f" AS {name.replace('.', '_')}"
        for name in FIELDS
    )
    return f"SELECT {flat} FROM read_ndjson('{file}', columns = {columns()})"


def holding(source: str) -> str:
    """The events at which a window holds. A window is (e - timespan, e], so that its first
    microsecond is outside; an event stands for `count` occurrences."""
    queries = [
        f"""SELECT '{name}' AS rule, {first} AS key_1, {second} AS key_2,
            epoch_us(time) AS holds_at FROM (
          SELECT {first}, {second}, time, sum(coalesce("count", 1)) OVER (
              PARTITION BY {first}, {second} ORDER BY time
              RANGE BETWEEN INTERVAL {minutes * 60_000_000 - 1} MICROSECONDS PRECEDING
                AND CURRENT ROW) AS occurrences
          FROM {source} WHERE {selection}) WHERE occurrences >= {at_least}"""
        for name, selection, first, second, at_least, minutes in RULES
    ]
    return " UNION ALL ".join(queries)


def main() -> None:
    """Does what the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only-start", action="store_true", help="import, connect and leave")
    parser.add_argument("--events")
    parser.add_argument("--archive")
    parser.add_argument("--found")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plan", choices=["table", "scans", "parquet"], default="parquet",
                        help="how the rules get at the events: from a temporary table, by a second "
                             "scan of the JSON, or from the Parquet file; the last is the fastest")
    args = parser.parse_args()
    import duckdb  # Here, so that compare.py can read the rules without it.

    database = duckdb.connect()
    database.execute(f"SET threads = {args.threads}")
    if args.only_start:
        return
    parquet = pathlib.Path(args.archive) / "events.parquet"
    parquet.parent.mkdir(parents=True, exist_ok=True)
    # Level 1 as in Lapwing's archive, and no Bloom filters, which that does not have either; both
    # are faster than DuckDB's defaults (level 3, with filters).
    options = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, WRITE_BLOOM_FILTER false"
    to_parquet = f"TO '{parquet}' ({options})"
    if args.plan == "table":
        database.execute(f"CREATE TEMP TABLE events AS {events(args.events)}")
        database.execute(f"COPY events {to_parquet}")
        source = "events"
    elif args.plan == "scans":
        database.execute(f"COPY ({events(args.events)}) {to_parquet}")
        source = f"({events(args.events)})"
    else:
        database.execute(f"COPY ({events(args.events)}) {to_parquet}")
        source = f"read_parquet('{parquet}')"
    database.execute(f"COPY ({holding(source)}) TO '{args.found}' (FORMAT json)")


if __name__ == "__main__":
    main()
