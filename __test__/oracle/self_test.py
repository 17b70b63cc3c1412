"""Tests of the oracle itself: python self_test.py"""

from __future__ import annotations

import json
import sys
import tempfile
import unittest
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pyarrow as pa  # noqa: E402
from deltalake import write_deltalake  # noqa: E402

import compare  # noqa: E402
import delta_types  # noqa: E402
import oracle  # noqa: E402
import readers  # noqa: E402
import source_rows  # noqa: E402
from messages import Message, SchemaSet, read_topic, topics_of  # noqa: E402
from replay import PLACEHOLDER, Options, is_left_out, replay  # noqa: E402

FIXTURES = Path(__file__).parent.parent / "fixtures"
SETS = sorted(p for p in FIXTURES.iterdir() if p.is_dir())
KEY = {"type": "record", "name": "Key", "fields": [{"name": "id", "type": "int"}]}
NULLABLE_STRING = ["null", "string"]
FLAT = {
    "type": "record",
    "name": "Value",
    "fields": [{"name": "id", "type": "int"}]
    + [
        {"name": n, "type": NULLABLE_STRING}
        for n in ("v", "__deleted", "__op", "__source_snapshot", "__source_sequence")
    ],
}


def message(offset, key, v=None, *, op="u", lsn=None, deleted=False, snapshot=None, partition=0, old=None, tombstone=False):
    value = {
        "id": key,
        "v": v,
        "__deleted": "true" if deleted else "false",
        "__op": op,
        "__source_snapshot": snapshot,
        "__source_sequence": None if lsn is None else json.dumps([str(lsn), str(lsn)]),
    }
    headers = {} if old is None else {"__debezium.oldkey": json.dumps({"id": old}).encode()}
    if tombstone:
        return Message(partition, offset, offset, {"id": key}, None, None, KEY, headers)
    return Message(partition, offset, offset, {"id": key}, value, FLAT, KEY, headers)


def values(messages):
    return {k[0]: r["v"] for k, r in replay(messages, Options()).rows.items()}


