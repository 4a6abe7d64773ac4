"""Reads Stigg's catalogue, and keeps it as a snapshot, so that most invocations need not ask Stigg."""

from __future__ import annotations

from typing import Any, Protocol

from closedwon.domain.catalogue import FRESH_SECONDS, Catalogue, Plan
from closedwon.domain.errors import as_read, unreadable


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
        feature_types={
            feature["id"]: feature["featureType"] for feature in features if feature.get("featureStatus") != "SUSPENDED"
        },
        currencies=frozenset(map(_currency_id, currencies)),
        read_at=read_at,
    )


def _currency_id(currency: dict[str, Any]) -> str:
    return str(currency.get("currencyId") or currency["id"])


def _is_published(one: dict[str, Any]) -> bool:
    # A status that an answer leaves out must not empty the catalogue, and have every deal refused.
    return bool(one.get("status", "PUBLISHED") == "PUBLISHED")


def _plan_from_stigg(plan: dict[str, Any]) -> Plan:
    return Plan(
        product_id=plan["productId"],
        pricing_type=plan.get("pricingType") or "CUSTOM",
        addons=None if plan.get("compatibleAddonIds") is None else frozenset(plan["compatibleAddonIds"]),
        entitlements=frozenset(entitlement["id"] for entitlement in plan.get("entitlements") or ()),
    )


class SnapshotStore(Protocol):
    """Where the snapshot is kept between invocations; the ledger's table in production."""

    def snapshot(self) -> str | None: ...

    def keep_snapshot(self, text: str) -> None: ...


class CatalogueLists(Protocol):
    """The four list calls of `stigg.client.Stigg`."""

    def list_plans(self) -> list[dict[str, Any]]: ...

    def list_addons(self) -> list[dict[str, Any]]: ...

    def list_features(self) -> list[dict[str, Any]]: ...

    def list_custom_currencies(self) -> list[dict[str, Any]]: ...


def kept_catalogue(store: SnapshotStore, now: int) -> Catalogue | None:
    """The kept snapshot, None where there is none or it is too old. now: epoch milliseconds."""
    catalogue = Catalogue.kept(store.snapshot())
    return catalogue if catalogue and catalogue.age(now) < FRESH_SECONDS else None


def fetch_catalogue(stigg: CatalogueLists, now: int) -> Catalogue:
    """The catalogue as Stigg has it now, in four calls. now: epoch milliseconds."""
    # An answer in another form is a transient error: nothing was decided yet, and the sweep tries again.
    lists = (stigg.list_plans(), stigg.list_addons(), stigg.list_features(), stigg.list_custom_currencies())
    with as_read(lambda mistake: unreadable("read the catalogue", mistake)):
        return catalogue_of(*lists, now)


def read_catalogue(store: SnapshotStore, stigg: CatalogueLists, now: int) -> Catalogue:
    """The catalogue as Stigg has it now; it is kept as the snapshot."""
    catalogue = fetch_catalogue(stigg, now)
    store.keep_snapshot(catalogue.to_json())
    return catalogue
