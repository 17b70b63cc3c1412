"""Positions in a source's log, as numbers that compare."""

from __future__ import annotations

import json


def postgres_sequence(sequence: str | None, lsn) -> tuple | None:
    """(last commit LSN, LSN)"""
    if sequence:
        last_commit, own = json.loads(sequence)
        return (int(last_commit or 0), int(own))
    return None if lsn is None else (0, int(lsn))


def mysql_sequence(server_id, file: str, pos, row) -> tuple[tuple, tuple]:
    """(file number, position, row) and its epoch: the server and the binary log's base name."""
    base, _, number = file.rpartition(".")
    return (int(number), pos, row), ("mysql", server_id, base)
