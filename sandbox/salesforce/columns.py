"""Names in a SOQL statement: the fields they stand for, and how a record's values of them are got at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sandbox.salesforce import soql
from sandbox.salesforce.errors import Refusal
from sandbox.salesforce.schema import Field, SObject
from sandbox.salesforce.store import Store
from sandbox.salesforce.tables import Record

MAX_PARENTS = 5  # relationships in one path

Tables = Callable[[str], Mapping[str, Record]]
"""All records of an object, by their IDs."""


@dataclass(frozen=True)
class Column:
    """A field reached from the object a query is about, through lookups."""

    through: tuple[Field, ...]
    field: Field


class Columns:
    """The columns that one statement names. text: the statement; with_deleted: parents may be in the recycle bin."""

    def __init__(self, store: Store, text: str, with_deleted: bool) -> None:
        self._store = store
        self._text = text
        self._with_deleted = with_deleted

    def column(self, path: soql.Path, target: SObject) -> Column:
        """What a path names, beginning at an object. Raises Refusal."""
        through: list[Field] = []
        at = target
        if len(path.names) - 1 > MAX_PARENTS:
            raise self.malformed(path.at, "Relationship paths cannot be longer than 5 relationships")
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

    def sortable(self, path: soql.Path, target: SObject) -> Column:
        """A column by which records can be put in order. Raises Refusal."""
        column = self.column(path, target)
        if not column.field.filterable:
            reason = f"field '{path}' can not be sorted in a query call"
            raise Refusal("INVALID_FIELD", soql.located(self._text, path.at, reason))
        return column

    def getter(self, column: Column, tables: Tables | None = None) -> Callable[[Record], Any]:
        """The value a column has in a record. tables: where the parents are, when not in the store."""
        name = column.field.name
        if not column.through:
            return itemgetter(name)
        parent = self.parent(column.through, tables or self._store.table)

        def value(record: Record) -> Any:
            found = parent(record)
            return None if found is None else found[name]

        return value

    def parent(self, through: tuple[Field, ...], tables: Tables) -> Callable[[Record], Record | None]:
        """The record that lookups lead to; None where the way ends. The recycle bin is seen by who looks into it."""
        *before, lookup = through
        name, table, with_deleted = lookup.name, tables(lookup.to), self._with_deleted
        start = self.parent(tuple(before), tables) if before else None

        def parent(record: Record) -> Record | None:
            at = start(record) if start else record
            found = None if at is None else table.get(at[name])
            return found if found is None or with_deleted or not found["IsDeleted"] else None

        return parent

    def malformed(self, at: int, reason: str) -> Refusal:
        """The statement cannot be meant, at a place in it."""
        return Refusal("MALFORMED_QUERY", soql.located(self._text, at, reason))

    def invalid(self, comparison: soql.Comparison, reason: str, code: str = "INVALID_FIELD") -> Refusal:
        """A comparison cannot be made."""
        return Refusal(code, soql.located(self._text, comparison.path.at, reason))
