"""The doctor finds what a deal would be refused for, by the rules that refuse it, and says what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.lines import KINDS
from closedwon.domain.on_offer import catalogue_problems
from closedwon.intake.deal import Deal, line_number
from closedwon.intake.mapping import compile_deal
from closedwon.operations.doctor import Finding, judge, product_problems
from closedwon.operations.on_sale import InStigg, Product, Sale, Unmapped
from sandbox.stigg.catalogue import sandbox_catalogue
from sandbox.stigg.packages import Plan, Price
from unit.domain import MISSING, RULES, SEATS, SSO, WORKSPACE, a_deal, addon, entitlement, opportunity_id, plan

FOR_SALE = sandbox_catalogue()


def stigg(**changes: Any) -> InStigg:
    """The sandbox's catalogue; changes: other plans or add-ons, by ID."""
    plans, addons = {**FOR_SALE.plans, **changes.get("plans", {})}, {**FOR_SALE.addons, **changes.get("addons", {})}
    return InStigg.of(
        [one.json() for one in plans.values()],
        [one.json() for one in addons.values()],
        [one.json() for one in FOR_SALE.features.values()],
        [one.json() for one in FOR_SALE.currencies.values()],
        {one.id: [price.json(False) for price in one.prices] for one in (*plans.values(), *addons.values())},
        0,
    )


def product(type: str | None, stigg_id: str | None, id: str = "01t1", **more: Any) -> Product:
    return Product(id, f"The {stigg_id}", type, stigg_id, **more)


def sale(*lines: dict[str, Any], number: int = 1, changes: Mapping[str, Any] | None = None) -> Sale:
    """A won deal, as the command reads it. changes: as `a_deal` takes them."""
    deal = Deal.model_validate(a_deal(*lines, number=number, changes=changes))
    named = {line_number(line, at): (line.stigg_type, line.stigg_id) for at, line in enumerate(deal.lines or ())}
    return Sale(opportunity_id(number), compile_deal(deal, RULES), lines=named)


def found(
    products: Sequence[Product] = (), sales: Sequence[Sale] = (), unmapped: Sequence[Unmapped] = (), **changes: Any
) -> list[tuple[str, str, str]]:
    """Severity, words and what to do."""
    return [(one.severity, one.words, one.fix) for one in judge(products, sales, unmapped, stigg(**changes), RULES)]


ENTERPRISE, SPACES = product("Plan", "plan-enterprise"), product("Add-on", WORKSPACE, "01t2")


# A product by itself


@pytest.mark.parametrize(
    ("mapped", "words", "fix"),
    [
        (("Plan", "plan-unknown"), "Stigg has no plan plan-unknown", "Copy the ID from Stigg exactly"),
        (("Plan", "plan-enterprize"), "Stigg has no plan", "did you mean plan-enterprise?"),
        (("Plan", "plan-starter"), "Stigg has no plan", "It is archived in Stigg"),
        (("Entitlement", "feature-support-tier"), "is a list of values", "Correct Stigg ID or Stigg Type"),
        (("Plan", WORKSPACE), "does not start with plan-", "In Stigg it is an add-on: choose the Stigg Type Add-on"),
        (("Plan", "enterprise"), "does not start with plan-", "the stack's parameter PlanPrefix"),
        (("Plan", None), "Stigg ID is missing", "Copy the ID from Stigg to the product"),
        ((None, "plan-enterprise"), "Stigg Type is missing", "Choose the Stigg Type"),
        (("Licence", "plan-enterprise"), "Licence is not a Stigg Type", "Choose the Stigg Type"),
        (("Credit grant", "currency-gold"), "Stigg has no credit grant currency-gold", "Copy the ID"),
    ],
)
def test_a_product_that_no_deal_can_sell_is_an_error(mapped: tuple[Any, Any], words: str, fix: str) -> None:
    [(severity, said, remedy)] = found([product(*mapped)])
    assert severity == "error"
    assert words in said
    assert fix in remedy


