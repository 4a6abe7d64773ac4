"""Lists: filters from the query, pages by cursor.

Lists are newest first. Stigg promises no order; nobody should count on this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError
from werkzeug.datastructures import MultiDict

from .errors import invalid
from .models import Instant

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
_RANGES: Mapping[str, Callable[[datetime, datetime], bool]] = {
    "gt": lambda left, right: left > right,
    "gte": lambda left, right: left >= right,
    "lt": lambda left, right: left < right,
    "lte": lambda left, right: left <= right,
}

_INSTANT: TypeAdapter[datetime] = TypeAdapter(Instant)


@dataclass(frozen=True)
class Row:
    """One record of a list: its cursor, when it was made, the values filters look at, and what is answered for it."""

    cursor: str
    created_at: datetime
    values: Mapping[str, str | None]
    json: Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Filter:
    """A query parameter. choices: the values it takes (several, separated by commas), None for any one value."""

    choices: frozenset[str] | None = None
    required: bool = False


def choices(*values: str) -> Filter:
    return Filter(frozenset(values))


def page(
    rows: Iterable[Row], query: MultiDict[str, str], filters: Mapping[str, Filter], *, by_date: bool = True
) -> dict[str, Any]:
    """One page: ``{"data": [...], "pagination": {"next", "prev"}}``.

    rows: oldest first. Raises `Refused` (400) for unknown parameters, values and cursors.
    """
    ranges = {f"createdAt[{name}]" for name in _RANGES} if by_date else set()
    unknown = set(query) - set(filters) - ranges - {"limit", "after", "before"}
    if unknown:
        raise invalid(f"unknown query parameters: {', '.join(sorted(unknown))}")
    if any(len(query.getlist(name)) > 1 for name in query):
        raise invalid("a query parameter is given more than once; separate several values by commas")
    _check(query, filters)
    found = [row for row in rows if _matches(row, query, filters)]
    found.reverse()
    limit = _limit(query.get("limit"))
    after, before = query.get("after"), query.get("before")
    if after is not None and before is not None:
        raise invalid("after and before exclude each other")
    if before is not None:
        stop = _place(found, before)
        start = max(0, stop - limit)
    else:
        start = 0 if after is None else _place(found, after) + 1
        stop = min(len(found), start + limit)
    shown = found[start:stop]
    return {
        "data": [row.json() for row in shown],
        "pagination": {
            "next": shown[-1].cursor if shown and stop < len(found) else None,
            "prev": shown[0].cursor if shown and start > 0 else None,
        },
    }


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not text.isdecimal() or not 1 <= int(text) <= MAX_LIMIT:
        raise invalid(f"limit must be 1 to {MAX_LIMIT}")
    return int(text)


def _place(rows: list[Row], cursor: str) -> int:
    for place, row in enumerate(rows):
        if row.cursor == cursor:
            return place
    raise invalid("unknown cursor")


def _check(query: MultiDict[str, str], filters: Mapping[str, Filter]) -> None:
    for name, wanted in filters.items():
        text = query.get(name)
        if text is None:
            if wanted.required:
                raise invalid(f"{name} is required")
        elif wanted.choices is not None and not set(text.split(",")) <= wanted.choices:
            raise invalid(f"{name} must be of {', '.join(sorted(wanted.choices))}")
    for name in _RANGES:
        if (text := query.get(f"createdAt[{name}]")) is not None:
            _moment(text)


def _matches(row: Row, query: MultiDict[str, str], filters: Mapping[str, Filter]) -> bool:
    for name, wanted in filters.items():
        text = query.get(name)
        if text is None:
            continue
        accepted = [text] if wanted.choices is None else text.split(",")
        if row.values[name] not in accepted:
            return False
    for name, holds in _RANGES.items():
        text = query.get(f"createdAt[{name}]")
        if text is not None and not holds(row.created_at, _moment(text)):
            return False
    return True


def _moment(text: str) -> datetime:
    try:
        return _INSTANT.validate_python(text)
    except ValidationError:
        raise invalid("createdAt must be an ISO 8601 date-time with a zone") from None
