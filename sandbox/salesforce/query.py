"""Runs a parsed SOQL statement against the store: checks every name and literal first, as Salesforce does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sandbox.salesforce import soql
from sandbox.salesforce.errors import Refusal
from sandbox.salesforce.ids import to_18
from sandbox.salesforce.schema import ID_KINDS, NUMBER_KINDS, Field, SObject
from sandbox.salesforce.store import Record, Store
from sandbox.salesforce.values import to_json

MAX_OFFSET = 2000  # Salesforce's limit
MAX_PARENTS = 5  # relationships in one path

Test = Callable[[Record], bool]


@dataclass(frozen=True)
class Column:
    """A field reached from the object a query is about, through lookups."""

    through: tuple[Field, ...]
    field: Field

    def of(self, store: Store, record: Record) -> Any:
        found: Record | None = record
        for lookup in self.through:
            found = store.peek(lookup.to, found[lookup.name]) if found else None
        return found[self.field.name] if found else None


@dataclass(frozen=True)
class Result:
    """records: as the REST API shows them; size: their number, the only thing COUNT() answers."""

    size: int
    records: list[dict[str, Any]]


def attributes(target: SObject, record: Record, base: str) -> dict[str, str]:
    """What tells a record's type and address; base: ``/services/data/vNN.0``."""
    return {"type": target.name, "url": f"{base}/sobjects/{target.name}/{record['Id']}"}


def run(store: Store, text: str, base: str, *, with_deleted: bool = False) -> Result:
    """Answer a statement.

    In: its text; base: the REST API's path, for the records' addresses. with_deleted: look into the recycle bin too.
    Raises Refusal: MALFORMED_QUERY, INVALID_TYPE, INVALID_FIELD, INVALID_QUERY_FILTER_OPERATOR,
    NUMBER_OUTSIDE_VALID_RANGE.
    """
    select = soql.parse(text)
    target = store.schema.get(str(select.source))
    if not target:
        reason = (
            f"sObject type '{select.source}' is not supported. If you are attempting to use a custom object, be sure "
            "to append the '__c' after the entity name. Please reference your WSDL or the describe call for the "
            "appropriate names."
        )
        raise Refusal("INVALID_TYPE", soql.located(text, select.source.at, reason))
    return _Query(store, text, base).result(select, target, store.records(target, with_deleted=with_deleted))


