"""Reads Stigg's catalogue, and keeps it as a snapshot, so that most invocations need not ask Stigg.

Four lists make the catalogue. What a plan charges by the unit, and which credits it includes, is told by calls for that
plan alone: they are made once a deal names the plan (`detailed`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from threading import Lock
from typing import Any, Literal, Protocol

from aws_lambda_powertools.logging import Logger

from closedwon.domain.catalogue import FRESH_SECONDS, Catalogue, FeatureCharge, IncludedCredits, Plan
from closedwon.domain.errors import StiggRefused, as_read, unreadable

logger = Logger()


def catalogue_of(
    plans: list[dict[str, Any]],
    addons: list[dict[str, Any]],
    features: list[dict[str, Any]],
    currencies: list[dict[str, Any]],
    read_at: int,
) -> Catalogue:
    """From the answers of Stigg's list calls. Drafts and archived ones cannot be provisioned: of these, only
    archived plans are remembered, apart.
    """
    return Catalogue(
        plans={p["id"]: _plan_from_stigg(p) for p in plans if _is_published(p)},
        # Customers keep archived plans: without them nobody would know the product of what stands.
        retired={p["id"]: _plan_from_stigg(p) for p in plans if p.get("status") == "ARCHIVED"},
        max_quantities={addon["id"]: addon.get("maxQuantity") for addon in addons if _is_published(addon)},
        dependencies={addon["id"]: tuple(needed) for addon in addons if (needed := addon.get("dependencies"))},
        feature_types=_feature_types(features),
        currencies=frozenset(map(_currency_id, currencies)),
        read_at=read_at,
    )


def _feature_types(features: list[dict[str, Any]]) -> dict[str, str]:
    """The type of each feature that can be sold."""
    return {one["id"]: one["featureType"] for one in features if one.get("featureStatus") != "SUSPENDED"}


def _currency_id(currency: dict[str, Any]) -> str:
    return str(currency.get("currencyId") or currency["id"])


def _is_published(one: dict[str, Any]) -> bool:
    # A status that an answer leaves out must not empty the catalogue, and have every deal refused.
    return bool(one.get("status", "PUBLISHED") == "PUBLISHED")


def _plan_from_stigg(plan: dict[str, Any]) -> Plan:
    entitlements = plan.get("entitlements") or ()
    return Plan(
        product_id=plan["productId"],
        pricing_type=plan.get("pricingType") or "CUSTOM",
        addons=None if plan.get("compatibleAddonIds") is None else frozenset(plan["compatibleAddonIds"]),
        entitlements=frozenset(entitlement["id"] for entitlement in entitlements),
        default_trial=bool(plan.get("defaultTrialConfig")),
        has_credits=any(entitlement.get("type") == "CREDIT" for entitlement in entitlements),
    )


def plan_with_details(plan: Plan, charges: list[dict[str, Any]], entitlements: list[dict[str, Any]]) -> Plan:
    """A plan with what it charges by the unit and which credits it includes, from Stigg's answers for this plan.

    Of the billing models only PER_UNIT is sold by a quantity: what is metered (USAGE_BASED) is charged by what was
    used. A price is one row for each currency, billing period and country.
    """
    by_feature: dict[str, list[dict[str, Any]]] = {}
    for charge in charges:
        if charge.get("billingModel") == "PER_UNIT" and charge.get("featureId"):
            by_feature.setdefault(charge["featureId"], []).append(charge)
    # Source of what `unitQuantity` counts: the SDK's "unit quantity for per-unit pricing" (types of provision and
    # preview), and that it names no feature: that is clear only where one is charged by the unit, and nothing else.
    flat = any(charge.get("billingModel") == "FLAT_FEE" for charge in charges)
    return replace(
        plan,
        detailed=True,
        charges=tuple(_feature_charge(id, rows) for id, rows in sorted(by_feature.items())),
        unit_feature=next(iter(by_feature)) if len(by_feature) == 1 and not flat else None,
        included_credits=_included_credits(entitlements),
    )


def _included_credits(entitlements: list[dict[str, Any]]) -> tuple[IncludedCredits, ...]:
    return tuple(
        IncludedCredits(one["id"], float(one["amount"]), one.get("cadence"))
        for one in entitlements
        if one.get("type") == "CREDIT" and one.get("amount") is not None
    )


def _feature_charge(feature_id: str, rows: list[dict[str, Any]]) -> FeatureCharge:
    blocks = {int(size) for row in rows if (size := row.get("blockSize")) and size > 1}
    least = [int(row["minUnitQuantity"]) for row in rows if row.get("minUnitQuantity") is not None]
    most = [int(row["maxUnitQuantity"]) for row in rows if row.get("maxUnitQuantity") is not None]
    return FeatureCharge(
        feature_id,
        min(row["id"] for row in rows),
        tiered=any(row.get("tiers") for row in rows),
        block_size=max(blocks, default=None),
        least=max(least, default=None),
        most=min(most, default=None),
    )


class SnapshotStore(Protocol):
    """Where the snapshot is kept between invocations; the ledger's table in production."""

    def snapshot(self) -> str | None: ...

    def keep_snapshot(self, text: str) -> None: ...


