"""What holds of every customer's contracts, whatever is sold: the properties of the contract model.

The deals are made up: bases of two products and two resources, amendments with and without prices, renewals,
cancellations that are moved, withdrawn or brought forward. P1 to P7 are the properties' numbers in the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from closedwon.domain.contract.agreement import Agreement
from closedwon.domain.contract.facts import record
from closedwon.domain.contract.faults import APPROVABLE
from closedwon.domain.contract.pieces import exact
from closedwon.domain.customer import OpportunityState
from closedwon.domain.desired import Desired, Policy, Subscription
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import NO_DAY, Instant, Moment, from_iso, starting
from unit.agreements import Life, reading_of
from unit.domain import (
    SEATS,
    WORKSPACE,
    addon,
    amended,
    cancelled,
    contract,
    entitlement,
    opportunity_id,
    plan,
    renewed,
    restated,
    won,
)

Json = dict[str, Any]

FREE = Policy(reopened_deal="revoke", removal_guard_percent=100)
"""A policy whose guards hold nothing: what they hold depends on what was there before."""

MONTHS = ("2027-01-01", "2027-03-01", "2027-06-01", "2027-09-01")
LATER = ("2028-01-01", "2028-02-01")
DAY = from_iso("2027-07-15T12:00:00Z")

few = settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


def stamp(place: int) -> str:
    """When the deal of a place was saved."""
    return f"2026-12-{1 + place // 20:02d}T{place % 20:02d}:00:00Z"


@st.composite
def bases(draw: st.DrawFn, number: int) -> Json:
    """A base of one product, in one of two resources; plan-growth charges the seats, the others do not."""
    priced = draw(st.booleans())
    lines = [plan(draw(st.sampled_from(["plan-enterprise", "plan-growth", "plan-growth", "plan-analytics"])))]
    lines[0]["price"] = draw(st.sampled_from([48000, 1000])) if priced else None
    if lines[0]["stiggId"] != "plan-analytics":
        lines.append(addon(WORKSPACE, draw(st.integers(1, 8)), price=1200 if priced else None))
    seat = 300 if priced and lines[0]["stiggId"] == "plan-growth" else None
    lines.append(entitlement(SEATS, draw(st.integers(10, 100)), price=seat))
    if draw(st.booleans()):
        lines.append(entitlement(SEATS, draw(st.integers(1, 20)), start="2027-06-01", price=seat))
    return won(
        number,
        *lines,
        start=draw(st.sampled_from(["2027-01-01", "2027-02-01"])),
        end="2027-12-31",
        resource=draw(st.sampled_from([None, None, "bu-2"])),
        contract=number,
    )


@st.composite
def changes(draw: st.DrawFn, number: int, of: int) -> Json:
    """An amendment of a base, by its opportunity or its contract."""
    named = draw(st.sampled_from([of, contract(of)]))
    start = draw(st.sampled_from([None, *MONTHS]))
    more = {} if start is None else {"start": start}
    kind = draw(st.sampled_from(["seats", "seats", "addon", "reprice", "whole"]))
    if kind == "seats":
        price = draw(st.sampled_from([None, None, 300, 250]))
        lines = [entitlement(SEATS, draw(st.integers(-15, 20).filter(bool)), price=price)]
    elif kind == "addon":
        lines = [
            addon(WORKSPACE, draw(st.integers(-3, 4).filter(bool)), price=draw(st.sampled_from([None, 1000, 1200])))
        ]
    elif kind == "reprice":
        units = draw(st.integers(1, 4))
        lines = [addon(WORKSPACE, -units, price=1200), addon(WORKSPACE, units, price=900)]
    else:
        name = draw(st.sampled_from(["plan-enterprise", "plan-growth"]))
        lines = [plan(name), entitlement(SEATS, draw(st.integers(10, 60)))]
        return restated(number, *lines, of=named, **more)
    return amended(number, *lines, of=named, **more)


@st.composite
def customers(draw: st.DrawFn, most: int = 8) -> list[Json]:
    """Deals of one customer in the order in which they were saved, some of them several times."""
    count = draw(st.integers(1, 2))
    deals = [draw(bases(number)) for number in range(1, count + 1)]
    number = count
    for _ in range(draw(st.integers(0, most - count))):
        kind = draw(st.sampled_from(["change", "change", "change", "renewal", "churn", "own end"]))
        of = draw(st.integers(1, count))
        if kind == "own end":
            of = draw(st.integers(1, number))
            last = next(deal for deal in reversed(deals) if deal["opportunity"]["id"] == opportunity_id(of))
            ends = {} if draw(st.booleans()) else {"end": draw(st.sampled_from(MONTHS))}
            deals.append(cancelled(of, of=last.get("amends") if last["trigger"] == "cancellation" else None, **ends))
            continue
        number += 1
        if kind == "change":
            deals.append(draw(changes(number, of)))
        elif kind == "renewal":
            name = draw(st.sampled_from(["plan-enterprise", "plan-growth"]))
            lines = [plan(name), entitlement(SEATS, draw(st.integers(10, 100)))]
            start = draw(st.sampled_from(LATER))
            deals.append(renewed(number, *lines, of=of, start=start, end="2028-12-31"))
        else:
            for _ in range(draw(st.integers(1, 2))):
                deals.append(cancelled(number, of=of, end=draw(st.sampled_from(MONTHS))))
    return stamped(*deals)


def stamped(*deals: Json) -> list[Json]:
    """Deals, saved one after another."""
    for place, deal in enumerate(deals):
        deal["opportunity"] |= {"systemModstamp": stamp(place), "readAt": stamp(place)}
    return list(deals)


TERM = {"start": "2027-01-01", "end": "2027-12-31"}

WITHDRAWN_IN_CONFLICT = stamped(
    won(1, plan(), addon(WORKSPACE, 2), entitlement(SEATS, 10), **TERM, contract=1),
    won(2, plan(price=48000), addon(WORKSPACE, 1, price=1200), entitlement(SEATS, 10), **TERM, contract=2),
    cancelled(1),
)
"""Two bases that would share a price that nobody said, neither of which has begun; then one is not won any more. Its
end waits for an approval, also while the other sends away what was settled of it before.
"""

AMENDED_MEANWHILE = stamped(
    won(1, plan(price=48000), addon(WORKSPACE, 2, price=1200), **TERM),
    won(2, plan(price=None), addon(WORKSPACE, 1), **TERM),
    amended(3, addon(WORKSPACE, 1, price=1000), of=2),
    cancelled(1),
)
"""The same, and an amendment of the other that does not fit either: the other stands at once, and not only when the
term is over.
"""

WITHDRAWN_BESIDE_A_GUARDED_ONE = stamped(
    won(1, plan(), addon(WORKSPACE, 1), entitlement(SEATS, 10), **TERM),
    amended(2, addon(WORKSPACE, 1), of=1),
    restated(3, plan(), entitlement(SEATS, 9), of=1, start="2027-03-01"),
    cancelled(2),
)
"""A guard holds a whole amendment that would take everything an upsell gave; then the upsell is not won any more. That
it would be gone by then is no reason to let it go: the amendment is held.
"""
QUOTED_BESIDE_A_HELD_ONE = stamped(
    won(
        1,
        plan(price=48000),
        addon(WORKSPACE, 1, price=1200),
        entitlement(SEATS, 15),
        entitlement(SEATS, 7, start="2027-06-01"),
        **TERM,
    ),
    amended(2, entitlement(SEATS, -11), of=1),
    restated(3, plan(), entitlement(SEATS, 10), of=1),
    amended(4, addon(WORKSPACE, -1, price=1200), addon(WORKSPACE, 1, price=900), of=1, start="2027-06-01"),
)
"""A whole amendment is held: first by a guard, and once the reduction has begun, by that. Who would not fit with it,
and is scheduled, stays scheduled on that day.
"""

RENEWED_BESIDE_A_HELD_ONE = stamped(
    won(1, plan(), **TERM),
    won(2, plan("plan-analytics", price=48000), **TERM),
    renewed(3, plan(), of=2, start="2028-02-01", end="2028-12-31"),
    renewed(4, plan(), of=2, start="2028-01-01", end="2028-12-31"),
    restated(5, plan(price=1000), of=2),
)
"""A whole amendment is held. That two renewals would meet in it is no reason to hold one of them once the other has
begun.
"""

WOULD_TAKE_THE_SAME = stamped(
    won(1, plan(), addon(WORKSPACE, 1), entitlement(SEATS, 11), **TERM),
    restated(2, plan(), entitlement(SEATS, 10), of=1),
    restated(3, plan(), entitlement(SEATS, 10), of=1, start="2027-03-01"),
)
"""Two whole amendments that would take the same add-on are held. That the other would have taken it by then is no
reason to let one go.
"""

BOTH_WITHDRAWN = stamped(
    won(1, plan(), entitlement(SEATS, 10), **TERM),
    renewed(2, plan(), entitlement(SEATS, 10), of=1, start="2028-01-01", end="2028-12-31"),
    cancelled(1, end="2027-01-01"),
    cancelled(1),
    cancelled(2),
)
"""A base and its renewal are not won any more. Once the base has nothing to give, its renewal, which is held, holds it
too.
"""


def life(policy: Policy = FREE, now: Instant = DAY) -> Life:
    return Life(policy, now=now)


def in_one(deals: Sequence[Json], policy: Policy = FREE, now: Instant = DAY) -> Agreement:
    """What deals come to that are all recorded before anything is provisioned."""
    one = life(policy, now)
    for deal in deals:
        reading = reading_of(deal, one.rules)
        id = reading.order.opportunity_id
        one.histories[id] = record(one.histories.get(id), reading)
    return one.agreement()


def one_by_one(deals: Sequence[Json], policy: Policy = FREE, now: Instant = DAY) -> Life:
    """A customer whose deals are provisioned one after another, all on one day."""
    one = life(policy, now)
    for deal in deals:
        one.send(deal)
    return one


def shown(agreement: Agreement, names: Mapping[str, str] = {}) -> dict[str, Any]:
    """What an agreement says of all times: by slot, each interval with what stands in it. names: deals by other IDs."""
    found: dict[str, Any] = {}
    for slot in agreement.slots:
        times = []
        for interval in agreement.intervals(slot):
            if not interval.stands:
                continue
            wanted = agreement.subscription(slot, interval.start)
            assert wanted is not None
            origins = {
                entity: sorted((names.get(o.deal, o.deal), o.quantity) for o in some)
                for entity, some in interval.origins.items()
            }
            what = (wanted.plan_id, wanted.unit_quantity, wanted.addons, wanted.entitlements, wanted.prices)
            times.append((interval.start, interval.end, what, interval.charge, origins))
        if times:
            found[slot.key] = times
    return found


def said(agreement: Agreement, names: Mapping[str, str] = {}) -> dict[str, Any]:
    """What deals say: status, cause and code."""
    return {
        names.get(id, id): (status.kind, status.why, status.at, status.hold and status.hold.code)
        for id, status in agreement.statuses().items()
    }


def fits(agreement: Agreement) -> bool:
    return not (agreement.held or agreement.refused or agreement.faults)


def renamed(deals: Sequence[Json], numbers: Sequence[int]) -> tuple[list[Json], dict[str, str]]:
    """Deals of the same content under other opportunities; and the old names by the new ones."""
    text = json.dumps(list(deals))
    names = {opportunity_id(old): opportunity_id(new + 100) for old, new in enumerate(numbers, 1)}
    for old, new in names.items():
        text = text.replace(old, new)
    return json.loads(text), {new: old for old, new in names.items()}


@given(customers(), st.randoms())
@few
def test_p1_order_and_batches_do_not_matter_where_nothing_is_at_fault(deals: list[Json], random: Any) -> None:
    together = in_one(deals)
    assume(fits(together))
    shuffled = list(deals)
    random.shuffle(shuffled)
    for order in (deals, shuffled):
        alone = one_by_one(order).agreement()
        assert shown(alone) == shown(together)
        assert said(alone) == said(together)


@given(customers(), st.randoms())
@few
def test_p2_faults_are_the_same_in_every_order_and_under_every_name(deals: list[Json], random: Any) -> None:
    together = in_one(deals)
    shuffled = list(deals)
    random.shuffle(shuffled)
    assert said(in_one(shuffled)) == said(together)
    assert shown(in_one(shuffled)) == shown(together)
    numbers = list(range(1, 12))
    random.shuffle(numbers)
    others, names = renamed(deals, numbers)
    assert said(in_one(others), names) == said(together)
    assert shown(in_one(others), names) == shown(together)


@given(customers(), st.data())
@few
def test_p3_what_is_not_won_any_more_was_never_sold(deals: list[Json], data: st.DataObject) -> None:
    sold = [deal for deal in deals if deal["trigger"] != "cancellation"]
    chosen = data.draw(st.sampled_from(sold))["opportunity"]["id"]
    number = next(number for number in range(1, 20) if opportunity_id(number) == chosen)
    gone = cancelled(number)
    gone["opportunity"] |= {"systemModstamp": "2027-01-10T09:00:00Z", "readAt": "2027-01-10T09:00:00Z"}
    one = one_by_one(deals)
    agreement = one.send(gone)
    assume(not agreement.held and not agreement.faults)
    never = in_one([deal for deal in deals if deal["opportunity"]["id"] != chosen])
    assume(fits(never))
    assert shown(agreement) == shown(never)


@given(customers(), st.data())
@few
def test_p4_nothing_of_another_plan_or_resource_changes(deals: list[Json], data: st.DataObject) -> None:
    chosen = data.draw(st.sampled_from(deals))["opportunity"]["id"]
    with_it = in_one(deals)
    without = in_one([deal for deal in deals if deal["opportunity"]["id"] != chosen])
    assume(fits(with_it) and fits(without))
    named = _slots_touched(with_it, chosen)
    for deal in deals:
        # A renewal that says no resource is where its base is: without one it stands elsewhere (3.3).
        if chosen in str(deal.get("amends")):
            named |= _slots_touched(without, deal["opportunity"]["id"]) | _slots_touched(
                with_it, deal["opportunity"]["id"]
            )
    for key in shown(with_it).keys() | shown(without).keys():
        if key not in named:
            assert shown(with_it).get(key) == shown(without).get(key)


def _slots_touched(agreement: Agreement, id: str) -> set[str]:
    """The slots of a deal's own lines, and of those it ends."""
    evaluation = agreement._evaluation
    lines = [line for line in evaluation.contracts.lines if line.deal.id == id]
    lines += [line for line in evaluation.contracts.lines if any(cause.by == id for cause in line.causes)]
    lines += [line for churn in evaluation.contracts.cuts.churns if churn.deal.id == id for line in churn.hits]
    return {line.slot.key for line in lines}


