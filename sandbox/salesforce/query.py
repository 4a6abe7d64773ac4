"""Runs a parsed SOQL statement against the store: checks every name and literal first, as Salesforce does.

A statement becomes functions of a record before the first record is looked at, so that millions of them are quick.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Any, TypeGuard

from sandbox.salesforce import soql
from sandbox.salesforce.errors import Refusal
from sandbox.salesforce.ids import to_18
from sandbox.salesforce.schema import ID_KINDS, NUMBER_KINDS, Field, SObject
from sandbox.salesforce.store import Store
from sandbox.salesforce.tables import Record, folded
from sandbox.salesforce.values import to_json

MAX_OFFSET = 2000  # Salesforce's limit
MAX_PARENTS = 5  # relationships in one path

Test = Callable[[Record], bool]
Tables = Callable[[str], Mapping[str, Record]]
"""All records of an object, by their IDs."""


@dataclass(frozen=True)
class Column:
    """A field reached from the object a query is about, through lookups."""

    through: tuple[Field, ...]
    field: Field


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
        columns = [self._column(item, target) for item in select.fields if isinstance(item, soql.Path)]
        # Records are replaced and never changed, so that copies of the tables, and not of what is in them, will do.
        kept = {lookup.to: dict(self._store.table(lookup.to)) for column in columns for lookup in column.through}
        cells = [_in_bulk(self._getter(column, kept.__getitem__), column.field) for column in columns]
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
            field = self._column(one.path, target).field
            if (field.kind in ID_KINDS or field.unique) and all(value.kind == "string" for value in values):
                keys = [self._range(field, value, one)[0] for value in values]
                return self._store.having(target, field, keys, with_deleted=self._with_deleted)
        return self._store.records(target, with_deleted=self._with_deleted)

    def _filtered(self, select: soql.Select, target: SObject) -> Callable[[Iterable[Record]], list[Record]]:
        """WHERE, ORDER BY, LIMIT and OFFSET, checked now and applied later (a subquery: once for each parent)."""
        matches = self._condition(select.where, target) if select.where else None
        orders = [(self._sortable(order.path, target), order) for order in select.order]
        if select.counts and orders:
            raise self._malformed(select.order[0].path.at, "Grouped field expected: COUNT() cannot be ordered")
        if select.offset > MAX_OFFSET:
            raise Refusal("NUMBER_OUTSIDE_VALID_RANGE", f"Maximum SOQL offset allowed is {MAX_OFFSET}")
        end = None if select.limit is None else select.offset + select.limit
        keys = [(self._getter(column), column.field, order) for column, order in orders]

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
                column = self._column(item, target)
                place = (*(f.relationship for f in column.through), column.field.name)
                for depth in range(1, len(column.through) + 1):
                    lookup = column.through[depth - 1]
                    parents[place[:depth]] = self._parent(Column(column.through[: depth - 1], lookup))
                shows.append((place, _in_json(self._getter(column))))
            if place in seen:
                at = item.source.at if isinstance(item, soql.Select) else item.at
                raise self._malformed(at, f"duplicate field selected: {'.'.join(place)}")
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

    def _getter(self, column: Column, tables: Tables | None = None) -> Callable[[Record], Any]:
        """The value a column has in a record. tables: where the parents are, when not in the store."""
        name = column.field.name
        if not column.through:
            return itemgetter(name)
        parent = self._getter_of_record(column.through, tables or self._store.table)

        def value(record: Record) -> Any:
            found = parent(record)
            return None if found is None else found[name]

        return value

    def _getter_of_record(self, through: tuple[Field, ...], tables: Tables) -> Callable[[Record], Record | None]:
        """The record that lookups lead to; None where the way ends. The recycle bin is seen by who looks into it."""
        *before, lookup = through
        name, table, with_deleted = lookup.name, tables(lookup.to), self._with_deleted
        start = self._getter_of_record(tuple(before), tables) if before else None

        def parent(record: Record) -> Record | None:
            at = start(record) if start else record
            found = None if at is None else table.get(at[name])
            return found if found is None or with_deleted or not found["IsDeleted"] else None

        return parent

    def _parent(self, lookup: Column) -> Callable[[Record], dict[str, Any] | None]:
        target = self._store.schema.objects[lookup.field.to]
        parent = self._getter_of_record((*lookup.through, lookup.field), self._store.table)

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
            raise self._malformed(select.source.at, "OFFSET cannot be used in a subquery here")
        target, lookup = child
        show, filtered = self._shower(select, target), self._filtered(select, target)

        def nested(record: Record) -> dict[str, Any] | None:
            found = filtered(self._store.having(target, lookup, [record["Id"]]))
            if not found:
                return None
            return {"totalSize": len(found), "done": True, "records": [show(one) for one in found]}

        return lookup.children, nested

    # Names

    def _column(self, path: soql.Path, target: SObject) -> Column:
        through: list[Field] = []
        at = target
        if len(path.names) - 1 > MAX_PARENTS:
            raise self._malformed(path.at, "Relationship paths cannot be longer than 5 relationships")
        for name in path.names[:-1]:
            lookup = at.parent(name)
            if not lookup:
                reason = (
                    f"Didn't understand relationship '{name}' in field path. If you are attempting to use a custom "
                    "relationship, be sure to append the '__r' after the custom relationship name. Please reference "
                    "your WSDL or the describe call for the appropriate names."
                )
                raise Refusal("INVALID_FIELD", soql.located(self._text, path.at, reason))
            through.append(lookup)
            at = self._store.schema.objects[lookup.to]
        found = at.field(path.names[-1])
        if not found:
            reason = (
                f"No such column '{path.names[-1]}' on entity '{at.name}'. If you are attempting to use a custom "
                "field, be sure to append the '__c' after the custom field name. Please reference your WSDL or the "
                "describe call for the appropriate names."
            )
            raise Refusal("INVALID_FIELD", soql.located(self._text, path.at, reason))
        return Column(tuple(through), found)

    def _sortable(self, path: soql.Path, target: SObject) -> Column:
        column = self._column(path, target)
        if not column.field.filterable:
            reason = f"field '{path}' can not be sorted in a query call"
            raise Refusal("INVALID_FIELD", soql.located(self._text, path.at, reason))
        return column

    # Conditions

    def _condition(self, condition: soql.Condition, target: SObject) -> Test:
        match condition:
            case soql.Not(inner):
                inside = self._condition(inner, target)
                return lambda record: not inside(record)
            case soql.And(parts):
                tests = [self._condition(part, target) for part in parts]
                return lambda record: all(test(record) for test in tests)
            case soql.Or(parts):
                tests = [self._condition(part, target) for part in parts]
                return lambda record: any(test(record) for test in tests)
        column = self._column(condition.path, target)
        holds = self._comparison(column.field, condition)
        value_of = self._getter(column)
        return lambda record: holds(value_of(record))

    def _comparison(self, field: Field, comparison: soql.Comparison) -> Callable[[Any], bool]:
        """What the field's value must fulfil. Null equals only null, and is neither less nor more than a value."""
        operator, values = comparison.operator, comparison.value
        if not field.filterable:
            raise self._invalid(comparison, f"field '{comparison.path}' can not be filtered in a query call")
        if isinstance(values, tuple):
            among = self._membership(field, values, comparison)
            return among if operator == "IN" else lambda value: not among(value)
        if operator == "=":
            return self._equality(field, values, comparison)
        if operator == "!=":
            equal = self._equality(field, values, comparison)
            return lambda value: not equal(value)
        if operator == "LIKE":
            return self._likeness(field, values, comparison)
        return self._order(field, values, comparison)

    def _likeness(self, field: Field, value: soql.Value, comparison: soql.Comparison) -> Callable[[Any], bool]:
        if field.kind in (*ID_KINDS, *NUMBER_KINDS, "boolean", "date", "datetime"):
            raise self._invalid(comparison, f"invalid operator on {field.kind} field", "INVALID_QUERY_FILTER_OPERATOR")
        pattern = soql.like(value.value)
        return lambda value: value is not None and pattern.fullmatch(value) is not None

    def _order(self, field: Field, values: soql.Value, comparison: soql.Comparison) -> Callable[[Any], bool]:
        if field.kind == "boolean" or values.kind == "null":
            raise self._invalid(comparison, f"invalid operator on {field.kind} field", "INVALID_QUERY_FILTER_OPERATOR")
        first, last = self._range(field, values, comparison)
        match comparison.operator:
            case "<":
                return lambda value: value is not None and folded(field, value) < first
            case "<=":
                return lambda value: value is not None and folded(field, value) <= last
            case ">":
                return lambda value: value is not None and folded(field, value) > last
        return lambda value: value is not None and folded(field, value) >= first

    def _membership(
        self, field: Field, values: tuple[soql.Value, ...], comparison: soql.Comparison
    ) -> Callable[[Any], bool]:
        if any(value.kind == "relative" for value in values):
            tests = [self._equality(field, value, comparison) for value in values]
            return lambda held: any(test(held) for test in tests)
        wanted = {None if value.kind == "null" else self._range(field, value, comparison)[0] for value in values}
        return lambda held: folded(field, held) in wanted

    def _equality(self, field: Field, value: soql.Value, comparison: soql.Comparison) -> Callable[[Any], bool]:
        if value.kind == "null":
            return lambda held: held is None
        first, last = self._range(field, value, comparison)
        if first == last:
            return lambda held: folded(field, held) == first
        return lambda held: held is not None and first <= held <= last

    def _range(self, field: Field, value: soql.Value, comparison: soql.Comparison) -> tuple[Any, Any]:
        """The first and the last value a literal stands for: itself twice, but for days among moments."""
        if value.kind == "relative" and field.kind in ("date", "datetime"):
            today = self._store.now().date()
            start = today - timedelta(days=value.value)
            if field.kind == "date":
                return start, today
            return _midnight(start), _midnight(today + timedelta(days=1)) - timedelta(seconds=1)
        self._check_literal(field, value, comparison)
        literal = value.value
        if value.kind == "string":
            literal = soql.plain(literal)
        if field.kind in ID_KINDS:
            try:
                literal = to_18(literal)
            except ValueError:
                code = "INVALID_QUERY_FILTER_OPERATOR"
                raise self._invalid(comparison, f"invalid ID field: {literal}", code) from None
        literal = folded(field, literal)
        return literal, literal

    def _check_literal(self, field: Field, value: soql.Value, comparison: soql.Comparison) -> None:
        """Raises Refusal for a literal of another kind than the field's."""
        if field.kind in NUMBER_KINDS:
            wanted = "number"
        else:
            wanted = field.kind if field.kind in ("boolean", "date", "datetime") else "string"
        if value.kind == wanted:
            return
        shown = {"number": "double", "datetime": "dateTime"}.get(wanted, wanted)
        quotes = "should be" if wanted == "string" else "should not be"
        reason = (
            f"value of filter criterion for field '{comparison.path}' must be of type {shown} and {quotes} "
            "enclosed in quotes"
        )
        raise self._invalid(comparison, reason)

    # Refusals

    def _malformed(self, at: int, reason: str) -> Refusal:
        return Refusal("MALFORMED_QUERY", soql.located(self._text, at, reason))

    def _invalid(self, comparison: soql.Comparison, reason: str, code: str = "INVALID_FIELD") -> Refusal:
        return Refusal(code, soql.located(self._text, comparison.path.at, reason))


def _names_values(condition: soql.Condition | None) -> TypeGuard[soql.Comparison]:
    """Whether a condition names the values that a field of the record itself may have."""
    if not isinstance(condition, soql.Comparison):
        return False
    return condition.operator in ("=", "IN") and len(condition.path.names) == 1


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


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
