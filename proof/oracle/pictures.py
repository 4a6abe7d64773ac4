"""What stands at an instant, and what it charges (the model's sections 5 and 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from proof.oracle.agreed import Agreed
from proof.oracle.money import Charged, PriceFault, charged
from proof.oracle.words import CHARGED, SWITCHES, Line, Slot, instant


@dataclass
class Picture:
    """What stands in one slot. given: by kind and name, how many; of the plan, its units. prices: of the plan (None),
    of add-ons and of what the plan charges by the unit, what one period charges together; None: the catalogue's.
    """

    lines: list[Line]
    plan: str
    given: dict[tuple[str, str], int]
    prices: dict[str | None, Charged]
    billing: str | None
    collection: str | None

    @property
    def units(self) -> int:
        """How many units of the plan: 1, unless it is sold by the unit."""
        sold = [line.quantity for line in self.lines if line.is_plan]
        return self.given["Plan", self.plan] if any(abs(units) > 1 for units in sold) else 1

    @property
    def addons(self) -> dict[str, int]:
        return {name: n for (kind, name), n in self.given.items() if kind == "Add-on" and n}

    @property
    def limits(self) -> dict[str, Any]:
        return {
            name: "granted" if name in SWITCHES else n
            for (kind, name), n in self.given.items()
            if kind not in ("Add-on", "Plan") and n and name != CHARGED.get(self.plan)
        }

    @property
    def charges(self) -> dict[str, int]:
        """The units of what the plan charges."""
        counted = CHARGED.get(self.plan)
        return {name: n for (kind, name), n in self.given.items() if kind == "Entitlement" and name == counted and n}

    @property
    def amounts(self) -> dict[str, int]:
        """What there is of each that can shrink."""
        found = {name: n for (kind, name), n in self.given.items() if kind != "Plan" and n}
        return found | ({self.plan: self.units} if self.units > 1 else {})


def picture(agreed: Agreed, slot: Slot, moment: datetime) -> Picture | None:
    """What stands in a slot; None: nothing. A price that is nobody's sum is left out: it is a fault of its own."""
    lines = agreed.alive(slot, moment)
    if not lines:
        return None
    given: dict[tuple[str, str], int] = {}
    for line in lines:
        given[line.kind, line.name] = given.get((line.kind, line.name), 0) + line.quantity
    plans = [name for (kind, name), n in given.items() if kind == "Plan" and n > 0]
    prices = {}
    for (kind, name), contracts in by_place(lines):
        if kind in ("Plan", "Add-on") or (kind == "Entitlement" and name == CHARGED.get(plans[0])):
            try:
                prices[name or None] = charged(contracts)
            except PriceFault:
                continue
    billing, collection = (_term(agreed, lines, name) for name in ("billingPeriod", "paymentCollection"))
    return Picture(lines, plans[0], given, prices, billing, collection)


def by_place(lines: Sequence[Line]) -> list[tuple[tuple[str, str], list[list[Line]]]]:
    """The lines of each place (kind, name; of a plan no name), contract by contract."""

    def place(line: Line) -> tuple[str, str]:
        return line.place[1:]

    found = []
    for key, there in groupby(sorted(lines, key=place), place):
        together = sorted(there, key=lambda line: line.contract)
        found.append((key, [list(some) for _, some in groupby(together, lambda line: line.contract)]))
    return found


def _term(agreed: Agreed, lines: Sequence[Line], name: str) -> str | None:
    """A term, by the newest deal that says one for a plan that counts; a renewal that says none keeps it."""
    for line in sorted((line for line in lines if line.is_plan), key=lambda line: line.day, reverse=True):
        if found := term_of(agreed, line, name):
            return found
    return None


def term_of(agreed: Agreed, line: Line, name: str) -> str | None:
    deals = [line.said]
    while deals:
        deal = deals.pop(0)
        if deal["terms"].get(name):
            return str(deal["terms"][name])
        parents = agreed.parents(str(deal["opportunity"]["id"]))
        deals += [found for id in sorted(parents) if (found := agreed.facts[id].deal) is not None]
    return None


def trial_end(lines: Sequence[Line], zone: str) -> datetime | None:
    """When a trial ends: with its own day, or with the sale it led to."""
    ends = [instant(line.said["terms"].get("trialEnd"), last_day=True, zone=zone) for line in lines if line.is_plan]
    return min(
        (
            min([end, *(cut.at for cut in line.cuts)])
            for line, end in zip([o for o in lines if o.is_plan], ends, strict=True)
            if end
        ),
        default=None,
    )