@given(customers())
@few
def test_p5_the_charge_is_the_sum_of_the_lines(deals: list[Json]) -> None:
    agreement = in_one(deals)
    for slot in agreement.slots:
        for interval in agreement.intervals(slot):
            for giving, holding in interval.given:
                lines = list(giving.lines(interval.start))
                assert holding.charge >= 0
                if all(line.item.price is not None for line in lines) and not agreement.faults:
                    total = sum((exact(line.item.price or 0) * line.item.quantity for line in lines), Fraction(0))
                    assert holding.charge == total
                    wanted = agreement.subscription(slot, interval.start)
                    prices = {price.of: price.amount for price in wanted.prices} if wanted else {}
                    apart = giving.entity[0] == "Add-on" or giving.entity[1] in interval.timeline.charged_at(
                        interval.start
                    )
                    if apart and interval.stands and len(interval.given) and holding.priced:
                        givings = [h for g, h in interval.given if g.entity == giving.entity]
                        sums = sum((h.charge for h in givings), Fraction(0))
                        units = sum(h.units for h in givings)
                        assert abs(Fraction(prices[giving.entity[1]]) * units - sums) <= Fraction(1, 100)


@given(customers(), st.sampled_from([Policy(), FREE, Policy(end_of_term="end"), Policy(end_of_term="grace")]))
@example(WITHDRAWN_IN_CONFLICT, Policy(end_of_term="grace"))
@example(AMENDED_MEANWHILE, Policy(end_of_term="end"))
@example(WITHDRAWN_BESIDE_A_GUARDED_ONE, Policy())
@example(RENEWED_BESIDE_A_HELD_ONE, Policy())
@example(WOULD_TAKE_THE_SAME, Policy())
@example(BOTH_WITHDRAWN, Policy())
@example(QUOTED_BESIDE_A_HELD_ONE, Policy())
@few
def test_p6_the_preview_of_a_day_is_that_day_and_nothing_is_decided_on_it(deals: list[Json], policy: Policy) -> None:
    one = one_by_one(deals, policy, from_iso("2026-12-31T00:00:00Z"))
    before = one.agreement()
    for day in ("2027-04-01T12:00:00Z", "2027-12-31T12:00:00Z", "2028-01-01T12:00:00Z", "2029-02-01T12:00:00Z"):
        foreseen, statuses = before.desired(from_iso(day)), before.statuses(from_iso(day))
        then = one.wait(from_iso(day))
        assert _bare(then.desired()) == _bare(foreseen)
        # A hold ends where nothing is left that it would take; else nothing new is decided.
        guarded = {id for id, hold in before.held.items() if hold.code in APPROVABLE}
        over = {id for id in guarded if id not in then.held}
        # What waited for its sake is free then, too.
        assert then.held.keys() <= before.held.keys()
        assert over or then.held.keys() == before.held.keys()
        # It may be held on: by what hangs on it and is held itself, or by what did not stand yet and has begun.
        others = {id for id in guarded - over if then.held[id].code != before.held[id].code}
        for id in others:
            hanging, met = str(then.held[id].facts.get("others")), then._standing.held[id][0].deals
            assert any(other in hanging for other in then.held) or met & (then.begun - before.begun)
        if over or others:
            return
        assert said(then) == {id: (s.kind, s.why, s.at, s.hold and s.hold.code) for id, s in statuses.items()}


