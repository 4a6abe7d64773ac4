"""Numbers of things, and spans of time, as people say them."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """1 customer, 1,204 customers."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """2 hours 5 minutes; 4 minutes 12 seconds; 42 seconds."""
    whole = round(seconds)  # before it is divided: 59.6 seconds are a minute, not 60 seconds
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        parts = [counted(hours, "hour"), counted(minutes, "minute") if minutes else ""]
    elif minutes:
        parts = [counted(minutes, "minute"), counted(rest, "second") if rest else ""]
    else:
        parts = [counted(rest, "second")]
    return " ".join(filter(None, parts))
