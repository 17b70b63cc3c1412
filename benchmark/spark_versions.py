"""spark_versions.py JARS TABLE...: Spark reads every version of Delta tables and counts its rows, with the sum of the
column `id` where there is one. Compared with the state that the commits of that version lead to (rows by the statistics
and deletion vectors), and with `TABLE.versions.jsonl` where that lies beside the table: what the changes leave.

Spark reads each deletion vector with its checksum: it computes it on every read, and ends with
DELTA_DELETION_VECTOR_CHECKSUM_MISMATCH (Delta 3.3) where it differs; there is no setting that leaves it out. The
cardinality of each vector is compared too (DELTA_DELETION_VECTOR_CARDINALITY_MISMATCH). Exit code 1 where anything is
other than it should be.
"""

from __future__ import annotations

import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "readers"))

from spark_read import start  # noqa: E402


def by_log(table: str) -> dict[int, int]:
    """Version to rows, by statistics and vectors, for the versions whose commits are all there."""
    log = os.path.join(table, "_delta_log")
    versions = sorted(int(name[:20]) for name in os.listdir(log) if re.match(r"^\d{20}\.json$", name))
    if not versions or versions[0] != 0:
        return {}
    live, rows = {}, {}
    for version in versions:
        with open(os.path.join(log, f"{version:020}.json"), encoding="utf-8") as file:
            actions = [json.loads(line) for line in file if line.strip()]
        for action in actions:
            if "remove" in action:
                live.pop(action["remove"]["path"], None)
        for action in actions:
            if "add" in action:
                add = action["add"]
                deleted = (add.get("deletionVector") or {}).get("cardinality", 0)
                live[add["path"]] = json.loads(add["stats"])["numRecords"] - deleted
        rows[version] = sum(live.values())
    return rows


def by_model(table: str) -> dict[int, dict]:
    path = f"{table.rstrip('/')}.versions.jsonl"
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        return {line["version"]: line for line in map(json.loads, file)}


def main():
    jars, *tables = sys.argv[1:]
    spark = start(jars)
    spark.sparkContext.setLogLevel("ERROR")
    # One task for each file of these small tables would be most of the time.
    spark.conf.set("spark.sql.shuffle.partitions", "2")
    failed = 0
    for table in tables:
        log, model = by_log(table), by_model(table)
        problems, read = [], 0
        for version in sorted(log):
            try:
                frame = spark.read.format("delta").option("versionAsOf", version).load(table)
                # All columns are read, so that all files and vectors are.
                names = [f"`{name}`" for name in frame.columns]
                parts = ["count(*) AS rows", f"sum(hash({', '.join(n for n in names)})) AS hash"]
                kinds = dict(frame.dtypes)
                if any(kind.startswith("map") or "map<" in kind for kind in kinds.values()):
                    plain = [f"`{name}`" for name, kind in kinds.items() if "map<" not in kind]
                    parts[1] = f"sum(hash({', '.join(plain)})) AS hash"
                if "id" in frame.columns:
                    parts.append("sum(id) AS sum_id")
                row = frame.selectExpr(*parts).first().asDict()
            except Exception as error:
                problems.append(f"version {version}: {str(error).strip().splitlines()[0][:300]}")
                continue
            read += 1
            if row["rows"] != log[version]:
                problems.append(f"version {version}: Spark reads {row['rows']} rows, the log says {log[version]}")
            expected = model.get(version)
            if expected and (row["rows"], row.get("sum_id") or 0) != (expected["rows"], expected["sum_id"]):
                told = f"{row['rows']} rows, sum of ids {row.get('sum_id')}"
                problems.append(f"version {version}: Spark reads {told}; the changes leave {expected}")
        print(f"{table}: Spark read {read} versions, {len(model)} of them known by the changes; {len(problems)} problems")
        for problem in problems[:20]:
            print(f"  wrong: {problem}")
        failed += len(problems)
    spark.stop()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
