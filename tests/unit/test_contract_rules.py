"""The rules of the contract model that no story plays, each by a case of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from closedwon.domain.code_list import CODES
from closedwon.domain.contract.agreement import Agreement
from closedwon.domain.contract.contracts import Learned, Stopped
from closedwon.domain.contract.faults import ORDER
from closedwon.domain.desired import Policy, Slot, Subscription
from closedwon.domain.former_approvals import former_approval_of
from closedwon.domain.identifiers import OpportunityId, normalised_id
from closedwon.domain.instants import At, EndOfBillingPeriod, from_iso
from closedwon.intake.mapping import MappingRules
from closedwon.words.reasons import in_words, sentence
from unit.agreements import Life
from unit.domain import (
    ANALYTICS,
    CALLS,
    CATALOGUE,
    ORGANIZATION,
    PLATFORM,
    SEATS,
    SSO,
    WORKSPACE,
    addon,
    amended,
    cancelled,
    contract,
    credits,
    entitlement,
    on_trial,
    opportunity_id,
    plan,
    renewed,
    restated,
    won,
)

Json = dict[str, Any]

YEAR = {"start": "2027-01-01", "end": "2027-12-31"}
NEXT = {"start": "2028-01-01", "end": "2028-12-31"}
HERE = Slot(PLATFORM, None)


def at(day: str) -> Any:
    return from_iso(f"{day}T12:00:00Z")


def life(day: str = "2026-12-20", **policy: Any) -> Life:
    return Life(Policy(**policy), now=at(day))


def saved(day: str, deal: Json) -> Json:
    """A deal as it was saved on a day."""
    stamp = {"systemModstamp": f"{day}T09:00:00Z", "readAt": f"{day}T09:00:00Z"}
    return {**deal, "opportunity": {**deal["opportunity"], **stamp}}


def seats(one: Life, day: str, slot: Slot = HERE) -> int | None:
    """How many seats there are on a day; None where nothing stands."""
    found = there(one, day, slot)
    return next((e.limit for e in found.entitlements if e.id == SEATS), 0) if found else None


def there(one: Life, day: str, slot: Slot = HERE) -> Subscription | None:
    """The subscription that stands on a day."""
    found = one.agreement().desired(at(day)).subscriptions.get(slot)
    return found if found is not None and (found.start is None or found.start <= at(day)) else None


def prices(one: Life, day: str) -> dict[str, float]:
    found = there(one, day)
    return {price.addon_id or "plan": price.amount for price in found.prices} if found else {}


def code(one: Life, number: int) -> str | None:
    hold = one.agreement().held.get(OpportunityId(opportunity_id(number)))
    return None if hold is None else hold.code


def status(one: Life, number: int, day: str | None = None) -> tuple[str, str]:
    found = one.agreement().status(OpportunityId(opportunity_id(number)), at(day) if day else None)
    return (found.kind, found.why)


RECORDS = tuple(normalised_id(f"a0X5g{number:010d}") for number in (1, 2, 3))


# Renewals


def test_a_renewal_line_that_starts_later_leaves_no_gap() -> None:
    one = life()
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
    one.send(renewed(2, plan(), entitlement(SEATS, 120, start="2028-03-01"), of=1, **NEXT))
    assert [seats(one, day) for day in ("2027-12-30", "2028-01-02", "2028-03-02")] == [100, 100, 120]


def test_a_split_renewal_renews_the_records_that_its_lines_name_and_no_others() -> None:
    one = life(end_of_term="end")
    platform, more, analytics = RECORDS
    lines = [
        plan(subscriptionRecord=platform),
        entitlement(SEATS, 100, planId="plan-enterprise", subscriptionRecord=more),
        plan("plan-analytics", subscriptionRecord=analytics),
    ]
    one.send(won(1, *lines, **YEAR))
    one.send(renewed(2, plan(renews=platform), entitlement(SEATS, 120, renews=more), **NEXT))
    other = Slot(ANALYTICS, None)
    assert [seats(one, day) for day in ("2027-12-30", "2028-01-02")] == [100, 120]
    assert [there(one, day, other) is not None for day in ("2027-12-30", "2028-01-02")] == [True, False]
    one.send(renewed(3, plan("plan-analytics", renews=analytics), **NEXT))
    assert there(one, "2028-01-02", other) is not None
    assert one.agreement().held == {}


def test_what_was_added_to_a_record_is_renewed_with_it() -> None:
    one = life()
    platform, more, _ = RECORDS
    one.send(won(1, plan(subscriptionRecord=platform), entitlement(SEATS, 100, subscriptionRecord=more), **YEAR))
    one.send(amended(2, entitlement(SEATS, 5, amends=more), of=1, start="2027-03-01"))
    one.send(renewed(3, plan(renews=platform), entitlement(SEATS, 120, renews=more), **NEXT))
    assert [seats(one, day) for day in ("2027-04-01", "2028-01-02")] == [105, 120]


def test_a_renewal_without_a_start_of_contracts_that_end_on_different_days_is_held() -> None:
    one = life()
    one.send(won(1, plan(), **YEAR, contract=1), won(2, plan(), start="2027-01-01", end="2028-05-31", contract=2))
    one.send({**renewed(3, plan()), "amends": [contract(1), contract(2)]})
    assert code(one, 3) == "start_unknown"
    assert seats(one, "2029-01-02") == 0


def test_a_renewal_that_is_not_won_any_more_gives_back_the_term() -> None:
    one = life(reopened_deal="revoke")
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
    one.send(renewed(2, plan(), entitlement(SEATS, 120), of=1, **NEXT))
    assert seats(one, "2028-01-02") == 120
    one.send(saved("2027-01-05", cancelled(2)))
    assert seats(one, "2028-01-02") == 100
    assert status(one, 1, "2028-01-02") == ("Provisioned", "past its term")


def test_a_base_that_arrives_after_its_scheduled_renewal_is_renewed_by_it() -> None:
    one = life("2027-11-01")
    one.send(renewed(2, plan(), entitlement(SEATS, 120), of=1, **NEXT))
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
    assert [seats(one, day) for day in ("2027-12-30", "2028-01-02")] == [100, 120]
    assert status(one, 1, "2028-01-02") == ("Superseded", "renewed")


def test_what_ran_out_before_a_renewal_has_no_say_in_what_became_of_the_deal() -> None:
    one = life()
    ramp = [entitlement(SEATS, 100, end="2027-03-31"), entitlement(SEATS, 50, start="2027-04-01")]
    one.send(won(1, plan(), *ramp, **YEAR), renewed(2, plan(), entitlement(SEATS, 80), of=1, start="2027-06-01"))
    assert status(one, 1, "2027-05-01") == ("Provisioned", "gives")
    assert status(one, 1, "2027-06-02") == ("Superseded", "renewed")


def test_what_goes_on_to_its_end_after_a_part_was_cancelled_has_ended() -> None:
    one = life(end_of_term="end")
    one.send(won(1, plan(), entitlement(SEATS, 100), addon(WORKSPACE, 2), **YEAR))
    one.send(cancelled(2, addon(WORKSPACE, 2), of=1, end="2027-03-31"))
    assert status(one, 1, "2028-01-02") == ("Ended", "term over")
    one.send(cancelled(3, entitlement(SEATS, 100), of=1, end="2027-12-31"))
    assert status(one, 1, "2028-01-02") == ("Ended", "term over")


def test_an_amendment_that_starts_after_the_renewal_belongs_to_the_renewal() -> None:
    one = life()
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
    one.send(renewed(2, plan(), entitlement(SEATS, 100), of=1, **NEXT))
    one.send(amended(3, entitlement(SEATS, 5), of=1, start="2028-02-01"))
    assert [seats(one, day) for day in ("2028-01-15", "2028-02-02", "2029-02-01")] == [100, 105, 105]


def test_a_later_segment_of_a_whole_amendment_does_not_outlive_the_contract_that_was_renewed_before() -> None:
    one = life()
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
    ramp = [entitlement(CALLS, 500, end="2027-10-31"), entitlement(CALLS, 900, start="2027-11-01")]
    one.send(restated(2, plan(), entitlement(SEATS, 100), *ramp, of=1, start="2027-03-01"))
    one.send(renewed(3, plan(), entitlement(SEATS, 120), of=1, start="2027-06-01", end="2028-05-31"))
    assert one.agreement().held == {}
    assert [seats(one, day) for day in ("2027-05-02", "2027-06-02", "2027-12-02")] == [100, 120, 120]
    for day, left in (("2027-05-02", {SEATS, CALLS}), ("2027-06-02", {SEATS}), ("2027-12-02", {SEATS})):
        found = there(one, day)
        assert found is not None
        assert {e.id for e in found.entitlements} == left


def test_two_renewals_to_one_other_product_are_both_held_and_two_to_different_ones_are_not() -> None:
    for plans, held in ((("plan-team", "plan-team"), {2, 3}), (("plan-team", "plan-analytics"), set())):
        one = life(end_of_term="end")
        one.send(won(1, plan("plan-analytics"), entitlement(SEATS, 100), **YEAR))
        one.send(*(renewed(2 + place, plan(plan_id), of=1, **NEXT) for place, plan_id in enumerate(plans)))
        assert one.agreement().held.keys() == {opportunity_id(number) for number in held}
        assert {hold.code for hold in one.agreement().held.values()} <= {"renewed_twice"}


def test_two_renewals_of_the_same_lines_are_both_held_and_the_term_goes_on() -> None:
    one = life(end_of_term="end")
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
    one.send(*(renewed(number, plan(), entitlement(SEATS, 90 + number), of=1, **NEXT) for number in (2, 3)))
    assert (code(one, 2), code(one, 3)) == ("renewed_twice", "renewed_twice")
    assert seats(one, "2028-02-01") == 100


# Cancellations


def test_a_cancellation_sold_after_the_renewal_that_ends_nothing_is_held() -> None:
    one = life()
    one.send(won(1, plan(), **YEAR), saved("2027-06-01", renewed(2, plan(), of=1, **NEXT)))
    one.send(saved("2027-07-01", cancelled(3, of=1, end="2028-02-29")))
    assert code(one, 3) == "renewed_meanwhile"


def test_a_notice_before_the_renewal_is_superseded_by_it() -> None:
    one = life()
    one.send(won(1, plan(), **YEAR), saved("2027-06-01", cancelled(3, of=1, end="2027-12-31")))
    one.send(saved("2027-07-01", renewed(2, plan(), of=1, **NEXT)))
    assert status(one, 3) == ("Superseded", "renewed")
    assert seats(one, "2028-01-02") == 0


def test_an_amendment_of_what_was_cancelled_by_then_is_held() -> None:
    one = life()
    one.send(won(1, plan(), **YEAR), saved("2027-02-01", cancelled(2, of=1, end="2027-05-31")))
    one.send(saved("2027-03-01", amended(3, entitlement(SEATS, 5), of=1, start="2027-07-01")))
    assert code(one, 3) == "contract_over"


def test_an_end_with_the_billing_period_is_asked_for_and_then_is_a_day_like_any_other() -> None:
    one = life("2027-03-10")
    lines = {"start": "2026-12-01", "end": None, "billingPeriod": "MONTHLY"}
    one.send(won(1, plan("plan-team"), **lines))
    one.send(saved("2027-03-10", cancelled(2, of=1, cancel="end_of_term")))
    assert [found.cancellation for found in one.agreement().desired().subscriptions.values()] == [
        At(from_iso("2027-04-01T00:00:00Z"))
    ]
    known, agreement = dict(one.ends), one.agreement()
    assert agreement.forgotten == frozenset()
    one.ends.clear()
    agreement = one.agreement()
    [lapse] = agreement.lapses
    assert (lapse.cancellation, lapse.since) == (opportunity_id(2), from_iso("2027-03-10T09:00:00Z"))
    assert agreement.desired().subscriptions[HERE].cancellation == EndOfBillingPeriod()
    assert status(one, 2) == ("Scheduled", "ends")
    one.send(saved("2027-03-11", cancelled(2)))
    one.ends = known
    assert one.agreement().forgotten == known.keys()


def test_what_is_cancelled_before_its_first_period_and_has_no_end_needs_a_day() -> None:
    one = life("2026-12-20")
    one.send(won(1, plan("plan-team"), start="2027-02-01", end=None))
    one.send(saved("2026-12-20", cancelled(2, of=1, cancel="end_of_term")))
    assert code(one, 2) == "end_unknown"


def test_what_stigg_ended_is_not_given_back_by_another_deal() -> None:
    one = life("2027-06-01")
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
    one.send(saved("2027-06-01", amended(2, entitlement(SEATS, 5), of=1, start="2027-07-01")))
    stopped = Learned(stopped=(Stopped(HERE, 1, "CANCELED", from_iso("2027-05-01T00:00:00Z")),))
    other = Agreement(list(one.histories.values()), replace(one.world(), learned=stopped))
    assert other.desired().subscriptions == {}
    assert other.status(OpportunityId(opportunity_id(1))).why == "stopped"


def test_an_unwon_base_with_amendments_on_it_is_held_with_the_list() -> None:
    one = life("2027-02-01", reopened_deal="revoke")
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR), amended(2, entitlement(SEATS, 5), of=1))
    one.send(saved("2027-02-01", cancelled(1)))
    hold = one.agreement().held[OpportunityId(opportunity_id(1))]
    assert (hold.code, hold.facts["others"]) == ("others_hang_on_it", (opportunity_id(2),))
    assert seats(one, "2027-03-01") == 105


# Money


@pytest.mark.parametrize(
    ("first", "then", "price"),
    [
        (1200, [addon(WORKSPACE, 2)], 1200),
        (1200, [addon(WORKSPACE, 5, price=0)], 600),
        (None, [addon(WORKSPACE, 2)], None),
        (1200, [addon(WORKSPACE, -5, price=1200), addon(WORKSPACE, 7)], None),
        (1200, [addon(WORKSPACE, -2, price=1200)], 1200),
        (0, [addon(WORKSPACE, 2)], 0),
    ],
)
def test_the_price_that_follows(first: float | None, then: list[Json], price: float | None) -> None:
    one = life()
    one.send(won(1, plan(), addon(WORKSPACE, 5, price=first), **YEAR))
    one.send(amended(2, *then, of=1))
    assert one.agreement().held == {}
    assert prices(one, "2027-02-01").get(WORKSPACE) == price


@pytest.mark.parametrize(
    ("first", "then", "held"),
    [
        (None, addon(WORKSPACE, 2, price=1000), "price_unknown"),
        (1200, addon(WORKSPACE, -2, price=900), "price_conflict"),
        (1200, addon(WORKSPACE, -6, price=1200), "below_zero"),
    ],
)
def test_a_price_that_does_not_follow_is_held(first: float | None, then: Json, held: str) -> None:
    one = life(removal_guard_percent=100)
    one.send(won(1, plan(), addon(WORKSPACE, 5, price=first), **YEAR))
    one.send(amended(2, then, of=1))
    assert code(one, 2) == held
    assert prices(one, "2027-02-01").get(WORKSPACE) == first


def test_a_charge_that_no_price_of_one_unit_comes_to_is_held() -> None:
    one = life()
    one.send(won(1, plan("plan-per-seat", 40_000, price=1.0), **YEAR))
    one.send(amended(2, plan("plan-per-seat", 23_333, price=1.37), of=1))
    assert code(one, 2) == "price_not_exact"


def test_items_of_the_first_form_re_price_what_is_there() -> None:
    one = life()
    one.send(won(1, plan(), addon(WORKSPACE, 5, price=1200), **YEAR), amended(2, addon(WORKSPACE, 1), of=1))
    history = one.histories[opportunity_id(2)]
    order = history.newest.order
    item = replace(order.items[0], quantity=0, price=1000.0, value=-1000.0)
    old = replace(order, items=(item,), form=0)
    one.histories[opportunity_id(2)] = replace(
        history, newest=history.newest._replace(order=old), sells=history.newest._replace(order=old), settled=None
    )
    assert prices(one, "2027-02-01") == {WORKSPACE: 1000}


# Who makes way


def test_of_two_plans_the_one_that_has_begun_stands() -> None:
    one = life("2027-02-01")
    one.send(won(9, plan("plan-enterprise"), **YEAR))
    one.send(won(1, plan("plan-enterprise-plus"), **YEAR))
    assert (code(one, 9), code(one, 1)) == (None, "two_plans")


def test_of_two_plans_that_are_only_agreed_nobody_wins_by_an_id() -> None:
    one = life("2026-12-20")
    one.send(won(9, plan("plan-enterprise"), **YEAR))
    one.send(won(1, plan("plan-enterprise-plus"), **YEAR))
    assert (code(one, 9), code(one, 1)) == ("two_plans", "two_plans")
    assert one.desired.subscriptions == {}


def test_an_innocent_addition_is_not_held_with_what_takes_too_much() -> None:
    one = life(removal_guard_percent=100)
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
    one.send(amended(2, entitlement(SEATS, 50), of=1), amended(3, entitlement(SEATS, -160), of=1))
    assert (code(one, 2), code(one, 3)) == (None, "below_zero")


def test_another_currency_is_held() -> None:
    one = life()
    one.send(won(1, plan(), **YEAR), amended(2, entitlement(SEATS, 5), of=1, currency="EUR"))
    assert code(one, 2) == "currency_conflict"


def test_deals_that_name_each_other_are_held() -> None:
    one = life()
    one.send(renewed(1, plan(), of=2, **YEAR), renewed(2, plan(), of=1, **NEXT))
    assert (code(one, 1), code(one, 2)) == ("reference_circle", "reference_circle")


@pytest.mark.parametrize("other", [plan("plan-enterprise-plus"), plan(price=48000)], ids=["another plan", "a price"])
def test_a_deal_without_a_start_meets_nothing_that_was_over_when_it_was_sold(other: Json) -> None:
    one = life("2027-01-10")
    one.send(saved("2027-01-10", evergreen(won(1, plan(), entitlement(SEATS, 10)))))
    one.wait(at("2027-03-01"))
    one.send(saved("2027-03-01", cancelled(2, of=1, cancel="now")))
    one.wait(at("2027-05-01"))
    one.send(saved("2027-05-01", evergreen(won(3, other, entitlement(SEATS, 20)))))
    assert (status(one, 3), seats(one, "2027-05-02")) == (("Provisioned", "gives"), 20)
    found = there(one, "2027-05-02")
    assert found is not None
    assert found.start is None  # at once, whatever is read of it later
    # What still stands, it meets.
    one.send(saved("2027-05-03", evergreen(won(4, plan("plan-enterprise", price=1000)))))
    one.send(saved("2027-05-03", evergreen(won(5, plan("plan-enterprise-plus")))))
    assert {code(one, 4), code(one, 5)} & {"two_plans", "price_unknown"}


def evergreen(deal: Json) -> Json:
    """A deal that starts when it is provisioned, and has no end."""
    return {**deal, "terms": {name: value for name, value in deal["terms"].items() if name not in ("start", "end")}}


# Guards


def test_a_guard_looks_at_what_a_deal_takes_and_gives_together() -> None:
    one = life()
    one.send(won(1, plan(), addon(WORKSPACE, 5, price=1200), **YEAR))
    one.send(amended(2, addon(WORKSPACE, -5, price=1200), addon(WORKSPACE, 5, price=900), of=1))
    assert one.agreement().held == {}


def test_a_guard_counts_what_there_was_without_what_the_deal_adds() -> None:
    one = life("2027-02-01")
    one.send(won(1, plan(), addon(WORKSPACE, 10, price=1200), **YEAR))
    one.send(saved("2027-02-01", amended(2, addon(WORKSPACE, -10, price=1200), addon(WORKSPACE, 4, price=900), of=1)))
    hold = one.agreement().held[OpportunityId(opportunity_id(2))]
    assert (hold.facts["share"], hold.facts["before"], hold.facts["after"]) == (60, {WORKSPACE: 10}, {WORKSPACE: 4})


def test_a_guard_counts_what_was_sold_and_tells_what_the_customer_has() -> None:
    one = life("2027-02-01")
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR), amended(2, entitlement(SEATS, -30), of=1))
    one.send(saved("2027-02-01", amended(3, entitlement(SEATS, -60), of=1)))
    hold = one.agreement().held[OpportunityId(opportunity_id(3))]
    # What others take away is no part of the comparison, so that it is the same in any batch.
    assert (hold.facts["share"], hold.facts["before"], hold.facts["after"]) == (60, {SEATS: 100}, {SEATS: 40})
    assert (hold.facts["there"], hold.facts["leaves"]) == (70, 10)
    assert f"{SEATS} from 70 to 10, of 100 that were sold" in in_words(hold.reason)
    assert (one.approve(opportunity_id(3)), seats(one, "2027-02-02")) == (None, 10)


def test_a_guard_knows_what_is_left_where_there_is_a_limit_again() -> None:
    one = life("2027-02-01")
    one.send(won(1, plan(), entitlement(SEATS, 10), **YEAR))
    one.send(amended(2, entitlement(SEATS, None, unlimited=True), of=1))
    one.send(saved("2027-02-01", amended(3, entitlement(SEATS, -1, unlimited=True), of=1)))
    hold = one.agreement().held[OpportunityId(opportunity_id(3))]
    assert (hold.facts["before"], hold.facts["after"]) == ({SEATS: "unlimited"}, {SEATS: 10})


def test_an_approval_is_for_what_there_is_before_and_after_and_not_for_the_day() -> None:
    one = life("2027-02-01")
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
    one.send(saved("2027-02-01", amended(2, entitlement(SEATS, -80), of=1, start="2027-06-01")))
    first = one.agreement().held[OpportunityId(opportunity_id(2))]
    assert (first.facts["before"], first.facts["after"]) == ({SEATS: 100}, {SEATS: 20})
    one.send(saved("2027-02-02", amended(2, entitlement(SEATS, -80), of=1, start="2027-07-01")))
    assert one.agreement().held[OpportunityId(opportunity_id(2))].approval == first.approval
    one.send(saved("2027-02-03", amended(2, entitlement(SEATS, -90), of=1, start="2027-07-01")))
    assert one.agreement().held[OpportunityId(opportunity_id(2))].approval != first.approval


def test_a_removal_is_held_only_while_something_is_left_that_it_would_take() -> None:
    one = life("2027-02-01", end_of_term="end")
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
    one.send(saved("2027-02-01", amended(2, entitlement(SEATS, -80), of=1, start="2027-06-01")))
    one.wait(at("2027-12-30"))
    assert code(one, 2) == "removal_guard"
    one.wait(at("2028-01-02"))
    assert code(one, 2) is None
    assert status(one, 2)[0] == "Ended"


def test_a_whole_amendment_that_leaves_much_out_is_held() -> None:
    one = life("2027-02-01")
    one.send(won(1, plan(), entitlement(SEATS, 100), addon(WORKSPACE, 3), **YEAR))
    one.send(saved("2027-02-01", restated(2, plan(), entitlement(SEATS, 10), of=1, start="2027-06-01")))
    assert code(one, 2) == "removal_guard"
    assert seats(one, "2027-06-02") == 100


def test_a_base_that_is_corrected_to_much_less_is_held() -> None:
    one = life("2027-02-01")
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
    one.send(saved("2027-02-01", won(1, plan(), entitlement(SEATS, 20), **YEAR)))
    assert code(one, 1) == "removal_guard"
    assert one.approve(opportunity_id(1)) is None
    assert (code(one, 1), seats(one, "2027-02-02")) == (None, 20)


@pytest.mark.parametrize(
    ("before", "after", "percent", "held"),
    [
        ([entitlement(SEATS, 100)], [entitlement(SEATS, 50)], 50, None),
        ([entitlement(SEATS, 100)], [entitlement(SEATS, 49)], 50, (51, {SEATS: 100}, {SEATS: 49})),
        ([entitlement(SEATS, 100)], [], 50, (100, {SEATS: 100}, {SEATS: 0})),
        ([entitlement(SEATS, 100)], [], 100, None),
        (
            [entitlement(SEATS, None, unlimited=True)],
            [entitlement(SEATS, 10**6)],
            50,
            (100, {SEATS: "unlimited"}, {SEATS: 10**6}),
        ),
        ([entitlement(SEATS, 5)], [entitlement(SEATS, None, unlimited=True)], 0, None),
        ([addon(quantity=9), entitlement()], [entitlement()], 50, None),  # half of what there is
        ([addon(quantity=9), entitlement()], [entitlement()], 49, (50, {WORKSPACE: 9}, {WORKSPACE: 0})),
        ([entitlement(SSO, None, unlimited=True)], [], 50, (100, {SSO: "unlimited"}, {SSO: 0})),
        ([entitlement(SEATS, 5)], [entitlement(CALLS, 5)], 50, (100, {SEATS: 5}, {SEATS: 0})),
    ],
)
@pytest.mark.parametrize("other", ["plan-enterprise", "plan-enterprise-plus"], ids=["it stays", "it is replaced"])
def test_a_change_that_takes_much_away_waits_for_approval(
    before: list[Json],
    after: list[Json],
    percent: int,
    held: tuple[int, dict[str, Any], dict[str, Any]] | None,
    other: str,
) -> None:
    one = life("2027-02-01", removal_guard_percent=percent)
    one.send(won(1, plan(), *before, **YEAR))
    one.send(saved("2027-02-01", won(1, plan(other), *after, **YEAR)))
    if held is None:
        assert one.agreement().held == {}
        return
    hold = one.agreement().held[OpportunityId(opportunity_id(1))]
    assert hold.code == "removal_guard"
    share, was, would_be = held
    assert [hold.facts[name] for name in ("share", "percent", "plan")] == [share, percent, "plan-enterprise"]
    assert (hold.facts["before"], hold.facts["after"], hold.facts["item"]) == (was, would_be, *was)
    assert one.desired.subscriptions[HERE].plan_id == "plan-enterprise"


def test_who_withdraws_one_of_two_deals_in_conflict_is_told_what_can_be_approved() -> None:
    one = life("2026-12-20")
    one.send(won(1, plan(), addon(WORKSPACE, 2), **YEAR))
    one.send(won(2, plan(price=48000), addon(WORKSPACE, 1, price=1200), **YEAR))
    one.send(saved("2026-12-21", cancelled(1)))
    assert code(one, 1) == "reopened"
    assert one.approve(opportunity_id(1)) is None
    assert (code(one, 1), status(one, 1), status(one, 2)[0]) == (None, ("Provisioned", "not won"), "Scheduled")


@pytest.mark.parametrize(("today", "held"), [("2026-12-20", None), ("2027-02-01", "removal_guard")])
def test_a_start_may_be_moved_until_it_has_begun_and_with_it_less_still_waits(today: str, held: str | None) -> None:
    one = life(today)
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
    later = {"start": "2027-03-01", "end": "2028-02-29"}
    one.send(saved(today, won(1, plan(), entitlement(SEATS, 100), **later)))
    assert code(one, 1) == held
    one.send(saved(today, won(1, plan(), entitlement(SEATS, 10), **later)))
    assert code(one, 1) == "removal_guard"


def test_fewer_units_of_a_plan_wait_for_approval_too() -> None:
    one = life("2027-02-01")
    one.send(won(1, plan("plan-per-seat", 100), **YEAR))
    one.send(saved("2027-02-01", won(1, plan("plan-per-seat", 10), **YEAR)))
    hold = one.agreement().held[OpportunityId(opportunity_id(1))]
    assert (hold.code, hold.facts["before"], hold.facts["after"]) == ("removal_guard", {"plan": 100}, {"plan": 10})
    assert "units of the plan from 100 to 10" in in_words(hold.reason)


def test_a_reduction_that_was_approved_goes_through_and_the_next_one_does_not() -> None:
    one = life("2027-02-01")
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
    one.send(saved("2027-02-01", won(1, plan(), entitlement(SEATS, 10), **YEAR)))
    assert (one.approve(opportunity_id(1)), code(one, 1), seats(one, "2027-02-02")) == (None, None, 10)
    one.send(saved("2027-02-02", won(1, plan(), entitlement(SEATS, 1), **YEAR)))
    assert (code(one, 1), seats(one, "2027-02-02")) == ("removal_guard", 10)


def test_two_reductions_of_the_same_share_have_approvals_of_their_own() -> None:
    holds = []
    for calls in (50, 51):  # 70 % of all of it, either way
        one = life("2027-02-01")
        one.send(won(1, plan(), entitlement(SEATS, 100), entitlement(CALLS, 100), **YEAR))
        one.send(saved("2027-02-01", won(1, plan(), entitlement(SEATS, 10), entitlement(CALLS, calls), **YEAR)))
        holds.append(one.agreement().held[OpportunityId(opportunity_id(1))])
    first, second = holds
    assert in_words(first.reason) == in_words(second.reason)
    assert former_approval_of(first.reason) == former_approval_of(second.reason)  # the first version could not tell
    assert first.approval != second.approval


@pytest.mark.parametrize("percent", [0, 20, 89])
def test_an_approval_outlives_another_percentage_of_the_removal_guard(percent: int) -> None:
    one = life("2027-02-01")
    one.send(won(1, plan(), entitlement(SEATS, 100), **YEAR))
    one.send(saved("2027-02-01", won(1, plan(), entitlement(SEATS, 10), **YEAR)))
    approval = one.agreement().held[OpportunityId(opportunity_id(1))].approval
    assert approval is not None
    one.policy = Policy(removal_guard_percent=percent)
    assert code(one, 1) == "removal_guard"
    one.approvals = frozenset({approval})
    assert code(one, 1) is None


# Trials, credits


def test_a_trial_that_was_won_goes_on_until_the_sale_starts() -> None:
    one = life("2026-12-01")
    one.send(saved("2026-12-01", on_trial(1, plan(), entitlement(SEATS, 5), trialEnd="2026-12-20")))
    one.send(saved("2026-12-10", won(1, plan(), entitlement(SEATS, 100), **YEAR)))
    trial = HERE._replace(trial=True)
    ends = [interval.end.instant for interval in one.agreement().intervals(trial) if interval.stands]
    assert ends == [from_iso("2027-01-01T00:00:00Z")]
    desired = one.desired
    # The plan ends it once the paid subscription stands: that is no wish of a deal.
    assert set(desired.subscriptions) == {HERE}
    assert desired.trials == frozenset()
    assert trial not in desired.ended


def test_a_trial_that_was_won_for_later_has_begun_and_stands_against_another_one() -> None:
    one = life("2026-12-01")
    one.send(saved("2026-12-01", on_trial(1, plan(), trialEnd="2026-12-20")))
    one.send(saved("2026-12-10", won(1, plan(), **YEAR)))
    one.send(saved("2026-12-11", on_trial(2, plan(price=100), trialEnd="2026-12-20")))
    assert (code(one, 1), code(one, 2)) == (None, "price_unknown")
    assert set(one.desired.subscriptions) == {HERE}


def test_who_fits_beside_a_deal_that_is_released_is_released_with_it() -> None:
    one = life("2026-12-01")
    terms = {"trialEndBehavior": "CONVERT_TO_PAID", "paymentCollection": "INVOICE"}
    one.send(saved("2026-11-01", on_trial(1, plan(), trialEnd="2026-12-05", **terms)))
    one.now = at("2026-12-20")
    one.provision()
    one.send(renewed(3, plan(), of=1, start="2027-03-01", end="2028-02-29"))
    one.send(
        saved("2026-12-20", on_trial(2, plan(), trialEnd="2027-01-15", **terms)), saved("2026-12-20", cancelled(1))
    )
    held, again = one.agreement().held, one.provision().held
    assert {id: hold.code for id, hold in held.items()} == {id: hold.code for id, hold in again.items()}


def test_a_trial_comes_back_when_its_sale_is_not_won_any_more() -> None:
    one = life("2026-12-01", reopened_deal="revoke")
    one.send(saved("2026-12-01", on_trial(1, plan(), entitlement(SEATS, 5), trialEnd="2026-12-20")))
    one.send(saved("2026-12-05", won(1, plan(), entitlement(SEATS, 100), **YEAR)))
    one.send(saved("2026-12-10", cancelled(1)))
    assert set(one.desired.subscriptions) == {HERE._replace(trial=True)}


def test_a_sale_that_would_be_a_trial_again_for_its_last_days_is_held_when_it_is_not_won_any_more() -> None:
    one = life("2026-12-01")
    one.send(saved("2026-11-20", on_trial(1, plan(), entitlement(SEATS, 20), trialEnd="2026-12-31")))
    one.send(saved("2026-11-21", won(1, plan(), entitlement(SEATS, 20), start="2026-11-01", end="2027-10-31")))
    one.send(saved("2026-11-22", cancelled(1)))
    hold = one.agreement().held[OpportunityId(opportunity_id(1))]
    assert (hold.code, hold.facts["day"]) == ("reopened", "2027-01-01")
    assert [seats(one, day) for day in ("2026-12-02", "2027-02-01")] == [20, 20]
    assert one.approve(opportunity_id(1)) is None
    assert one.agreement().desired().subscriptions.keys() == {HERE._replace(trial=True)}


def test_credits_of_a_held_deal_are_not_granted() -> None:
    one = life("2027-02-01")
    one.send(won(1, plan("plan-enterprise"), **YEAR))
    grant = {"stiggType": "Credit grant", "stiggId": "currency-ai-credits", "quantity": 500}
    one.send(won(2, plan("plan-enterprise-plus"), grant, **YEAR))
    assert code(one, 2) == "two_plans"
    assert one.desired.grants == ()


def test_recurring_credits_and_what_has_no_limit_add_up() -> None:
    one = life("2027-02-01")
    one.send(won(1, plan(), credits(100), entitlement(SEATS, None, unlimited=True), **YEAR))
    one.send(won(2, plan(), credits(50), entitlement(SEATS, 10), **YEAR))
    found = one.desired.subscriptions[HERE]
    assert [(e.id, e.limit, e.unlimited) for e in found.entitlements] == [
        ("currency-ai-credits", 150, False),
        (SEATS, None, True),
    ]


# What holds a deal, and how it is said

BASE = won(1, plan(), entitlement(SEATS, 100), addon(WORKSPACE, 5, price=1200), **YEAR)
MORE = entitlement(SEATS, 5)

HELD: dict[str, tuple[tuple[Json, ...], ...]] = {
    "reference_circle": ((renewed(1, plan(), of=2, **YEAR), renewed(2, plan(), of=1, **NEXT)),),
    "no_base": ((amended(2, MORE, of=9),),),
    "reference_unknown": ((cancelled(2, of=9, end="2027-05-31"),),),
    "reference_ambiguous": (
        (won(1, plan(), MORE, **YEAR, contract=1), won(2, plan(), MORE, **YEAR, contract=2)),
        ({**amended(3, MORE), "amends": [contract(1), contract(2)]},),
    ),
    "waits_for": ((won(1, plan("plan-gold"), **YEAR),), (amended(2, MORE, of=1),)),
    "plan_ambiguous": ((won(1, plan(), plan("plan-analytics"), **YEAR),), (amended(2, MORE, of=1),)),
    "contract_over": (
        (BASE, saved("2027-01-10", cancelled(2, of=1, end="2027-05-31"))),
        (saved("2027-01-20", amended(3, MORE, of=1, start="2027-07-01")),),
    ),
    "start_unknown": (
        (won(1, plan(), **YEAR), won(2, plan(), start="2027-01-01", end="2028-05-31")),
        ({**renewed(3, plan()), "amends": [opportunity_id(1), opportunity_id(2)]},),
    ),
    "end_unknown": (
        (won(1, plan("plan-team"), start="2027-03-01", end=None),),
        (saved("2027-02-01", cancelled(2, of=1, cancel="end_of_term")),),
    ),
    "currency_conflict": ((BASE,), (amended(2, MORE, of=1, currency="EUR"),)),
    "renews_unknown": ((BASE,), (renewed(2, plan(), of=9, start="2027-06-01"),)),
    "renewed_twice": ((BASE,), (renewed(2, plan(), of=1, **NEXT), renewed(3, plan(), of=1, **NEXT))),
    "renewed_meanwhile": (
        (BASE, saved("2027-01-10", renewed(2, plan(), entitlement(SEATS, 100), of=1, **NEXT))),
        (saved("2027-01-20", cancelled(3, of=1, end="2028-02-29")),),
    ),
    "nothing_to_end": ((BASE,), (cancelled(2, addon("addon-premium-support", None), of=1, end="2027-05-31"),)),
    "quantity_mismatch": ((BASE,), (cancelled(2, addon(WORKSPACE, 2), of=1, end="2027-05-31"),)),
    "prior_mismatch": ((BASE,), (amended(2, entitlement(SEATS, 5, priorQuantity=7), of=1),)),
    "below_zero": ((BASE,), (amended(2, addon(WORKSPACE, -6), of=1, start="2027-03-01"),)),
    "not_charged_by_unit": ((BASE,), (amended(2, entitlement(SEATS, 5, price=10), of=1),)),
    "price_conflict": ((BASE,), (amended(2, addon(WORKSPACE, -2, price=900), of=1),)),
    "price_unknown": (
        (won(1, plan(), addon(WORKSPACE, 5), **YEAR),),
        (amended(2, addon(WORKSPACE, 2, price=1000), of=1),),
    ),
    "price_not_exact": (
        (won(1, plan("plan-per-seat", 40_000, price=1.0), **YEAR),),
        (amended(2, plan("plan-per-seat", 23_333, price=1.37), of=1),),
    ),
    "two_plans": ((BASE,), (won(2, plan("plan-enterprise-plus"), **YEAR),)),
    "terms_conflict": ((BASE,), (won(2, plan(), **{**YEAR, "billingPeriod": "MONTHLY"}),)),
    "cannot_change": ((BASE,), (renewed(2, plan(), of=1, **{**NEXT, "paymentCollection": "CHARGE"}),)),
    "no_plan": (
        (won(1, plan("plan-analytics"), **YEAR),),
        (amended(2, entitlement(SEATS, 5, planId="plan-enterprise"), of=1),),
    ),
    "not_compatible": ((BASE,), (amended(2, addon("addon-legacy-import"), of=1),)),
    "addon_dependency_missing": (
        (won(1, plan(), addon("addon-audit-log"), addon("addon-sso-domains"), **YEAR),),
        (amended(2, addon("addon-audit-log", -1), of=1),),
    ),
    "units_not_priced": ((BASE,), (amended(2, plan(quantity=1), of=1),)),
    "units_said_twice": (
        (won(1, plan("plan-per-seat", 5), **YEAR),),
        (amended(2, entitlement(SEATS, 5, planId="plan-per-seat"), of=1),),
    ),
    "unlimited_units": (
        (won(1, plan("plan-growth"), entitlement(SEATS, 20), **YEAR),),
        (amended(2, entitlement(SEATS, None, unlimited=True), of=1),),
    ),
    "not_whole_blocks": (
        (won(1, plan("plan-metered"), entitlement(CALLS, 2000), **YEAR),),
        (amended(2, entitlement(CALLS, 500), of=1),),
    ),
    "too_few": (
        (won(1, plan("plan-growth"), entitlement(SEATS, 20), **YEAR),),
        (amended(2, entitlement(SEATS, -8), of=1),),
    ),
    "too_many": (
        (won(1, plan(), addon("addon-audit-log"), **YEAR),),
        (amended(2, addon("addon-audit-log"), of=1),),
    ),
    "included_credits_differ": (
        (won(1, plan("plan-assistant"), entitlement("cred-type-tokens", 10_000), **YEAR),),
        (amended(2, entitlement("cred-type-tokens", 5_000), of=1),),
    ),
    "removal_guard": (
        (BASE,),
        (saved("2027-02-01", amended(2, entitlement(SEATS, -90), addon(WORKSPACE, -4, price=1200), of=1)),),
    ),
    "reopened": ((BASE,), (saved("2027-02-01", cancelled(1)),)),
    "others_hang_on_it": ((BASE, amended(2, MORE, of=1)), (saved("2027-02-01", cancelled(1)),)),
    "trial_missed": ((on_trial(1, plan(), trialEnd="2027-01-15", trialEndBehavior="CONVERT_TO_PAID"),),),
    "currency_differs": (
        (won(1, plan(price=48000), **YEAR),),
        (won(2, plan("plan-analytics", price=900), currency="EUR", **YEAR),),
    ),
}
"""By code, deals that are sent in these batches, the last of which is held for it."""

OF_ANY_HOLD = {"deal", "slot", "day", "others", "more"}
"""The facts that every hold of the contract model may have."""


def test_there_is_a_case_of_every_code_that_the_contract_model_holds_for() -> None:
    assert list(HELD) == list(ORDER)


@pytest.mark.parametrize("code", HELD)
def test_a_hold_is_said_in_whole_words_with_the_facts_that_its_code_has(code: str) -> None:
    one = life("2027-02-01")
    if code == "too_few":
        growth = CATALOGUE.plans["plan-growth"]
        from_15 = replace(growth, charges=tuple(replace(charge, least=15) for charge in growth.charges))
        one.catalogue = CATALOGUE.knowing("plan-growth", from_15)
    for deals in HELD[code]:
        one.send(*deals)
    found = {id: hold for id, hold in one.agreement().held.items() if hold.code == code}
    assert found.keys() <= {deal["opportunity"]["id"] for deal in HELD[code][-1]}
    assert found
    for hold in found.values():
        assert "?" not in sentence(hold.reason)
        assert "None" not in sentence(hold.reason)
        assert set(hold.facts) <= {*CODES[code].facts.split(), *OF_ANY_HOLD}


def test_a_hold_names_some_of_many_others_and_counts_the_rest() -> None:
    one = life()
    plans = ("plan-enterprise", "plan-enterprise-plus")
    one.send(*(won(number, plan(plans[number % 2]), **YEAR) for number in range(1, 31)))
    holds = one.agreement().held
    assert {hold.code for hold in holds.values()} == {"two_plans"}
    assert {(len(hold.facts.to_json()["others"]), hold.facts["more"]) for hold in holds.values()} == {(10, 19)}
    assert " and 19 more this deal gives" in sentence(holds[OpportunityId(opportunity_id(1))].reason)


def test_the_day_of_a_hold_is_that_of_the_stacks_time_zone() -> None:
    days = {}
    for zone in ("UTC", "Europe/Berlin"):
        one = Life(Policy(time_zone=zone), MappingRules(ORGANIZATION, time_zone="Europe/Berlin"), now=at("2027-02-01"))
        for deals in HELD["below_zero"]:
            one.send(*deals)
        days[zone] = one.agreement().held[OpportunityId(opportunity_id(2))].facts["day"]
    assert days == {"UTC": "2027-02-28", "Europe/Berlin": "2027-03-01"}


# What was approved before approvals had codes


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (plan(), plan(), "90% of what plan-enterprise gives this customer (feature-seats from 100 to 10)"),
        (
            plan("plan-per-seat", 50),
            plan("plan-per-seat", 5),
            "90% of what plan-per-seat gives this customer (feature-api-calls",
        ),
        (
            plan("plan-per-seat", 50),
            plan("plan-per-seat", 1),
            "94% of what plan-per-seat gives this customer (units of the plan",
        ),
    ],
    ids=["seats", "seats and units alike", "units most of all"],
)
def test_an_approval_of_the_first_version_lets_a_reduction_through(before: Json, after: Json, said: str) -> None:
    one = life("2027-02-01")
    limited = SEATS if before["stiggId"] == "plan-enterprise" else CALLS
    one.send(won(1, before, entitlement(limited, 100), **YEAR))
    one.send(saved("2027-02-01", won(1, after, entitlement(limited, 10), **YEAR)))
    world = replace(one.world(), subscriptions={HERE: "northwind-1"})
    deal = OpportunityId(opportunity_id(1))
    hold = Agreement(list(one.histories.values()), world).held[deal]
    words = in_words(hold.reason)  # as the first version: at once is no day
    assert said in words
    former = sha256(json.dumps([HERE.key, "northwind-1", "", words]).encode()).hexdigest()[:16]
    approved = Agreement(list(one.histories.values()), replace(world, approvals={former}))
    assert approved.held == {}
    elsewhere = replace(world, subscriptions={HERE: "northwind-2"}, approvals={former})
    assert list(Agreement(list(one.histories.values()), elsewhere).held) == [deal]
