"""The conditions of a SOQL statement, as tests of a record: every name and literal is checked first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sandbox.salesforce import soql
from sandbox.salesforce.columns import Columns
from sandbox.salesforce.errors import Refusal
from sandbox.salesforce.ids import to_18
from sandbox.salesforce.schema import ID_KINDS, NUMBER_KINDS, Field, SObject
from sandbox.salesforce.tables import Record, folded

Test = Callable[[Record], bool]


class Conditions:
    """The conditions of one statement. now: the present, for days that are counted from it."""

    def __init__(self, columns: Columns, now: Callable[[], datetime]) -> None:
        self._columns = columns
        self._now = now

    def test(self, condition: soql.Condition, target: SObject) -> Test:
        """What tells whether a record meets a condition. Raises Refusal."""
        match condition:
            case soql.Not(inner):
                inside = self.test(inner, target)
                return lambda record: not inside(record)
            case soql.And(parts):
                tests = [self.test(part, target) for part in parts]
                return lambda record: all(test(record) for test in tests)
            case soql.Or(parts):
                tests = [self.test(part, target) for part in parts]
                return lambda record: any(test(record) for test in tests)
        column = self._columns.column(condition.path, target)
        holds = self._comparison(column.field, condition)
        value_of = self._columns.getter(column)
        return lambda record: holds(value_of(record))

    def _comparison(self, field: Field, comparison: soql.Comparison) -> Callable[[Any], bool]:
        """What the field's value must fulfil. Null equals only null, and is neither less nor more than a value."""
        operator, values = comparison.operator, comparison.value
        if not field.filterable:
            raise self._columns.invalid(comparison, f"field '{comparison.path}' can not be filtered in a query call")
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
            raise self._columns.invalid(
                comparison, f"invalid operator on {field.kind} field", "INVALID_QUERY_FILTER_OPERATOR"
            )
        pattern = soql.like(value.value)
        return lambda value: value is not None and pattern.fullmatch(value) is not None

    def _order(self, field: Field, values: soql.Value, comparison: soql.Comparison) -> Callable[[Any], bool]:
        if field.kind == "boolean" or values.kind == "null":
            raise self._columns.invalid(
                comparison, f"invalid operator on {field.kind} field", "INVALID_QUERY_FILTER_OPERATOR"
            )
        first, last = self.bounds(field, values, comparison)
        match comparison.operator:
            case "<":
                return lambda value: value is not None and folded(field, value) < first
            case "<=":
                return lambda value: value is not None and folded(field, value) <= last
            case ">":
                return lambda value: value is not None and folded(field, value) > last
        return lambda value: value is not None and folded(field, value) >= first

    def _no_operator(self, field: Field, comparison: soql.Comparison) -> Refusal:
        reason = f"invalid operator on {field.kind} field"
        return self._columns.invalid(comparison, reason, "INVALID_QUERY_FILTER_OPERATOR")

    def _membership(
        self, field: Field, values: tuple[soql.Value, ...], comparison: soql.Comparison
    ) -> Callable[[Any], bool]:
        if any(value.kind == "relative" for value in values):
            tests = [self._equality(field, value, comparison) for value in values]
            return lambda held: any(test(held) for test in tests)
        wanted = {None if value.kind == "null" else self.bounds(field, value, comparison)[0] for value in values}
        return lambda held: folded(field, held) in wanted

    def _equality(self, field: Field, value: soql.Value, comparison: soql.Comparison) -> Callable[[Any], bool]:
        if value.kind == "null":
            return lambda held: held is None
        first, last = self.bounds(field, value, comparison)
        if first == last:
            return lambda held: folded(field, held) == first
        return lambda held: held is not None and first <= held <= last

    def bounds(self, field: Field, value: soql.Value, comparison: soql.Comparison) -> tuple[Any, Any]:
        """The first and the last value a literal stands for: itself twice, but for days among moments."""
        if value.kind == "relative" and field.kind in ("date", "datetime"):
            today = self._now().date()
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
                raise self._columns.invalid(comparison, f"invalid ID field: {literal}", code) from None
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
        raise self._columns.invalid(comparison, reason)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
