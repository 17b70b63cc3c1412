"""What a Delta table holds, by delta-rs's reader: `totals.py TABLE` prints its rows, the sum of ids, and of amounts in cents."""

from __future__ import annotations

import json
import sys

from deltalake import DeltaTable, QueryBuilder

query = "SELECT COUNT(*) AS rows, SUM(id) AS ids, CAST(SUM(total_amount) * 100 AS BIGINT) AS cents FROM orders"
result = QueryBuilder().register("orders", DeltaTable(sys.argv[1])).execute(query).read_all()
print(json.dumps({name: result.column(name)[0].as_py() for name in ("rows", "ids", "cents")}))
