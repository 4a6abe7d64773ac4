"""The query resources: SOQL, answered page by page."""

from __future__ import annotations

import re
from typing import Any

from sandbox.salesforce import query
from sandbox.salesforce.calls import Answer, Call
from sandbox.salesforce.errors import Refusal
from sandbox.salesforce.store import Store

PAGE_SIZES = range(200, 2001)
MAX_CURSORS = 50


class Queries:
    """Runs queries, and keeps what is left of them for whoever asks for more."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cursors: dict[str, list[dict[str, Any]]] = {}
        self._cursor_number = 0

    def run(self, call: Call) -> Answer:
        text = call.query.get("q")
        if text is None:
            raise Refusal("MALFORMED_QUERY", "SOQL statement is required: parameter q")
        result = query.run(self._store, text, call.base, with_deleted=call.path[0] == "queryAll")
        size = _page_size(call.options)
        if len(result.records) <= size:
            return Answer(200, {"totalSize": result.size, "done": True, "records": result.records})
        self._cursor_number += 1
        cursor = f"01g5g0{self._cursor_number:09d}AAA"
        self._cursors[cursor] = result.records
        if len(self._cursors) > MAX_CURSORS:
            del self._cursors[next(iter(self._cursors))]
        return self._page(call, cursor, 0, size)

    def more(self, call: Call) -> Answer:
        cursor, _, start = call.path[1].rpartition("-")
        if cursor not in self._cursors or not start.isdecimal() or int(start) >= len(self._cursors[cursor]):
            raise Refusal("INVALID_QUERY_LOCATOR", "invalid query locator")
        return self._page(call, cursor, int(start), _page_size(call.options))

    def _page(self, call: Call, cursor: str, start: int, size: int) -> Answer:
        records = self._cursors[cursor]
        body: dict[str, Any] = {"totalSize": len(records), "done": start + size >= len(records)}
        if not body["done"]:
            body["nextRecordsUrl"] = f"{call.base}/{call.path[0]}/{cursor}-{start + size}"
        return Answer(200, {**body, "records": records[start : start + size]})


def _page_size(options: str) -> int:
    found = re.search(r"batchSize\s*=\s*(\d+)", options, re.IGNORECASE)
    return min(max(int(found[1]), PAGE_SIZES[0]), PAGE_SIZES[-1]) if found else PAGE_SIZES[-1]