def _bare(desired: Desired) -> dict[str, Subscription]:
    """Subscriptions without what lies behind them: a hold that is over leaves a mark there."""
    return {slot.key: replace(found, milestones=()) for slot, found in desired.subscriptions.items()}


@given(customers(), st.randoms())
@few
def test_what_stands_on_a_day_does_not_depend_on_what_was_asked_before(deals: list[Json], random: Any) -> None:
    agreement = in_one(deals)
    at = [(slot, moment) for slot in agreement.slots for moment in agreement.moments]
    random.shuffle(at)
    asked = {(slot, moment): agreement.subscription(slot, moment) for slot, moment in at}
    for (slot, moment), found in asked.items():
        assert in_one(deals).subscription(slot, moment) == found


@given(customers(), st.sampled_from([Policy(), FREE]))
@few
def test_p7_a_held_deal_gives_and_takes_nothing(deals: list[Json], policy: Policy) -> None:
    one = one_by_one(deals, policy)
    agreement = one.agreement()
    never = {id for id in agreement.held if agreement.contribution(id).order is None}
    assume(never)
    others = replace(one, histories={id: history for id, history in one.histories.items() if id not in never})
    without = others.agreement()
    assume(not set(without.held) - set(agreement.held))
    assert shown(without) == shown(agreement)


