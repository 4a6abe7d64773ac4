"""The ledger's table in memory: what the ledger asks of DynamoDB, a hundred times as fast as moto answers it.

Only what the ledger's own reads and transactions say is understood; anything else is an error that says so. Updates of
single items (rate limits, notices) say more, and go to moto.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable
from typing import Any

Item = dict[str, Any]


class Table:
    """A client of DynamoDB for one table. client: a real one, for what is not understood here and for its errors."""

    def __init__(self, items: Iterable[Item], client: Any) -> None:
        self._client = client
        self.exceptions = client.exceptions
        self._lock = threading.Lock()
        self._items = {(item["pk"]["S"], item["sk"]["S"]): item for item in items}

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the recorded table does not know {name}: teach it in tests/recorded/table.py")

    def all(self) -> list[Item]:
        with self._lock:
            return copy.deepcopy(list(self._items.values()))

    def get_item(self, *, Key: Item, **_: Any) -> Item:
        with self._lock:
            found = self._items.get((Key["pk"]["S"], Key["sk"]["S"]))
            return {"Item": copy.deepcopy(found)} if found else {}

    def batch_get_item(self, *, RequestItems: Item, **_: Any) -> Item:
        [(table, asked)] = RequestItems.items()
        found = [self.get_item(Key=key).get("Item") for key in asked["Keys"]]
        return {"Responses": {table: [item for item in found if item]}, "UnprocessedKeys": {}}

    def query(self, *, KeyConditionExpression: str, ExpressionAttributeValues: Item, **more: Any) -> Item:
        known = ("pk = :pk", "pk = :pk AND begins_with(sk, :sk)")
        if KeyConditionExpression not in known or "IndexName" in more:
            raise AssertionError(f"the recorded table does not understand {KeyConditionExpression}")
        pk, begins = (ExpressionAttributeValues.get(name, {"S": ""})["S"] for name in (":pk", ":sk"))
        with self._lock:
            keys = sorted(key for key in self._items if key[0] == pk and key[1].startswith(begins))
            return {"Items": copy.deepcopy([self._items[key] for key in keys])}

    def put_item(self, *, Item: Item, **more: Any) -> Item:
        assert "ConditionExpression" not in more
        with self._lock:
            self._items[Item["pk"]["S"], Item["sk"]["S"]] = copy.deepcopy(Item)
        return {}

    def update_item(self, **asked: Any) -> Item:
        with self._lock:  # moto's tables are not made for several threads
            answer: Item = self._client.update_item(**asked)
            return answer

    def transact_write_items(self, *, TransactItems: list[Item], **_: Any) -> Item:
        with self._lock:
            reasons = [
                {"Code": "None" if self._holds(one["Put"]) else "ConditionalCheckFailed"} for one in TransactItems
            ]
            if any(reason["Code"] != "None" for reason in reasons):
                answer = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
                raise self.exceptions.TransactionCanceledException(answer, "TransactWriteItems")
            for one in TransactItems:
                item = one["Put"]["Item"]
                self._items[item["pk"]["S"], item["sk"]["S"]] = copy.deepcopy(item)
        return {}

    def _holds(self, put: Item) -> bool:
        there = self._items.get((put["Item"]["pk"]["S"], put["Item"]["sk"]["S"]))
        match put.get("ConditionExpression"):
            case None:
                return True
            case "attribute_not_exists(pk)":
                return there is None
            case "attribute_not_exists(rev)":
                return there is None or "rev" not in there
            case "rev = :rev":
                return there is not None and there.get("rev") == put["ExpressionAttributeValues"][":rev"]
            case other:
                raise AssertionError(f"the recorded table does not understand {other}")