class _Query:
    """One statement or subquery being answered."""

    def __init__(self, store: Store, text: str, base: str) -> None:
        self._store = store
        self._text = text
        self._base = base

    def result(self, select: soql.Select, target: SObject, records: Iterable[Record]) -> Result:
        show = self._shower(select, target)
        found = self._filtered(select, target)(records)
        if select.counts:
            return Result(len(found), [])
        return Result(len(found), [show(record) for record in found])

    def _filtered(self, select: soql.Select, target: SObject) -> Callable[[Iterable[Record]], list[Record]]:
        """WHERE, ORDER BY, LIMIT and OFFSET, checked now and applied later (a subquery: once for each parent)."""
        matches = self._condition(select.where, target) if select.where else (lambda record: True)
        orders = [(self._sortable(order.path, target), order) for order in select.order]
        if select.counts and orders:
            raise self._malformed(select.order[0].path.at, "Grouped field expected: COUNT() cannot be ordered")
        if select.offset > MAX_OFFSET:
            raise Refusal("NUMBER_OUTSIDE_VALID_RANGE", f"Maximum SOQL offset allowed is {MAX_OFFSET}")
        end = None if select.limit is None else select.offset + select.limit

        def apply(records: Iterable[Record]) -> list[Record]:
            found = [record for record in records if matches(record)]
            for column, order in reversed(orders):  # sorting is stable: the last key first
                keyed = [(column.of(self._store, record), record) for record in found]
                some = [pair for pair in keyed if pair[0] is not None]
                none = [record for value, record in keyed if value is None]
                some.sort(key=lambda pair: _folded(pair[0]), reverse=order.descending)
                present = [record for _, record in some]
                found = present + none if order.nulls_last else none + present
            return found[select.offset : end]

        return apply

    # What is selected

    def _shower(self, select: soql.Select, target: SObject) -> Callable[[Record], dict[str, Any]]:
        shows: list[tuple[tuple[str, ...], Callable[[Record], Any]]] = []
        parents: dict[tuple[str, ...], Column] = {}
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
                    parents[place[:depth]] = Column(column.through[: depth - 1], lookup)
                shows.append((place, self._cell(column)))
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
                        into[place[depth - 1]] = self._parent(parents[place[:depth]], record)
                    into = into[place[depth - 1]]
                if into is not None:
                    into[place[-1]] = value_of(record)
            return shown

        return show

    def _cell(self, column: Column) -> Callable[[Record], Any]:
        return lambda record: to_json(column.of(self._store, record))

    def _parent(self, lookup: Column, record: Record) -> dict[str, Any] | None:
        found = self._store.peek(lookup.field.to, lookup.of(self._store, record))
        if not found:
            return None
        return {"attributes": attributes(self._store.schema.objects[lookup.field.to], found, self._base)}

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
        by_parent: dict[str, list[Record]] = {}
        for record in self._store.records(target):
            by_parent.setdefault(record[lookup.name], []).append(record)

        def nested(record: Record) -> dict[str, Any] | None:
            found = filtered(by_parent.get(record["Id"], ()))
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
        return lambda record: holds(column.of(self._store, record))

    def _comparison(self, field: Field, comparison: soql.Comparison) -> Callable[[Any], bool]:
        """What the field's value must fulfil. Null equals only null, and is neither less nor more than a value."""
        operator, values = comparison.operator, comparison.value
        if not field.filterable:
            raise self._invalid(comparison, f"field '{comparison.path}' can not be filtered in a query call")
        if isinstance(values, tuple):
            tests = [self._equality(field, value, comparison) for value in values]
            if operator == "IN":
                return lambda value: any(test(value) for test in tests)
            return lambda value: not any(test(value) for test in tests)
        if operator == "=":
            return self._equality(field, values, comparison)
        if operator == "!=":
            equal = self._equality(field, values, comparison)
            return lambda value: not equal(value)
        if operator == "LIKE":
            if field.kind in ID_KINDS or field.kind in NUMBER_KINDS or field.kind in ("boolean", "date", "datetime"):
                raise self._invalid(
                    comparison, f"invalid operator on {field.kind} field", "INVALID_QUERY_FILTER_OPERATOR"
                )
            pattern = soql.like(values.value)
            return lambda value: value is not None and pattern.fullmatch(value) is not None
        if field.kind == "boolean" or values.kind == "null":
            raise self._invalid(comparison, f"invalid operator on {field.kind} field", "INVALID_QUERY_FILTER_OPERATOR")
        first, last = self._range(field, values, comparison)
        match operator:
            case "<":
                return lambda value: value is not None and _folded(value) < first
            case "<=":
                return lambda value: value is not None and _folded(value) <= last
            case ">":
                return lambda value: value is not None and _folded(value) > last
        return lambda value: value is not None and _folded(value) >= first

    def _equality(self, field: Field, value: soql.Value, comparison: soql.Comparison) -> Callable[[Any], bool]:
        if value.kind == "null":
            return lambda held: held is None
        first, last = self._range(field, value, comparison)
        return lambda held: held is not None and first <= _folded(held) <= last

    def _range(self, field: Field, value: soql.Value, comparison: soql.Comparison) -> tuple[Any, Any]:
        """The first and the last value a literal stands for: itself twice, but for days among moments."""
        if value.kind == "relative" and field.kind in ("date", "datetime"):
            today = self._store.now().date()
            start = today - timedelta(days=value.value)
            if field.kind == "date":
                return start, today
            return _midnight(start), _midnight(today + timedelta(days=1)) - timedelta(seconds=1)
        if field.kind in ID_KINDS:
            wanted = "string"
        elif field.kind in NUMBER_KINDS:
            wanted = "number"
        elif field.kind in ("boolean", "date", "datetime"):
            wanted = field.kind
        else:
            wanted = "string"
        if value.kind != wanted:
            shown = {"string": "string", "number": "double"}.get(wanted, {"datetime": "dateTime"}.get(wanted, wanted))
            quotes = "should be" if wanted == "string" else "should not be"
            reason = (
                f"value of filter criterion for field '{comparison.path}' must be of type {shown} and {quotes} "
                "enclosed in quotes"
            )
            raise self._invalid(comparison, reason)
        literal = value.value
        if value.kind == "string":
            literal = soql.plain(literal)
            if field.kind in ID_KINDS:
                try:
                    literal = to_18(literal)
                except ValueError:
                    code = "INVALID_QUERY_FILTER_OPERATOR"
                    raise self._invalid(comparison, f"invalid ID field: {literal}", code) from None
        literal = _folded(literal)
        return literal, literal

    # Refusals

    def _malformed(self, at: int, reason: str) -> Refusal:
        return Refusal("MALFORMED_QUERY", soql.located(self._text, at, reason))

    def _invalid(self, comparison: soql.Comparison, reason: str, code: str = "INVALID_FIELD") -> Refusal:
        return Refusal(code, soql.located(self._text, comparison.path.at, reason))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _folded(value: Any) -> Any:
    """Text compares without its case, as Salesforce compares it."""
    return value.casefold() if isinstance(value, str) else value
