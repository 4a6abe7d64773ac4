"""Reading and writing stored records, of this version and of the next: what a reader does not know it keeps. Pure.

A field that is missing takes its default. One that is unknown comes from a newer version, which was deployed and taken
back: it is kept in the record's `extra` and written back, so that nothing is lost and nothing fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]


def given_of(cls: Any, data: Mapping[str, Any]) -> Json:
    """The arguments of a stored dataclass: the fields it knows, and in `extra` those it does not."""
    names = cls.__dataclass_fields__
    # As a rule it knows them all; and of the lines of a customer's deals there are many.
    if data.keys() <= names.keys():
        return dict(data)
    given = {name: value for name, value in data.items() if name in names}
    return {**given, "extra": {name: value for name, value in data.items() if name not in names}}


def told_of(record: Any) -> Json:
    """The fields of a stored dataclass by their names, and beside them what it does not know."""
    data = {name: getattr(record, name) for name in record.__dataclass_fields__ if name != "extra"}
    return {**data, **record.extra}