@given(customers())
@few
def test_what_is_stored_of_an_opportunity_comes_back_as_it_was(deals: list[Json]) -> None:
    one = one_by_one(deals)
    for id, history in one.histories.items():
        state = OpportunityState(*history.newest, 1, "execution").with_history(history)
        again = OpportunityState.from_json(json.loads(json.dumps(state.to_json())))
        assert (again, again.history) == (state, history)
        one.histories[id] = again.history
    assert said(one.agreement()) == said(one_by_one(deals).agreement())


def test_a_guard_compares_with_what_stands_again_beside_what_is_held() -> None:
    # The upsell fits with neither plan: whole amendment and upsell make way for each other, and the first stands again.
    sold = won(1, plan("plan-analytics"), entitlement(SEATS, 1), **TERM)
    again = won(1, plan("plan-analytics"), entitlement(SEATS, 1), **{**TERM, "end": "2028-06-30"})
    upsell = amended(2, addon(WORKSPACE, 1), of=1)
    whole = restated(3, plan("plan-analytics"), entitlement(SEATS, 3), of=1)
    one = one_by_one(stamped(sold, upsell, whole, again), Policy(), from_iso("2026-12-21T00:00:00Z"))
    assert {id: hold.code for id, hold in one.agreement().held.items()} == {opportunity_id(2): "not_compatible"}


def test_the_intervals_of_a_slot_say_where_each_amount_comes_from() -> None:
    one = life()
    one.send(
        won(1, plan(), entitlement(SEATS, 100), start="2027-01-01", end="2027-12-31"),
        amended(2, entitlement(SEATS, 5), of=1, start="2027-02-01"),
        renewed(3, plan(), entitlement(SEATS, 100), of=1, start="2028-01-01", end="2028-12-31"),
    )
    agreement = one.agreement()
    [slot] = agreement.slots
    amounts = [
        [(o.deal, o.quantity, o.until) for o in interval.origins["Entitlement", SEATS]]
        for interval in agreement.intervals(slot)
        if interval.stands
    ]
    base, more, renewal = (OpportunityId(opportunity_id(number)) for number in (1, 2, 3))
    january: Moment = starting(from_iso("2028-01-01T00:00:00Z"))
    assert amounts == [
        [(base, 100, january)],
        [(base, 100, january), (more, 5, january)],
        [(renewal, 100, NO_DAY)],
    ]
