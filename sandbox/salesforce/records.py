"""The resources of one record: sobjects/<object>, by ID or by an external ID."""

from __future__ import annotations

from typing import Any

from sandbox.salesforce import bodies, query
from sandbox.salesforce.calls import Answer, Call
from sandbox.salesforce.errors import not_found
from sandbox.salesforce.schema import SObject
from sandbox.salesforce.store import Store
from sandbox.salesforce.tables import Record
from sandbox.salesforce.values import to_json


class Records:
    """Creates, reads, changes and deletes one record of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, call: Call) -> Answer:
        target = self._store.object(call.path[1])
        values = bodies.new_values(target, call.object_body())
        return _created(call, target, self._store.insert(target, values))

    def read(self, call: Call) -> Answer:
        target = self._store.object(call.path[1])
        return Answer(200, self._shown(call, target, self._store.record(target, call.path[2])))

    def update(self, call: Call) -> Answer:
        target = self._store.object(call.path[1])
        values = bodies.values(target, call.object_body())
        bodies.refuse_key(values, "Id")
        self._store.update(target, call.path[2], values)
        return Answer(204)

    def delete(self, call: Call) -> Answer:
        self._store.delete(self._store.object(call.path[1]), call.path[2])
        return Answer(204)

    def read_by_key(self, call: Call) -> Answer:
        target, record = self._keyed(call)
        return Answer(200, self._shown(call, target, record))

    def delete_by_key(self, call: Call) -> Answer:
        target, record = self._keyed(call)
        self._store.delete(target, record["Id"])
        return Answer(204)

    def upsert(self, call: Call) -> Answer:
        target = self._store.object(call.path[1])
        key = bodies.external_id(target, call.path[2])
        values = bodies.values(target, call.object_body())
        bodies.refuse_key(values, "Id")
        bodies.refuse_key(values, key.name)
        record_id, created = self._store.upsert(target, key, call.path[3], values)
        if created:
            return _created(call, target, record_id)
        if call.version < 46:  # until then an update answered nothing
            return Answer(204)
        return Answer(200, {"id": record_id, "success": True, "errors": [], "created": False})

    def _keyed(self, call: Call) -> tuple[SObject, Record]:
        target = self._store.object(call.path[1])
        record = self._store.by_key(target, bodies.external_id(target, call.path[2]), call.path[3])
        if not record:
            raise not_found()
        return target, record

    def _shown(self, call: Call, target: SObject, record: Record) -> dict[str, Any]:
        names = call.query.get("fields")
        fields = list(target.fields.values()) if names is None else bodies.named(target, names.split(","))
        shown: dict[str, Any] = {"attributes": query.attributes(target, record, call.base)}
        shown.update({one.name: to_json(record[one.name]) for one in fields})
        if names is not None:
            shown.setdefault("Id", record["Id"])
        return shown


def _created(call: Call, target: SObject, record_id: str) -> Answer:
    body: dict[str, Any] = {"id": record_id, "success": True, "errors": []}
    if call.method == "PATCH" and call.version >= 46:
        body["created"] = True
    return Answer(201, body, {"Location": f"{call.base}/sobjects/{target.name}/{record_id}"})
