"""The oracle's words: deals as they are sent, instants, the catalogue, what a stack chooses, and lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from fractions import Fraction
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

Deal = Mapping[str, Any]

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
FOREVER = datetime(9999, 1, 1, tzinfo=UTC)

PRODUCTS = {
    "plan-free": "product-platform",
    "plan-team": "product-platform",
    "plan-enterprise": "product-platform",
    "plan-enterprise-plus": "product-platform",
    "plan-per-seat": "product-platform",
    "plan-analytics": "product-analytics",
    "plan-growth": "product-platform",
    "plan-analytics-pro": "product-analytics",
    "plan-pilot": "product-platform",
}
CHARGED = {"plan-growth": "feature-seats", "plan-analytics-pro": "feature-dashboards"}
"""By plan, the feature of which it charges each unit: a line of it has a price, like an add-on's."""

ADDONS = {
    "addon-premium-support": "product-platform",
    "addon-extra-workspace": "product-platform",
    "addon-data-export": "product-analytics",
}
SWITCHES = {"feature-sso"}
"""Features that are granted or not, without an amount."""

FEATURES = {
    "feature-seats": ("product-platform", "product-analytics"),
    "feature-api-calls": ("product-platform",),
    "feature-storage-gb": ("product-platform",),
    "feature-sso": ("product-platform",),
    "feature-dashboards": ("product-analytics",),
}
"""The products whose plans have a feature. Where a contract has one product, its plan takes any."""

KNOWN = {*PRODUCTS, *ADDONS, *FEATURES, "currency-ai-credits"}

ROOTS = ("closed_won", "trial", "renewal")
"""What begins a contract."""


class Rules(NamedTuple):
    """What a stack chooses. end_of_term: keep, grace or end. reopened: flag or revoke. guard: RemovalGuardPercent."""

    zone: str = "UTC"
    end_of_term: str = "keep"
    grace_days: int = 14
    reopened: str = "flag"
    guard: int = 50


class Slot(NamedTuple):
    product: str
    resource: str | None
    trial: bool


class Cut(NamedTuple):
    """An instant from which another deal, or the deal itself, ends a line. how: renewed, amended, cancelled, own."""

    at: datetime
    how: str
    by: str


@dataclass(eq=False)
class Line:
    """One line of one deal, in the contract it belongs to.

    contract: its key: the root's opportunity, and the contract's name. day: when its deal takes effect. end: as it was
    sold. policy_end: that end, by the policy for the end of a term. price: of one unit; None where none is said.
    """

    deal: str
    said: Deal
    raw: Mapping[str, Any]
    contract: tuple[str, str]
    slot: Slot
    kind: str
    name: str
    quantity: int
    price: Fraction | None
    difference: bool
    day: datetime
    start: datetime
    end: datetime
    policy_end: datetime = FOREVER
    cuts: list[Cut] = field(default_factory=list)

    @property
    def is_plan(self) -> bool:
        return self.kind == "Plan"

    @property
    def place(self) -> tuple[Slot, str, str]:
        """What it adds up in. Every plan of a product has the same place."""
        return (self.slot, self.kind, "" if self.is_plan else self.name)

    @property
    def until(self) -> datetime:
        return min([self.policy_end, *(cut.at for cut in self.cuts)])

    @property
    def ever(self) -> bool:
        return self.start < self.until

    def counts(self, moment: datetime) -> bool:
        return self.start <= moment < self.until


def instant(value: str | None, last_day: bool = False, zone: str = "UTC") -> datetime | None:
    """A day or a time as an instant. A last day is included: it ends when the next one begins, where the stack is."""
    if not value:
        return None
    if len(value) == 10:
        day = datetime.fromisoformat(value) + timedelta(days=1 if last_day else 0)
        return datetime.combine(day.date(), time(), ZoneInfo(zone)).astimezone(UTC)
    moment = datetime.fromisoformat(value)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def later_by(moment: datetime, months: int, zone: str) -> datetime:
    """Some months later, on the same day of the month there, or on the last."""
    here = moment.astimezone(ZoneInfo(zone))
    year, month = divmod(here.year * 12 + here.month - 1 + months, 12)
    for day in range(here.day, 27, -1):
        try:
            return here.replace(year=year, month=month + 1, day=day).astimezone(UTC)
        except ValueError:
            continue
    return here.replace(year=year, month=month + 1, day=min(here.day, 28)).astimezone(UTC)


def as_list(value: Any) -> list[str]:
    """One reference or several, as they are said."""
    return [] if not value else [value] if isinstance(value, str) else list(value)


def id_of(deal: Deal) -> str:
    return str(deal["opportunity"]["id"])


def stamp(deal: Deal) -> datetime:
    """When a reading was saved."""
    return instant(deal["opportunity"].get("systemModstamp")) or BEGINNING


def grants(deal: Deal) -> list[Mapping[str, Any]]:
    return [each for each in deal["lines"] if each["stiggType"] == "Credit grant"]
