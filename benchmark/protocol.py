"""protocol.py TABLE... [--no-data] [--json]: checks every commit, checkpoint and deletion vector of Delta tables on local
disk by the text of the protocol, without the code of any reader or writer of Delta. Exit code 1 where something is
wrong.

https://github.com/delta-io/delta/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import re
import sys
import urllib.parse

import delta_checkpoints
import delta_features
import delta_files
import delta_vectors
import pyarrow.parquet as pq

COMMIT = re.compile(r"^(\d{20})\.json$")
ACTIONS = {"add", "remove", "metaData", "protocol", "txn", "commitInfo", "cdc", "domainMetadata"}
# Operations that bring rows back, or that make the table anew.
REWINDING = {"RESTORE", "CREATE OR REPLACE TABLE", "CREATE OR REPLACE TABLE AS SELECT", "CLONE"}


def file_of(table: str, path: str) -> str:
    """The file that an action's path names: a URI, percent-encoded, relative or not."""
    parsed = urllib.parse.urlparse(path)
    if parsed.scheme:
        return urllib.parse.unquote(parsed.path)
    return os.path.join(table, urllib.parse.unquote(path))


class State:
    """What the commits lead to."""

    def __init__(self):
        self.live: dict[str, dict] = {}  # path: add
        self.tombstones: dict[tuple, dict] = {}
        self.txns: dict[str, dict] = {}
        self.domains: dict[str, dict] = {}
        self.metadata: dict | None = None
        self.protocol: dict | None = None

    def schema(self) -> dict:
        return json.loads(self.metadata["schemaString"])

    def configuration(self) -> dict:
        return self.metadata.get("configuration") or {}

    def mapped(self) -> bool:
        return self.configuration().get("delta.columnMapping.mode", "none") != "none"


