"""The records: created, changed and deleted by Salesforce's rules.

Not locked: the application holds its lock around each request. Records are replaced, never changed in place: a
savepoint is a shallow copy, and a snapshot of a table stays what it is. What one request does is also noted, so that it
can be undone without a copy of millions of records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from sandbox.salesforce import rules
from sandbox.salesforce.errors import Refusal, deleted, not_found
from sandbox.salesforce.ids import make_id, to_18
from sandbox.salesforce.schema import TEXT_KINDS, Field, Schema, SObject
from sandbox.salesforce.values import accept, parse_date, parse_datetime, to_json

Record = dict[str, Any]


@dataclass(frozen=True)
class Savepoint:
    """Everything as it was."""

    schema: Schema
    tables: dict[str, dict[str, Record]]
    unique: dict[tuple[str, str], dict[str, str]]
    numbers: dict[str, int]


class Mark(NamedTuple):
    """A place in the notes of what the present request does."""

    done: int
    numbers: dict[str, int]


class Store:
    """All records of one organisation. user_id: who creates and changes them from now on."""

    def __init__(self, schema: Schema, now: Callable[[], datetime]) -> None:
        self.user_id = ""
        self.locked: dict[str, int] = {}
        self._now = now
        self._tables: dict[str, dict[str, Record]] = {}
        self._unique: dict[tuple[str, str], dict[str, str]] = {}
        self._numbers: dict[str, int] = {}
        self._done: list[tuple[SObject, str, Record | None]] = []  # each change: whose, and what was there before
        self._indexes: dict[
            tuple[str, str], dict[Any, dict[str, int]]
        ] = {}  # value -> IDs with their place in the table
        self.become(schema)

    def become(self, schema: Schema) -> None:
        """The organisation has these objects and fields from now on. Records keep what they hold, seen or not."""
        self.schema = schema
        self._indexes.clear()
        self._done.clear()
        for target in schema.objects.values():
            blank = _blank(target)
            table = self._tables.get(target.name, {})
            self._tables[target.name] = {id: {**blank, **record} for id, record in table.items()}
            self._numbers.setdefault(target.name, 0)
            for field in target.fields.values():
                if field.unique:
                    self._unique.setdefault((target.name, field.name), {})

    # Reading

    def now(self) -> datetime:
        """This moment as records keep it: whole seconds, UTC."""
        return self._now().astimezone(UTC).replace(microsecond=0)

    def object(self, name: str) -> SObject:
        """The object of this name; NOT_FOUND when there is none."""
        found = self.schema.get(name)
        if not found:
            raise not_found()
        return found

    def records(self, target: SObject, *, with_deleted: bool = False) -> Iterable[Record]:
        """An object's records in the order of their creation."""
        table = self._tables[target.name].values()
        return table if with_deleted else [r for r in table if not r["IsDeleted"]]

    def table(self, name: str) -> dict[str, Record]:
        """All records of an object by their IDs, deleted ones too; not to be changed."""
        return self._tables[name]

    def having(
        self, target: SObject, field: Field, values: Iterable[Any], *, with_deleted: bool = False
    ) -> list[Record]:
        """The records whose `field` has one of these values (text in any case), in the order of their creation.

        The field is indexed when it is first asked for.
        """
        table = self._tables[target.name]
        place = target.name, field.name
        if place not in self._indexes:
            index: dict[Any, dict[str, int]] = {}
            for number, record in enumerate(table.values()):
                index.setdefault(folded(field, record[field.name]), {})[record["Id"]] = number
            self._indexes[place] = index
        found: dict[str, int] = {}
        for value in values:
            found |= self._indexes[place].get(folded(field, value), {})
        records = (table[id] for id in sorted(found, key=found.__getitem__))
        return [record for record in records if with_deleted or not record["IsDeleted"]]

    def record(self, target: SObject, record_id: str) -> Record:
        """One record by its 15- or 18-character ID; NOT_FOUND, or ENTITY_IS_DELETED."""
        try:
            found = self._tables[target.name].get(to_18(record_id))
        except ValueError:
            message = f"Provided external ID field does not exist or is not accessible: {record_id}"
            raise not_found(message) from None
        if not found:
            raise not_found()
        if found["IsDeleted"]:
            raise deleted()
        return found

    def peek(self, target: str, record_id: str | None) -> Record | None:
        """The record behind a lookup's value, or None when it is empty or deleted."""
        found = self._tables[target].get(record_id or "")
        return None if found is None or found["IsDeleted"] else found

    def by_key(self, target: SObject, field: Field, value: str) -> Record | None:
        """The one record whose unique `field` has this value, whatever its case, or None."""
        record_id = self._unique[target.name, field.name].get(value.lower())
        return self._tables[target.name][record_id] if record_id else None

    # Writing

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
        record: Record = {"IsDeleted": False}
        for field in target.fields.values():
            value = accepted.get(field.name)
            if value is None:
                value = field.default if field.kind != "boolean" else bool(field.default)
            record[field.name] = field.autonumber.format(number) if field.autonumber else value
        at = self.now()
        record["Id"] = record_id
        record["CreatedDate"] = record["LastModifiedDate"] = record["SystemModstamp"] = at
        record["CreatedById"] = record["LastModifiedById"] = self.user_id
        if "OwnerId" in target.fields and not record["OwnerId"]:
            record["OwnerId"] = self.user_id
        rules.before_save(self, target, record, None, accepted)
        self._check(target, record, None)
        self._check_lock(record[f.name] for f in target.fields.values() if f.to and f.name in accepted)
        self._numbers[target.name] = number
        self._put(target, record, None)
        rules.after_save(self, target, record)
        return record_id

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
        self._put(target, record, old)
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

    def seed(self, target: SObject, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """Add very many records; out: their IDs. Nothing is checked and nothing worked out: rows are valid as they are.

        In: their fields, in canonical names; days and moments as the REST API writes them. What is not given is blank.
        """
        table, unique = self._tables[target.name], [f for f in target.fields.values() if f.unique]
        parse: dict[str, Callable[[str], Any]] = {"date": _day, "datetime": _moment}
        times = [(f.name, parse[f.kind]) for f in target.fields.values() if f.kind in parse]
        numbered = next((f for f in target.fields.values() if f.autonumber), None)
        at, number = self.now(), self._numbers[target.name]
        blank = {"IsDeleted": False, **_blank(target)}
        blank |= {name: at for name in ("CreatedDate", "LastModifiedDate", "SystemModstamp") if name in blank}
        blank |= {name: self.user_id for name in ("CreatedById", "LastModifiedById", "OwnerId") if name in blank}
        ids = []
        for row in rows:
            number += 1
            record = {**blank, **row}
            id = record["Id"] = record["Id"] or make_id(target.prefix, number)
            for name, parsed in times:
                if isinstance(value := record[name], str):
                    record[name] = parsed(value)
            if numbered:
                record[numbered.name] = numbered.autonumber.format(number)
            for field in unique:
                if record[field.name] is not None:
                    self._unique[target.name, field.name][record[field.name].lower()] = id
            table[id] = record
            ids.append(id)
        self._numbers[target.name] = number
        self._indexes = {place: index for place, index in self._indexes.items() if place[0] != target.name}
        return ids

    def kept(self) -> list[Record]:
        """Every record as plain data, by object, then in the order of creation: what is not blank of the fields that
        the organisation has, as the REST API shows them, and `object`.
        """
        found = []
        for target in self.schema.objects.values():
            blank = self._unsaid(target)
            for record in self._tables[target.name].values():
                said = {name: to_json(record[name]) for name in blank if record.get(name) != blank[name]}
                found.append({"object": target.name, **said})
        return found

    def put_back(self, records: Iterable[Mapping[str, Any]]) -> None:
        """What `kept` gave, in place of all records there are. The schema has to be the one it was kept under."""
        self._tables = {name: {} for name in self._tables}
        self._unique = {key: {} for key in self._unique}
        self._numbers = dict.fromkeys(self._numbers, 0)
        self._indexes.clear()
        self._done.clear()
        for said in records:
            target = self.schema.objects[said["object"]]
            record: Record = self._unsaid(target)
            for name, value in said.items():
                if name != "object":
                    record[name] = accept(target.fields[name], value) if name in target.fields else value
            self._numbers[target.name] += 1
            self._place(target, record["Id"], record)

    def _unsaid(self, target: SObject) -> Record:
        """What a record is that says nothing: the integration user's, and blank."""
        blank: Record = {"IsDeleted": False, **_blank(target)}
        users = ("CreatedById", "LastModifiedById", "OwnerId")
        return blank | {name: self.user_id for name in users if name in target.fields}

    def backdate(self, target: SObject, record_id: str, by: timedelta) -> None:
        """Let a record have been saved earlier."""
        old = self.record(target, self._own_id(target, record_id))
        stamps = {name: old[name] - by for name in ("CreatedDate", "LastModifiedDate", "SystemModstamp")}
        self._put(target, {**old, **stamps}, old)

    def touch(self, target: SObject, record: Record, **changes: Any) -> None:
        """A change the server makes by itself, as a roll-up does: it counts as a modification."""
        at = self.now()
        self._put(target, {**record, **changes, "SystemModstamp": at, "LastModifiedDate": at}, record)

    def savepoint(self) -> Savepoint:
        return Savepoint(
            self.schema,
            {name: dict(table) for name, table in self._tables.items()},
            {key: dict(index) for key, index in self._unique.items()},
            dict(self._numbers),
        )

    def mark(self) -> Mark:
        """Where the present request is: `undo` comes back to it."""
        return Mark(len(self._done), dict(self._numbers))

    def undo(self, to: Mark) -> None:
        """Undo what this request has done since; autonumbers too, which the platform would leave with a gap."""
        while len(self._done) > to.done:
            target, record_id, old = self._done.pop()
            self._place(target, record_id, old)
        self._numbers = dict(to.numbers)

    def keep(self) -> None:
        """The present request is over: nothing of it can be undone any more."""
        self._done.clear()

    def roll_back(self, to: Savepoint) -> None:
        """Everything as it was at the savepoint."""
        self.schema = to.schema
        self._indexes.clear()
        self._done.clear()
        self._tables = {name: dict(table) for name, table in to.tables.items()}
        self._unique = {key: dict(index) for key, index in to.unique.items()}
        self._numbers = dict(to.numbers)

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
                other = self.by_key(target, field, value)
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

    def _put(self, target: SObject, record: Record, old: Record | None) -> None:
        self._done.append((target, record["Id"], old))
        self._place(target, record["Id"], record)

    def _place(self, target: SObject, record_id: str, record: Record | None) -> None:
        """This record, or none, is what there is by this ID from now on."""
        table = self._tables[target.name]
        old = table.get(record_id)
        for field in target.fields.values():
            if field.unique:
                index = self._unique[target.name, field.name]
                if old and old[field.name] is not None:
                    index.pop(old[field.name].lower(), None)
                if record and record[field.name] is not None and not record["IsDeleted"]:
                    index[record[field.name].lower()] = record_id
            places = self._indexes.get((target.name, field.name))
            if places is not None:
                number = len(table)
                if old:
                    number = places[folded(field, old[field.name])].pop(record_id)
                if record:
                    places.setdefault(folded(field, record[field.name]), {})[record_id] = number
        if record:
            table[record_id] = record
        else:
            del table[record_id]

    def _delete(self, target: SObject, record: Record) -> None:
        self._check_lock([record["Id"]])
        self.touch(target, record, IsDeleted=True)
        for child, field in self.schema.children(target):
            for one in self.having(child, field, [record["Id"]]):
                if field.on_delete == "cascade":
                    self._delete(child, one)
                elif field.on_delete == "clear":
                    self._put(child, {**one, field.name: None}, one)
                else:
                    message = f"Your attempt to delete {record['Id']} could not be completed: {one['Id']} needs it"
                    raise Refusal("DELETE_FAILED", message, [])
        rules.after_delete(self, target, record)


def folded(field: Field, value: Any) -> Any:
    """Text as it is compared, without its case; IDs and everything else as they are."""
    return value.casefold() if value is not None and field.kind in TEXT_KINDS else value


def _blank(target: SObject) -> Record:
    return {f.name: bool(f.default) if f.kind == "boolean" else f.default for f in target.fields.values()}


_day = lru_cache(100_000)(parse_date)
_moment = lru_cache(100_000)(parse_datetime)
