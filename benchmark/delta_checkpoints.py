"""Checkpoints and compacted commits against the state that the commits lead to."""

from __future__ import annotations

import dataclasses
import json
import os
import re

import delta_vectors
import pyarrow.parquet as pq

CHECKPOINT = re.compile(r"^(\d{20})\.checkpoint(?:\.(\d{10})\.(\d{10})|\.([0-9a-f-]{36}))?\.(parquet|json)$")
COMPACTED = re.compile(r"^(\d{20})\.(\d{20})\.compacted\.json$")


@dataclasses.dataclass
class Checkpoint:
    version: int
    path: str
    parts: list[str]


def find(log: str) -> list[Checkpoint]:
    """All whole checkpoints, the oldest first."""
    whole, parts = [], {}
    for name in sorted(os.listdir(log)):
        found = CHECKPOINT.match(name)
        if not found:
            continue
        version, path = int(found[1]), os.path.join(log, name)
        if found[2] is None:
            whole.append(Checkpoint(version, path, [path]))
        else:
            parts.setdefault((version, int(found[3])), []).append(path)
    whole += [Checkpoint(v, paths[0], paths) for (v, count), paths in parts.items() if len(paths) == count]
    return sorted(whole, key=lambda checkpoint: checkpoint.version)


def strip(value):
    """Parquet's maps are lists of pairs, and its missing fields null: as the JSON of a commit has them."""
    if isinstance(value, dict):
        return {name: strip(inner) for name, inner in value.items() if inner is not None}
    return value


def as_map(value):
    return dict(value) if isinstance(value, list) else value


def actions(checkpoint: Checkpoint):
    """The actions of a checkpoint, those of its sidecars too."""
    files = list(checkpoint.parts)
    folder = os.path.dirname(checkpoint.path)
    while files:
        path = files.pop()
        if path.endswith(".json"):
            with open(path, encoding="utf-8") as file:
                rows = [json.loads(line) for line in file if line.strip()]
        else:
            rows = pq.read_table(path).to_pylist()
        for row in rows:
            for kind, action in row.items():
                if action is None:
                    continue
                if kind == "sidecar":
                    files.append(os.path.join(folder, "_sidecars", os.path.basename(action["path"])))
                    if os.path.getsize(files[-1]) != action["sizeInBytes"]:
                        yield "problem", f"the sidecar {action['path']} has another size"
                action = strip(action)
                for name in ("partitionValues", "tags", "configuration"):
                    if name in action:
                        action[name] = as_map(action[name])
                if kind == "metaData" and "format" in action:
                    action["format"]["options"] = as_map(action["format"].get("options") or {})
                yield kind, action


def key(action: dict):
    return action["path"], delta_vectors.unique_id(action.get("deletionVector"))


def restore(checkpoint: Checkpoint, state):
    """Makes the state that a checkpoint holds."""
    for kind, action in actions(checkpoint):
        if kind == "add":
            state.live[action["path"]] = action
        elif kind == "remove":
            state.tombstones[key(action)] = action
        elif kind == "txn":
            state.txns[action["appId"]] = action
        elif kind == "metaData":
            state.metadata = action
        elif kind == "protocol":
            state.protocol = action
        elif kind == "domainMetadata":
            state.domains[action["domain"]] = action


def same(one: dict, other: dict, fields) -> list[str]:
    return [field for field in fields if (one.get(field) or None) != (other.get(field) or None)]


def parsed(action: dict) -> dict:
    """An add with its statistics as JSON: white space and the order of names do not count."""
    return {**action, "stats": json.loads(action["stats"])} if action.get("stats") else action


def retention_ms(state) -> float:
    text = state.configuration().get("delta.deletedFileRetentionDuration", "interval 7 days")
    found = re.match(r"(?:interval\s+)?(\d+)\s+(second|minute|hour|day|week)s?$", text.strip().lower())
    if not found:
        return 0
    units = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
    return int(found[1]) * units[found[2]] * 1000.0