class CatalogueLists(Protocol):
    """The calls of `stigg.client.Stigg` that tell the catalogue: four lists, and two for a plan."""

    def list_plans(self) -> list[dict[str, Any]]: ...

    def list_addons(self) -> list[dict[str, Any]]: ...

    def list_features(self) -> list[dict[str, Any]]: ...

    def list_custom_currencies(self) -> list[dict[str, Any]]: ...

    def list_charges(self, of: Literal["plans", "addons"], id: str) -> list[dict[str, Any]]: ...

    def list_plan_entitlements(self, id: str) -> list[dict[str, Any]]: ...


def detailed(catalogue: Catalogue, plans: Iterable[str], stigg: CatalogueLists) -> Catalogue:
    """The catalogue with what some plans charge by the unit and include; what is known already costs no call."""
    for id in catalogue.undetailed(plans):
        plan = catalogue.plan(id)
        assert plan is not None
        charges = _of_plan(lambda id=id: stigg.list_charges("plans", id)) if plan.pricing_type != "FREE" else []  # type: ignore[misc]
        entitlements = _of_plan(lambda id=id: stigg.list_plan_entitlements(id)) if plan.has_credits else []  # type: ignore[misc]
        with as_read(lambda mistake: unreadable("read the catalogue", mistake)):
            catalogue = catalogue.knowing(id, plan_with_details(plan, charges, entitlements))
    return catalogue


def _of_plan(ask: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What Stigg has for one plan; nothing where it does not know the plan any more."""
    try:
        return ask()
    except StiggRefused as refusal:
        if refusal.status != 404:
            raise
        return []


def kept_catalogue(
    store: SnapshotStore, now: int, plans: Iterable[str] = (), stigg: CatalogueLists | None = None
) -> Catalogue | None:
    """The kept snapshot, None where there is none or it is too old.

    In: where it is kept; now in epoch milliseconds; the plans of which more has to be known, and the client that asks
    Stigg for what is missing of them: that is kept too.
    """
    catalogue = Catalogue.kept(store.snapshot())
    if catalogue is None or catalogue.age(now) >= FRESH_SECONDS:
        return None
    if stigg is None:
        return catalogue
    more = detailed(catalogue, plans, stigg)
    if more is not catalogue:
        keep(store, more)
    return more


def fetch_catalogue(stigg: CatalogueLists, now: int, plans: Iterable[str] = ()) -> Catalogue:
    """The catalogue as Stigg has it now, in four calls, and what is missing of some plans. now: epoch milliseconds."""
    # An answer in another form is a transient error: nothing was decided yet, and the sweep tries again.
    lists = (stigg.list_plans(), stigg.list_addons(), stigg.list_features(), stigg.list_custom_currencies())
    with as_read(lambda mistake: unreadable("read the catalogue", mistake)):
        catalogue = catalogue_of(*lists, now)
    return detailed(catalogue, plans, stigg)


def read_catalogue(store: SnapshotStore, stigg: CatalogueLists, now: int, plans: Iterable[str] = ()) -> Catalogue:
    """The catalogue as Stigg has it now, see `fetch_catalogue`; it is kept as the snapshot."""
    catalogue = fetch_catalogue(stigg, now, plans)
    keep(store, catalogue)
    return catalogue


def keep(store: SnapshotStore, catalogue: Catalogue) -> None:
    """Keep a catalogue for the next to ask. It is a cache: where it cannot be kept, Stigg is asked again."""
    try:
        store.keep_snapshot(catalogue.to_json())
    except Exception:
        logger.exception("the catalogue's snapshot was not kept")


class SharedCatalogue:
    """One catalogue for many customers, so that all are judged by the same: read when it is first asked for, and it
    grows by what their plans charge and include.

    In: how it is read; the client that asks Stigg for plans; where what it grew to is kept, None for nowhere.
    """

    def __init__(self, read: Callable[[], Catalogue], stigg: CatalogueLists, store: SnapshotStore | None) -> None:
        self._read = read
        self._stigg = stigg
        self._store = store
        self._known: Catalogue | None = None
        self._lock = Lock()

    def __call__(self, plans: Iterable[str]) -> Catalogue:
        """It, with all of some plans. Raises what `closedwon.stigg.client` does."""
        with self._lock:  # customers are looked at in threads
            known = self._known or self._read()
            self._known = detailed(known, plans, self._stigg)
            if self._known is not known and self._store is not None:
                keep(self._store, self._known)
            return self._known
