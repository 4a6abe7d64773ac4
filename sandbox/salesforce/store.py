"""The records as clients write them: created, changed and deleted by Salesforce's rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from sandbox.salesforce import rules
from sandbox.salesforce.errors import Refusal
from sandbox.salesforce.ids import make_id, to_18
from sandbox.salesforce.schema import Field, SObject
from sandbox.salesforce.tables import Record, Tables, blank_record
from sandbox.salesforce.values import accept


class Store(Tables):
    """All records of one organisation, and what makes a write of them acceptable."""

    def insert(self, target: SObject, values: Mapping[str, Any], *, record_id: str = "", trusted: bool = False) -> str:
        """Create a record from what a client sent; out: its ID.

        record_id: the ID it gets, instead of the next one. trusted: the server's own record, read-only fields included.
        Raises Refusal; then nothing has changed.
        """
        if not target.writable and not trusted:
            raise Refusal("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", f"entity type cannot be inserted: {target.label}", [])
        accepted = self._accept(target, values, creating=True, trusted=trusted)
        number = self._numbers[target.name] + 1
        record_id = self._own_id(target, record_id) if record_id else make_id(target.prefix, number)
        if record_id in self._tables[target.name]:
            raise Refusal("DUPLICATE_VALUE", f"duplicate value found: Id {record_id}", ["Id"])
        record = self._new(target, record_id, number, accepted)
        rules.before_save(self, target, record, None, accepted)
        self._check(target, record, None)
        self._check_lock(record[f.name] for f in target.fields.values() if f.to and f.name in accepted)
        self._numbers[target.name] = number
        self.put(target, record, None)
        rules.after_save(self, target, record)
        return record_id

    def _new(self, target: SObject, record_id: str, number: int, accepted: Mapping[str, Any]) -> Record:
        """A record that is to be created. number: of its kind; accepted: what the client sent."""
        given = {name: value for name, value in accepted.items() if value is not None}
        numbered = {f.name: f.autonumber.format(number) for f in target.fields.values() if f.autonumber}
        record: Record = {"IsDeleted": False, **blank_record(target), **given, **numbered, "Id": record_id}
        record["CreatedDate"] = record["LastModifiedDate"] = record["SystemModstamp"] = self.now()
        record["CreatedById"] = record["LastModifiedById"] = self.user_id
        if "OwnerId" in target.fields and not record["OwnerId"]:
            record["OwnerId"] = self.user_id
        return record

    def update(self, target: SObject, record_id: str, values: Mapping[str, Any], *, trusted: bool = False) -> None:
        """Change a record's fields as a client sent them, or (trusted) the server itself. Raises Refusal; then nothing
        has changed.
        """
        if not target.writable and not trusted:
            message = f"entity type cannot be updated: {target.label}"
            raise Refusal("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message, [])
        old = self.record(target, self._own_id(target, record_id))
        accepted = self._accept(target, values, creating=False, trusted=trusted)
        record = {**old, **accepted}
        record["LastModifiedDate"] = record["SystemModstamp"] = self.now()
        record["LastModifiedById"] = self.user_id
        rules.before_save(self, target, record, old, accepted)
        self._check(target, record, old)
        self._check_lock([old["Id"]])
        self.put(target, record, old)
        rules.after_save(self, target, record)

    def upsert(self, target: SObject, field: Field, key: str, values: Mapping[str, Any]) -> tuple[str, bool]:
        """Create the record whose external ID is `key`, or change it; out: its ID and whether it was created."""
        key = accept(field, key)
        if key is None:
            raise Refusal("MISSING_ARGUMENT", f"{field.name} not specified", [])
        found = self.by_key(target, field, key)
        if found:
            self.update(target, found["Id"], values)
            return found["Id"], False
        return self.insert(target, {**values, field.name: key}), True

    def delete(self, target: SObject, record_id: str) -> None:
        """Move a record to the recycle bin, with what belongs to it; what only points at it forgets it.

        Raises Refusal (DELETE_FAILED while others need it); then nothing has changed.
        """
        if not target.writable:
            raise Refusal("INSUFFICIENT_ACCESS_OR_READONLY", f"entity type cannot be deleted: {target.label}", [])
        before = self.mark()
        try:
            self._delete(target, self.record(target, self._own_id(target, record_id)))
        except Refusal:
            self.undo(before)
            raise

    def merge(self, target: SObject, master_id: str, other_id: str) -> None:
        """Merge a record into another of its object: what looked up to it looks up to the master, and it goes to the
        recycle bin, where it names its master. Raises Refusal.
        """
        master, other = (self.record(target, self._own_id(target, id)) for id in (master_id, other_id))
        if master is other:
            raise Refusal("INVALID_ID_FIELD", "cannot merge a record into itself", ["Id"])
        for child, field in self.schema.children(target):
            for one in self.having(child, field, [other["Id"]]):
                self.touch(child, one, **{field.name: master["Id"]})
        self.touch(target, self.record(target, other["Id"]), IsDeleted=True, MasterRecordId=master["Id"])

    def backdate(self, target: SObject, record_id: str, by: timedelta) -> None:
        """Let a record have been saved earlier."""
        old = self.record(target, self._own_id(target, record_id))
        stamps = {name: old[name] - by for name in ("CreatedDate", "LastModifiedDate", "SystemModstamp")}
        self.put(target, {**old, **stamps}, old)

    # What makes a write acceptable

    def _own_id(self, target: SObject, record_id: str) -> str:
        """An ID this object can have; MALFORMED_ID tells apart what can never name one of its records."""
        try:
            eighteen = to_18(record_id)
        except ValueError:
            eighteen = ""
        if not eighteen.startswith(target.prefix):
            message = f"{target.label} ID: id value of incorrect type: {record_id}"
            raise Refusal("MALFORMED_ID", message, ["Id"])
        return eighteen

    def _accept(
        self, target: SObject, values: Mapping[str, Any], *, creating: bool, trusted: bool = False
    ) -> dict[str, Any]:
        accepted: dict[str, Any] = {}
        read_only: list[str] = []
        for name, value in values.items():
            field = target.field(name)
            if not field:
                raise Refusal("INVALID_FIELD", f"No such column '{name}' on sobject of type {target.name}")
            if not trusted and (field.computed or not (creating or field.updateable)):
                read_only.append(field.name)
            accepted[field.name] = accept(field, value)
        if read_only:
            message = (
                f"Unable to create/update fields: {', '.join(read_only)}. Please check the security settings of this "
                "field and verify that it is read/write for your profile or permission set."
            )
            raise Refusal("INVALID_FIELD_FOR_INSERT_UPDATE", message, read_only)
        return accepted

    def _check(self, target: SObject, record: Record, old: Record | None) -> None:
        missing = [f.name for f in target.fields.values() if f.required and record[f.name] is None]
        if missing:
            raise Refusal("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(missing)}]", missing)
        for field in target.fields.values():
            value = record[field.name]
            if value is None or (old is not None and old[field.name] == value):
                continue
            if field.to and value != self.user_id:
                self._check_lookup(field, value)
            if field.unique:
                self._check_unique(target, field, record)

    def _check_unique(self, target: SObject, field: Field, record: Record) -> None:
        other = self.by_key(target, field, record[field.name])
        if other and other["Id"] != record["Id"]:
            message = f"duplicate value found: {field.name} duplicates value on record with id: {other['Id']}"
            raise Refusal("DUPLICATE_VALUE", message, [field.name])

    def _check_lookup(self, field: Field, value: str) -> None:
        if not value.startswith(self.schema.objects[field.to].prefix):
            message = f"{field.shown}: id value of incorrect type: {value}"
            raise Refusal("MALFORMED_ID", message, [field.name])
        found = self._tables[field.to].get(value)
        if not found:
            raise Refusal("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", [field.name])
        if found["IsDeleted"]:
            raise Refusal("ENTITY_IS_DELETED", "entity is deleted", [field.name])

    def _check_lock(self, record_ids: Iterable[str | None]) -> None:
        """A write needs the lock of its record; a creation, the locks of the records it points at."""
        for record_id in record_ids:
            if record_id and self.locked.get(record_id, 0) > 0:
                self.locked[record_id] -= 1
                message = f"unable to obtain exclusive access to this record or 1 records: {record_id}"
                raise Refusal("UNABLE_TO_LOCK_ROW", message, [])

    def _delete(self, target: SObject, record: Record) -> None:
        self._check_lock([record["Id"]])
        self.touch(target, record, IsDeleted=True)
        for child, field in self.schema.children(target):
            for one in self.having(child, field, [record["Id"]]):
                if field.on_delete == "cascade":
                    self._delete(child, one)
                elif field.on_delete == "clear":
                    self.put(child, {**one, field.name: None}, one)
                else:
                    message = f"Your attempt to delete {record['Id']} could not be completed: {one['Id']} needs it"
                    raise Refusal("DELETE_FAILED", message, [])
        rules.after_delete(self, target, record)