class Rules(unittest.TestCase):
    def test_offset_order_is_the_truth(self):
        self.assertEqual(values([message(0, 1, "a", lsn=5), message(1, 1, "b", lsn=5)]), {1: "b"})

    def test_an_older_streaming_change_is_dropped(self):
        messages = [message(0, 1, "new", lsn=9, partition=0), message(1, 1, "old", lsn=5, partition=1)]
        self.assertEqual(values(messages), {1: "new"})

    def test_within_a_partition_nothing_is_dropped_for_its_position(self):
        self.assertEqual(values([message(0, 1, "a", lsn=9), message(1, 1, "b", lsn=5)]), {1: "b"})
        self.assertEqual(values([message(0, 1, deleted=True, lsn=9), message(1, 1, "b", lsn=5)]), {1: "b"})

    def test_a_position_without_a_commit_proves_nothing(self):
        messages = [message(0, 1, "a", lsn=9, partition=0), message(1, 1, "b", partition=1)]
        messages[1].value["__source_sequence"] = json.dumps([None, "5"])
        self.assertEqual(values(messages), {1: "b"})

    def test_a_delete_is_remembered(self):
        messages = [message(0, 1, deleted=True, lsn=9, partition=0), message(1, 1, "old", lsn=5, partition=1)]
        self.assertEqual(values(messages), {})

    def test_a_change_after_a_snapshot_row_counts_whatever_its_sequence(self):
        messages = [message(0, 1, "x", lsn=9), message(1, 1, "snap", op="r", snapshot="true"), message(2, 1, "y", lsn=5)]
        self.assertEqual(values(messages), {1: "y"})

    def test_a_row_of_an_incremental_snapshot_proves_nothing(self):
        messages = [
            message(0, 1, "x", lsn=9),
            message(1, 1, "snap", op="r", snapshot="incremental"),
            message(2, 1, "y", lsn=5, partition=1),
        ]
        self.assertEqual(values(messages), {1: "y"})

    def test_a_tombstone_deletes_and_falls_with_its_delete(self):
        self.assertEqual(values([message(0, 1, "x", lsn=9), message(1, 1, tombstone=True)]), {})
        old = {"partition": 1}
        messages = [message(0, 1, "x", lsn=9), message(1, 1, deleted=True, lsn=5, **old), message(2, 1, tombstone=True, **old)]
        self.assertEqual(values(messages), {1: "x"})

    def test_left_out_values_stay(self):
        self.assertEqual(values([message(0, 1, "x"), message(1, 1, PLACEHOLDER)]), {1: "x"})

    def test_left_out_values_of_a_key_update_come_from_the_old_key(self):
        moved = [message(0, 1, "x"), message(1, 1, deleted=True), message(2, 2, PLACEHOLDER, old=1)]
        self.assertEqual(values(moved), {2: "x"})
        self.assertEqual(values([moved[0], message(1, 2, PLACEHOLDER, old=1)]), {1: "x", 2: "x"})

    def test_a_key_update_that_comes_again_finds_its_own_row(self):
        moved = [message(0, 1, "x"), message(1, 1, deleted=True), message(2, 2, PLACEHOLDER, old=1), message(3, 1, "y")]
        again = [message(4, 1, deleted=True), message(5, 2, PLACEHOLDER, old=1), message(6, 1, "y")]
        self.assertEqual(values(moved + again), {1: "y", 2: "x"})

    def test_an_update_that_comes_again_after_its_row_moved_leaves_no_trace(self):
        moved = [message(0, 1, "x"), message(1, 1, PLACEHOLDER), message(2, 1, deleted=True)]
        again = [message(3, 1, PLACEHOLDER), message(4, 1, deleted=True)]
        self.assertEqual(values(moved + again + [message(5, 2, PLACEHOLDER, old=1)]), {2: "x"})

    def test_a_key_that_is_left_out_is_no_key(self):
        with self.assertRaises(ValueError):
            replay([message(0, 1, PLACEHOLDER)], Options(primary_key=["id", "v"]))

    def test_a_value_that_nobody_has_is_null_and_counted(self):
        truth = replay([message(0, 1, PLACEHOLDER)], Options())
        self.assertEqual((truth.rows[(1,)]["v"], truth.missing_values), (None, 1))

    def test_soft_deletes_keep_the_row(self):
        options = Options(topic="t", soft_delete="gone", metadata={"at": "kafka.offset", "did": "operation"})

        def rows(messages):
            found = replay(messages, options).rows.values()
            return {r["id"]: (r["v"], r["gone"], r["at"], r["did"], r["__op"]) for r in found}

        gone = [message(0, 1, "x", op="c"), message(1, 1, "made up", deleted=True, op="d")]
        self.assertEqual(rows(gone), {1: ("x", True, 1, "d", "d")})
        self.assertEqual(rows(gone + [message(2, 1, tombstone=True)]), {1: ("x", True, 2, "d", "d")})
        self.assertEqual(rows(gone + [message(2, 1, "y")]), {1: ("y", False, 2, "u", "u")})
        self.assertEqual(rows([message(0, 1, deleted=True), message(1, 2, tombstone=True)]), {})
        self.assertEqual(rows([gone[0], message(1, 1, tombstone=True)]), {1: ("x", True, 1, "d", "c")})
        old = {"partition": 1}
        stale = [message(0, 1, "x", lsn=9), message(1, 1, deleted=True, lsn=5, **old), message(2, 1, tombstone=True, **old)]
        self.assertEqual(rows(stale), {1: ("x", False, 0, "u", "u")})
        moved = [gone[0], message(1, 1, deleted=True, op="d"), message(2, 2, PLACEHOLDER, op="c", old=1)]
        self.assertEqual(rows(moved), {1: ("x", True, 1, "d", "d"), 2: ("x", False, 2, "c", "c")})

    def test_every_form_of_the_placeholder(self):
        raw = PLACEHOLDER.encode()
        forms = [PLACEHOLDER, raw, [PLACEHOLDER], [raw], list(raw), ["b68a35a7-17ad-35b3-af2a-ae46edb4545a"]]
        forms += [{PLACEHOLDER: PLACEHOLDER}, json.dumps({PLACEHOLDER: PLACEHOLDER}, separators=(",", ":"))]
        for form in forms:
            self.assertTrue(is_left_out(form), form)
        for value in (PLACEHOLDER + "!", [PLACEHOLDER] * 2, list(raw)[1:], None, 0, "{", {}, []):
            self.assertFalse(is_left_out(value), value)


class Types(unittest.TestCase):
    def test_decimals(self):
        def of(p, s, money=False):
            return delta_types.decimal_column(p, s, money).type

        self.assertEqual(of(10, 2), "decimal(10,2)")
        self.assertEqual(of(2, 5), "decimal(5,5)")
        self.assertEqual(of(3, 2046), "decimal(5,0)")
        self.assertEqual(of(50, 40), "string")
        self.assertEqual(of(38, 38), "decimal(38,38)")
        self.assertEqual(of(39, 38), "string")
        self.assertEqual(of(64, 2, True), "decimal(38,2)")
        self.assertEqual(delta_types.plain_decimal(-1, 3), "-0.001")
        self.assertEqual(delta_types.plain_decimal(12, -2), "1200")

    def test_timestamps(self):
        convert = delta_types.zoned_timestamp("fail").convert
        self.assertEqual(convert("1970-01-01T00:00:00Z"), 0)
        self.assertEqual(convert("1970-01-01T01:00:00.1234567+01:00"), 123456)
        self.assertEqual(convert("1969-12-31T23:59:59.999999Z"), -1)
        for far in ("infinity", "-infinity", "+20000-01-01T00:00:00.000000Z", "-0043-03-15T00:00:00.000000Z"):
            self.assertRaises(delta_types.OutOfRange, convert, far)
            self.assertIsNone(delta_types.zoned_timestamp("null").convert(far))
        self.assertEqual(delta_types.zoned_timestamp("clamp").convert("infinity"), delta_types.MAX_US)
        self.assertEqual(delta_types.days_from_civil(2024, 2, 29), 19782)


