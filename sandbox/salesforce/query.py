"""Runs a parsed SOQL statement against the store: checks every name and literal first, as Salesforce does.

A statement becomes functions of a record before the first record is looked at, so that millions of them are quick.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, TypeGuard

from sandbox.salesforce import soql
from sandbox.salesforce.columns import Column, Columns
from sandbox.salesforce.conditions import Conditions
from sandbox.salesforce.errors import Refusal
from sandbox.salesforce.schema import ID_KINDS, Field, SObject
from sandbox.salesforce.store import Store
from sandbox.salesforce.tables import Record, folded
from sandbox.salesforce.values import to_json

MAX_OFFSET = 2000  # Salesforce's limit


@dataclass(frozen=True)
class Result:
    """records: as the REST API shows them; size: their number, the only thing COUNT() answers."""

    size: int
    records: list[dict[str, Any]]


def attributes(target: SObject, record: Record, base: str) -> dict[str, str]:
    """What tells a record's type and address; base: ``/services/data/vNN.0``."""
    return {"type": target.name, "url": f"{base}/sobjects/{target.name}/{record['Id']}"}


@dataclass(frozen=True)
class Table:
    """A result as a table that stays what it is, whatever happens to the records afterwards.

    target: the object asked about; header: the columns' names, parents' as paths.
    """

    target: SObject
    header: tuple[str, ...]
    _records: list[Record]
    _cells: tuple[Callable[[Record], Any], ...]

    def __len__(self) -> int:
        return len(self._records)

    def rows(self, start: int, end: int) -> Iterator[list[Any]]:
        """The cells of some rows, as the Bulk API shows values."""
        cells = self._cells
        for record in self._records[start:end]:
            yield [cell(record) for cell in cells]


def run(store: Store, text: str, base: str, *, with_deleted: bool = False) -> Result:
    """Answer a statement.

    In: its text; base: the REST API's path, for the records' addresses. with_deleted: look into the recycle bin too.
    Raises Refusal: MALFORMED_QUERY, INVALID_TYPE, INVALID_FIELD, INVALID_QUERY_FILTER_OPERATOR,
    NUMBER_OUTSIDE_VALID_RANGE.
    """
    select, target = _parsed(store, text)
    return _Query(store, text, base, with_deleted).result(select, target)


def check_bulk(store: Store, text: str) -> SObject:
    """Refuse what the REST API refuses, and what the Bulk API 2.0 does not take; out: the object asked about."""
    select, target = _parsed(store, text)
    if select.counts or select.offset:
        what = "Aggregate functions are" if select.counts else "OFFSET is"
        raise Refusal("API_ERROR", f"{what} not supported in Bulk V2 Query")
    for item in select.fields:
        if isinstance(item, soql.Select):
            raise Refusal("API_ERROR", "Aggregate Relationships not supported in Bulk V2 Query with CSV content type")
        if item.names[-1].lower() in _COMPOUND:
            raise Refusal("API_ERROR", "Selecting compound data not supported in Bulk Query")
    _Query(store, text, "", with_deleted=False).check(select, target)
    return target


def table(store: Store, text: str, *, with_deleted: bool = False) -> Table:
    """Answer a statement that `check_bulk` lets pass, as a table."""
    select, target = _parsed(store, text)
    return _Query(store, text, "", with_deleted).table(select, target)


_COMPOUND = frozenset({"billingaddress", "shippingaddress", "mailingaddress", "otheraddress", "address"})


def _parsed(store: Store, text: str) -> tuple[soql.Select, SObject]:
    select = soql.parse(text)
    target = store.schema.get(str(select.source))
    if not target:
        reason = (
            f"sObject type '{select.source}' is not supported. If you are attempting to use a custom object, be sure "
            "to append the '__c' after the entity name. Please reference your WSDL or the describe call for the "
            "appropriate names."
        )
        raise Refusal("INVALID_TYPE", soql.located(text, select.source.at, reason))
    return select, target


