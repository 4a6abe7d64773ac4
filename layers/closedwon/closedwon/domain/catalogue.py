"""Stigg's catalogue as far as provisioning needs it: plans with their products, add-ons, features, credit currencies.

The catalogue changes rarely and every provisioning needs it, so a snapshot of it is kept beside the ledger. What a plan
charges by the unit and which credits it includes takes calls for that plan alone: it is read when a deal names the
plan, and kept with the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
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


CREDIT_PREFIX = "cred-type-"
"""What the IDs of credit currencies begin with that an Entitlement line may name (Stigg's documentation of its own
Salesforce app; facts/stigg.md, *Credits*). Currencies of older accounts are called otherwise: those a line cannot name
so, and nothing says that it could."""


@dataclass(frozen=True)
class FeatureCharge:
    """What a plan charges for each unit of a feature that is sold with it: Stigg's billing model PER_UNIT.

    charge_id: the ID of one of its prices, of which there is one for each currency and billing period. tiered: whether
    the catalogue's price depends on how many there are. block_size: how many units are charged as one, None where each
    is. least, most: how many one subscription can have, None for no bound.
    """

    feature_id: str
    charge_id: str
    tiered: bool = False
    block_size: int | None = None
    least: int | None = None
    most: int | None = None

    @property
    def bounded(self) -> bool:
        """Whether there are quantities that it does not sell."""
        return (self.block_size, self.least, self.most) != (None, None, None)


@dataclass(frozen=True)
class IncludedCredits:
    """Credits that come with a plan: amount units of a credit currency each MONTH or YEAR."""

    currency_id: str
    amount: float
    cadence: str | None = None


@dataclass(frozen=True)
class Plan:
    """A plan. pricing_type is FREE, PAID or CUSTOM; addons are the IDs it is compatible with, None where not told.

    default_trial: whether Stigg starts its subscriptions as trials where nothing is said. has_credits: whether credits
    are among its entitlements. detailed: whether charges, unit_feature and included_credits were read; until then they
    are empty. unit_feature: the feature that a plan charges by the unit where it charges nothing else: those units are
    what Stigg calls the plan's `unitQuantity`.
    """

    product_id: str
    pricing_type: str
    addons: frozenset[str] | None
    entitlements: frozenset[str]
    default_trial: bool = False
    has_credits: bool = False
    detailed: bool = False
    charges: tuple[FeatureCharge, ...] = ()
    unit_feature: str | None = None
    included_credits: tuple[IncludedCredits, ...] = ()

    @property
    def unit_pricing(self) -> bool:
        """Whether the plan itself is sold by the unit, so that its quantity on a line means anything."""
        return self.unit_feature is not None

    @property
    def needs_details(self) -> bool:
        """Whether there is something to be read that the list of plans does not show: a free plan charges nothing."""
        return not self.detailed and (self.pricing_type != "FREE" or self.has_credits)

    def charge(self, feature_id: str) -> FeatureCharge | None:
        """What it charges for each unit of a feature; None where it does not."""
        return next((charge for charge in self.charges if charge.feature_id == feature_id), None)

    @property
    def charged(self) -> frozenset[str]:
        """The features it charges by the unit."""
        return frozenset(charge.feature_id for charge in self.charges)

    def included(self, currency_id: str) -> IncludedCredits | None:
        """The credits of a currency that come with it."""
        return next((credits for credits in self.included_credits if credits.currency_id == currency_id), None)


@dataclass(frozen=True)
class Catalogue:
    """A snapshot. max_quantities: add-on ID to the most of it one subscription may have, None for no bound.
    feature_types: feature ID to BOOLEAN, NUMBER or ENUM. read_at: epoch milliseconds. retired: archived plans, which
    no deal can buy any more but customers may still have. dependencies: add-on ID to those it is not sold without.
    """

    plans: dict[str, Plan]
    max_quantities: dict[str, int | None]
    feature_types: dict[str, str]
    currencies: frozenset[str]
    read_at: int
    retired: dict[str, Plan] = field(default_factory=dict)
    dependencies: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def plan(self, plan_id: str) -> Plan | None:
        """A plan that is or once was sold; None when Stigg does not know it."""
        # Of an archived plan the product is needed: else it would not know the slot of what still stands.
        return self.plans.get(plan_id) or self.retired.get(plan_id)

    def product_of(self, plan_id: str) -> str | None:
        """The product of a plan that is or once was sold."""
        plan = self.plan(plan_id)
        return plan.product_id if plan else None

    def undetailed(self, plans: Iterable[str]) -> list[str]:
        """Those of some plans whose charges and included credits have still to be read."""
        return [id for id in dict.fromkeys(plans) if (plan := self.plan(id)) is not None and plan.needs_details]

    def knowing(self, id: str, plan: Plan) -> Catalogue:
        """The catalogue with more known of a plan."""
        if id in self.plans:
            return replace(self, plans={**self.plans, id: plan})
        return replace(self, retired={**self.retired, id: plan})

    def includes(self, kind: str, id: str) -> bool:
        """Whether a line of a kind and ID names credits that come with a plan, so that nothing is sent for it."""
        return kind == "Entitlement" and id in self.currencies

    def takers(self, kind: str, id: str, plans: Iterable[str], priced: bool = False) -> list[str]:
        """The plans that take an add-on, entitlement or credits, of those that are known: with several that would take
        an entitlement, those that know it; one with a price of its own (priced), those that charge it by the unit.
        """
        known = {plan: found for plan in plans if (found := self.plan(plan)) is not None}
        if kind == "Add-on":
            return _those(known, lambda found: found.addons is None or id in found.addons)
        charging = _those(known, lambda found: id in found.charged) if kind == "Entitlement" else []
        if priced and charging:
            return charging
        return _those(known, lambda found: id in found.entitlements) or charging or list(known)

    def age(self, now: int) -> float:
        """Seconds since it was read. now: epoch milliseconds."""
        return (now - self.read_at) / 1000

    def to_json(self) -> str:
        return json.dumps(
            {
                "form": FORM,
                "plans": {id: _plan_to_json(plan) for id, plan in self.plans.items()},
                "retired": {id: _plan_to_json(plan) for id, plan in self.retired.items()},
                "addons": self.max_quantities,
                "dependencies": self.dependencies,
                "features": self.feature_types,
                "currencies": sorted(self.currencies),
                "readAt": self.read_at,
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str) -> Catalogue:
        """The catalogue that was written so. Raises ValueError for one of another form."""
        data = json.loads(text)
        if data["form"] != FORM:
            raise ValueError("a snapshot of another version")
        return cls(
            plans={id: _plan_from_json(plan) for id, plan in data["plans"].items()},
            retired={id: _plan_from_json(plan) for id, plan in data["retired"].items()},
            max_quantities=data["addons"],
            dependencies={id: tuple(needed) for id, needed in data["dependencies"].items()},
            feature_types=data["features"],
            currencies=frozenset(data["currencies"]),
            read_at=int(data["readAt"]),
        )

    @classmethod
    def kept(cls, text: str | None) -> Catalogue | None:
        """A snapshot as it was kept; None where there is none, or none that can be read: Stigg is asked again."""
        try:
            return cls.from_json(text) if text is not None else None
        # Any form is possible: another version may have kept it. OverflowError: JSON as Python reads it has Infinity.
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
            return None


FORM = 2
"""The form of snapshots. One of another form, older or newer, is as good as none: it is only a cache."""


def _plan_to_json(plan: Plan) -> list[Any]:
    # None stays apart from empty: a plan that names no add-ons takes any, one with an empty list takes none.
    addons = None if plan.addons is None else sorted(plan.addons)
    details = [
        [[*vars(charge).values()] for charge in plan.charges],
        plan.unit_feature,
        [[*vars(credits).values()] for credits in plan.included_credits],
    ]
    # A list: the names of fields, repeated for each plan, would be most of it.
    return [
        plan.product_id,
        plan.pricing_type,
        addons,
        sorted(plan.entitlements),
        plan.default_trial,
        plan.has_credits,
        details if plan.detailed else None,
    ]


def _plan_from_json(data: list[Any]) -> Plan:
    product_id, pricing_type, addons, entitlements, default_trial, has_credits, details = data
    plan = Plan(
        product_id,
        pricing_type,
        None if addons is None else frozenset(addons),
        frozenset(entitlements),
        bool(default_trial),
        bool(has_credits),
    )
    if details is None:
        return plan
    charges, unit_feature, credits = details
    return replace(
        plan,
        detailed=True,
        charges=tuple(FeatureCharge(*charge) for charge in charges),
        unit_feature=unit_feature,
        included_credits=tuple(IncludedCredits(*one) for one in credits),
    )


def _those(plans: Mapping[str, Plan], fits: Callable[[Plan], bool]) -> list[str]:
    """The IDs of the plans that fit."""
    return [id for id, plan in plans.items() if fits(plan)]
