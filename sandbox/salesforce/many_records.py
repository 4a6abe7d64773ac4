"""sObject Collections: up to 200 records in one request (composite/sobjects), 2,000 when only reading."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from sandbox.salesforce import bodies, query
from sandbox.salesforce.calls import Answer, Call
from sandbox.salesforce.errors import Refusal, json_error
from sandbox.salesforce.ids import to_18
from sandbox.salesforce.schema import Field, SObject
from sandbox.salesforce.store import Store
from sandbox.salesforce.values import to_json

MAX_RECORDS = 200
MAX_READ = 2_000


class Collections:
    """Creates, reads, changes and deletes many records of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, call: Call) -> Answer:
        def create(record: dict[str, Any]) -> dict[str, Any]:
            target = self._typed(record)
            return {"id": self._store.insert(target, bodies.new_values(target, record))}

        return self._many(call, self._records(call), bodies.flag(call.object_body(), "allOrNone"), create)

    def update(self, call: Call) -> Answer:
        def update(record: dict[str, Any]) -> dict[str, Any]:
            target = self._typed(record)
            values = bodies.values(target, record)
            record_id = bodies.pop(values, "Id")
            if not isinstance(record_id, str):
                raise Refusal("MISSING_ARGUMENT", "Id not specified in an update call", [])
            return self._updated(target, record_id, values)

        return self._many(call, self._records(call), bodies.flag(call.object_body(), "allOrNone"), update)

    def upsert(self, call: Call) -> Answer:
        target = self._store.object(call.path[2])
        named = target.field(call.path[3])
        key = named if named and named.kind == "id" else bodies.external_id(target, call.path[3])
        records = self._records(call)
        given = Counter(
            str(bodies.values(target, record).get(name)).lower()
            for record in records
            for name in bodies.keys(record, key.name)
        )

        def upsert(record: dict[str, Any]) -> dict[str, Any]:
            if self._typed(record) is not target:
                raise json_error(f"The records' type has to be {target.name}")
            values = bodies.values(target, record)
            value = bodies.pop(values, key.name)
            if key.kind == "id" and value is None:
                return {"id": self._store.insert(target, values), "created": True}
            if value is None or value == "":
                raise Refusal("MISSING_ARGUMENT", f"{key.name} not specified", [])
            if given[str(value).lower()] > 1:
                raise Refusal("DUPLICATE_VALUE", f"Duplicate external id specified: {value}", [key.name])
            return self._put(target, key, value, values)

        return self._many(call, records, bodies.flag(call.object_body(), "allOrNone"), upsert)

    def _put(self, target: SObject, key: Field, value: Any, values: dict[str, Any]) -> dict[str, Any]:
        """Write a record that is known by its ID or by an external one."""
        if key.kind == "id":
            return {**self._updated(target, str(value), values), "created": False}
        if bodies.keys(values, "Id"):
            raise Refusal("INVALID_FIELD_FOR_INSERT_UPDATE", "cannot specify both an external ID and Id", ["Id"])
        record_id, created = self._store.upsert(target, key, value, values)
        return {"id": record_id, "created": created}

    def _updated(self, target: SObject, record_id: str, values: Mapping[str, Any]) -> dict[str, Any]:
        try:
            self._store.update(target, record_id, values)
        except Refusal as refusal:
            raise _among_many(refusal) from None
        return {"id": to_18(record_id)}

    def delete(self, call: Call) -> Answer:
        record_ids = [one for one in call.query.get("ids", "").split(",") if one]
        if not record_ids:
            raise Refusal("INVALID_INPUT", "The ids parameter is required")

        def delete(record_id: str) -> dict[str, Any]:
            target = self._store.schema.of_id(record_id)
            if not target:
                raise Refusal("MALFORMED_ID", f"malformed id {record_id}", [])
            try:
                self._store.delete(target, record_id)
            except Refusal as refusal:
                raise _among_many(refusal) from None
            return {"id": to_18(record_id)}

        return self._many(call, record_ids, call.query.get("allOrNone", "").lower() == "true", delete)

    def read(self, call: Call) -> Answer:
        target = self._store.object(call.path[2])
        if call.method == "GET":
            record_ids, names = (call.query.get(one, "").split(",") for one in ("ids", "fields"))
        else:
            record_ids, names = (bodies.texts(call.object_body(), one) for one in ("ids", "fields"))
        if len(record_ids) > MAX_READ:
            raise _too_many(MAX_READ)
        fields = bodies.named(target, names)
        shown: list[dict[str, Any] | None] = []
        for record_id in record_ids:
            try:
                record = self._store.record(target, record_id)
            except Refusal:
                shown.append(None)
                continue
            one: dict[str, Any] = {"attributes": query.attributes(target, record, call.base)}
            shown.append(one | {f.name: to_json(record[f.name]) for f in fields})
        return Answer(200, shown)

    def _many(self, call: Call, items: list[Any], all_or_none: bool, do: Callable[[Any], dict[str, Any]]) -> Answer:
        """Do each item, HTTP 200 whatever comes of it; an item that cannot even be read refuses the whole request."""
        if len(items) > MAX_RECORDS:
            raise _too_many(MAX_RECORDS)
        all_or_none = all_or_none or call.all_or_none
        before = self._store.mark()
        results: list[dict[str, Any]] = []
        for item in items:
            try:
                results.append({**do(item), "success": True, "errors": []})
            except Refusal as refusal:
                if refusal.unreadable:
                    self._store.undo(before)
                    raise
                results.append({"success": False, "errors": [refusal.as_record_error()]})
        failed = not all(result["success"] for result in results)
        if failed and all_or_none:
            self._store.undo(before)
            results = list(map(_rolled_back, results))
        return Answer(200, results, failed=failed)

    def _records(self, call: Call) -> list[dict[str, Any]]:
        body = call.object_body()
        if unknown := set(body) - {"allOrNone", "records"}:
            raise json_error(f'Unrecognized field "{min(unknown)}"')
        records = body.get("records")
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise json_error("records has to be an array of objects")
        return records

    def _typed(self, record: Mapping[str, Any]) -> SObject:
        kind = record.get("attributes")
        name = kind.get("type") if isinstance(kind, dict) else None
        if not isinstance(name, str):
            raise json_error("Each record needs attributes with a type")
        target = self._store.schema.get(name)
        if not target:
            raise Refusal("INVALID_TYPE", f"sObject type '{name}' is not supported.", [])
        return target


def _rolled_back(result: dict[str, Any]) -> dict[str, Any]:
    """What becomes of one record's result where another failed and all or none was asked for."""
    if not result["success"]:
        return result
    message = "Record rolled back because not all records were valid and the request was using AllOrNone header"
    halted = Refusal("ALL_OR_NONE_OPERATION_ROLLED_BACK", message, [])
    return {"success": False, "errors": [halted.as_record_error()]}


def _among_many(refusal: Refusal) -> Refusal:
    """A record that is not there: a resource not found when asked alone, a bad reference in a collection."""
    if refusal.code == "NOT_FOUND":
        return Refusal("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", [])
    return refusal


def _too_many(limit: int) -> Refusal:
    message = f"record limit reached. cannot submit more than {limit} records into this request."
    return Refusal("EXCEEDED_ID_LIMIT", message)
