"""Reading Stigg's catalogue: what is asked, what is kept, and what a plan charges by the unit."""

from __future__ import annotations

from typing import Any

import pytest

from closedwon.domain.catalogue import FRESH_SECONDS, Catalogue, FeatureCharge, IncludedCredits
from closedwon.domain.errors import StiggRefused
from closedwon.stigg.catalogue import SharedCatalogue, fetch_catalogue, kept_catalogue, read_catalogue
from sandbox.stigg.catalogue import sandbox_catalogue
from unit.domain import CALLS, CATALOGUE, SEATS

Json = dict[str, Any]
FOR_SALE = sandbox_catalogue()


class Asked:
    """Stigg's catalogue, which notes what it is asked. gone: plans that it does not know any more."""

    def __init__(self, *gone: str) -> None:
        self.calls: list[str] = []
        self.gone = gone

    def list_plans(self) -> list[Json]:
        self.calls.append("plans")
        return [plan.json() for plan in FOR_SALE.plans.values()]

    def list_addons(self) -> list[Json]:
        self.calls.append("addons")
        return [addon.json() for addon in FOR_SALE.addons.values()]

    def list_features(self) -> list[Json]:
        self.calls.append("features")
        return [feature.json() for feature in FOR_SALE.features.values()]

    def list_custom_currencies(self) -> list[Json]:
        self.calls.append("currencies")
        return [currency.json() for currency in FOR_SALE.currencies.values()]

    def list_charges(self, of: str, id: str) -> list[Json]:
        self.calls.append(f"charges of {id}")
        if id in self.gone:
            raise StiggRefused(404, "Plan not found")
        return [price.json(used=False) for price in FOR_SALE.plans[id].prices]

    def list_plan_entitlements(self, id: str) -> list[Json]:
        self.calls.append(f"entitlements of {id}")
        return [grant.json(order) for order, grant in enumerate(FOR_SALE.plans[id].entitlements)]


class Shelf:
    """Where the snapshot is kept. full: nothing more fits."""

    def __init__(self, full: bool = False) -> None:
        self.text: str | None = None
        self.full = full

    def snapshot(self) -> str | None:
        return self.text

    def keep_snapshot(self, text: str) -> None:
        if self.full:
            raise RuntimeError("ValidationException: item size has exceeded the maximum allowed size")
        self.text = text


LISTS = ["plans", "addons", "features", "currencies"]


def test_what_a_plan_charges_is_asked_once_and_only_of_plans_that_are_named() -> None:
    shelf, stigg = Shelf(), Asked()
    read_catalogue(shelf, stigg, 0, ["plan-growth", "plan-unknown"])
    assert stigg.calls == [*LISTS, "charges of plan-growth"]
    again = kept_catalogue(shelf, 1000, ["plan-growth"], stigg)
    assert again is not None
    assert len(stigg.calls) == 5
    assert again.plans["plan-growth"] == CATALOGUE.plans["plan-growth"]
    assert not again.plans["plan-metered"].detailed
    more = kept_catalogue(shelf, 1000, ["plan-growth", "plan-assistant", "plan-free"], stigg)
    assert stigg.calls[5:] == ["charges of plan-assistant", "entitlements of plan-assistant"]
    assert more == kept_catalogue(shelf, 1000)
    assert kept_catalogue(shelf, FRESH_SECONDS * 1000, ["plan-growth"], stigg) is None


def test_a_snapshot_that_cannot_be_kept_fails_nothing() -> None:
    shelf, stigg = Shelf(full=True), Asked()
    assert read_catalogue(shelf, stigg, 0, ["plan-growth"]).plans["plan-growth"].charged == {SEATS}
    assert kept_catalogue(shelf, 0, ["plan-growth"], stigg) is None


def test_a_plan_that_stigg_does_not_know_any_more_charges_nothing() -> None:
    stigg = Asked("plan-growth")
    assert fetch_catalogue(stigg, 0, ["plan-growth"]).plans["plan-growth"].charges == ()


def test_what_many_customers_share_is_read_once() -> None:
    shelf, stigg = Shelf(), Asked()
    shared = SharedCatalogue(lambda: fetch_catalogue(stigg, 0), stigg, shelf)
    assert shared(["plan-growth"]).plans["plan-growth"].detailed
    assert shared(["plan-growth", "plan-team"]).plans["plan-growth"].detailed
    assert stigg.calls == [*LISTS, "charges of plan-growth", "charges of plan-team"]
    assert Catalogue.kept(shelf.text) == shared([])


def test_what_a_plan_charges_by_the_unit() -> None:
    growth, metered, seat = (CATALOGUE.plans[id] for id in ("plan-growth", "plan-metered", "plan-per-seat"))
    assert growth.charged == seat.charged == {SEATS}
    assert (growth.unit_pricing, seat.unit_pricing, seat.unit_feature) == (False, True, SEATS)
    assert {charge.feature_id: (charge.tiered, charge.block_size) for charge in metered.charges} == {
        "feature-dashboards": (True, None),
        CALLS: (False, 1000),
    }
    assert CATALOGUE.plans["plan-pilot"].default_trial
    assert not growth.default_trial
    assert CATALOGUE.plans["plan-assistant"].included("cred-type-tokens") == IncludedCredits(
        "cred-type-tokens", 10_000, "MONTH"
    )
    assert CATALOGUE.dependencies["addon-sso-domains"] == ("addon-audit-log",)


@pytest.mark.parametrize("plans", [200])
def test_a_large_catalogue_is_kept(plans: int) -> None:
    some = CATALOGUE.plans["plan-growth"]
    names = frozenset(f"addon-{n:04}" for n in range(40)), frozenset(f"feature-{n:04}" for n in range(60))
    charges = tuple(FeatureCharge(f"feature-{n:04}", f"charge-{n}") for n in range(60))
    of_all = {
        f"plan-{n:04}": type(some)("product", "PAID", *names, detailed=True, charges=charges) for n in range(plans)
    }
    large = Catalogue(of_all, {}, {}, frozenset(), 0)
    assert Catalogue.kept(large.to_json()) == large
