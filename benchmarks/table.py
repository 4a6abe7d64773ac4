"""A DynamoDB client that answers from memory, at once. It keeps no conditions: nobody competes in a measurement."""

from __future__ import annotations

from typing import Any

Item = dict[str, Any]


class MemoryTable:
    """The operations the ledger uses, as methods of a boto3 client."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], Item] = {}

    def clear(self) -> None:
        self.items.clear()

    def get_item(self, **wanted: Any) -> dict[str, Any]:
        item = self.items.get((wanted["Key"]["pk"]["S"], wanted["Key"]["sk"]["S"]))
        return {"Item": item} if item else {}

    def batch_get_item(self, **wanted: Any) -> dict[str, Any]:
        ((table, keys),) = wanted["RequestItems"].items()
        found = [self.items.get((key["pk"]["S"], key["sk"]["S"])) for key in keys["Keys"]]
        return {"Responses": {table: [item for item in found if item]}, "UnprocessedKeys": {}}

    def query(self, **wanted: Any) -> dict[str, Any]:
        """By `pk` and the beginning of `sk`, if any; or what is due, by the index."""
        values = wanted["ExpressionAttributeValues"]
        if wanted.get("IndexName") == "due":
            until = next(int(value["N"]) for value in values.values() if "N" in value)  # whatever a version calls it
            found = [i for i in self.items.values() if "due" in i and int(i["due_at"]["N"]) <= until]
        else:
            pk, sk = (values.get(name, {"S": ""})["S"] for name in (":pk", ":sk"))
            found = [item for key, item in self.items.items() if key[0] == pk and key[1].startswith(sk)]
        return {"Items": found, "Count": len(found), "ScannedCount": len(found)}

    def put_item(self, **wanted: Any) -> dict[str, Any]:
        item = wanted["Item"]
        self.items[item["pk"]["S"], item["sk"]["S"]] = item
        return {}

    def transact_write_items(self, **wanted: Any) -> dict[str, Any]:
        for write in wanted["TransactItems"]:
            self.put_item(**write["Put"])
        return {}
