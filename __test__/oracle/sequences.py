"""Positions in a source's log that order its transactions, as numbers that compare."""

from __future__ import annotations

import json


def postgres_sequence(sequence: str | None) -> tuple | None:
    """(commit LSN,); an LSN alone does not say when its transaction was committed."""
    commit = json.loads(sequence)[0] if sequence else None
    return None if commit is None else (int(commit),)


def mysql_sequence(server_id, file: str, pos) -> tuple[tuple, tuple]:
    """(file number, position) and its epoch: the server and the binary log's base name."""
    base, _, number = file.rpartition(".")
    return (int(number), pos), ("mysql", server_id, base)
