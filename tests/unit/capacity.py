"""What a use of the ledger's table costs, in the units that DynamoDB bills: every call is counted by the sizes of its
items.

By the developer guide: 4 KB read consistently are a unit, else half a unit, a query by the sum of what it read; 1 KB
written is a unit, in a transaction two; an item that was larger before counts as it was. A head in the index `due` is
written there too, and twice where it moves there. A query answers at most a megabyte at a time.
"""

from __future__ import annotations

from math import ceil
from types import SimpleNamespace
from typing import Any

from recorded.table import Table

Item = dict[str, Any]
PAGE = 1024 * 1024


class Refused(Exception):
    """A transaction whose conditions do not hold, as boto3 raises it."""

    def __init__(self, response: Item, operation: str) -> None:
        super().__init__(operation)
        self.response = response


class CountingTable(Table):
    """The ledger's table in memory, which counts. read, written: units so far; largest: bytes of an item."""

    def __init__(self) -> None:
        passing = SimpleNamespace(
            TransactionCanceledException=Refused, TransactionInProgressException=type("InProgress", (Exception,), {})
        )
        super().__init__([], SimpleNamespace(exceptions=passing))
        self.read = self.written = 0.0
        self.largest = 0
        self.calls: list[str] = []

    def start(self) -> None:
        """Count from here on."""
        self.read = self.written = 0.0
        self.calls.clear()

    def get_item(self, *, Key: Item, ConsistentRead: bool = False, **more: Any) -> Item:
        answer = super().get_item(Key=Key, **more)
        self._reads("get", size_of(answer.get("Item", {})), ConsistentRead)
        return answer

    def batch_get_item(self, *, RequestItems: Item, **_: Any) -> Item:
        [(table, asked)] = RequestItems.items()
        answers = [self.get_item(Key=key, ConsistentRead=asked.get("ConsistentRead", False)) for key in asked["Keys"]]
        return {"Responses": {table: [one["Item"] for one in answers if one]}, "UnprocessedKeys": {}}

    def query(self, *, ConsistentRead: bool = False, ExclusiveStartKey: Item | None = None, **asked: Any) -> Item:
        found = super().query(**asked)["Items"]
        if ExclusiveStartKey is not None:
            found = [item for item in found if item["sk"]["S"] > ExclusiveStartKey["sk"]["S"]]
        page, size = [], 0
        for item in found:
            size += size_of(item)
            page.append(item)
            if size > PAGE:
                break
        self._reads("query", size, ConsistentRead)
        more = len(page) < len(found)
        last = {"LastEvaluatedKey": {name: page[-1][name] for name in ("pk", "sk")}} if more else {}
        return {"Items": page, "Count": len(page), **last}

    def put_item(self, *, Item: Item, **more: Any) -> Item:
        self._writes("put", Item, 1)
        return super().put_item(Item=Item, **more)

    def update_item(self, **asked: Any) -> Item:
        raise AssertionError("not counted")

    def transact_write_items(self, *, TransactItems: list[Item], **more: Any) -> Item:
        assert len(TransactItems) <= 100
        assert sum(size_of(one["Put"]["Item"]) for one in TransactItems) <= 4 * PAGE
        for one in TransactItems:
            self._writes("transact", one["Put"]["Item"], 2)
        return super().transact_write_items(TransactItems=TransactItems, **more)

    def _reads(self, call: str, size: int, consistent: bool) -> None:
        units = max(1, ceil(size / 4096)) / (1 if consistent else 2)
        self.read += units
        self.calls.append(f"{call} {size} bytes: {units:g} read")

    def _writes(self, call: str, item: Item, each: int) -> None:
        before = self._items.get((item["pk"]["S"], item["sk"]["S"]), {})
        size = size_of(item)
        kilobytes = ceil(max(size, size_of(before)) / 1024)
        self.largest = max(self.largest, size)
        moves = "due" in item and "due" in before and item["due_at"] != before["due_at"]
        in_index = 2 if moves else 1 if "due" in item or "due" in before else 0
        units = (each + in_index) * kilobytes
        self.written += units
        self.calls.append(f"{call} {item['sk']['S'][:12]} {size} bytes: {units} written")


def size_of(item: Item) -> int:
    """The bytes of an item as DynamoDB counts them."""
    size = 0
    for name, value in item.items():
        [(kind, said)] = value.items()
        # A number is about half its digits, and one byte.
        size += len(name.encode())
        size += len(said) // 2 + 2 if kind == "N" else len(said if isinstance(said, bytes) else str(said).encode())
    return size