def test_a_plan_with_a_default_trial_is_named() -> None:
    [(severity, words, _)] = found([product("Plan", "plan-pilot")])
    assert (severity, words) == ("note", "plan-pilot has a default trial in Stigg; closed-won sells it without one")


def test_a_draft_is_to_be_published() -> None:
    draft = Plan("plan-next", "Next", "product-platform", "CUSTOM", status="DRAFT")
    [(_, words, fix)] = found([product("Plan", "plan-next")], plans={"plan-next": draft})
    assert (words, fix) == ("Stigg has no plan plan-next", "It is a draft in Stigg: publish it.")


@pytest.mark.parametrize(
    ("mapped", "words"),
    [
        (product("Plan", "plan-enterprise", unlimited=True), "Plan cannot be unlimited"),
        (product("Entitlement", SSO, price_override=True), f"no plan that is mapped or was sold charges {SSO}"),
        (product("Entitlement", SEATS, reset_period="MONTH"), "does not accumulate"),
    ],
)
def test_what_a_product_cannot_be_is_an_error(mapped: Product, words: str) -> None:
    [(severity, said, _)] = found([mapped])
    assert (severity, words in said) == ("error", True)


def test_a_mapping_that_holds_has_no_findings() -> None:
    good = [
        ENTERPRISE,
        SPACES,
        product("Entitlement", SEATS, "01t3", unlimited=True),
        product("Entitlement", "feature-api-calls", "01t4", reset_period="MONTH"),
        product("Credit entitlement", "currency-ai-credits", "01t5"),
    ]
    assert found(good, [sale(), sale(plan(price=1), number=2)]) == []


@given(
    kind=st.sampled_from(KINDS),
    stigg_id=st.sampled_from([*FOR_SALE.plans, *FOR_SALE.addons, *FOR_SALE.features, *FOR_SALE.currencies, "plan-x"]),
)
def test_a_product_is_judged_as_the_line_of_a_deal_is(kind: Any, stigg_id: str) -> None:
    """Its problems are those that a whole deal with such a line has on that line."""
    catalogue: Catalogue = stigg().catalogue
    beside = [plan()] if kind != "Plan" else []
    order = sale(*beside, {"stiggType": kind, "stiggId": stigg_id, "quantity": 1}).order
    assert order is not None
    line = len(beside) + 1
    problems = order.problems or catalogue_problems(order, catalogue)
    # What goes with the plan beside it is no question of the product.
    beside_it = ("not_compatible", "included_credits_differ")
    theirs = {problem.message for problem in problems if problem.line == line and problem.code not in beside_it}
    assert {problem.message for problem in product_problems(product(kind, stigg_id), catalogue, RULES)} == theirs


# Products together


def test_two_active_products_of_one_id_and_the_same_terms_are_noted() -> None:
    same = [ENTERPRISE, replace(ENTERPRISE, id="01t9")]
    assert [severity for severity, _, _ in found(same)] == ["note"]
    assert found([ENTERPRISE, replace(ENTERPRISE, id="01t9", price_override=True)]) == [], "each has its terms"


def test_an_addon_that_no_mapped_plan_takes_is_an_error() -> None:
    legacy = product("Add-on", "addon-legacy-import", "01t2")
    assert "not compatible with any plan that is mapped" in found([ENTERPRISE, legacy])[0][1]
    assert found([ENTERPRISE, legacy, product("Plan", "plan-team", "01t3")]) == []


# The deals that were won


def test_what_deals_show_is_one_finding_with_all_of_them() -> None:
    legacy = product("Add-on", "addon-legacy-import", "01t2")
    team = product("Plan", "plan-team", "01t3")
    sales = [sale(plan(), addon("addon-legacy-import"), number=number) for number in (1, 2)]
    [one] = judge([ENTERPRISE, legacy, team], sales, [], stigg(), RULES)
    assert (one.severity, one.product, one.words) == (
        "error",
        legacy,
        "addon-legacy-import is not compatible with plan-enterprise",
    )
    assert one.opportunities == (opportunity_id(1), opportunity_id(2))


