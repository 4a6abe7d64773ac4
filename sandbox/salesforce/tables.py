"""The records of one organisation, table by table: read, kept, and put back when a request is undone.

Not locked: the application holds its lock around each request. Records are replaced, never changed in place: a
savepoint is a shallow copy, and a snapshot of a table stays what it is. What one request does is also noted, so that it
can be undone without a copy of millions of records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

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


class Tables:
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
            blank = blank_record(target)
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

    def matching(self, target: SObject, values: Mapping[str, Any]) -> list[Record]:
        """The records whose fields have all of these values, oldest first. Raises Refusal for unknown names."""
        wanted: dict[str, Any] = {}
        for name, value in values.items():
            field = target.field(name)
            if not field:
                raise Refusal("INVALID_FIELD", f"No such column '{name}' on sobject of type {target.name}")
            wanted[field.name] = None if value is None else accept(field, value)
        return [r for r in self.records(target) if all(r[n] == v for n, v in wanted.items())]

    def peek(self, target: str, record_id: str | None) -> Record | None:
        """The record behind a lookup's value, or None when it is empty or deleted."""
        found = self._tables[target].get(record_id or "")
        return None if found is None or found["IsDeleted"] else found

    def by_key(self, target: SObject, field: Field, value: str) -> Record | None:
        """The one record whose unique `field` has this value, whatever its case, or None."""
        record_id = self._unique[target.name, field.name].get(value.lower())
        return self._tables[target.name][record_id] if record_id else None

    # Writing what needs no checking

    def touch(self, target: SObject, record: Record, **changes: Any) -> None:
        """A change the server makes by itself, as a roll-up does: it counts as a modification."""
        at = self.now()
        self.put(target, {**record, **changes, "SystemModstamp": at, "LastModifiedDate": at}, record)

    def seed(self, target: SObject, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """Add very many records; out: their IDs. Nothing is checked and nothing worked out: rows are valid as they are.

        In: their fields, in canonical names; days and moments as the REST API writes them. What is not given is blank.
        """
        table, ids = self._tables[target.name], []
        unique = [(f.name, self._unique[target.name, f.name]) for f in target.fields.values() if f.unique]
        times = [(f.name, _PARSE[f.kind]) for f in target.fields.values() if f.kind in _PARSE]
        numbered = next((f for f in target.fields.values() if f.autonumber), None)
        blank, number = self._unsaved(target), self._numbers[target.name]
        for row in rows:
            number += 1
            record = {**blank, **row}
            id = record["Id"] = record["Id"] or make_id(target.prefix, number)
            _parse_times(record, times)
            if numbered:
                record[numbered.name] = numbered.autonumber.format(number)
            for name, index in unique:
                if record[name] is not None:
                    index[record[name].lower()] = id
            table[id] = record
            ids.append(id)
        self._numbers[target.name] = number
        self._indexes = {place: index for place, index in self._indexes.items() if place[0] != target.name}
        return ids

    def _unsaved(self, target: SObject) -> Record:
        """What a seeded record holds where nothing is given."""
        blank, at = {"IsDeleted": False, **blank_record(target)}, self.now()
        blank |= {name: at for name in ("CreatedDate", "LastModifiedDate", "SystemModstamp") if name in blank}
        return blank | {name: self.user_id for name in ("CreatedById", "LastModifiedById", "OwnerId") if name in blank}

    # Undoing

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

    def put(self, target: SObject, record: Record, old: Record | None) -> None:
        self._done.append((target, record["Id"], old))
        self._place(target, record["Id"], record)

    # Keeping and putting back

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
        blank: Record = {"IsDeleted": False, **blank_record(target)}
        users = ("CreatedById", "LastModifiedById", "OwnerId")
        return blank | {name: self.user_id for name in users if name in target.fields}

    def _place(self, target: SObject, record_id: str, record: Record | None) -> None:
        """This record, or none, is what there is by this ID from now on."""
        table = self._tables[target.name]
        old = table.get(record_id)
        for field in target.fields.values():
            if field.unique:
                self._note_unique(target, field, old, record)
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

    def _note_unique(self, target: SObject, field: Field, old: Record | None, record: Record | None) -> None:
        index = self._unique[target.name, field.name]
        if old and old[field.name] is not None:
            index.pop(old[field.name].lower(), None)
        if record and record[field.name] is not None and not record["IsDeleted"]:
            index[record[field.name].lower()] = record["Id"]


def _parse_times(record: Record, times: Iterable[tuple[str, Callable[[str], Any]]]) -> None:
    for name, parsed in times:
        if isinstance(value := record[name], str):
            record[name] = parsed(value)


def folded(field: Field, value: Any) -> Any:
    """Text as it is compared, without its case; IDs and everything else as they are."""
    return value.casefold() if value is not None and field.kind in TEXT_KINDS else value


def blank_record(target: SObject) -> Record:
    return {f.name: bool(f.default) if f.kind == "boolean" else f.default for f in target.fields.values()}


_day = lru_cache(100_000)(parse_date)
_moment = lru_cache(100_000)(parse_datetime)
_PARSE: dict[str, Callable[[str], Any]] = {"date": _day, "datetime": _moment}
"""How days and moments are read that the REST API writes, by the field's kind."""