class _Query:
    """One statement or subquery being answered."""

    def __init__(self, store: Store, text: str, base: str, with_deleted: bool) -> None:
        self._store = store
        self._text = text
        self._base = base
        self._with_deleted = with_deleted
        self._columns = Columns(store, text, with_deleted)
        self._conditions = Conditions(self._columns, store.now)

    def result(self, select: soql.Select, target: SObject) -> Result:
        show = self._shower(select, target)
        found = self._found(select, target)
        if select.counts:
            return Result(len(found), [])
        return Result(len(found), [show(record) for record in found])

    def check(self, select: soql.Select, target: SObject) -> None:
        """Raise what would be refused."""
        self._shower(select, target)
        self._filtered(select, target)

    def table(self, select: soql.Select, target: SObject) -> Table:
        columns = [self._columns.column(item, target) for item in select.fields if isinstance(item, soql.Path)]
        # Records are replaced and never changed, so that copies of the tables, and not of what is in them, will do.
        kept = {lookup.to: dict(self._store.table(lookup.to)) for column in columns for lookup in column.through}
        cells = [_in_bulk(self._columns.getter(column, kept.__getitem__), column.field) for column in columns]
        header = [".".join([*(f.relationship for f in c.through), c.field.name]) for c in columns]
        return Table(target, tuple(header), self._found(select, target), tuple(cells))

    def _found(self, select: soql.Select, target: SObject) -> list[Record]:
        return self._filtered(select, target)(self._candidates(select, target))

    def _candidates(self, select: soql.Select, target: SObject) -> Iterable[Record]:
        """The records among which those that match are: where an ID or a unique text is asked for, not all."""
        where = select.where
        for one in where.conditions if isinstance(where, soql.And) else (where,):
            if not _names_values(one):
                continue
            values = one.value if isinstance(one.value, tuple) else (one.value,)
            field = self._columns.column(one.path, target).field
            if (field.kind in ID_KINDS or field.unique) and all(value.kind == "string" for value in values):
                keys = [self._conditions.bounds(field, value, one)[0] for value in values]
                return self._store.having(target, field, keys, with_deleted=self._with_deleted)
        return self._store.records(target, with_deleted=self._with_deleted)

    def _filtered(self, select: soql.Select, target: SObject) -> Callable[[Iterable[Record]], list[Record]]:
        """WHERE, ORDER BY, LIMIT and OFFSET, checked now and applied later (a subquery: once for each parent)."""
        matches = self._conditions.test(select.where, target) if select.where else None
        orders = [(self._columns.sortable(order.path, target), order) for order in select.order]
        if select.counts and orders:
            raise self._columns.malformed(select.order[0].path.at, "Grouped field expected: COUNT() cannot be ordered")
        if select.offset > MAX_OFFSET:
            raise Refusal("NUMBER_OUTSIDE_VALID_RANGE", f"Maximum SOQL offset allowed is {MAX_OFFSET}")
        end = None if select.limit is None else select.offset + select.limit
        keys = [(self._columns.getter(column), column.field, order) for column, order in orders]

        def apply(records: Iterable[Record]) -> list[Record]:
            found = list(filter(matches, records)) if matches else list(records)
            for value_of, field, order in reversed(keys):  # sorting is stable: the last key first
                keyed = [(folded(field, value_of(record)), record) for record in found]
                some = [pair for pair in keyed if pair[0] is not None]
                none = [record for value, record in keyed if value is None]
                some.sort(key=itemgetter(0), reverse=order.descending)
                present = [record for _, record in some]
                found = present + none if order.nulls_last else none + present
            return found[select.offset : end]

        return apply

    # What is selected

    def _shower(self, select: soql.Select, target: SObject) -> Callable[[Record], dict[str, Any]]:
        shows: list[tuple[tuple[str, ...], Callable[[Record], Any]]] = []
        parents: dict[tuple[str, ...], Callable[[Record], dict[str, Any] | None]] = {}
        seen: set[tuple[str, ...]] = set()
        for item in select.fields:
            if isinstance(item, soql.Select):
                name, nested = self._nested(item, target)
                place: tuple[str, ...] = (name,)
                shows.append((place, nested))
            else:
                column = self._columns.column(item, target)
                place = (*(f.relationship for f in column.through), column.field.name)
                for depth in range(1, len(column.through) + 1):
                    lookup = column.through[depth - 1]
                    parents[place[:depth]] = self._parent(Column(column.through[: depth - 1], lookup))
                shows.append((place, _in_json(self._columns.getter(column))))
            if place in seen:
                at = item.source.at if isinstance(item, soql.Select) else item.at
                raise self._columns.malformed(at, f"duplicate field selected: {'.'.join(place)}")
            seen.add(place)

        def show(record: Record) -> dict[str, Any]:
            shown: dict[str, Any] = {"attributes": attributes(target, record, self._base)}
            for place, value_of in shows:
                into: dict[str, Any] | None = shown
                for depth in range(1, len(place)):
                    if into is None:
                        break
                    if place[depth - 1] not in into:
                        into[place[depth - 1]] = parents[place[:depth]](record)
                    into = into[place[depth - 1]]
                if into is not None:
                    into[place[-1]] = value_of(record)
            return shown

        return show

    def _parent(self, lookup: Column) -> Callable[[Record], dict[str, Any] | None]:
        target = self._store.schema.objects[lookup.field.to]
        parent = self._columns.parent((*lookup.through, lookup.field), self._store.table)

        def shown(record: Record) -> dict[str, Any] | None:
            found = parent(record)
            return None if found is None else {"attributes": attributes(target, found, self._base)}

        return shown

    def _nested(self, select: soql.Select, parent: SObject) -> tuple[str, Callable[[Record], Any]]:
        child = self._store.schema.child(parent, str(select.source))
        if not child:
            reason = (
                f"Didn't understand relationship '{select.source}' in FROM part of query call. If you are attempting "
                "to use a custom relationship, be sure to append the '__r' after the custom relationship name. Please "
                "reference your WSDL or the describe call for the appropriate names."
            )
            raise Refusal("INVALID_TYPE", soql.located(self._text, select.source.at, reason))
        if select.offset:
            raise self._columns.malformed(select.source.at, "OFFSET cannot be used in a subquery here")
        target, lookup = child
        show, filtered = self._shower(select, target), self._filtered(select, target)

        def nested(record: Record) -> dict[str, Any] | None:
            found = filtered(self._store.having(target, lookup, [record["Id"]]))
            if not found:
                return None
            return {"totalSize": len(found), "done": True, "records": [show(one) for one in found]}

        return lookup.children, nested


def _names_values(condition: soql.Condition | None) -> TypeGuard[soql.Comparison]:
    """Whether a condition names the values that a field of the record itself may have."""
    if not isinstance(condition, soql.Comparison):
        return False
    return condition.operator in ("=", "IN") and len(condition.path.names) == 1


def _in_json(value_of: Callable[[Record], Any]) -> Callable[[Record], Any]:
    return lambda record: to_json(value_of(record))


def _in_bulk(value_of: Callable[[Record], Any], field: Field) -> Callable[[Record], Any]:
    """A value as the Bulk API shows it: what a CSV writer makes of the others is right."""
    if field.kind == "boolean":
        shown = {True: "true", False: "false", None: None}
        return lambda record: shown[value_of(record)]
    if field.kind == "datetime":
        return lambda record: _instant(value_of(record))
    return value_of


@lru_cache(100_000)
def _instant(moment: datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")
