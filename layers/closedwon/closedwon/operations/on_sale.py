"""What is for sale: products as Salesforce has them, deals that were won, and what Stigg has. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.order import Order, Problem
from closedwon.stigg.catalogue import catalogue_of, plan_with_details

Json = dict[str, Any]


@dataclass(frozen=True)
class Product:
    """A product that is for sale and mapped. type, stigg_id: as Salesforce has them, None where empty."""

    id: str
    name: str
    type: str | None
    stigg_id: str | None
    unlimited: bool = False
    price_override: bool = False
    reset_period: str | None = None


@dataclass(frozen=True)
class Sale:
    """A deal that was won. order: what it compiles to, None where it does not even come so far; problems: why; lines:
    type and Stigg ID on each line, by its number.
    """

    opportunity_id: str
    order: Order | None
    problems: tuple[Problem, ...] = ()
    lines: Mapping[int, tuple[str | None, str | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Unmapped:
    """A product without Stigg Type and Stigg ID that was sold, with the opportunities."""

    id: str
    name: str
    opportunities: tuple[str, ...]


@dataclass(frozen=True)
class InStigg:
    """What Stigg has for sale. statuses: of plans, add-ons and features by type and ID, those too that cannot be sold.
    charges: currency and billing period of each price of a plan's or add-on's own. meters: of features, such as
    INCREMENTAL. trials: plans with a default trial.
    """

    catalogue: Catalogue
    statuses: Mapping[tuple[str, str], str]
    charges: Mapping[str, frozenset[tuple[str, str]]] = field(default_factory=dict)
    meters: Mapping[str, str] = field(default_factory=dict)
    trials: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        plans: list[Json],
        addons: list[Json],
        features: list[Json],
        currencies: list[Json],
        charges: Mapping[str, list[Json]],
        now: int,
        included: Mapping[str, list[Json]] = {},
    ) -> InStigg:
        """From the answers of Stigg's list calls. charges: by the ID of a plan or add-on; included: the entitlements of
        plans that include credits, by plan; now: epoch milliseconds.
        """
        catalogue = catalogue_of(plans, addons, features, currencies, now)
        for id in charges:
            if (plan := catalogue.plan(id)) is not None:
                catalogue = catalogue.knowing(id, plan_with_details(plan, charges[id], included.get(id, [])))
        return cls(
            catalogue=catalogue,
            statuses=_statuses(plans, addons, features),
            charges={id: _own_prices(some) for id, some in charges.items()},
            meters={one["id"]: one.get("meterType") or "" for one in features},
            trials=frozenset(plan["id"] for plan in plans if plan.get("defaultTrialConfig")),
        )

    @property
    def known(self) -> dict[str, set[str]]:
        """The IDs that can be sold, by Stigg Type."""
        catalogue = self.catalogue
        credits = set(catalogue.currencies)
        return {
            "Plan": set(catalogue.plans),
            "Add-on": set(catalogue.max_quantities),
            "Entitlement": set(catalogue.feature_types),
            "Credit entitlement": credits,
            "Credit grant": credits,
        }


def _statuses(plans: list[Json], addons: list[Json], features: list[Json]) -> dict[tuple[str, str], str]:
    """The status of each, by type and ID."""
    # Also of what cannot be sold: an ID that only has to be published needs another remedy than a wrong one.
    statuses = {("Plan", plan["id"]): plan.get("status") or "PUBLISHED" for plan in plans}
    statuses |= {("Add-on", addon["id"]): addon.get("status") or "PUBLISHED" for addon in addons}
    statuses |= {("Entitlement", one["id"]): one.get("featureStatus") or "ACTIVE" for one in features}
    return statuses


def _own_prices(charges: list[Json]) -> frozenset[tuple[str, str]]:
    """Currency and billing period of each price of a plan's or add-on's own, out of all its charges."""
    # what counts units of a feature is another price than the plan's
    own = (charge for charge in charges if charge.get("price") and not charge.get("featureId"))
    return frozenset((charge["price"]["currency"], charge["billingPeriod"]) for charge in own)