def test_a_fault_of_the_product_is_told_once_with_the_deals_that_have_it() -> None:
    [one] = judge([product("Plan", "plan-unknown")], [sale(plan("plan-unknown"))], [], stigg(), RULES)
    assert one.opportunities == (opportunity_id(1),)


def test_a_deal_without_a_plan_is_an_error_and_its_dates_are_not_the_mappings() -> None:
    [(severity, words, _)] = found([], [sale(entitlement())])
    assert (severity, words) == ("error", "the deal has no plan: one line needs the Stigg Type Plan")
    assert found([], [sale(changes={"terms.end": "2020-01-01"})]) == []


def test_deals_on_which_nothing_is_mapped_are_a_warning_and_single_services_a_note() -> None:
    nothing = sale({"quantity": 1})
    consulting = Unmapped("01t8", "Consulting", (opportunity_id(2),))
    licence = Unmapped("01t9", "Licence", (opportunity_id(1),))
    said = [(severity, words.split()[0]) for severity, words, _ in found([], [nothing], [consulting, licence])]
    assert said == [("warning", "Licence"), ("warning", "deals"), ("note", "Consulting")]


# What only Stigg refuses


def test_a_currency_without_a_price_is_an_error_where_it_was_sold_and_a_warning_where_it_may_be() -> None:
    team, euros = product("Plan", "plan-team"), {"opportunity.currencyIsoCode": "EUR"}
    [(severity, words, _)] = found([team], [sale(plan("plan-team"), changes=euros)])
    assert (severity, words) == ("error", "plan-team has no price in EUR (it has USD)")
    [(severity, words, _)] = found([team], [sale(plan(), changes=euros)])
    assert (severity, "deals are won in it" in words) == ("warning", True)
    priced = [sale(plan("plan-team", price=9), changes=euros)]
    assert found([replace(team, price_override=True)], priced) == [], "the line brings the price"


def test_the_price_of_a_features_units_is_not_the_plans() -> None:
    units = replace(
        FOR_SALE.plans["plan-team"], prices=(Price("units", "MONTHLY", 9, "eur", feature=SEATS),), id="plan-units"
    )
    assert stigg(plans={"plan-units": units}).charges["plan-units"] == frozenset()


def test_a_paid_plan_with_several_billing_periods_needs_one() -> None:
    [(severity, words, _)] = found([], [sale(plan("plan-team"), changes={"terms.billingPeriod": MISSING})])
    assert (severity, "does not say which" in words) == ("error", True)
    monthly = replace(FOR_SALE.plans["plan-team"], prices=FOR_SALE.plans["plan-team"].prices[:1])
    [(severity, words, _)] = found([], [sale(plan("plan-team"))], plans={"plan-team": monthly})
    assert words == "plan-team has no ANNUALLY price in USD"


def test_only_custom_plans_take_entitlements_and_addons_need_what_they_depend_on() -> None:
    [(severity, words, _)] = found([], [sale(plan("plan-team"), entitlement())])
    assert (severity, words) == ("error", f"{SEATS} is sold with plan-team: only custom plans take entitlements")
    needs = replace(FOR_SALE.addons[WORKSPACE], dependencies=("addon-premium-support",))
    [(_, words, _)] = found([], [sale(plan(), addon())], addons={WORKSPACE: needs})
    assert words == f"{WORKSPACE} is not sold without addon-premium-support"
    assert found([], [sale(plan("plan-growth"), entitlement())]) == []


def test_the_worst_comes_first_and_machines_get_all_of_it() -> None:
    twins = [ENTERPRISE, replace(ENTERPRISE, id="01t9"), product("Plan", "plan-unknown", "01t3")]
    severities = [severity for severity, _, _ in found(twins)]
    assert severities == ["error", "note"]
    assert Finding("note", "w", "f", ENTERPRISE, ("006",)).to_json("https://x/01t1") == {
        "severity": "note",
        "productId": "01t1",
        "product": "The plan-enterprise",
        "stiggType": "Plan",
        "stiggId": "plan-enterprise",
        "words": "w",
        "fix": "f",
        "opportunities": ["006"],
        "link": "https://x/01t1",
    }