class Checker:
    """Checks one table."""

    def __init__(self, table: str, with_data: bool):
        self.table, self.with_data = table, with_data
        self.log = os.path.join(table, "_delta_log")
        self.problems: list[str] = []
        self.counts = collections.Counter()
        self.state = State()
        self.where = ""
        self.checked: set[str] = set()
        self.vectors: dict[str, delta_vectors.Rows] = {}  # path: deleted rows of its newest vector
        self.live_rows = 0
        self.missing_features: set[str] = set()
        self.gone = 0
        self.versions: dict[int, int] = {}  # version: rows

    def wrong(self, text: str):
        self.problems.append(f"{self.where}: {text}")

    # -- commits

    def run(self):
        if not os.path.isdir(self.log):
            self.where = self.table
            self.wrong("there is no Delta table")
            return
        names = sorted(name for name in os.listdir(self.log) if COMMIT.match(name))
        versions = [int(COMMIT.match(name)[1]) for name in names]
        self.where = "the log"
        if not versions:
            self.wrong("there is no commit")
            return
        if versions != list(range(versions[0], versions[-1] + 1)):
            self.wrong("versions are missing between the commits")
        checkpoints = delta_checkpoints.find(self.log)
        if versions[0] > 0:
            base = [c for c in checkpoints if versions[0] - 1 <= c.version <= versions[-1]]
            if not base:
                self.wrong(f"the first commit is {versions[0]}, and there is no checkpoint to begin with")
                return
            delta_checkpoints.restore(base[0], self.state)
            self.live_rows = sum(rows_of(add) for add in self.state.live.values())
            versions = [version for version in versions if version > base[0].version]
            self.counts["versions taken from a checkpoint"] += 1
        due = {}
        for checkpoint in checkpoints:
            due.setdefault(checkpoint.version, []).append(checkpoint)
        for version in versions:
            self.where = f"version {version}"
            with open(os.path.join(self.log, f"{version:020}.json"), encoding="utf-8") as file:
                self.commit(version, [json.loads(line) for line in file if line.strip()])
            self.versions[version] = self.rows()
            for checkpoint in due.get(version, []):
                self.where = f"checkpoint {os.path.basename(checkpoint.path)}"
                for problem in delta_checkpoints.compare(checkpoint, self.state):
                    self.wrong(problem)
                self.counts["checkpoints"] += 1
        self.where = "compacted log"
        for problem in delta_checkpoints.check_compacted(self.log, self.counts):
            self.wrong(problem)
        self.where = "_last_checkpoint"
        for problem in delta_checkpoints.check_last(self.log, checkpoints):
            self.wrong(problem)
        self.where = "the newest version"
        self.check_newest()

    def rows(self) -> int:
        return self.live_rows

    def commit(self, version: int, lines: list[dict]):
        self.counts["commits"] += 1
        by_kind = collections.defaultdict(list)
        for line in lines:
            if len(line) != 1 or not set(line) <= ACTIONS:
                self.wrong(f"a line holds {sorted(line)}")
            for kind, action in line.items():
                by_kind[kind].append(action)
        info = (by_kind["commitInfo"] or [{}])[0]
        if by_kind["commitInfo"] and "commitInfo" not in lines[0]:
            self.wrong("commitInfo is not the first action")
        for kind in ("commitInfo", "metaData", "protocol"):
            if len(by_kind[kind]) > 1:
                self.wrong(f"{len(by_kind[kind])} actions {kind}")
        if version == 0 and not (by_kind["metaData"] and by_kind["protocol"]):
            self.wrong("the first commit lacks metaData or protocol")
        rewinds = str(info.get("operation", "")).upper() in REWINDING
        self.check_header(by_kind, rewinds)
        self.check_txns(by_kind["txn"])
        if self.state.metadata is None or self.state.protocol is None:
            return
        before = self.rows()
        self.replay(by_kind["remove"], by_kind["add"], info, rewinds)
        after = self.rows()
        changes = [a for a in by_kind["add"] + by_kind["remove"] if a.get("dataChange")]
        if by_kind["add"] + by_kind["remove"] and not changes and before != after:
            self.wrong(f"no action changes data, and the table goes from {before} to {after} rows")
        self.check_changes(by_kind["cdc"], changes, after - before)
        self.check_features()
        for domain in by_kind["domainMetadata"]:
            self.state.domains[domain["domain"]] = domain

    def check_header(self, by_kind, rewinds: bool):
        for protocol in by_kind["protocol"]:
            for problem in delta_features.check_protocol(protocol):
                self.wrong(problem)
            known = self.state.protocol
            if known and not rewinds and known["minReaderVersion"] > protocol["minReaderVersion"]:
                self.wrong("the protocol is lowered")
            self.state.protocol = protocol
        for metadata in by_kind["metaData"]:
            known = self.state.metadata
            if known and known["id"] != metadata["id"] and not rewinds:
                self.wrong("the table's id changes")
            if (metadata.get("format") or {}).get("provider") != "parquet":
                self.wrong("the format is not parquet")
            self.state.metadata = metadata
            try:
                names = [field["name"] for field in self.state.schema()["fields"]]
            except (ValueError, KeyError, TypeError) as error:
                self.wrong(f"the schema cannot be read: {error}")
                continue
            if len({name.lower() for name in names}) != len(names):
                self.wrong("two columns have one name")
            absent = set(metadata.get("partitionColumns", [])) - set(names)
            if absent:
                self.wrong(f"partitioned by columns that the schema lacks: {sorted(absent)}")
            if any(not isinstance(value, str) for value in (metadata.get("configuration") or {}).values()):
                self.wrong("a table property is no text")

    def check_txns(self, txns: list[dict]):
        seen = set()
        for txn in txns:
            app = txn["appId"]
            if app in seen:
                self.wrong(f"two txn actions of {app}")
            seen.add(app)
            known = self.state.txns.get(app)
            if known and known["version"] > txn["version"]:
                self.wrong(f"txn of {app} goes from {known['version']} down to {txn['version']}")
            self.state.txns[app] = txn
            self.counts["txn actions"] += 1

    def replay(self, removes: list[dict], adds: list[dict], info: dict, rewinds: bool):
        state = self.state
        key = lambda action: (action["path"], delta_vectors.unique_id(action.get("deletionVector")))  # noqa: E731
        if len({key(a) for a in adds}) != len(adds) or len({key(r) for r in removes}) != len(removes):
            self.wrong("an add or a remove is there twice")
        if {key(a) for a in adds} & {key(r) for r in removes}:
            self.wrong("a file is added and removed by one commit")
        taken: dict[str, dict] = {}
        gone: set[str] = set()
        for remove in removes:
            path = remove["path"]
            known = state.live.get(path)
            if known is None and path not in self.checked and self.keeps_rows(remove, info):
                self.counts["removes of files that were never live"] += 1
            elif known is None or key(known) != key(remove):
                self.wrong(f"removes {key(remove)}, which is not live" + (f" but as {key(known)}" if known else ""))
            else:
                taken[path] = state.live.pop(path)
                self.live_rows -= rows_of(taken[path])
            if not isinstance(remove.get("dataChange"), bool):
                self.wrong(f"the remove of {path} does not say dataChange")
            if not isinstance(remove.get("deletionTimestamp"), int):
                self.wrong(f"the remove of {path} has no deletionTimestamp")
            if remove.get("extendedFileMetadata") and ("partitionValues" not in remove or "size" not in remove):
                self.wrong(f"the remove of {path} lacks what extendedFileMetadata promises")
            if known and remove.get("partitionValues") not in (None, known["partitionValues"]):
                self.wrong(f"the remove of {path} has other partition values than the add")
            if known and remove.get("size") not in (None, known["size"]):
                self.wrong(f"the remove of {path} has another size than the add")
            state.tombstones[key(remove)] = remove
            gone.add(path)
            self.counts["removes"] += 1
        for add in adds:
            path = add["path"]
            if path in state.live:
                self.wrong(f"{path} is live twice")
            self.live_rows += rows_of(add) - rows_of(state.live.get(path) or {})
            state.live[path] = add
            state.tombstones.pop(key(add), None)
            self.check_add(add, taken.get(path), rewinds)
            self.counts["adds"] += 1
        for path in gone - set(state.live):
            self.vectors.pop(path, None)

    def keeps_rows(self, remove: dict, info: dict) -> bool:
        """Whether a remove of a file that was never live is kafka2delta's way to keep the rows of keys that moved before
        they were stored: a file of its own, whole and without a vector. Readers have nothing to take out for it."""
        file = file_of(self.table, remove["path"])
        return (
            str(info.get("engineInfo", "")).startswith("kafka2delta/")
            and remove.get("deletionVector") is None
            and remove.get("extendedFileMetadata") is True
            and os.path.exists(file)
            and os.path.getsize(file) == remove.get("size")
        )

    def check_add(self, add: dict, before: dict | None, rewinds: bool):
        path, columns = add["path"], self.state.metadata.get("partitionColumns", [])
        for name, kind in (("size", int), ("modificationTime", int), ("dataChange", bool), ("partitionValues", dict)):
            if not isinstance(add.get(name), kind):
                self.wrong(f"the add of {path} has no {name}")
                return
        if not self.state.mapped() and set(add["partitionValues"]) != set(columns):
            self.wrong(f"{path} has the partition values {sorted(add['partitionValues'])}, not of {columns}")
        if any(value == "" for value in add["partitionValues"].values()):
            self.wrong(f"{path} has an empty partition value, which is null")
        try:
            stats = json.loads(add.get("stats") or "null")
        except ValueError:
            stats = None
        if not isinstance(stats, dict) or not isinstance(stats.get("numRecords"), int):
            self.wrong(f"the add of {path} has no numRecords")
            return
        if before is not None and before.get("stats"):
            for problem in changed_stats(before, add):
                self.wrong(f"{path}: {problem}")
        vector = add.get("deletionVector")
        if vector is None:
            if before is not None and before.get("deletionVector") and not rewinds:
                self.wrong(f"{path} loses its deletion vector")
        else:
            self.check_vector(path, vector, stats, before, rewinds)
        if path not in self.checked:
            self.checked.add(path)
            self.check_data(add)

    def check_vector(self, path: str, vector: dict, stats: dict, before: dict | None, rewinds: bool):
        if stats.get("tightBounds") is not False and (stats.get("minValues") or stats.get("maxValues")):
            self.wrong(f"{path} has a deletion vector, and its statistics do not say tightBounds: false")
        if self.state.configuration().get("delta.enableDeletionVectors") != "true":
            self.wrong(f"{path} gets a deletion vector, which the table's properties do not allow")
        try:
            rows = delta_vectors.read(self.table, vector)
            self.counts["deletion vectors"] += 1
            if delta_vectors.greatest(rows) >= stats["numRecords"]:
                last = delta_vectors.greatest(rows)
                self.wrong(f"{path} has {stats['numRecords']} rows, its vector marks row {last}")
            known, self.vectors[path] = self.vectors.get(path), rows
            if before is not None and before.get("deletionVector") and known is not None and not rewinds:
                lost = delta_vectors.count(delta_vectors.without(known, rows))
                if lost:
                    self.wrong(f"{path}: {lost} deleted rows come back")
        except FileNotFoundError:
            self.gone += 1
        except (delta_vectors.VectorError, ValueError) as error:
            self.wrong(f"the deletion vector of {path}: {error}")

    def check_data(self, add: dict):
        file = file_of(self.table, add["path"])
        if not os.path.exists(file):
            self.gone += 1
            return
        if os.path.getsize(file) != add["size"]:
            self.wrong(f"{add['path']} has {os.path.getsize(file)} bytes, the log says {add['size']}")
        if self.with_data:
            columns = self.state.metadata.get("partitionColumns", [])
            for problem in delta_files.check_file(file, add, self.state.schema(), columns, self.state.mapped()):
                self.wrong(f"{add['path']}: {problem}")
            self.counts["data files read"] += 1

    def check_changes(self, changes: list[dict], actions: list[dict], difference: int):
        """Change data: its rows must add up to what the commit does to the table."""
        for change in changes:
            self.counts["change data files"] += 1
            if change.get("dataChange"):
                self.wrong(f"{change['path']}: a cdc action changes no data")
        if self.state.configuration().get("delta.enableChangeDataFeed") != "true":
            if changes:
                self.wrong("there is change data, and the table's properties do not want it")
            return
        net, found = 0, bool(changes)
        for change in changes:
            file = file_of(self.table, change["path"])
            if not os.path.exists(file):
                self.gone += 1
                return
            if os.path.getsize(file) != change["size"]:
                self.wrong(f"{change['path']} has another size than the log says")
            kinds = collections.Counter(pq.read_table(file, columns=["_change_type"])["_change_type"].to_pylist())
            unknown = set(kinds) - {"insert", "delete", "update_preimage", "update_postimage"}
            if unknown:
                self.wrong(f"{change['path']} has changes of the kinds {unknown}")
            if kinds["update_preimage"] != kinds["update_postimage"]:
                self.wrong(f"{change['path']}: {kinds['update_preimage']} pre- and {kinds['update_postimage']} post-images")
            net += kinds["insert"] - kinds["delete"]
        if found and net != difference:
            self.wrong(f"change data adds up to {net:+} rows, the table changes by {difference:+}")
        if not found and any(action.get("deletionVector") for action in actions):
            self.wrong("deletion vectors change, and there is no change data")

    def check_features(self):
        has_vectors = any(add.get("deletionVector") for add in self.state.live.values())
        used = delta_features.used_features(self.state.schema(), self.state.configuration(), has_vectors)
        missing = used - delta_features.named_features(self.state.protocol)
        # Said once, not at every commit.
        if missing - self.missing_features:
            self.wrong(f"the protocol does not name {sorted(missing)}, which the table uses")
        self.missing_features = missing

    # -- the end

    def check_newest(self):
        for path, add in self.state.live.items():
            if not os.path.exists(file_of(self.table, path)):
                self.wrong(f"the file {path} is gone")
            vector = add.get("deletionVector")
            file = vector and delta_vectors.file_of(self.table, vector)
            if file and not os.path.exists(file):
                self.wrong(f"the deletion vector of {path} is gone")
        self.counts["live files"] = len(self.state.live)
        self.counts["live files with a deletion vector"] = sum(
            1 for add in self.state.live.values() if add.get("deletionVector")
        )
        self.counts["rows"] = self.rows()
        self.counts["tombstones"] = len(self.state.tombstones)
        self.counts["files gone that only older versions name"] = self.gone


