"""docs/life-of-a-deal.md, row by row: what its tables and its picture say is played."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import At, from_iso, starting
from unit import test_contract_rules as rules
from unit import test_sold_by_unit as by_unit
from unit import test_stops as stops
from unit.agreements import Life
from unit.domain import (
    SEATS,
    WORKSPACE,
    Json,
    addon,
    amended,
    cancelled,
    entitlement,
    on_trial,
    opportunity_id,
    plan,
    renewed,
    restated,
    won,
)
from unit.test_contract_rules import HERE, NEXT, RECORDS, YEAR, code, life, prices, saved, seats, status, there
from unit.test_simulate import ENTERPRISE, line, look_at, opportunity, played, sold, standing, statuses

PAGE = (Path(__file__).parents[2] / "docs/life-of-a-deal.md").read_text()
PLAYED: dict[str, list[str]] = defaultdict(list)
"""By heading, the rows that a test below plays, by their first cells."""

KINDS, ENDS_OF_LINES, COSTS = "The kinds of deals", "What ends a line", "What a difference costs"
SHOWN, HELD, UNCHANGEABLE = "What a deal shows", "What is held", "What Stigg cannot change on a running subscription"

Test = Callable[..., None]


def row(table: str, *cells: str) -> Callable[[Test], Test]:
    """The rows of a table that a test plays."""

    def noted(test: Test) -> Test:
        PLAYED[table] += cells
        return test

    return noted


def test_every_row_is_played() -> None:
    found: dict[str, list[str]] = {}
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        heading = section.splitlines()[0]
        rows = re.findall(r"^\| (.+?) \|", section, re.MULTILINE)[1:]
        if rows:
            found[heading] = sorted(cell.strip("`") for cell in rows)
    assert found == {heading: sorted(cells) for heading, cells in PLAYED.items()}


def workspaces(one: Life, day: str) -> int:
    found = there(one, day)
    return dict(found.addons).get(WORKSPACE, 0) if found else 0


def charge(one: Life, day: str) -> float | None:
    found = one.agreement().charge(HERE, starting(from_iso(f"{day}T12:00:00Z")))
    return None if found is None or found.amount is None else float(found.amount)


# The picture


def test_the_picture() -> None:
    one = life()
    one.send(won(1, plan(price=10_000), addon(WORKSPACE, 10, price=100), **YEAR))
    one.send(amended(2, addon(WORKSPACE, 5, price=130), of=1, start="2027-03-01", end="2027-08-31"))
    one.send(renewed(3, plan(price=10_000), addon(WORKSPACE, 12, price=110), of=1, **NEXT))
    assert one.agreement().held == {}
    days = re.findall(r"\d{4}-\d\d-\d\d", next(text for text in PAGE.splitlines() if text.count("-01 ") > 2))
    drawn = {
        name: [float(cell.replace(",", "")) for cell in re.findall(r"\|\s+([\d,.]+)", text)]
        for name in ("workspaces", "a year")
        for text in PAGE.splitlines()
        if text.startswith(f"{name}  ")
    }
    assert len(days) == 4
    assert [workspaces(one, day) for day in days] == drawn["workspaces"]
    assert [charge(one, day) for day in days] == drawn["a year"]


# The kinds of deals


@row(KINDS, "closed_won")
def test_a_new_deal_counts_from_its_start_until_its_end() -> None:
    one = life(end_of_term="end")
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
    days = ("2026-12-31", "2027-01-01", "2027-12-31", "2028-01-01")
    assert [seats(one, day) for day in days] == [None, 100, 100, None]


@row(KINDS, "trial")
def test_a_trial_ends_or_becomes_paid() -> None:
    trial = HERE._replace(trial=True)
    for behaviour, paid in ((None, False), ("CONVERT_TO_PAID", True)):
        one = life("2026-12-01")
        given = {"trialEnd": "2026-12-20"} | ({"trialEndBehavior": behaviour} if behaviour else {})
        one.send(saved("2026-12-01", on_trial(1, plan(), entitlement(SEATS, 5), **given)))
        assert seats(one, "2026-12-10", trial) == 5
        one.wait(from_iso("2027-01-02T12:00:00Z"))
        assert seats(one, "2027-01-02", trial) is None
        assert (seats(one, "2027-01-02") is not None) == paid


@row(KINDS, "amendment")
def test_an_amendment_says_differences_or_all_there_is_and_ends_with_its_contract() -> None:
    one = life(end_of_term="end")
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
    one.send(amended(2, entitlement(SEATS, 20), of=1, start="2027-03-01"))
    one.send(amended(3, entitlement(SEATS, 7), of=1, start="2027-04-01", end="2027-04-30"))
    one.send(restated(4, plan(), entitlement(SEATS, 110), of=1, start="2027-06-01"))
    days = ("2027-02-28", "2027-03-01", "2027-04-01", "2027-05-01", "2027-06-01", "2027-12-31", "2028-01-01")
    assert [seats(one, day) for day in days] == [100, 120, 127, 120, 110, 110, None]
    other = life()
    other.send(won(1, plan(), entitlement(SEATS, 100), **YEAR), amended(2, entitlement(SEATS, 20), of=1))
    assert seats(other, "2027-01-01") == 120


@row(KINDS, "renewal")
def test_a_renewal_takes_over_where_what_it_renews_ends() -> None:
    one = life(end_of_term="end")
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
    one.send(renewed(2, plan(), entitlement(SEATS, 120), of=1, end="2028-12-31"))
    assert [seats(one, day) for day in ("2027-12-31", "2028-01-01", "2029-01-01")] == [100, 120, None]


@row(KINDS, "cancellation")
def test_a_cancellation_ends_everything_or_its_lines() -> None:
    for lines, left in (((), None), ((entitlement(SEATS, 100),), 0)):
        one = life("2027-02-01")
        one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
        one.send(saved("2027-02-01", cancelled(2, *lines, of=1, end="2027-05-31")))
        assert [seats(one, day) for day in ("2027-05-31", "2027-06-01")] == [100, left]
    for terms in ({"cancel": "now"}, {"end": "2027-05-31"}, {"cancel": "end_of_term"}):
        one = life("2027-02-01")
        one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
        one.send(saved("2027-02-01", cancelled(1, **terms)))
        assert there(one, "2028-01-01") is None


# What ends a line


@row(ENDS_OF_LINES, "an end of its own before its plan's")
def test_a_line_that_ends_before_its_plan_ends_on_its_day() -> None:
    one = life(end_of_term="keep")
    ramp = [entitlement(SEATS, 10, end="2027-06-30"), entitlement(SEATS, 20, start="2027-07-01")]
    one.send(won(1, plan(), *ramp, addon(WORKSPACE, 3, end="2027-08-31"), **YEAR))
    assert [seats(one, day) for day in ("2027-06-30", "2027-07-01", "2028-02-01")] == [10, 20, 20]
    assert [workspaces(one, day) for day in ("2027-08-31", "2027-09-01")] == [3, 0]


@row(ENDS_OF_LINES, "the end of the term")
def test_the_end_of_a_term_is_by_the_policy() -> None:
    for policy, stands in (
        ({"end_of_term": "keep"}, [True, True, True]),
        ({"end_of_term": "grace", "grace_days": 14}, [True, True, False]),
        ({"end_of_term": "end"}, [True, False, False]),
    ):
        one = life(**policy)
        one.send(won(1, plan(), **YEAR))
        assert [there(one, day) is not None for day in ("2027-12-31", "2028-01-14", "2028-01-15")] == stands, policy


@row(ENDS_OF_LINES, "a renewal")
def test_a_renewal_ends_each_line_where_its_own_starts_and_leaves_out_at_its_start() -> None:
    one = life()
    one.send(won(1, plan(), entitlement(SEATS, 100), addon(WORKSPACE, 3), **YEAR))
    one.send(renewed(2, plan(), entitlement(SEATS, 120, start="2028-03-01"), of=1, **NEXT))
    assert [seats(one, day) for day in ("2028-02-28", "2028-03-01")] == [100, 120]
    assert [workspaces(one, day) for day in ("2027-12-31", "2028-01-01")] == [3, 0]


@row(ENDS_OF_LINES, "an amendment that says all there is")
def test_a_whole_amendment_ends_what_took_effect_before_it() -> None:
    one = life(removal_guard_percent=100)
    one.send(won(1, plan(), entitlement(SEATS, 100), addon(WORKSPACE, 3), **YEAR))
    one.send(amended(2, entitlement(SEATS, 5), of=1, start="2027-03-01"))
    one.send(restated(3, plan(), entitlement(SEATS, 90), of=1, start="2027-06-01"))
    one.send(amended(4, entitlement(SEATS, 7), of=1, start="2027-09-01"))
    assert [seats(one, day) for day in ("2027-05-31", "2027-06-01", "2027-09-01")] == [105, 90, 97]
    assert [workspaces(one, day) for day in ("2027-05-31", "2027-06-01")] == [3, 0]


@row(ENDS_OF_LINES, "a cancellation with a day")
def test_a_cancellation_is_moved_by_its_newest_reading() -> None:
    one = life("2027-02-01")
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
    for day, end in (("2027-02-01", "2027-05-31"), ("2027-02-02", "2027-08-31"), ("2027-02-03", "2027-03-31")):
        one.send(saved(day, cancelled(2, of=1, end=end)))
        last, after = f"{end}T23:59:59Z", starting(from_iso(f"{end}T23:59:59Z"))
        found = one.agreement()
        assert found.charge(HERE, after) is not None, last
        assert [interval.stands for interval in found.intervals(HERE)] == [True, False]


@row(ENDS_OF_LINES, "a cancellation for the end of the term")
def test_the_end_of_the_term_is_the_lines_own_or_that_of_the_billing_period() -> None:
    one = life("2027-03-10")
    one.send(won(1, plan("plan-team"), **YEAR))
    one.send(saved("2027-03-10", cancelled(2, of=1, cancel="end_of_term")))
    assert one.desired.subscriptions[HERE].cancellation == At(from_iso("2028-01-01T00:00:00Z"))
    other = life("2027-03-10")
    other.send(won(1, plan("plan-team"), start="2026-12-01", end=None, billingPeriod="MONTHLY"))
    other.send(saved("2027-03-10", cancelled(2, of=1, cancel="end_of_term")))
    assert other.desired.subscriptions[HERE].cancellation == At(from_iso("2027-04-01T00:00:00Z"))


@row(ENDS_OF_LINES, "the end of its plan")
def test_a_plan_takes_its_parts_with_it_and_a_swap_keeps_them() -> None:
    one = life("2027-02-01")
    analytics, more = plan("plan-analytics"), entitlement(SEATS, 100, planId="plan-enterprise")
    one.send(won(1, plan(), more, analytics, **YEAR))
    one.send(saved("2027-02-01", cancelled(2, plan(), of=1, end="2027-05-31")))
    assert seats(one, "2027-06-01") is None
    assert there(one, "2027-06-01", HERE._replace(product_id="product-analytics")) is not None
    other = life("2027-02-01")
    other.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
    swap = [plan(quantity=-1), plan("plan-enterprise-plus")]
    other.send(saved("2027-02-01", amended(2, *swap, of=1, start="2027-06-01")))
    found = there(other, "2027-06-01")
    assert found is not None
    assert (found.plan_id, seats(other, "2027-06-01")) == ("plan-enterprise-plus", 100)


@row(ENDS_OF_LINES, "another reading of its deal")
def test_what_is_un_won_was_never_sold() -> None:
    one, never = life("2027-02-01", reopened_deal="revoke"), life("2027-02-01", reopened_deal="revoke")
    for each in (one, never):
        each.send(won(1, plan(price=1000), entitlement(SEATS, 100), **YEAR))
    one.send(saved("2027-02-01", amended(2, entitlement(SEATS, 20), addon(WORKSPACE, 2, price=10), of=1)))
    assert seats(one, "2027-03-01") == 120
    one.send(saved("2027-02-02", cancelled(2)))
    assert one.desired.subscriptions == never.desired.subscriptions


# What a difference costs


def sold_at(price: float | None, *then: Json) -> Life:
    """Five workspaces at a price, amended."""
    one = life(removal_guard_percent=100)
    one.send(won(1, plan(price=0), addon(WORKSPACE, 5, price=price), **YEAR))
    one.send(amended(2, *then, of=1, start="2027-03-01"))
    return one


def costs(one: Life) -> float | None:
    assert one.agreement().held == {}
    return charge(one, "2027-03-01")


@row(COSTS, "more units, with a price")
def test_more_units_with_a_price() -> None:
    assert costs(sold_at(100, addon(WORKSPACE, 2, price=130))) == 760


@row(COSTS, "more units, without a price")
def test_more_units_without_a_price() -> None:
    assert costs(sold_at(100, addon(WORKSPACE, 2))) == 700
    anew = sold_at(100, addon(WORKSPACE, -5, price=100), addon(WORKSPACE, 7))
    assert costs(anew) is None
    assert WORKSPACE not in prices(anew, "2027-03-01")


@row(COSTS, "fewer units, with a price")
def test_fewer_units_with_a_price() -> None:
    assert costs(sold_at(100, addon(WORKSPACE, -2, price=100))) == 300
    one = sold_at(100, addon(WORKSPACE, 5, price=50))
    one.send(amended(3, addon(WORKSPACE, -4, price=75), of=1, start="2027-03-02"))
    assert charge(one, "2027-03-02") == 6 * 75


@row(COSTS, "fewer units, without a price")
def test_fewer_units_without_a_price() -> None:
    one = sold_at(100, addon(WORKSPACE, 5, price=50))
    one.send(amended(3, addon(WORKSPACE, -4), of=1, start="2027-03-02"))
    assert charge(one, "2027-03-02") == 3 * 100 + 3 * 50


@row(COSTS, "fewer at the old price, more at a new one")
def test_a_new_price_for_the_same_units() -> None:
    one = sold_at(100, addon(WORKSPACE, -5, price=100), addon(WORKSPACE, 5, price=90))
    assert (costs(one), workspaces(one, "2027-03-01")) == (450, 5)


@row(COSTS, "known prices beside the catalogue's")
@row(HELD, "price_unknown")
def test_known_prices_beside_the_catalogues_are_held() -> None:
    one = sold_at(None, addon(WORKSPACE, 2, price=130))
    assert (code(one, 2), workspaces(one, "2027-03-01")) == ("price_unknown", 5)


# What a deal shows


@row(SHOWN, "Held")
def test_a_held_deal_gives_and_takes_nothing() -> None:
    one = life("2027-02-01")
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
    before = one.desired.subscriptions
    one.send(saved("2027-02-01", amended(2, entitlement(SEATS, -150), of=1)))
    assert (status(one, 2)[0], status(one, 1)[0]) == ("Held", "Provisioned")
    assert one.desired.subscriptions == before


@row(SHOWN, "Scheduled", "Provisioned", "Ended")
def test_a_deal_is_scheduled_then_provisioned_then_ended() -> None:
    one = life(end_of_term="end")
    one.send(won(1, plan(), **YEAR), cancelled(2, of=1, end="2027-05-31"))
    days = ("2026-12-20", "2027-01-01", "2027-06-01")
    assert [status(one, 2, day)[0] for day in days] == ["Scheduled", "Scheduled", "Provisioned"]
    other = life(end_of_term="end")
    other.send(won(1, plan(), **YEAR))
    days = ("2026-12-20", "2027-01-01", "2028-01-01")
    assert [status(other, 1, day)[0] for day in days] == ["Scheduled", "Provisioned", "Ended"]


@row(SHOWN, "Superseded")
def test_a_deal_whose_lines_were_all_replaced_is_superseded_by_who_did() -> None:
    one = life()
    one.send(won(1, plan(), **YEAR), renewed(2, plan(), of=1, **NEXT))
    found = one.agreement().status(OpportunityId(opportunity_id(1)), from_iso("2028-01-02T00:00:00Z"))
    assert (found.kind, found.by) == ("Superseded", opportunity_id(2))


# What is held


def held(*deals: Json, base: tuple[Json, ...] = (), day: str = "2027-02-01", **policy: Any) -> list[str | None]:
    """The codes of deals that are sent together when a contract has begun, in the order of their numbers."""
    one = life(day, **policy)
    one.send(won(1, plan(), entitlement(SEATS, 100), *base, **YEAR))
    one.send(*(saved(day, deal) for deal in deals))
    ids = sorted({deal["opportunity"]["id"] for deal in deals})
    found = one.agreement().held
    return [found[id].code if id in found else None for id in map(OpportunityId, ids)]


@row(HELD, "removal_guard")
def test_a_reduction_is_held_a_renewal_or_cancellation_with_a_day_is_not() -> None:
    assert held(amended(2, entitlement(SEATS, -80), of=1, start="2027-06-01")) == ["removal_guard"]
    assert held(renewed(2, plan(), entitlement(SEATS, 20), of=1, **NEXT)) == [None]
    assert held(cancelled(2, entitlement(SEATS, 100), of=1, end="2027-05-31")) == [None]
    assert held(amended(2, entitlement(SEATS, -80), of=1), removal_guard_percent=80) == [None]


@row(HELD, "reopened")
def test_a_deal_that_is_un_won_is_held_by_the_policy() -> None:
    assert held(cancelled(1)) == ["reopened"]
    assert held(cancelled(1), reopened_deal="revoke") == [None]


@row(HELD, "others_hang_on_it")
def test_a_base_with_amendments_is_not_un_won() -> None:
    one = life("2027-02-01", reopened_deal="revoke")
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR), amended(2, entitlement(SEATS, 5), of=1))
    one.send(saved("2027-02-01", cancelled(1)))
    assert (code(one, 1), code(one, 2), seats(one, "2027-03-01")) == ("others_hang_on_it", None, 105)


@row(HELD, "no_base")
def test_an_amendment_waits_for_its_base() -> None:
    one = life("2027-02-01")
    one.send(saved("2027-02-01", amended(2, entitlement(SEATS, 5), of=1)))
    assert code(one, 2) == "no_base"
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
    assert (code(one, 2), seats(one, "2027-02-02")) == (None, 105)


@row(HELD, "reference_unknown")
def test_a_line_that_names_an_unknown_record_waits_for_it() -> None:
    one = life("2027-02-01")
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
    one.send(saved("2027-02-01", amended(2, entitlement(SEATS, 5, amends=RECORDS[0]))))
    assert (code(one, 2), seats(one, "2027-03-01")) == ("reference_unknown", 100)
    # The name comes after the deal was won: it is recorded, though the deal is the same.
    one.send(won(1, plan(), entitlement(SEATS, 100, subscriptionRecord=RECORDS[0]), saved="2027-02-02", **YEAR))
    assert (code(one, 2), seats(one, "2027-03-01")) == (None, 105)
    narrowed = cancelled(2, entitlement(SEATS, 100, ends=RECORDS[0]), of=1, end="2027-05-31")
    assert held(narrowed) == ["reference_unknown"]


@row(HELD, "below_zero")
def test_more_is_taken_than_there_is() -> None:
    assert held(amended(2, entitlement(SEATS, -150), of=1), removal_guard_percent=100) == ["below_zero"]


@row(HELD, "prior_mismatch")
def test_a_quote_on_a_quantity_that_never_was() -> None:
    assert held(amended(2, entitlement(SEATS, 5, priorQuantity=90), of=1)) == ["prior_mismatch"]
    assert held(amended(2, entitlement(SEATS, 5, priorQuantity=100), of=1)) == [None]


@row(HELD, "price_conflict")
def test_units_are_taken_at_a_price_that_nobody_pays() -> None:
    taken = amended(2, addon(WORKSPACE, -1, price=90), of=1)
    assert held(taken, base=(addon(WORKSPACE, 5, price=100),)) == ["price_conflict"]


@row(HELD, "two_plans")
def test_of_two_plans_what_has_begun_stands_and_of_two_that_have_not_neither() -> None:
    assert held(won(2, plan("plan-enterprise-plus"), **YEAR)) == ["two_plans"]
    one = life()
    one.send(won(1, plan(), **YEAR), won(2, plan("plan-enterprise-plus"), **YEAR))
    assert (code(one, 1), code(one, 2)) == ("two_plans", "two_plans")


@row(HELD, "currency_conflict")
def test_another_currency_than_the_contracts() -> None:
    assert held(amended(2, entitlement(SEATS, 5), of=1, currency="EUR")) == ["currency_conflict"]


@row(HELD, "renewed_twice")
def test_two_renewals_of_the_same_lines_are_held_and_the_term_goes_on() -> None:
    one = life(end_of_term="end")
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
    one.send(*(renewed(number, plan(), of=1, **NEXT) for number in (2, 3)))
    assert (code(one, 2), code(one, 3), seats(one, "2028-02-01")) == ("renewed_twice", "renewed_twice", 100)


@row(HELD, "start_unknown")
def test_a_renewal_of_what_never_ends_needs_a_start() -> None:
    one = life()
    one.send(won(1, plan(), start="2027-01-01", end=None), renewed(2, plan(), of=1))
    assert code(one, 2) == "start_unknown"


@row(HELD, "contract_over")
def test_an_amendment_of_what_is_cancelled_by_then() -> None:
    late = amended(3, entitlement(SEATS, 5), of=1, start="2027-07-01")
    assert held(cancelled(2, of=1, end="2027-05-31"), late) == [None, "contract_over"]


@row(HELD, "renewed_meanwhile")
def test_a_cancellation_of_what_was_renewed_before() -> None:
    one = life("2027-06-01")
    one.send(won(1, plan(), **YEAR), saved("2027-06-01", renewed(2, plan(), of=1, **NEXT)))
    one.send(saved("2027-07-01", cancelled(3, of=1, end="2028-02-29")))
    assert (code(one, 3), there(one, "2028-03-01") is not None) == ("renewed_meanwhile", True)


@row(HELD, "cannot_change")
@row(UNCHANGEABLE, "payment collection")
def test_payment_collection_cannot_change_while_it_runs() -> None:
    assert held(renewed(2, plan(), of=1, **{**NEXT, "paymentCollection": "CHARGE"})) == ["cannot_change"]
    other = plan("plan-enterprise-plus")
    assert held(renewed(2, other, of=1, **{**NEXT, "paymentCollection": "CHARGE"})) == [None]


@row(HELD, "currency_differs")
def test_a_customer_is_billed_in_one_currency() -> None:
    other = won(2, plan("plan-analytics", price=900), currency="EUR", **YEAR)
    assert held(other, base=(addon(WORKSPACE, 1, price=1200),)) == ["currency_differs"]


# What Stigg did by itself is played by other tests
row(HELD, "ended_in_stigg", "checkout_expired")(
    stops.test_what_was_ended_elsewhere_is_not_given_back_by_another_deal_and_an_approval_sells_it_again
)
row(HELD, "trial_not_wanted")(
    stops.test_a_sale_that_stigg_made_a_trial_of_is_not_provisioned_and_not_made_again_and_again
)
row(HELD, "customer_archived")(stops.test_nothing_is_written_to_an_archived_customer_and_its_new_deals_wait)
row(SHOWN, "Payment required")(stops.test_a_failed_payment_shows_while_the_customer_has_access_and_goes_when_it_is_paid)


# What a plan charges by the unit is played by other tests
BY_UNIT = "What a plan charges by the unit"
row(BY_UNIT, "the plan charges a feature, and no deal gives any")(
    by_unit.test_what_the_plan_charges_and_no_deal_gives_is_none
)
row(BY_UNIT, "the quantity of a plan that charges nothing but the units of one feature")(
    by_unit.test_the_units_of_a_plan_that_is_sold_by_the_unit_change_in_place
)
row(BY_UNIT, "a price somebody set in tiers in Stigg")(
    by_unit.test_a_price_in_tiers_that_somebody_set_is_never_patched_away
)
row(BY_UNIT, "what an earlier version sold as an entitlement, or as units of a plan without unit pricing")(
    by_unit.test_seats_that_stand_as_an_entitlement_wait_for_an_approval_of_both_values
)
row(
    BY_UNIT,
    "another quantity than 1 of any other plan",
    "a price of a feature that the plan does not charge",
    "part of a block",
    "credits that come with the plan, on an entitlement line",
)(rules.test_a_hold_is_said_in_whole_words_with_the_facts_that_its_code_has)


# What Stigg cannot change: played through the functions, with the strict stand-in


def generations(look: Json) -> list[tuple[str, str, str]]:
    """Of each subscription the generation in its ID, its plan and its status."""
    return sorted((one["id"].rpartition("-")[2], one["planId"], one["status"]) for one in look["subscriptions"])


@row(UNCHANGEABLE, "the plan")
def test_another_plan_is_another_subscription() -> None:
    plus = [line("plan-enterprise-plus"), line("feature-seats", 20)]
    renewal = {"trigger": "renewal", "amends": opportunity(1), "terms": {"start": "2026-12-10"}}
    looks = played(sold(), sold(*plus, at="2026-12-05T09:00:00Z", number=2, **renewal), look_at("2026-12-11T09:00:00Z"))
    (first, *one), (second, *other) = generations(looks[2])
    assert (one, other) == (["plan-enterprise", "CANCELED"], ["plan-enterprise-plus", "ACTIVE"])
    assert first != second


@row(UNCHANGEABLE, "the start")
def test_a_running_subscription_keeps_its_start_and_one_that_has_not_started_is_made_anew() -> None:
    looks = played(
        sold(terms={"start": "2027-02-01"}),
        sold(at="2026-11-21T09:00:00Z", terms={"start": "2027-01-01"}),
        look_at("2027-01-02T00:00:00Z"),
    )
    live = [one for one in looks[2]["subscriptions"] if one["status"] == "ACTIVE"]
    assert [one["startDate"][:10] for one in live] == ["2027-01-01"]
    moved = played(sold(), sold(at="2026-11-21T09:00:00Z", terms={"start": "2026-11-01"}))
    assert [one["startDate"] for one in moved[1]["subscriptions"]] == ["2026-11-20T09:00:00.000Z"]


@row(UNCHANGEABLE, "the resource")
def test_another_resource_ends_the_old_subscription_once_that_is_approved() -> None:
    looks = played(
        sold(resourceId="eu"),
        sold(at="2026-11-21T09:00:00Z", resourceId="us"),
        {"at": "2026-11-21T10:00:00Z", "approve": opportunity(1)},
    )
    assert statuses(looks[1]) == ["Held"]
    found = [[one["resourceId"] for one in look["subscriptions"] if one["status"] == "ACTIVE"] for look in looks[1:]]
    assert found == [["eu"], ["us"]]


@row(UNCHANGEABLE, "credits granted")
def test_credits_are_never_corrected() -> None:
    granted = [sold(*ENTERPRISE, line("currency-ai-credits", 500)), sold(at="2026-11-21T09:00:00Z")]
    more = sold(*ENTERPRISE, line("currency-ai-credits", 900), at="2026-11-22T09:00:00Z")
    looks = played(*granted, more)
    assert [[one["amount"] for one in look["credits"]] for look in looks] == [[500], [500], [500]]
    assert standing(looks[2]) == ["plan-enterprise"]