def compare(checkpoint: Checkpoint, state):
    """What is other in a checkpoint than in the state of its version."""
    adds, removes, txns, others = {}, {}, {}, {}
    for kind, action in actions(checkpoint):
        if kind == "problem":
            yield action
        elif kind == "add":
            if action["path"] in adds:
                yield f"{action['path']} is there twice"
            adds[action["path"]] = action
        elif kind == "remove":
            removes[key(action)] = action
        elif kind == "txn":
            txns[action["appId"]] = action
        else:
            others.setdefault(kind, []).append(action)
    missing, strange = set(state.live) - set(adds), set(adds) - set(state.live)
    if missing:
        yield f"{len(missing)} live files are missing, as {min(missing)}"
    if strange:
        yield f"{len(strange)} files are not live, as {min(strange)}"
    for path in set(adds) & set(state.live):
        one, other = parsed(adds[path]), parsed(strip(state.live[path]))
        # A null partition value is a null in both, and left out by what reads them here.
        differ = same(one, other, ["size", "modificationTime", "tags", "stats", "deletionVector"])
        values = [{k: v for k, v in (a.get("partitionValues") or {}).items() if v is not None} for a in (one, other)]
        if differ or values[0] != values[1]:
            yield f"{path} differs in {differ or ['partitionValues']}"
    removed_live = [k for k in removes if k[0] in state.live and key(state.live[k[0]]) == k]
    if removed_live:
        yield f"{len(removed_live)} tombstones are of live files"
    unknown = set(removes) - set(state.tombstones)
    if unknown:
        yield f"{len(unknown)} tombstones come from nowhere, as {min(unknown)}"
    # Only expired ones may be gone, at the time when the checkpoint was written.
    expired = os.path.getmtime(checkpoint.path) * 1000 - retention_ms(state)
    lost = [k for k, r in state.tombstones.items() if k not in removes and r.get("deletionTimestamp", 0) > expired]
    if lost:
        yield f"{len(lost)} tombstones within the retention are missing"
    for app, txn in state.txns.items():
        if app not in txns:
            yield f"the txn of {app} is missing"
        elif txns[app]["version"] != txn["version"] or txns[app].get("lastUpdated") != txn.get("lastUpdated"):
            yield f"the txn of {app} is {txns[app]}, and should be {txn}"
    if set(txns) - set(state.txns):
        yield "it has more txn actions than the commits"
    (metadata,), (protocol,) = others.get("metaData") or [None], others.get("protocol") or [None]
    if metadata is None or protocol is None:
        yield "metaData or protocol is missing"
        return
    fields = ["id", "name", "description", "schemaString", "partitionColumns", "configuration", "createdTime"]
    differ = same(metadata, strip(state.metadata), fields)
    if differ:
        yield f"its metaData differs in {differ}"
    for name in ("minReaderVersion", "minWriterVersion"):
        if protocol.get(name) != state.protocol.get(name):
            yield f"its protocol has another {name}"
    for name in ("readerFeatures", "writerFeatures"):
        if sorted(protocol.get(name) or []) != sorted(state.protocol.get(name) or []):
            yield f"its protocol has other {name}"


def check_last(log: str, checkpoints: list[Checkpoint]):
    """The pointer to the newest checkpoint. It is a hint, which must not lead astray."""
    path = os.path.join(log, "_last_checkpoint")
    if not os.path.exists(path):
        if checkpoints:
            yield "it is missing"
        return
    with open(path, encoding="utf-8") as file:
        last = json.load(file)
    named = [checkpoint for checkpoint in checkpoints if checkpoint.version == last["version"]]
    if not named:
        yield f"it names version {last['version']}, which has no checkpoint"
        return
    size = sum(os.path.getsize(part) for part in named[-1].parts)
    if last.get("sizeInBytes") not in (None, size) and len(named) == 1:
        yield f"it says {last['sizeInBytes']} bytes, and the checkpoint has {size}"
    count = sum(1 for kind, _ in actions(named[-1]) if kind != "problem")
    if len(named) == 1 and last.get("size") != count:
        yield f"it says {last.get('size')} actions, and the checkpoint has {count}"


def reconcile(lines: list[dict]) -> dict:
    """The last action of each kind and identity."""
    state: dict = {}
    for line in lines:
        for kind, action in line.items():
            if kind in ("add", "remove"):
                state[("file", *key(action))] = (kind, action["path"])
            elif kind == "txn":
                state[("txn", action["appId"])] = action["version"]
            elif kind in ("metaData", "protocol"):
                state[(kind,)] = json.dumps(action, sort_keys=True)
            elif kind == "domainMetadata":
                state[(kind, action["domain"])] = json.dumps(action, sort_keys=True)
    return state


def read_lines(path: str) -> list[dict]:
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def check_compacted(log: str, counts):
    """Compacted commits say what the commits say together."""
    for name in sorted(os.listdir(log)):
        found = COMPACTED.match(name)
        if not found:
            continue
        paths = [os.path.join(log, f"{v:020}.json") for v in range(int(found[1]), int(found[2]) + 1)]
        counts["compacted commits"] += 1
        if not all(os.path.exists(path) for path in paths):
            continue
        lines = [line for path in paths for line in read_lines(path)]
        compacted = read_lines(os.path.join(log, name))
        if any("commitInfo" in line or "cdc" in line for line in compacted):
            yield f"{name} holds commitInfo or cdc"
        if reconcile(compacted) != reconcile(lines):
            yield f"{name} says another thing than its commits"
