"""delta-rs compacts a table: `delta_rs.py URI STORAGE_OPTIONS`. Prints what it did, or why it did not, as JSON."""

from __future__ import annotations

import json
import sys

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError

uri, options = sys.argv[1], json.loads(sys.argv[2])
try:
    table = DeltaTable(uri, storage_options=options or None)
    metrics = table.optimize.compact()
    print(json.dumps({"version": table.version(), "removed": metrics["numFilesRemoved"]}))
except CommitFailedError as e:
    print(json.dumps({"conflict": str(e)[:300]}))
except DeltaError as e:
    if "does not support" not in str(e) and "eature" not in str(e):
        raise
    # Tables with deletion vectors.
    print(json.dumps({"refused": str(e)[:300]}))
