"""Packs a table into one file: its files, and what is told of it."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path


def pack(folder: Path, told: dict, out: Path) -> None:
    """The table's files, without checksums, beside what is told."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".crc")
    packed = {path.relative_to(folder).as_posix(): base64.b64encode(path.read_bytes()).decode() for path in files}
    content = gzip.compress(json.dumps({**told, "files": packed}, ensure_ascii=False).encode(), mtime=0)
    out.write_bytes(content)
    print(f"{out.name}: {len(content)} bytes, {len(told.get('rows', []))} rows", flush=True)
