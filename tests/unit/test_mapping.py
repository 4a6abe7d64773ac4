"""The mapping as a specification: what a deal's lines and terms become, and what is refused in which words."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from closedwon.domain.order import Item, Order
from closedwon.intake.deal import Deal
from closedwon.intake.mapping import MOST_PROBLEMS, MOST_USAGE, MappingRules, compile_deal
from unit.domain import (
    CALLS,
    CREDITS,
    MISSING,
    ORGANIZATION,
    RULES,
    SSO,
    SUPPORT,
    WORKSPACE,
    Json,
    a_deal,
    a_line,
    addon,
    an_order,
    answer,
    cancelled,
    credits,
    entitlement,
    iso,
    on_trial,
    opportunity_id,
    order_of,
    orderable,
    plan,
)

TYPES = "use one of Plan, Add-on, Entitlement, Credit entitlement, Credit grant"
NOT_A_DATE = "is not a date (2026-12-01) or a time (2026-12-01T09:00:00Z)"
TOO_FAR = "is too far away: the calendar ends with the year 9999; leave it out for no date"

REFUSED_LINES: list[tuple[Json, str, str]] = [
    # The line that follows a plan on line 1; the field and the message that come back, of line 2.
    (a_line("Gadget", "gadget-x", 1), "stiggType", f"Gadget is not a Stigg Type: {TYPES}"),
    (a_line("addon", WORKSPACE, 1), "stiggType", f"addon is not a Stigg Type: {TYPES}"),
    (a_line("x" * 300, WORKSPACE, 1), "stiggType", f"{'x' * 40} is not a Stigg Type: {TYPES}"),
    (
        {"stiggId": WORKSPACE, "quantity": 1},
        "stiggType",
        "is missing: a line with a Stigg ID needs a Stigg Type",
    ),
    (a_line("", WORKSPACE, 1), "stiggType", "is missing: a line with a Stigg ID needs a Stigg Type"),
    (
        a_line("Credit grant", CREDITS, -1000),
        "quantity",
        "-1000 is not possible for a credit grant: it takes 1 or more",
    ),
    ({"stiggType": "Add-on", "quantity": 1}, "stiggId", "is missing: Add-on needs the ID it has in Stigg"),
    (addon(""), "stiggId", "is missing: Add-on needs the ID it has in Stigg"),
    (addon("workspace"), "stiggId", "workspace does not start with addon-, as the ID of every add-on does"),
    (addon("addon-"), "stiggId", "has nothing after addon-"),
    (addon("feature-x"), "stiggId", "feature-x does not start with addon-, as the ID of every add-on does"),
    (addon("addon-größe"), "stiggId", "has ö in it: an ID in Stigg has letters, digits and _ | . -"),
    (
        addon("addon-" + "x" * 255),
        "stiggId",
        "is longer than 255 characters",
    ),
    (
        addon("addon-a/../b"),
        "stiggId",
        "has / in it: an ID in Stigg has letters, digits and _ | . -",
    ),
    (addon(quantity=None), "quantity", "is missing"),
    (
        entitlement(quantity=None),
        "quantity",
        "is missing: give one, or mark the line unlimited",
    ),
    (addon(quantity=2.5), "quantity", "2.5 is not a whole number"),
    (addon(quantity=-1), "quantity", "-1 is not possible on a new deal: it takes 1 or more"),
    (addon(quantity=2**31), "quantity", "is more than Stigg can hold (2147483647)"),
    (addon(quantity=1e300), "quantity", "is more than Stigg can hold (2147483647)"),
    (entitlement(quantity=2**53), "quantity", "is more than Stigg can hold (9007199254740991)"),
    (addon(unlimited=True), "unlimited", "Add-on cannot be unlimited, only an entitlement can"),
    (
        entitlement("cred-type-tokens", 10_000, price=5),
        "price",
        "what comes with a plan has no price of its own: a price override goes on the plan, an add-on or a feature",
    ),
    (entitlement("cred-type-", 10_000), "stiggId", "has nothing after cred-type-"),
    (
        credits(price=0),
        "price",
        "Credit entitlement has no price of its own: a price override goes on the plan, an add-on or a feature",
    ),
    (addon(planId="plan-team"), "planId", "no line of the deal has the plan plan-team"),
    (plan(), "stiggId", "plan-enterprise is on line 1 already: one subscription has one plan"),
    (
        plan("plan-team", planId="plan-enterprise"),
        "planId",
        "belongs on add-ons and entitlements, not on a plan",
    ),
]


@pytest.mark.parametrize(("line", "field", "message"), REFUSED_LINES)
def test_a_line_that_cannot_be_provisioned_is_named_with_the_reason(line: Json, field: str, message: str) -> None:
    assert answer(a_deal(plan(), line)) == [(2, field, message)]


REFUSED_TOGETHER: list[tuple[list[Json], int, str, str]] = [
    (
        [entitlement(resetPeriod="MONTH"), entitlement(resetPeriod="DAY")],
        3,
        "resetPeriod",
        "differs from line 2, which names feature-seats too",
    ),
    (
        [credits(cadence="MONTH"), credits(cadence="YEAR")],
        3,
        "cadence",
        "differs from line 2, which names currency-ai-credits too",
    ),
    (
        [addon(quantity=2**31 - 1), addon(quantity=1)],
        3,
        "quantity",
        "with the other lines of addon-extra-workspace is more than Stigg can hold (2147483647)",
    ),
]


@pytest.mark.parametrize(("lines", "number", "field", "message"), REFUSED_TOGETHER)
def test_lines_of_one_entity_that_cannot_be_added_up_name_each_other(
    lines: list[Json], number: int, field: str, message: str
) -> None:
    assert answer(a_deal(plan(), *lines)) == [(number, field, message)]


REFUSED_DEALS: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "an amendment of nothing",
        {"trigger": "amendment"},
        "amends",
        "is missing: say the contract or base opportunity this deal amends",
    ),
    (
        "a renewal of itself",
        {"trigger": "renewal", "amends": opportunity_id(1)},
        "amends",
        "is this opportunity itself: say the one this deal renews",
    ),
    ("a trial without an end", {"trigger": "trial"}, "terms.trialEnd", "is missing: a trial needs its last day"),
    (
        "a trial that ends before it starts",
        {"trigger": "trial", "terms.trialEnd": "2026-11-29"},
        "terms.trialEnd",
        "is not after the start",
    ),
    (
        "a time to cancel on a sale",
        {"terms.cancel": "now"},
        "terms.cancel",
        "belongs to a cancellation, and this deal is none",
    ),
    (
        "two times to cancel",
        {"trigger": "cancellation", "terms.cancel": "now"},
        "terms.cancel",
        "goes without terms.end: that says the day already",
    ),
    (
        "differences on a sale",
        {"quantities": "differences"},
        "quantities",
        "only an amendment's lines can be differences",
    ),
    (
        "one budget for two plans",
        {"lines": [plan(), plan("plan-analytics")], "terms.budget": {"limit": 5000}},
        "terms.budget",
        "is one subscription's, and this deal has several plans: give each its own deal",
    ),
    ("no lines", {"lines": []}, "lines", "the deal has no line with a Stigg Type: nothing to provision"),
    (
        "only lines that are not for Stigg",
        {"lines": [{"quantity": 3, "price": 100}]},
        "lines",
        "the deal has no line with a Stigg Type: nothing to provision",
    ),
    ("no plan", {"lines": [addon()]}, "lines", "the deal has no plan: one line needs the Stigg Type Plan"),
    (
        "the customer it names is not the account's",
        {"customerId": "northwind", "account.stiggCustomerId": "contoso"},
        "customerId",
        "northwind is not the account's Stigg Customer ID, contoso",
    ),
    (
        "amends something",
        {"amends": "0065g00000ABCdEAAX"},
        "amends",
        "a closed_won deal amends nothing: leave it out, or send what it is",
    ),
    (
        "a trial's end",
        {"terms.trialEnd": "2026-12-31"},
        "terms.trialEnd",
        "belongs to a trial, and this deal is none",
    ),
    ("ends before it starts", {"terms.end": "2026-11-29"}, "terms.end", "is not after the start"),
    ("no such day", {"terms.start": "2026-02-30"}, "terms.start", NOT_A_DATE),
    ("a day as Americans write it", {"terms.start": "12/01/2026"}, "terms.start", NOT_A_DATE),
    ("a day without its hyphens", {"terms.end": "20271130"}, "terms.end", NOT_A_DATE),
    ("a week", {"terms.start": "2026-W48-1"}, "terms.start", NOT_A_DATE),
    ("no text", {"terms.start": ""}, "terms.start", NOT_A_DATE),
    ("the end of the calendar", {"terms.end": "9999-12-31"}, "terms.end", TOO_FAR),
    (
        "another organisation",
        {"organizationId": "00D5g000004xYzB"},
        "organizationId",
        "is not the organisation this stack serves (00D5g000004xYzAEAU)",
    ),
    (
        "a revision from the future",
        {"opportunity.systemModstamp": "2026-11-20T09:21:00.001Z"},
        "opportunity.systemModstamp",
        "lies more than five minutes in the future",
    ),
    (
        "read in the future",
        {"opportunity.readAt": "2027-11-20T09:15:32Z"},
        "opportunity.readAt",
        "lies more than five minutes in the future",
    ),
    (
        "a revision before the calendar begins",
        {"opportunity.systemModstamp": "0001-01-01T00:00:00+14:00"},
        "opportunity.systemModstamp",
        "lies before 1970",
    ),
    (
        "IDs that are too long together",
        {"lines": [plan(), *(entitlement(f"feature-{place}{'x' * 240}") for place in range(199))]},
        "lines",
        "have IDs of more than 40000 characters together",
    ),
]


@pytest.mark.parametrize(
    ("changes", "field", "message"), [row[1:] for row in REFUSED_DEALS], ids=[row[0] for row in REFUSED_DEALS]
)
def test_a_deal_that_cannot_be_provisioned_says_why(changes: dict[str, Any], field: str, message: str) -> None:
    assert answer(a_deal(changes=changes)) == [(None, field, message)]


def test_a_clock_five_minutes_ahead_is_no_future() -> None:
    assert answer(a_deal(changes={"opportunity.systemModstamp": "2026-11-20T09:21:00Z"})) == []


def test_every_line_that_is_wrong_is_named() -> None:
    deal = a_deal(plan("enterprise"), addon(quantity=-1), entitlement("feature-", -3))
    assert [(problem.line, problem.field) for problem in answer(deal)] == [
        (1, "stiggId"),
        (2, "quantity"),
        (3, "stiggId"),
        (3, "quantity"),
    ]


def test_of_very_many_problems_the_first_are_told_and_the_rest_counted() -> None:
    same = plan("plan-" + "x" * 250)
    problems = answer(a_deal(*[same] * 200, changes={f"lines.{place}.stiggId": "plan-x" for place in range(200)}))
    assert [problem.line for problem in problems] == [*range(2, MOST_PROBLEMS + 2), None]
    assert problems[-1].message == "and 149 more problems, not told here"


def test_whatever_is_wrong_with_a_deal_its_order_fits_thrice_into_an_item_of_the_ledger() -> None:
    astray = {"stiggType": "\U0001f984" * 90, "planId": "x" * 90_000, "start": "y" * 90_000, "end": "z", "quantity": -1}
    kinds = [
        entitlement("f" * 255, plan_id=None),
        {**entitlement("f" * 99, 0.5, price=1, priorQuantity=0.5), "end": "z"},
    ]
    for line in (*kinds, {**entitlement("feature-" + "f" * 90), **astray}):
        line.pop("plan_id", None)
        order = compile_deal(Deal.model_validate(a_deal(*[line] * 150)), RULES)
        assert order.problems
        assert len(json.dumps(order.to_json())) < 100_000


def test_a_plan_that_is_no_id_in_stigg_is_not_kept() -> None:
    for text, said in (
        ("x" * 256, "is longer than 255 characters"),
        ("plan-\U0001f984", "has \U0001f984 in it: an ID in Stigg has letters, digits and _ | . -"),
        (".plans", "begins with .: an ID in Stigg begins with a letter or a digit"),
        ("plan-team@eu", "has @ in it: an ID in Stigg has letters, digits and _ | . -"),
    ):
        assert answer(a_deal(changes={"lines.2.planId": text})) == [(3, "planId", said)]


def test_a_realistic_deal_becomes_its_order() -> None:
    deal = a_deal(
        plan(price=48000),
        entitlement(SSO, None, unlimited=True),
        addon(quantity=5.0, price=1200),
        {"quantity": 1, "price": 900},
        entitlement(CALLS, 5_000_000, resetPeriod="MONTH"),
        addon(quantity=2, price=1200),
        credits(),
        changes={
            "account.stiggCustomerId": "northwind",
            "resourceId": "workspace-1",
            "opportunity.currencyIsoCode": "EUR",
        },
    )
    order = order_of(deal)
    assert order.items == (
        Item("Plan", "plan-enterprise", 1, (1,), price=48000),
        Item("Add-on", WORKSPACE, 7, (3, 6), price=1200),
        Item("Entitlement", CALLS, 5_000_000, (5,), reset_period="MONTH"),
        Item("Entitlement", SSO, 1, (2,), unlimited=True),
        Item("Credit entitlement", CREDITS, 1000, (7,), cadence="MONTH"),
    )
    assert (iso(order.start), iso(order.end)) == ("2026-12-01T00:00:00.000Z", "2027-12-01T00:00:00.000Z")
    assert (order.billing_period, order.payment_collection, order.currency) == ("ANNUALLY", "INVOICE", "eur")
    assert (order.customer_id, order.resource_id, order.problems) == ("northwind", "workspace-1", ())


def test_the_largest_limit_is_exact() -> None:
    assert order_of(a_deal(plan(), entitlement(quantity=MOST_USAGE))).of_kind("Entitlement")[0].quantity == MOST_USAGE


def test_a_stack_may_have_other_prefixes() -> None:
    rules = MappingRules(ORGANIZATION, plan_prefix="", addon_prefix="ao_", feature_prefix="")
    lines = [plan("enterprise"), addon("ao_support"), entitlement("seats")]
    assert answer(a_deal(*lines), rules) == []
    assert [(p.line, p.field) for p in answer(a_deal(*lines), RULES)] == [
        (1, "stiggId"),
        (2, "stiggId"),
        (3, "stiggId"),
    ]


@given(orderable(), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_the_same_lines_in_another_order_with_other_numbers_are_the_same_deal(lines: list[Json], random: Any) -> None:
    # CPQ deletes the line items of a quote and makes them again.
    again = [
        {**line, "line": number} for line, number in zip(lines, random.sample(range(1, 500), len(lines)), strict=True)
    ]
    random.shuffle(again)
    first, second = order_of(a_deal(*lines)), order_of(a_deal(*again))
    assert not first.problems
    assert second.digest == first.digest
    assert _unnumbered(second) == _unnumbered(first)


@given(orderable(), st.data())
@settings(max_examples=60)
def test_splitting_a_line_changes_nothing_but_line_numbers(lines: list[Json], data: st.DataObject) -> None:
    divisible = [n for n, line in enumerate(lines) if line["stiggType"] != "Plan" and (line["quantity"] or 0) > 1]
    if not divisible:
        return
    place = data.draw(st.sampled_from(divisible))
    part = data.draw(st.integers(1, lines[place]["quantity"] - 1))
    split = [{**lines[place], "quantity": quantity} for quantity in (part, lines[place]["quantity"] - part)]
    whole, parts = order_of(a_deal(*lines)), order_of(a_deal(*lines[:place], *split, *lines[place + 1 :]))
    assert parts.digest == whole.digest
    assert _unnumbered(parts) == _unnumbered(whole)


def _unnumbered(order: Order) -> Order:
    return replace(order, items=tuple(replace(item, lines=()) for item in order.items))


@given(orderable())
@settings(max_examples=60)
def test_an_order_comes_back_from_the_ledger_as_it_went_in(lines: list[Json]) -> None:
    for wrong in ([], [addon(quantity=-1)]):
        order = compile_deal(Deal.model_validate(a_deal(*lines, *wrong, changes={"account.email": None})), RULES)
        back = Order.from_json(json.loads(json.dumps(order.to_json())))
        assert back == order
        assert back.digest == order.digest


@pytest.mark.parametrize(
    "change",
    [
        {"lines.1.quantity": 6},
        {"lines.1.price": 1201},
        {"lines.1.stiggId": "addon-audit-log"},
        {"lines.2": MISSING},
        {"terms.end": "2028-11-30"},
        {"terms.billingPeriod": "MONTHLY"},
        {"opportunity.currencyIsoCode": "EUR"},
        {"account.name": "Northwind Traders GmbH"},
        {"account.email": None},
        {"resourceId": "workspace-2"},
        {"lines.1.quantity": -5},
    ],
)
def test_a_deal_that_means_something_else_is_another_deal(change: dict[str, Any]) -> None:
    assert order_of(a_deal(changes=change)).digest != order_of(a_deal()).digest


@pytest.mark.parametrize(
    "change",
    [
        {"lines.1.quantity": 5.0},
        {"opportunity.readAt": "2026-11-20T09:15:59.000Z"},
        {"opportunity.systemModstamp": "2026-11-20T09:15:59.000Z"},
        {"terms.start": "2026-12-01T00:00:00Z"},
        {"account.stiggCustomerId": "0015g00000XyZaBAAV"},  # what closed-won itself wrote back
        {"customerId": "0015g00000XyZaBAAV", "account.stiggCustomerId": "0015g00000XyZaBAAV"},
        {"account.name": " Northwind Traders "},
        {"lines.2.line": 40},
    ],
)
def test_a_deal_that_means_the_same_is_the_same_deal(change: dict[str, Any]) -> None:
    assert order_of(a_deal(changes=change)).digest == order_of(a_deal()).digest


@given(st.dates(datetime(1990, 1, 1).date(), datetime(2100, 1, 1).date()), st.timezones())  # noqa: DTZ001 - days
@settings(max_examples=80)
def test_a_day_begins_where_the_stack_is_and_an_end_is_the_last_day(day: Any, zone: ZoneInfo) -> None:
    order = order_of(
        a_deal(changes={"terms.start": str(day), "terms.end": str(day)}),
        MappingRules(ORGANIZATION, time_zone=zone.key),
    )
    start, end = (moment.astimezone(zone) for moment in (order.start, order.end) if moment)
    # Where the clocks change at midnight or a day is skipped, the day begins when there first is such a time.
    assert day.toordinal() <= start.date().toordinal() <= day.toordinal() + 1
    assert day.toordinal() < end.date().toordinal() <= day.toordinal() + 2 or zone.utcoffset(end) != zone.utcoffset(
        start
    )
    assert start < end


@pytest.mark.parametrize(
    ("zone", "start", "end"),
    [
        ("UTC", "2026-12-01T00:00:00.000Z", "2027-12-01T00:00:00.000Z"),
        ("America/Los_Angeles", "2026-12-01T08:00:00.000Z", "2027-12-01T08:00:00.000Z"),
        ("Pacific/Auckland", "2026-11-30T11:00:00.000Z", "2027-11-30T11:00:00.000Z"),
    ],
)
def test_a_term_of_days_is_told_in_utc(zone: str, start: str, end: str) -> None:
    order = order_of(a_deal(), MappingRules(ORGANIZATION, time_zone=zone))
    assert (iso(order.start), iso(order.end)) == (start, end)
    # A time with its own zone is taken at its word; one without gets the stack's.
    told = order_of(
        a_deal(changes={"terms.start": "2026-12-01T02:30:00+02:00", "terms.end": "2027-12-01T00:00:00"}),
        MappingRules(ORGANIZATION, time_zone=zone),
    )
    assert (iso(told.start), iso(told.end)) == ("2026-12-01T00:30:00.000Z", end)


def test_one_day_is_a_term() -> None:
    assert answer(a_deal(changes={"terms.end": "2026-12-01"})) == []


# The life of a deal


@pytest.mark.parametrize(
    ("lines", "start", "end"),
    [
        ([plan(start="2027-01-01", end="2027-06-30"), addon(start="2027-03-01", end="2027-12-31")], "01-01", "12-31"),
        ([plan(start="2027-01-01"), addon()], None, None),  # not all of them say
    ],
)
def test_terms_that_only_the_lines_say_are_the_first_and_last_of_them(
    lines: list[Json], start: str | None, end: str | None
) -> None:
    order = an_order(*lines, terms__start=None, terms__end=None)
    assert iso(order.start) == (start and f"2027-{start}T00:00:00.000Z")
    assert iso(order.end) == (end and "2028-01-01T00:00:00.000Z")


def test_a_line_keeps_only_the_dates_that_are_not_its_deals() -> None:
    order = an_order(
        plan(start="2026-12-01", end="2027-11-30"),
        addon(start="2027-03-01", end="2027-04-30"),
        a_line("Credit grant", CREDITS, 10, end="2028-06-30"),  # credits may outlive their deal
    )
    assert [(iso(item.start), iso(item.end)) for item in order.items] == [
        (None, None),
        ("2027-03-01T00:00:00.000Z", "2027-05-01T00:00:00.000Z"),
        (None, "2028-07-01T00:00:00.000Z"),
    ]


@pytest.mark.parametrize(
    ("given", "cancel", "end"),
    [
        ({"of": 1}, "end_of_term", None),
        ({"of": 1, "cancel": "now"}, "now", None),
        ({"of": 1, "end": "2027-06-30"}, None, "2027-07-01T00:00:00.000Z"),
        ({}, None, None),  # the deal's own, which says no time: the policy for reopened deals decides
        ({"cancel": "end_of_term"}, "end_of_term", None),
    ],
)
def test_a_cancellation_says_when_access_ends(given: dict[str, Any], cancel: str | None, end: str | None) -> None:
    order = order_of(cancelled(2, addon(SUPPORT, None), saved="2027-03-01", **given))
    assert (order.cancel, iso(order.end), order.problems) == (cancel, end, ())
    assert iso(order.as_of) == "2027-03-01T09:15:31.000Z"
    assert [(item.stigg_id, item.quantity) for item in order.items] == [(SUPPORT, 0)]  # all of it


def test_a_trial_ends_after_its_last_day_and_with_it_access_unless_it_says_otherwise() -> None:
    trial = order_of(on_trial(1, plan(), trialEnd="2026-12-14"))
    assert (iso(trial.trial_end), trial.trial_end_behavior) == ("2026-12-15T00:00:00.000Z", "CANCEL_SUBSCRIPTION")


def test_an_amendment_may_change_nothing_that_stigg_knows() -> None:
    nothing = {"trigger": "amendment", "amends": opportunity_id(2), "quantities": "differences", "lines": []}
    assert answer(a_deal(changes=nothing)) == []
    assert order_of(a_deal(changes=nothing)).items == ()
