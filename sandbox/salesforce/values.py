"""Field values: what Salesforce accepts for a field, how it is kept, and how it is shown.

Kept as Python values: str, bool, int, float, `date`, aware `datetime` (whole seconds, UTC) or None.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Any

from sandbox.salesforce.errors import Refusal, json_error
from sandbox.salesforce.ids import to_18
from sandbox.salesforce.schema import NUMBER_KINDS, TEXT_KINDS, Field

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_DATETIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:?\d{2})")
_EMAIL = re.compile(r"[^@\s<>,;]+@[^@\s<>,;.]+(\.[^@\s<>,;.]+)+")
_JSON_TOKENS = {
    bool: "VALUE_TRUE",
    int: "VALUE_NUMBER",
    float: "VALUE_NUMBER",
    str: "VALUE_STRING",
    list: "START_ARRAY",
}


def parse_date(text: str) -> date:
    """A day as yyyy-MM-dd; ValueError for anything else."""
    if not _DATE.fullmatch(text):
        raise ValueError("not a date")
    return date.fromisoformat(text)


def parse_datetime(text: str) -> datetime:
    """A moment with its zone, to the second, in UTC; ValueError for anything else."""
    if not _DATETIME.fullmatch(text):
        raise ValueError("not a date and time with a zone")
    text = re.sub(r"\.\d+", "", text)  # the platform keeps seconds
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError:
        raise ValueError("before the first or after the last year") from None


def accept(field: Field, value: Any) -> Any:
    """The value to keep for what a client sent; refuses what the field cannot hold.

    Does not look at other records: that lookups exist and that values are unique is the store's to check.
    """
    if value is None or value == "":
        if field.kind == "boolean":
            raise _wrong_type(field, value)
        return None
    if field.kind in TEXT_KINDS:
        return _text(field, value)
    if field.kind in NUMBER_KINDS:
        return _number(field, value)
    if field.kind == "boolean":
        if not isinstance(value, bool):
            raise _wrong_type(field, value)
        return value
    if field.kind == "date":
        return _date(field, value)
    if field.kind == "datetime":
        return _datetime(field, value)
    return _id(field, value)


def _date(field: Field, value: Any) -> Any:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    return _parsed(field, value, parse_date)


def _datetime(field: Field, value: Any) -> Any:
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC).replace(microsecond=0)
    return _parsed(field, value, parse_datetime)


def _id(field: Field, value: Any) -> str:
    try:
        return to_18(value)
    except (ValueError, TypeError):
        shown = value if isinstance(value, str) else type(value).__name__
        raise Refusal("MALFORMED_ID", f"{field.shown}: id value of incorrect type: {shown}", [field.name]) from None


def _text(field: Field, value: Any) -> str | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise _wrong_type(field, value)
    value = value.strip()  # so does the platform, and what is left of blanks is null
    if len(value) > field.length:
        message = f"{field.shown}: data value too large: {value[:80]} (max length={field.length})"
        raise Refusal("STRING_TOO_LONG", message, [field.name])
    if field.kind == "picklist" and value and (value not in field.values or value in field.off):
        message = f"{field.shown}: bad value for restricted picklist field: {value}"
        raise Refusal("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, [field.name])
    if field.kind == "email" and value and not _EMAIL.fullmatch(value):
        raise Refusal("INVALID_EMAIL_ADDRESS", f"{field.shown}: invalid email address: {value}", [field.name])
    return value or None


def _number(field: Field, value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise _wrong_type(field, value)
    try:
        number = float(value)
        if field.kind == "int" and not number.is_integer():
            raise ValueError("not whole")
    except (ValueError, OverflowError):
        raise _wrong_type(field, value) from None
    if not abs(number) < 10 ** (18 - field.scale):  # also refuses NaN and infinity
        raise Refusal("NUMBER_OUTSIDE_VALID_RANGE", f"{field.shown}: value outside of valid range", [field.name])
    return int(number) if field.kind == "int" else round(number, field.scale)


def _parsed(field: Field, value: Any, parse: Any) -> Any:
    try:
        return parse(value)
    except (ValueError, TypeError):
        raise _wrong_type(field, value) from None


def _wrong_type(field: Field, value: Any) -> Refusal:
    token = _JSON_TOKENS.get(type(value), "START_OBJECT" if value is not None else "VALUE_NULL")
    shown = str(value)[:80] if isinstance(value, (str, int, float)) else token
    return json_error(
        f"Cannot deserialize instance of {field.kind} from {token} value {shown} or request may be missing a required "
        f"field at [field: {field.name}]"
    )


def to_json(value: Any) -> Any:
    """A kept value as the REST API shows it."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.000+0000")
    if isinstance(value, date):
        return value.isoformat()
    return value
