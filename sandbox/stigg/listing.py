"""Lists: filters from the query, pages by cursor.

Lists are newest first. Stigg promises no order; nobody should count on this one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

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

T = TypeVar("T")

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
    ordered = list(rows)
    places = {row.cursor: place for place, row in enumerate(ordered)}
    return page_of(ordered, lambda row: row, places.get, query, filters, by_date=by_date)


def page_of(
    things: Sequence[T],
    row: Callable[[T], Row],
    place_of: Callable[[str], int | None],
    query: MultiDict[str, str],
    filters: Mapping[str, Filter],
    *,
    by_date: bool = True,
) -> dict[str, Any]:
    """As `page`, of however many things, without looking at more of them than it takes to fill the page.

    things: oldest first; row: of a thing; place_of: a cursor's place among the things, None for one that is not known.
    """
    _check_names(query, filters, by_date)
    _check(query, filters)
    limit = _limit(query.get("limit"))
    after, before = query.get("after"), query.get("before")
    if after is not None and before is not None:
        raise invalid("after and before exclude each other")

    def found(places: Iterable[int], most: int) -> list[Row]:
        """The first matching rows of some places."""
        matching = (r for r in map(row, map(things.__getitem__, places)) if _matches(r, query, filters))
        return list(islice(matching, most))

    cursor = after if before is None else before
    at = len(things) if cursor is None else place_of(cursor)
    if at is None:
        raise invalid("unknown cursor")
    if before is None:
        shown = found(range(at - 1, -1, -1), limit + 1)
        older, newer = len(shown) > limit, bool(found(range(at, len(things)), 1))
        shown = shown[:limit]
    else:
        shown = found(range(at + 1, len(things)), limit + 1)
        newer, older = len(shown) > limit, bool(found(range(at, -1, -1), 1))
        shown = shown[:limit][::-1]
    return {
        "data": [row.json() for row in shown],
        "pagination": {
            "next": shown[-1].cursor if shown and older else None,
            "prev": shown[0].cursor if shown and newer else None,
        },
    }


def _check_names(query: MultiDict[str, str], filters: Mapping[str, Filter], by_date: bool) -> None:
    """Raises `Refused` for parameters that are not known, or given more than once."""
    ranges = {f"createdAt[{name}]" for name in _RANGES} if by_date else set()
    known_once(query, {*filters, *ranges, "limit", "after", "before"})


def known_once(query: MultiDict[str, str], names: Collection[str]) -> None:
    """Raises `Refused` for parameters that have none of these names, or are given more than once."""
    if unknown := set(query) - set(names):
        raise invalid(f"unknown query parameters: {', '.join(sorted(unknown))}")
    if any(len(query.getlist(name)) > 1 for name in query):
        raise invalid("a query parameter is given more than once; separate several values by commas")


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not text.isdecimal() or not 1 <= int(text) <= MAX_LIMIT:
        raise invalid(f"limit must be 1 to {MAX_LIMIT}")
    return int(text)


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
            moment("createdAt", text)


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
        if text is not None and not holds(row.created_at, moment("createdAt", text)):
            return False
    return True


def moment(name: str, text: str) -> datetime:
    """The instant that a parameter names. Raises `Refused`."""
    try:
        return _INSTANT.validate_python(text)
    except ValidationError:
        raise invalid(f"{name} must be an ISO 8601 date-time with a zone") from None
