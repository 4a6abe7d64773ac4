"""Stigg's catalogue as far as provisioning needs it: plans with their products, add-ons, features, credit currencies.

The catalogue changes rarely and every provisioning needs it, so a snapshot of it is kept beside the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

FRESH_SECONDS = 15 * 60
"""The greatest age, in seconds, of a snapshot to provision by."""

CERTAIN_SECONDS = 30
"""The greatest age, in seconds, of a snapshot to refuse a deal by: somebody may just have corrected the catalogue."""

CURRENCIES = frozenset(
    "usd aed all amd ang aud awg azn bam bbd bdt bgn bif bmd bnd bsd bwp byn bzd brl cad cdf chf cny czk dkk dop "
    "dzd egp etb eur fjd gbp gel gip gmd gyd hkd hrk htg idr ils inr isk jmd jpy kes kgs khr kmf krw kyd kzt lbp "
    "lkr lrd lsl mad mdl mga mkd mmk mnt mop mro mvr mwk mxn myr mzn nad ngn nok npr nzd pgk php pkr pln qar ron "
    "rsd rub rwf sar sbd scr sek sgd sle sll sos szl thb tjs top try ttd tzs uah uzs vnd vuv wst xaf xcd yer zar "
    "zmw clp djf gnf ugx pyg xof xpf".split()
)
"""The currencies Stigg's API takes for a price (its API's own list; a contract test compares them)."""


@dataclass(frozen=True)
class Plan:
    """A plan. pricing_type is FREE, PAID or CUSTOM; addons are the IDs it is compatible with, None where not told."""

    product_id: str
    pricing_type: str
    addons: frozenset[str] | None
    entitlements: frozenset[str]


@dataclass(frozen=True)
class Catalogue:
    """A snapshot. max_quantities: add-on ID to the most of it one subscription may have, None for no bound.
    feature_types: feature ID to BOOLEAN, NUMBER or ENUM. read_at: epoch milliseconds. retired: archived plans, which
    no deal can buy any more but customers may still have.
    """

    plans: dict[str, Plan]
    max_quantities: dict[str, int | None]
    feature_types: dict[str, str]
    currencies: frozenset[str]
    read_at: int
    retired: dict[str, Plan] = field(default_factory=dict)

    def plan(self, plan_id: str) -> Plan | None:
        """A plan that is or once was sold; None when Stigg does not know it."""
        # Of an archived plan the product is needed: else it would not know the slot of what still stands.
        return self.plans.get(plan_id) or self.retired.get(plan_id)

    def product_of(self, plan_id: str) -> str | None:
        """The product of a plan that is or once was sold."""
        plan = self.plan(plan_id)
        return plan.product_id if plan else None

    def takers(self, kind: str, id: str, plans: Iterable[str]) -> list[str]:
        """The plans that take an add-on, entitlement or credits, of those that are known: with several that would take
        an entitlement, those that know it.
        """
        known = {plan: found for plan in plans if (found := self.plan(plan)) is not None}
        if kind == "Add-on":
            return [plan for plan, found in known.items() if found.addons is None or id in found.addons]
        return _knowing(known, id)

    def age(self, now: int) -> float:
        """Seconds since it was read. now: epoch milliseconds."""
        return (now - self.read_at) / 1000

    def to_json(self) -> str:
        return json.dumps(
            {
                "plans": {id: _plan_to_json(plan) for id, plan in self.plans.items()},
                "retired": {id: _plan_to_json(plan) for id, plan in self.retired.items()},
                "addons": self.max_quantities,
                "features": self.feature_types,
                "currencies": sorted(self.currencies),
                "readAt": self.read_at,
            },
            separators=(",", ":"),  # one item of DynamoDB, 400 KB at most, holds all of it
        )

    @classmethod
    def from_json(cls, text: str) -> Catalogue:
        data = json.loads(text)
        return cls(
            plans={id: _plan_from_json(plan) for id, plan in data["plans"].items()},
            retired={id: _plan_from_json(plan) for id, plan in data.get("retired", {}).items()},
            max_quantities=data["addons"],
            feature_types=data["features"],
            currencies=frozenset(data["currencies"]),
            read_at=int(data["readAt"]),
        )

    @classmethod
    def kept(cls, text: str | None) -> Catalogue | None:
        """A snapshot as it was kept; None where there is none, or none that can be read: Stigg is asked again."""
        try:
            return cls.from_json(text) if text is not None else None
        # Any form is possible: an older version may have kept it. OverflowError: JSON as Python reads it has Infinity.
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
            return None


def _knowing(plans: dict[str, Plan], entitlement: str) -> list[str]:
    """Of plans, those that know an entitlement; all of them where there is no choice."""
    if len(plans) < 2:
        return list(plans)
    return [id for id, plan in plans.items() if entitlement in plan.entitlements] or list(plans)


def _plan_to_json(plan: Plan) -> list[Any]:
    # None stays apart from empty: a plan that names no add-ons takes any, one with an empty list takes none.
    addons = None if plan.addons is None else sorted(plan.addons)
    # A list: the names of fields, repeated for each plan, would fill the item.
    return [plan.product_id, plan.pricing_type, addons, sorted(plan.entitlements)]


def _plan_from_json(data: list[Any]) -> Plan:
    product_id, pricing_type, addons, entitlements = data
    return Plan(product_id, pricing_type, None if addons is None else frozenset(addons), frozenset(entitlements))
