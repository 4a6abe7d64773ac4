"""References to what a deal or one of its lines amends, renews or ends, as the callout takes them: one or a list."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from closedwon.domain.identifiers import STIGG_ID, STIGG_ID_LENGTH, normalised_id

RECORD_ID_SHOWN: dict[str, Any] = {"minLength": 15, "maxLength": 18, "pattern": "^[A-Za-z0-9]+$"}
"""What the OpenAPI document says of a record's ID."""

MOST_REFERENCES = 50
"""References in one field: more contracts than one deal amends or renews."""


def _references(value: Any, read: Callable[[str], str]) -> tuple[str, ...]:
    """One reference or a list of them, each as `read` keeps it."""
    several = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(several, list | tuple) or not all(isinstance(one, str) for one in several):
        raise ValueError("must be a text or a list of texts")
    if len(several) > MOST_REFERENCES:
        raise ValueError(f"has more than {MOST_REFERENCES} references")
    return tuple(dict.fromkeys(read(one.strip()) for one in several))


def _line_elsewhere(reference: str) -> str:
    """A record's ID of 18 characters, or a line of another deal: ``opportunity/stiggId`` or with ``/start`` behind."""
    record, *line = reference.split("/")
    if not line:
        return normalised_id(record)
    if len(line) > 2 or not all(line):
        raise ValueError("is neither a record ID nor opportunity/stiggId[/start]")
    if len(line[0]) > STIGG_ID_LENGTH or not re.fullmatch(STIGG_ID, line[0]):
        raise ValueError("names no ID in Stigg behind the opportunity (letters, digits and _ . : @ | -)")
    # The start is a day as the deal says it: what it is, only the mapping knows.
    return "/".join((normalised_id(record, "006"), *line))


def one_or_more(read: Callable[[str], str], one: dict[str, Any], description: str) -> Any:
    """A field of references. one: what the OpenAPI document says of each."""
    shown = {"anyOf": [one, {"type": "array", "items": one, "maxItems": MOST_REFERENCES}, {"type": "null"}]}
    return (
        BeforeValidator(lambda value: _references(value, read)),
        WithJsonSchema(shown),
        Field(description=f"{description}; several as a list."),
    )


RECORD = {**RECORD_ID_SHOWN, "type": "string", "examples": ["8005g00000ABCdEAAX"]}
_LINE_ELSEWHERE = {"type": "string", "examples": ["0065g00000ABCdEAAX/feature-seats"]}


def of_a_line(does: str) -> Any:
    said = (
        f"What the line {does}, where that is not all that the deal names: a subscription record, a contract, an "
        "opportunity, or a line of one as opportunity/stiggId or opportunity/stiggId/start"
    )
    return one_or_more(_line_elsewhere, _LINE_ELSEWHERE, said)
