"""Periods counted from an anchor: of billing, and those after which usage starts from nothing."""

from __future__ import annotations

import calendar
from datetime import datetime, timedelta
from typing import Literal

Reset = Literal["YEAR", "MONTH", "WEEK", "DAY", "HOUR"]

_SPANS: dict[Reset, timedelta] = {"WEEK": timedelta(weeks=1), "DAY": timedelta(days=1), "HOUR": timedelta(hours=1)}


def months_later(moment: datetime, months: int) -> datetime:
    """The same day some months later; the last day of the month where there is no such day."""
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    day = min(moment.day, calendar.monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day)


def period_around(anchor: datetime, period: Literal["MONTHLY", "ANNUALLY"], at: datetime) -> tuple[datetime, datetime]:
    """The billing period that holds `at` (the first one, when `at` is before the anchor): start and end."""
    step = 1 if period == "MONTHLY" else 12
    whole = max(0, ((at.year - anchor.year) * 12 + at.month - anchor.month) // step)
    if whole and months_later(anchor, whole * step) > at:
        whole -= 1
    return months_later(anchor, whole * step), months_later(anchor, (whole + 1) * step)


def reset_around(anchor: datetime, every: Reset, at: datetime) -> tuple[datetime, datetime]:
    """The reset period that holds `at` (the first one, when `at` is before the anchor): start and end."""
    if every == "YEAR" or every == "MONTH":
        return period_around(anchor, "ANNUALLY" if every == "YEAR" else "MONTHLY", at)
    start = anchor + max(0, (at - anchor) // _SPANS[every]) * _SPANS[every]
    return start, start + _SPANS[every]


def month_end(moment: datetime) -> datetime:
    """The first instant of the next calendar month."""
    return months_later(moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0), 1)
