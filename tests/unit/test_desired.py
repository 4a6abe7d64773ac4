"""What a customer should have, from all its deals, as a specification: from orders to subscriptions."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.catalogue import Plan as SoldPlan
from closedwon.domain.codes import Reason
from closedwon.domain.desired import (
    Desired,
    Entitlement,
    Policy,
    Price,
    Slot,
    Subscription,
)
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import Never, from_iso, milliseconds
from closedwon.domain.on_offer import catalogue_problems, same_product_problems
from closedwon.domain.order import Order, Problem
from closedwon.words.reasons import in_words
from unit.domain import (
    ANALYTICS,
    AT,
    CALLS,
    CATALOGUE,
    CREDITS,
    PLATFORM,
    POLICY,
    SEATS,
    SSO,
    SUPPORT,
    WORKSPACE,
    Json,
    Standing,
    a_deal,
    addon,
    agreed,
    an_order,
    credits,
    entitlement,
    fold,
    folded,
    iso,
    only,
    opportunity_id,
    order_of,
    orderable,
    orders,
    plan,
    refused,
    standings,
)

ONE, TWO, THREE = (OpportunityId(opportunity_id(number)) for number in (1, 2, 3))
SLOT = Slot(PLATFORM, None)


def test_one_deal_becomes_the_subscription_it_says() -> None:
    order = an_order(
        plan(price=48000),
        addon(SUPPORT),
        addon(quantity=5, price=1200),
        entitlement(SEATS, 250, softLimit=True),
        entitlement(CALLS, 5_000_000, resetPeriod="MONTH"),
        entitlement(SSO, None, unlimited=True),
        credits(1000, cadence="YEAR"),
        resourceId="workspace-1",
    )
    assert only(folded(order)) == Subscription(
        slot=Slot(PLATFORM, "workspace-1"),
        plan_id="plan-enterprise",
        unit_quantity=1,
        addons=((WORKSPACE, 5), (SUPPORT, 1)),
        entitlements=(
            Entitlement("CREDIT", CREDITS, 1000, cadence="YEAR"),
            Entitlement("FEATURE", CALLS, 5_000_000, reset_period="MONTH"),
            Entitlement("FEATURE", SEATS, 250, soft_limit=True),
            Entitlement("FEATURE", SSO),  # a feature that is on or off has no limit to lift
        ),
        prices=(Price(None, 48000.0, "usd"), Price(WORKSPACE, 1200.0, "usd")),
        billing_period="ANNUALLY",
        payment_collection="INVOICE",
        start=from_iso("2026-12-01T00:00:00.000Z"),
        cancellation=Never(),
        opportunities=(ONE,),
    )


REFUSED_BY_THE_CATALOGUE: list[tuple[list[Json], int, str, str, str]] = [
    ([plan("plan-gold")], 1, "stiggId", "Stigg has no plan plan-gold", "not_in_catalogue"),
    ([plan("plan-starter")], 1, "stiggId", "Stigg has no plan plan-starter", "not_in_catalogue"),  # archived
    ([plan(), addon("addon-gold")], 2, "stiggId", "Stigg has no add-on addon-gold", "not_in_catalogue"),
    ([plan(), entitlement("feature-gold")], 2, "stiggId", "Stigg has no entitlement feature-gold", "not_in_catalogue"),
    (
        [plan(), credits(stigg_id="currency-gold")],
        2,
        "stiggId",
        "Stigg has no credit entitlement currency-gold",
        "not_in_catalogue",
    ),
    (
        [plan(), addon("addon-legacy-import")],
        2,
        "stiggId",
        "addon-legacy-import is not compatible with plan-enterprise",
        "not_compatible",
    ),
    (
        [plan(), plan("plan-analytics"), addon("addon-legacy-import")],
        3,
        "stiggId",
        "addon-legacy-import is not compatible with plan-analytics or plan-enterprise",
        "not_compatible",
    ),
    (
        [plan(), addon("addon-audit-log", 2)],
        2,
        "quantity",
        "a subscription holds at most 1 of addon-audit-log",
        "too_many",
    ),
    (
        [plan(), entitlement("feature-support-tier")],
        2,
        "stiggId",
        "feature-support-tier is a list of values, which a deal cannot set",
        "not_in_catalogue",
    ),
    (
        [plan(), plan("plan-team")],
        2,
        "stiggId",
        "plan-team and plan-enterprise (line 1) are plans of one product: a deal names one of them",
        "two_plans",
    ),
    (
        [plan(), plan("plan-analytics"), entitlement(SEATS)],  # both plans have seats
        3,
        "planId",
        "feature-seats fits plan-analytics and plan-enterprise: say which plan it belongs to",
        "plan_ambiguous",
    ),
    (
        [plan(), plan("plan-analytics"), addon(price=10), addon(price=12, planId="plan-enterprise")],
        4,
        "price",
        "differs from line 3, which names addon-extra-workspace too",
        "terms_conflict",
    ),
]


@pytest.mark.parametrize(("lines", "number", "field", "message", "code"), REFUSED_BY_THE_CATALOGUE)
def test_what_only_the_catalogue_shows_is_refused_by_line(
    lines: list[Json], number: int, field: str, message: str, code: str
) -> None:
    order = an_order(*lines)
    assert folded(order) == Desired({}, {ONE: (Problem(number, field, message, code),)}, {})


def test_a_currency_without_prices_is_refused_only_where_there_is_a_price() -> None:
    assert catalogue_problems(an_order(opportunity__currencyIsoCode="BTC"), CATALOGUE) == (
        Problem(1, "price", "Stigg has no prices in BTC", "not_in_catalogue"),
        Problem(2, "price", "Stigg has no prices in BTC", "not_in_catalogue"),
    )
    assert only(folded(an_order(plan(), opportunity__currencyIsoCode="BTC"))).prices == ()


def test_two_plans_of_one_product_can_be_told_as_soon_as_there_is_a_catalogue() -> None:
    assert same_product_problems(an_order(plan(), plan("plan-analytics")), CATALOGUE) == ()
    assert [p.line for p in same_product_problems(an_order(plan("plan-team"), plan()), CATALOGUE)] == [1]


def test_plans_of_several_products_are_subscriptions_with_what_belongs_to_each() -> None:
    order = an_order(
        plan(price=48000),
        plan("plan-analytics", price=9000),
        addon(),
        addon("addon-data-export", 2),
        entitlement(CALLS, 10),
        entitlement("feature-dashboards", 20),
        entitlement(SEATS, 30, planId="plan-analytics"),
        entitlement(SEATS, 40, planId="plan-enterprise"),
    )
    desired = folded(order)
    shown = {
        slot.product_id: (
            s.plan_id,
            s.addons,
            [(e.id, e.limit) for e in s.entitlements],
            [p.amount for p in s.prices],
        )
        for slot, s in desired.subscriptions.items()
    }
    assert shown == {
        PLATFORM: ("plan-enterprise", ((WORKSPACE, 1),), [(CALLS, 10), (SEATS, 40)], [48000]),
        ANALYTICS: (
            "plan-analytics",
            (("addon-data-export", 2),),
            [("feature-dashboards", 20), (SEATS, 30)],
            [9000],
        ),
    }


def test_two_deals_of_one_slot_add_up_and_unlimited_wins() -> None:
    first = an_order(
        plan(price=48000),
        addon(quantity=5, price=1200),
        entitlement(SEATS, 250),
        entitlement(CALLS, 10),
        terms__start="2026-03-01",
    )
    second = an_order(
        plan(price=6000),
        addon(quantity=2, price=1200),
        addon(SUPPORT),
        entitlement(SEATS, 50),
        entitlement(CALLS, None, unlimited=True),
        number=2,
        terms__start="2026-01-01",
    )
    both = only(folded(first, second))
    assert both.addons == ((WORKSPACE, 7), (SUPPORT, 1))
    assert both.entitlements == (
        Entitlement("FEATURE", CALLS, unlimited=True),
        Entitlement("FEATURE", SEATS, 300),
    )
    assert both.prices == (Price(None, 54000.0, "usd"), Price(WORKSPACE, 1200.0, "usd"))
    assert both.opportunities == (TWO, ONE)  # by start
    assert iso(both.start) == "2026-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("first", "second", "units", "price"),
    [
        (plan(price=100), plan(price=50), 1, 150),  # flat: two contracts, both are paid
        # by the unit: one price of one unit
        (plan("plan-per-seat", 10, price=100), plan("plan-per-seat", 5, price=100), 15, 100),
        (plan("plan-per-seat", 10, price=100), plan("plan-per-seat", 10, price=50), 20, 75),
        (plan("plan-per-seat", 10), plan("plan-per-seat", 5), 15, None),
        (plan("plan-per-seat", 1), plan("plan-per-seat", 1), 2, None),
    ],
)
def test_together_two_deals_are_charged_what_they_say(
    first: Json, second: Json, units: int, price: float | None
) -> None:
    both = only(folded(an_order(first), an_order(second, number=2)))
    assert both.unit_quantity == units
    assert [p.amount for p in both.prices] == ([] if price is None else [price])


@pytest.mark.parametrize(
    ("policy", "ends", "cancellation"),
    [
        (Policy("keep"), ("2027-11-30", "2028-11-30"), None),
        (Policy("end"), ("2027-11-30", "2028-11-30"), "2028-12-01T00:00:00.000Z"),
        (Policy("grace", 14), ("2028-11-30", "2027-11-30"), "2028-12-15T00:00:00.000Z"),
        (Policy("end"), ("2027-11-30", None), None),  # one of them has no end
    ],
)
def test_the_policy_says_what_follows_the_last_term(
    policy: Policy, ends: tuple[str, str | None], cancellation: str | None
) -> None:
    deals = [an_order(number=number, terms__end=end) for number, end in enumerate(ends, 1)]
    assert only(folded(*deals, policy=policy)).to_json()["cancellation"] == cancellation


def test_prices_that_differ_charge_the_same_together() -> None:
    deals = (an_order(plan(), addon(quantity=5, price=1200)), an_order(plan(), addon(quantity=5, price=999), number=2))
    assert only(folded(*deals)).prices == (Price(WORKSPACE, 1099.5, "usd"),)


# Deals that cannot stand together

DISAGREEING: list[tuple[Json, dict[str, Any], Reason]] = [
    (
        {},
        {"lines.0.stiggId": "plan-enterprise-plus"},
        Reason.of("two_plans", plan="plan-enterprise", plans=["plan-enterprise", "plan-enterprise-plus"]),
    ),
    (
        {},
        {"terms.billingPeriod": "MONTHLY"},
        Reason.of("terms_conflict", term="billing_period", before="ANNUALLY", after="MONTHLY"),
    ),
    (
        {},
        {"terms.paymentCollection": "CHARGE"},
        Reason.of("terms_conflict", term="payment_collection", before="CHARGE", after="INVOICE"),
    ),
    (
        {},
        {"opportunity.currencyIsoCode": "EUR"},
        Reason.of("currency_conflict", term="currency", before="eur", after="usd"),
    ),
    (
        {"lines.1": addon(price=1200)},
        {"lines.1": addon()},
        Reason.of("price_unknown", item=WORKSPACE),
    ),
    (
        {"lines.1": addon("addon-audit-log")},
        {"lines.1": addon("addon-audit-log")},
        Reason.of("too_many", item="addon-audit-log", most=1, there=2),
    ),
]


@pytest.mark.parametrize(("settled", "changes", "why"), DISAGREEING)
def test_a_deal_that_disagrees_with_what_stands_is_held_and_changes_nothing(
    settled: Json, changes: Json, why: Reason
) -> None:
    stands = order_of(a_deal(changes=settled))
    before = folded(Standing(stands, stands))
    for start in ("2026-12-02", "2025-01-01", None):  # whether it starts later, earlier or at once
        new = order_of(a_deal(number=2, changes={**changes, "terms.start": start}))
        # As the ledger reads them: equal, not the same object.
        after = folded(Standing(stands, replace(stands)), Standing(new))
        assert after.subscriptions == before.subscriptions
        assert list(after.held) == [TWO]
        [day] = [after.held[TWO].facts.get("day")]
        assert after.held[TWO] == why.knowing(deal=TWO, others=[ONE], slot=SLOT.key, day=day)
        assert "?" not in in_words(after.held[TWO])


def test_of_two_new_deals_that_disagree_nobody_wins_by_a_start_or_an_id() -> None:
    early = an_order(plan("plan-enterprise-plus"), number=2, terms__start="2026-01-01")
    late = an_order(plan(), number=1, terms__start="2026-06-01")
    desired = folded(late, early)
    assert desired.subscriptions == {}
    assert {id: why.code for id, why in desired.held.items()} == {ONE: "two_plans", TWO: "two_plans"}


def test_units_with_a_price_and_units_without_wait_for_somebody_to_say_one() -> None:
    desired = folded(an_order(plan("plan-per-seat", 10, price=100)), an_order(plan("plan-per-seat", 1), number=2))
    assert {id: why.code for id, why in desired.held.items()} == {ONE: "price_unknown", TWO: "price_unknown"}


def test_a_deal_held_for_its_new_plan_goes_on_contributing_what_it_did() -> None:
    stands, grown = (
        an_order(plan(), entitlement(SEATS, 100)),
        an_order(plan("plan-enterprise-plus"), entitlement(SEATS, 500)),
    )
    other = an_order(plan(), entitlement(SEATS, 10), number=2)
    held = folded(Standing(grown, stands), Standing(other, other))
    assert list(held.held) == [ONE]
    assert held.subscriptions == folded(stands, other).subscriptions
    # Once the other deal says the same plan, nothing is in the way any more.
    moved = an_order(plan("plan-enterprise-plus"), entitlement(SEATS, 10), number=2)
    both = only(folded(Standing(grown, stands), Standing(moved, other)))
    assert (both.plan_id, both.entitlements[0].limit) == ("plan-enterprise-plus", 510)


def test_deals_of_different_resources_have_nothing_to_disagree_about() -> None:
    desired = folded(an_order(plan(), resourceId="a"), an_order(plan("plan-team"), number=2, resourceId="b"))
    assert set(desired.subscriptions) == {Slot(PLATFORM, "a"), Slot(PLATFORM, "b")}
    assert not desired.held


# When the catalogue changes


def _without(catalogue: Catalogue, plan_id: str, archived: bool) -> Catalogue:
    plans = {id: plan for id, plan in catalogue.plans.items() if id != plan_id}
    return replace(catalogue, plans=plans, retired={plan_id: catalogue.plans[plan_id]} if archived else {})


def test_a_plan_archived_since_goes_on_standing_as_it_was_sold() -> None:
    catalogue = _without(CATALOGUE, "plan-enterprise", archived=True)
    order = an_order(plan(), plan("plan-analytics"), addon(), addon("addon-data-export"))
    assert folded(Standing(order, replace(order)), catalogue=catalogue) == folded(order)
    # Nobody can buy it any more, and what stands on it is in the way of another plan of its product.
    new = an_order(plan("plan-enterprise-plus"), number=2)
    assert list(folded(Standing(order, order), new, catalogue=catalogue).held) == [TWO]
    refusal = folded(an_order(number=3), catalogue=catalogue).refused
    assert refusal == {THREE: (Problem(1, "stiggId", "Stigg has no plan plan-enterprise", "not_in_catalogue"),)}


def test_a_plan_that_vanished_takes_nothing_else_with_it() -> None:
    catalogue = _without(CATALOGUE, "plan-enterprise", archived=False)
    order = an_order(plan(), plan("plan-analytics"), addon("addon-data-export"))
    desired = folded(Standing(order, order), catalogue=catalogue)
    assert [(s.plan_id, s.addons) for s in desired.subscriptions.values()] == [
        ("plan-analytics", (("addon-data-export", 1),))
    ]


def test_an_addon_that_is_not_compatible_any_more_stays_with_the_deal_that_has_it() -> None:
    order = an_order(plan(), addon())
    incompatible = replace(CATALOGUE.plans["plan-enterprise"], addons=frozenset())
    catalogue = replace(CATALOGUE, plans={**CATALOGUE.plans, "plan-enterprise": incompatible})
    assert only(folded(Standing(order, order), catalogue=catalogue)).addons == ((WORKSPACE, 1),)
    assert list(folded(order, catalogue=catalogue).refused) == [ONE]


def test_a_snapshot_of_the_catalogue_comes_back_as_it_went_in() -> None:
    assert Catalogue.from_json(CATALOGUE.to_json()) == CATALOGUE
    retired = SoldPlan(PLATFORM, "PAID", frozenset(), frozenset(), detailed=True)
    assert CATALOGUE.retired == {"plan-starter": retired}


@pytest.mark.parametrize("form", [None, 1, 3])
def test_a_snapshot_of_another_version_is_as_good_as_none(form: int | None) -> None:
    other = json.loads(CATALOGUE.to_json())
    assert Catalogue.kept(json.dumps(other)) == CATALOGUE
    del other["form"]
    assert Catalogue.kept(json.dumps(other if form is None else {**other, "form": form})) is None


# What holds for all deals of a customer


@given(standings(), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_neither_the_order_of_deals_nor_hearing_of_one_twice_matters(deals: list[Standing], random: Any) -> None:
    again = [*deals, *random.choices(deals, k=2)]
    random.shuffle(again)
    assert fold(again, CATALOGUE, POLICY, AT) == fold(deals, CATALOGUE, POLICY, AT)


@given(standings())
@settings(max_examples=50)
def test_every_deal_counts_or_says_why_not(deals: list[Standing]) -> None:
    agreement = agreed(deals, CATALOGUE, POLICY, AT)
    desired = agreement.desired()
    assert not desired.refused.keys() & desired.held.keys()
    for newest, provisioned, _ in deals:
        opportunity = newest.opportunity_id
        contributing = {slot for slot, s in desired.subscriptions.items() if opportunity in s.opportunities}
        said = provisioned if opportunity in {*desired.refused, *desired.held} else newest
        slots = (
            {Slot(CATALOGUE.product_of(p.stigg_id) or "", said.resource_id) for p in said.of_kind("Plan")}
            if said
            else set()
        )
        # What is held as it is now may go on as it was, and that may have been scheduled.
        ahead = said is not None and said.start is not None and milliseconds(said.start) > AT
        later = ahead or agreement.status(opportunity).kind == "Scheduled"
        assert contributing == slots or (later and contributing < slots)


@given(standings())
@settings(max_examples=50)
def test_no_subscription_has_a_negative_or_empty_quantity(deals: list[Standing]) -> None:
    for subscription in fold(deals, CATALOGUE, POLICY, AT).subscriptions.values():
        assert subscription.unit_quantity >= 1
        assert all(quantity >= 1 for _, quantity in subscription.addons)
        assert all(e.limit is None or e.limit >= 1 for e in subscription.entitlements)
        assert all(price.amount >= 0 for price in subscription.prices)
        assert subscription.opportunities


@given(standings(2), orders(3))
@settings(max_examples=60)
def test_another_deal_takes_nothing_from_those_that_stand_and_held_it_changes_nothing(
    deals: list[Standing], new: Order
) -> None:
    before = agreed(deals, CATALOGUE, POLICY, AT)
    after = agreed([*deals, Standing(new)], CATALOGUE, POLICY, AT)
    newly = {id for id in after.held if id not in before.held}
    # What is only agreed too makes way with it: nobody wins by an ID.
    new_ids = {newest.opportunity_id for newest, provisioned, _ in deals if provisioned is None} | {THREE}
    changed_ids = {newest.opportunity_id for newest, provisioned, _ in deals if newest != provisioned}
    assert newly <= new_ids | changed_ids
    if newly == {THREE} or THREE in after.refused:
        assert after.desired().subscriptions == before.desired().subscriptions
    for newest, provisioned, _ in deals:
        if newest == provisioned and before.status(newest.opportunity_id).kind != "Scheduled":
            id = newest.opportunity_id
            assert _slots_of(id, before.desired()) == _slots_of(id, after.desired())


def _slots_of(opportunity: str, desired: Desired) -> set[Slot]:
    return {slot for slot, subscription in desired.subscriptions.items() if opportunity in subscription.opportunities}


def test_a_deal_does_not_wait_for_one_that_is_held_itself() -> None:
    stands = an_order(plan(), number=1)
    in_the_way = an_order(plan("plan-enterprise-plus"), plan("plan-analytics"), number=2, terms__start="2026-01-01")
    free = an_order(plan("plan-analytics-pro"), number=3, terms__start="2026-02-01")
    desired = folded(Standing(stands, stands), in_the_way, free)
    assert list(desired.held) == [TWO]
    assert {s.plan_id for s in desired.subscriptions.values()} == {"plan-enterprise", "plan-analytics-pro"}


@given(orderable(), refused())
@settings(max_examples=60)
def test_a_refused_revision_leaves_what_was_provisioned(lines: list[Json], wrong: Any) -> None:
    good = order_of(a_deal(*lines))
    desired = folded(Standing(wrong, good))
    assert list(desired.refused) == [ONE]
    assert desired.subscriptions == folded(good).subscriptions
    assert folded(wrong).subscriptions == {}


@given(standings())
@settings(max_examples=30)
def test_a_subscription_comes_back_from_the_ledger_as_it_went_in(deals: list[Standing]) -> None:
    for subscription in fold(deals, CATALOGUE, POLICY, AT).subscriptions.values():
        back = Subscription.from_json(json.loads(json.dumps(subscription.to_json())))
        assert back == subscription
        assert back.fingerprint == subscription.fingerprint


@pytest.mark.parametrize(
    ("policy", "after_the_term", "later"),
    [(Policy("keep"), 1, 1), (Policy("end"), 0, 0), (Policy("grace", grace_days=14), 1, 0)],
    ids=["keep", "end", "grace"],
)
def test_after_its_term_a_deal_gives_what_the_policy_says(policy: Policy, after_the_term: int, later: int) -> None:
    deal = an_order(terms__start="2025-01-01", terms__end="2025-12-31")
    [new_year, mid_january, february] = [
        round(datetime(2026, month, day, tzinfo=UTC).timestamp() * 1000) for month, day in ((1, 1), (1, 14), (2, 1))
    ]
    assert len(folded(deal, policy=policy, at=new_year - 1).subscriptions) == 1
    assert len(folded(deal, policy=policy, at=new_year).subscriptions) == after_the_term
    assert len(folded(deal, policy=policy, at=mid_january).subscriptions) == after_the_term
    ended = folded(deal, policy=policy, at=february)
    assert len(ended.subscriptions) == later
    status = agreed([Standing(deal)], CATALOGUE, policy, february).status(deal.opportunity_id)
    assert status.why == ("past its term" if later else "term over")
