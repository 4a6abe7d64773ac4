"""Instants: ISO 8601 in UTC, epoch milliseconds, and the day where the stack's users live."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class EndOfBillingPeriod:
    """An end with the billing period that is under way then: only Stigg knows the day."""


def iso_utc(moment: datetime) -> str:
    """An instant as orders and subscriptions keep it: ISO 8601 in UTC with milliseconds. In: a time with a zone."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant_of(milliseconds: int) -> str:
    """An instant as orders keep it. In: epoch milliseconds."""
    return iso_utc(datetime.fromtimestamp(milliseconds / 1000, UTC))


def day_of(instant: str, time_zone: str) -> str:
    """The day of an instant where the stack's users live. In: an instant of an order; a zone such as Europe/Berlin."""
    from zoneinfo import ZoneInfo  # reads the zone's rules: only who tells a day pays for it

    return datetime.fromisoformat(instant).astimezone(ZoneInfo(time_zone)).date().isoformat()


def milliseconds(instant: str) -> int:
    """An instant of an order in epoch milliseconds."""
    return round(datetime.fromisoformat(instant).timestamp() * 1000)