class Fixtures(unittest.TestCase):
    def test_every_message_can_be_replayed(self):
        for folder in SETS:
            for topic in topics_of(folder):
                options = Options(out_of_range="null", primary_key=["x"] if topic.endswith(".nopk") else None)
                with self.subTest(set=folder.name, topic=topic):
                    replay(read_topic(folder, topic), options, SchemaSet(folder / "schemas.json"))

    def test_truth_equals_the_source(self):
        compared = 0
        for folder in SETS:
            for topic in topics_of(folder):
                if source_rows.source_file(folder, topic) is None:
                    continue
                compared += 1
                with self.subTest(set=folder.name, topic=topic):
                    truth = replay(read_topic(folder, topic), Options(out_of_range="null"), SchemaSet(folder / "schemas.json"))
                    self.assertEqual(source_rows.differences(folder, topic, truth.rows), [])
        self.assertEqual(compared, 39)

    def test_a_repeat_of_the_end_changes_nothing(self):
        """What Debezium sends again after a crash is a contiguous repeat of the end of the topic."""
        for folder in SETS:
            for topic in topics_of(folder):
                messages = read_topic(folder, topic)
                if topic == "myenv" or len({m.partition for m in messages}) > 1:
                    continue
                options = Options(out_of_range="null", primary_key=["x"] if topic.endswith(".nopk") else None)
                schemas = SchemaSet(folder / "schemas.json")
                once = replay(messages, options, schemas).rows
                last = messages[-1].offset
                for n in (1, 2, len(messages) // 2):
                    repeat = [Message(**{**vars(m), "offset": last + 1 + i}) for i, m in enumerate(messages[-n:])]
                    for m in repeat:
                        m.timestamp = messages[-1].timestamp
                    with self.subTest(topic=topic, repeated=n):
                        self.assertEqual(replay(messages + repeat, options, schemas).rows, once)


class Tables(unittest.TestCase):
    """The comparison finds what it must find, in a table written by deltalake itself."""

    rows = [
        {"id": 1, "d": Decimal("1.50"), "t": 10, "a": ["x", None], "f": float("nan"), "b": b"\x00"},
        {"id": 2, "d": None, "t": None, "a": None, "f": -0.0, "b": None},
    ]
    schema = pa.schema(
        [
            ("id", pa.int64()),
            ("d", pa.decimal128(10, 2)),
            ("t", pa.timestamp("us", "UTC")),
            ("a", pa.list_(pa.string())),
            ("f", pa.float64()),
            ("b", pa.binary()),
        ]
    )
    types = {"id": "long", "d": "decimal(10,2)", "t": "timestamp", "a": {"array": "string"}, "f": "double", "b": "binary"}

    def differences(self, rows, types=None):
        truth = oracle.Truth(["id"], types or self.types, {(r["id"],): r for r in self.rows})
        with tempfile.TemporaryDirectory() as folder:
            write_deltalake(folder, pa.Table.from_pylist(rows, schema=self.schema))
            out = compare.compare_types(truth.types, readers.delta_schema(folder)[0])
            for name in readers.available_readers():
                found, twice = readers.rows_by_key(readers.READERS[name](folder), ["id"])
                out += compare.compare_rows(truth, found, twice)
            return out

    def test_equal(self):
        self.assertEqual(self.differences(self.rows), [])

    def test_differences(self):
        first, second = self.rows
        for column, value in {"d": Decimal("1.51"), "t": 11, "a": ["x"], "f": 0.0, "b": b""}.items():
            self.assertIn(f"column {column}", " ".join(self.differences([{**first, column: value}, second])))
        self.assertIn("column f", " ".join(self.differences([first, {**second, "f": 0.0}])))
        self.assertIn("no row", " ".join(self.differences([first])))
        self.assertIn("more than one row", " ".join(self.differences([first, second, second])))
        self.assertIn("should not be there", " ".join(self.differences([first, second, {**first, "id": 3}])))
        self.assertIn("column d: is decimal(10,2)", " ".join(self.differences(self.rows, {**self.types, "d": "string"})))


if __name__ == "__main__":
    unittest.main()