def rows_of(add: dict) -> int:
    """Live rows of a file, by statistics and vector."""
    stats = json.loads(add.get("stats") or "{}")
    return stats.get("numRecords", 0) - (add.get("deletionVector") or {}).get("cardinality", 0)


def changed_stats(before: dict, add: dict):
    """Statistics of a file that is added again may leave out what they said before, and say nothing else."""
    old, new = delta_files.read_stats(before), delta_files.read_stats(add)
    if old.get("numRecords") != new.get("numRecords"):
        yield f"numRecords goes from {old.get('numRecords')} to {new.get('numRecords')}"
    for kind in ("minValues", "maxValues", "nullCount"):
        for name, value in (new.get(kind) or {}).items():
            if (old.get(kind) or {}).get(name) != value:
                yield f"{kind} of {name} goes from {(old.get(kind) or {}).get(name)} to {value}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="+")
    parser.add_argument("--no-data", action="store_true", help="do not compare data files with their statistics")
    parser.add_argument("--json", action="store_true", help="one JSON object a table, with the rows of every version")
    args = parser.parse_args()
    failed = False
    for table in args.tables:
        checker = Checker(table, not args.no_data)
        checker.run()
        failed |= bool(checker.problems)
        if args.json:
            told = {"table": table, "problems": checker.problems, **checker.counts, "versions": checker.versions}
            print(json.dumps(told))
            continue
        print(f"{table}: " + ", ".join(f"{count} {what}" for what, count in checker.counts.items()))
        for problem in checker.problems[:50]:
            print(f"  wrong: {problem}")
        if len(checker.problems) > 50:
            print(f"  and {len(checker.problems) - 50} more")
        print(f"  {len(checker.problems)} problems")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
