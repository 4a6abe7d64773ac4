"""Record IDs: 15 case-sensitive characters, or 18 with a suffix that says which of the 15 are upper case."""

from __future__ import annotations

import re

_SUFFIXES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FIFTEEN = re.compile(r"[A-Za-z0-9]{15}")
_SPREAD = 60_247_241_203  # shares no factor with 62**8: every number below that gets an ID of its own


def to_18(record_id: str) -> str:
    """The 18-character form of a 15- or 18-character ID.

    The suffix has one character for each five of the ID; bit n of its index is set where character n is upper case.
    Raises ValueError for anything else, and for an 18-character ID whose suffix does not fit: its case was lost.
    """
    fifteen = record_id[:15]
    if len(record_id) not in (15, 18) or not _FIFTEEN.fullmatch(fifteen):
        raise ValueError("not a record ID")
    suffix = "".join(
        _SUFFIXES[sum(1 << n for n, character in enumerate(fifteen[i : i + 5]) if "A" <= character <= "Z")]
        for i in (0, 5, 10)
    )
    if len(record_id) == 18 and record_id[15:] != suffix:
        raise ValueError("the suffix does not fit the ID")
    return fifteen + suffix


def make_id(prefix: str, number: int) -> str:
    """The 18-character ID of an object's `number`-th record; prefix is the object's three characters."""
    number = number * _SPREAD % 62**8  # spread, so that IDs mix upper and lower case as grown ones do
    digits = ""
    while number:
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return to_18(f"{prefix}5g0{digits:0>9}")
