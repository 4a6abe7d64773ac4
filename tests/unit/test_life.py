"""What holds for the whole life of a customer, whatever happens in it: several contracts on several resources, each
tried, sold, amended both ways, renewed, cancelled, corrected; deals that come late, twice, in any order.

`World` itself insists that right after an execution nothing is left to do, and that what the ledger keeps comes back as
it went in.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Set
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from closedwon.domain.desired import Desired, Policy, Subscription
from closedwon.domain.instants import At, Never, from_iso, instant_of, milliseconds
from closedwon.domain.order import Order
from closedwon.stigg.bodies import entitlement_body
from unit.domain import (
    CATALOGUE,
    CREDITS,
    POLICY,
    SEATS,
    SUPPORT,
    Json,
    Standing,
    a_line,
    addon,
    amended,
    at_noon,
    cancelled,
    entitlement,
    fold,
    on_trial,
    opportunity_id,
    order_of,
    plan,
    renewed,
    restated,
    won,
)
from unit.world import LEASE, World

BEFORE = ["2026-10-01", "2026-11-15"]
DAYS = ["2026-12-01", "2027-01-15", "2027-03-01", "2027-06-01", "2027-11-30"]
AFTER = ["2027-12-01", "2028-02-01"]
END = "2029-06-01"
POLICIES = [POLICY, Policy("end"), Policy("grace", grace_days=14), Policy("end", reopened_deal="revoke")]
OPEN = replace(POLICY, removal_guard_percent=100)
"""Under it nothing waits for approval: what is left depends on the deals alone."""

pytestmark = pytest.mark.proof


def tried(times: int) -> settings:
    """How many lives a property is tried on: fewer by `make test`, ten times as many by `make prove-long`."""
    by_profile = {"prove": 10 * times, "short": times}
    return settings(max_examples=by_profile.get(os.environ.get("HYPOTHESIS_PROFILE", ""), max(3, times // 3)))


some = st.integers(1, 20)
prices = st.sampled_from([None, 100, 250.5])


@st.composite
def everything(draw: st.DrawFn, plan_id: str = "plan-enterprise") -> list[Json]:
    """The lines of a deal that says all there is."""
    lines = [plan(plan_id, price=draw(prices)), entitlement(SEATS, draw(some))]
    if draw(st.booleans()):
        lines.append(addon(quantity=draw(some), price=draw(prices)))
    if draw(st.integers(0, 3)) == 0:
        lines.append(
            addon(SUPPORT, start=draw(st.sampled_from(DAYS[:4])), end=draw(st.sampled_from([None, "2027-08-31"])))
        )
    if draw(st.integers(0, 3)) == 0:
        lines.append(a_line("Credit grant", CREDITS, draw(some)))
    return lines


@st.composite
def differences(draw: st.DrawFn) -> list[Json]:
    """The lines of an amendment that says how many more or fewer. Some do not fit."""
    lines = [entitlement(SEATS, draw(st.integers(-5, 15)), priorQuantity=draw(st.sampled_from([None, None, 10])))]
    if draw(st.booleans()):
        lines.append(addon(quantity=draw(st.integers(-3, 5)), price=draw(prices)))
    if draw(st.integers(0, 4)) == 0:
        lines.append(entitlement(SEATS, None, unlimited=True))
    return lines


@st.composite
def contracts(draw: st.DrawFn, number: int) -> list[Json]:
    """The deals of one contract, as people made them: in the order of their revisions."""
    resource = draw(st.sampled_from([None, None, "eu"]))
    start = draw(st.sampled_from(BEFORE + DAYS[:2]))
    sold: dict[str, Any] = {"start": start, "end": draw(st.sampled_from([None, "2027-11-30", "2027-11-30"]))}
    sold["contract"] = number if draw(st.booleans()) else None
    base = number * 10
    lines = everything(draw(st.sampled_from(["plan-enterprise"] * 4 + ["plan-enterprise-plus", "plan-analytics"])))
    deals = []
    if draw(st.integers(0, 2)) == 0:
        behavior = draw(st.sampled_from(["CANCEL_SUBSCRIPTION", "CONVERT_TO_PAID"]))
        terms = {"trialEnd": draw(st.sampled_from(DAYS)), "trialEndBehavior": behavior, "paymentCollection": "INVOICE"}
        deals.append(on_trial(base, *draw(lines), resource=resource, saved="2026-11-01", **terms))
    if not deals or draw(st.booleans()):
        deals.append(won(base, *draw(lines), resource=resource, saved="2026-11-16", **sold))
    if draw(st.integers(0, 3)) == 0:
        deals.append(won(base, *draw(lines), resource=resource, saved="2026-12-20", **sold))
    for place in range(1, draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["differences"] * 3 + ["whole", "renewal", "cancellation", "singly", "reopened"]))
        more = {"of": base, "start": draw(st.sampled_from([None, *DAYS])), "saved": f"2026-12-0{place}"}
        if kind == "differences":
            deals.append(amended(base + place, *draw(differences()), **more))
        elif kind == "whole":
            deals.append(restated(base + place, *draw(lines), **more))
        elif kind == "renewal":
            more["start"] = draw(st.sampled_from([None, *DAYS[2:], *AFTER]))
            deals.append(renewed(base + place, *draw(lines), end="2028-11-30", **more))
        elif kind == "reopened":
            deals.append(cancelled(base, saved="2026-12-28"))
        else:
            del more["start"]
            gone = [addon(SUPPORT, None)] if kind == "singly" else []
            deals.append(cancelled(base + place, *gone, end=draw(st.sampled_from(DAYS + AFTER)), **more))
    return deals


@st.composite
def histories(draw: st.DrawFn, most: int = 3) -> list[Json]:
    """The deals of one customer, in the order in which they were saved."""
    deals = [deal for number in range(1, draw(st.integers(1, most)) + 1) for deal in draw(contracts(number))]
    return sorted(deals, key=_saved)


def _saved(deal: Json) -> int:
    return milliseconds(from_iso(deal["opportunity"]["systemModstamp"]))


def _newest(deals: list[Json]) -> dict[str, Order]:
    return {deal["opportunity"]["id"]: order_of(deal) for deal in sorted(deals, key=_saved)}


def lived(deals: list[Json], policy: Policy = POLICY, *, dies: bool = False, until: str = "") -> World:
    """The world after deals arrived in this order, none before it was saved, each provisioned as it came."""
    world = World(policy, now=min(map(_saved, deals)), dies=dies)
    for deal in deals:
        world.until(max(world.now, _saved(deal)))
        world.send(deal)
        world.provision()
    if until:
        world.until(at_noon(until))
    return world


def nothing_is_in_the_way(world: World) -> bool:
    """Whether the deals alone decide: where some wait or are refused, it matters which came first."""
    return not any(s.outcome.status in ("Held", "Failed") for s in world.customer.opportunities.values())


def stands_as_wanted(world: World) -> None:
    """Stigg holds what is agreed, and nothing else of ours: at most one paid subscription and one trial a slot."""
    agreement, planned, *_ = world.planned()
    desired = agreement.desired()
    assert not planned.changes
    assert not planned.grants
    for keep in planned.kept:
        held, wanted = world.stigg.book.subscriptions[keep.subscription_id], keep.subscription
        assert held.entitlements == [entitlement_body(e) for e in wanted.entitlements]
        assert {a["id"]: a["quantity"] for a in held.addons} == dict(wanted.addons)
        assert (held.unit_quantity or 1) == wanted.unit_quantity
        assert wanted.billing_period in (None, held.billing_period)  # what no deal says is left as it is
        ends = At(instant_of(held.cancellation_date)) if held.cancellation_date else Never()
        assert ends == wanted.cancellation
    live = Counter((*s.slot, s.is_trial) for s in world.stigg.book.subscriptions.values() if s.live)
    assert not live or max(live.values()) == 1
    if not planned.holds:  # a trial that was won lasts until the subscription starts
        ours = [s for s in world.stigg.book.subscriptions.values() if not s.ended and not s.is_trial]
        assert len(ours) <= len(desired.subscriptions)


def nothing_is_negative(desired: Desired) -> None:
    for subscription in desired.subscriptions.values():
        assert subscription.unit_quantity >= 1
        assert all(quantity >= 1 for _, quantity in subscription.addons)
        assert all(e.limit is None or e.limit >= 1 for e in subscription.entitlements)
        assert all(price.amount >= 0 for price in subscription.prices)


@given(histories(), st.sampled_from(POLICIES), st.sampled_from([*BEFORE, *DAYS, *AFTER]), st.randoms())
@tried(60)
def test_the_order_of_deals_and_hearing_of_one_twice_do_not_matter(
    deals: list[Json], policy: Policy, day: str, shuffler: random.Random
) -> None:
    known = [Standing(order) for order in _newest(deals).values()]
    again = [*known, *shuffler.choices(known, k=2)]
    shuffler.shuffle(again)
    desired = fold(known, CATALOGUE, policy, at_noon(day))
    assert fold(again, CATALOGUE, policy, at_noon(day)) == desired
    nothing_is_negative(desired)


@given(histories(), st.sampled_from(POLICIES), st.booleans(), st.randoms())
@tried(40)
def test_at_every_moment_stigg_holds_what_the_deals_say(
    deals: list[Json], policy: Policy, dies: bool, shuffler: random.Random
) -> None:
    shuffler.shuffle(deals)
    world = lived([*deals, *shuffler.choices(deals, k=2)], policy, dies=dies)
    stands_as_wanted(world)
    while (due := world.agreed().desired().next_change) is not None:
        world.until(due + 61_000)
        stands_as_wanted(world)
        nothing_is_negative(world.agreed().desired())
    assert not world.refusals


@given(histories(2), st.randoms())
@tried(25)
def test_whatever_came_first_the_customer_ends_with_the_same(deals: list[Json], shuffler: random.Random) -> None:
    other = deals.copy()
    shuffler.shuffle(other)
    first, second = lived(deals, OPEN, until=END), lived(other, OPEN, until=END)
    assume(nothing_is_in_the_way(first) and nothing_is_in_the_way(second))
    assert first.access() == second.access()


@given(histories(2), st.sampled_from(POLICIES))
@tried(25)
def test_a_sweep_that_slept_through_it_all_ends_where_one_that_never_slept_does(
    deals: list[Json], policy: Policy
) -> None:
    policy = replace(policy, removal_guard_percent=100)
    awake, asleep = lived(deals, policy, until=END), lived(deals, policy)
    asleep.now = awake.now
    asleep.stigg.catch_up(asleep._clock)
    asleep.provision()
    asleep.until(awake.now)
    stands_as_wanted(asleep)
    assume(nothing_is_in_the_way(awake))
    assert asleep.access() == awake.access()
    nothing_is_negative(asleep.agreed().desired())


@given(histories())
@tried(20)
def test_what_steps_that_died_left_behind_is_brought_in_line_with_all_that_came_since(deals: list[Json]) -> None:
    world = World(OPEN, now=min(map(_saved, deals)))
    for deal in deals:
        world.now = max(world.now, _saved(deal))
        world.stigg.catch_up(world._clock)
        world.send(deal)
        world.step(remembers=False)
        world.now += LEASE
    world.provision()
    world.until(at_noon(END))
    stands_as_wanted(world)


def test_what_a_step_that_died_had_made_ends_where_the_deal_was_cancelled_meanwhile() -> None:
    world = World(now=at_noon("2026-12-01"))
    world.send(won(1, plan(), start="2026-12-01"))
    world.step(remembers=False)
    assert world.access() == ["enterprise"]
    world.now += LEASE
    world.send(cancelled(2, of=1, cancel="now", saved="2026-12-01T12:01:00Z"))
    world.provision()
    assert world.access() == []


@given(histories())
@tried(20)
def test_credits_are_granted_once(deals: list[Json]) -> None:
    world = lived([*deals, *deals], dies=True, until=END)
    sent = [grant.fields["displayName"] for grant in world.stigg.book.grants.values()]
    assert len(sent) == len(set(sent))
    assert set(sent) == world.customer.grants.keys()


def test_a_trial_that_comes_back_and_that_stigg_cannot_give_is_refused_and_not_sent() -> None:
    tried = on_trial(1, plan("plan-analytics"), addon(SUPPORT), trialEnd="2027-06-01", saved="2026-11-01")
    world = lived([cancelled(1, saved="2026-12-28"), tried, won(1, plan("plan-analytics"), saved="2026-12-20")])
    assert not world.refusals
    assert world.access() == []
    assert "not compatible" in world.said(1)


def test_a_trial_that_became_a_paid_subscription_while_the_sweep_slept_ends_as_it_was_cancelled() -> None:
    trial = on_trial(1, plan(), trialEnd="2027-11-30", trialEndBehavior="CONVERT_TO_PAID", saved="2026-11-01")
    world = lived([trial, cancelled(2, of=1, end="2027-03-01", saved="2026-12-01")])
    world.now = at_noon("2028-02-01")
    world.stigg.catch_up(world._clock)
    assert world.access() == ["enterprise"]
    world.provision()
    assert world.access() == []


# Amendments and renewals


@given(contracts(1), differences(), st.sampled_from(DAYS))
@tried(60)
def test_an_amendment_and_its_exact_reverse_leave_everything_as_it_was(
    deals: list[Json], lines: list[Json], start: str
) -> None:
    there = [{**line, "priorQuantity": None} for line in lines]
    back = [{**line, "quantity": -1 if line.get("unlimited") else -line["quantity"]} for line in there]
    changed = [*deals, amended(18, *there, of=10, start=start), amended(19, *back, of=10, start=start)]
    before, after = (
        fold(map(Standing, _newest(these).values()), CATALOGUE, POLICY, at_noon(END)) for these in (deals, changed)
    )
    ids = {opportunity_id(18), opportunity_id(19)}
    assume(not ids & {*after.held, *after.refused} and after.held == before.held)
    assert _without(after, ids) == _without(before, ids)


def _without(desired: Desired, ids: Set[str]) -> list[Subscription]:
    """The subscriptions but for who made them so."""
    return [
        replace(s, opportunities=tuple(o for o in s.opportunities if o not in ids), milestones=())
        for s in desired.subscriptions.values()
    ]


@given(everything(), everything(), everything(), st.sampled_from(DAYS[2:]), st.data())
@tried(40)
def test_an_old_base_that_is_touched_after_its_renewal_changes_nothing(
    sold: list[Json], touched: list[Json], again: list[Json], day: str, data: Any
) -> None:
    renewal = renewed(2, *again, of=1, start=day, end="2028-11-30")
    world = lived([won(1, *sold), renewal], OPEN, until="2027-12-15")
    before, writes = world.access(), len(world.writes)
    world.send(won(1, *touched, start=data.draw(st.sampled_from(BEFORE)), saved="2027-12-16"))
    world.provision()
    assert world.access() == before
    assert all("terms" in change.changes for change in world.writes[writes:])  # type: ignore[union-attr]


# What is held together


def in_conflict(**second: Any) -> World:
    """The world of a base that has not begun and says no price, and of one beside it that says one: both are held."""
    world = lived([won(1, plan(), start="2027-01-15", end="2027-11-30", contract=1, saved="2026-12-01")], Policy("end"))
    assert world.access() == ["from 2027-01-15 until 2027-12-01: enterprise"]
    world.until(at_noon(second.get("saved", "2026-12-02")))
    world.send(won(2, plan(price=100), **{"start": "2027-01-15", "contract": 2, "saved": "2026-12-02", **second}))
    world.provision()
    assert [world.customer.opportunities[opportunity_id(n)].outcome.status for n in (1, 2)] == ["Held", "Held"]
    return world


def test_of_deals_that_are_held_before_any_has_begun_stigg_starts_none() -> None:
    world = in_conflict()
    assert world.access() == []
    stands_as_wanted(world)
    world.until(at_noon("2027-02-01"))
    assert world.access() == []


def test_what_was_held_before_it_began_is_made_again_when_nothing_is_in_its_way() -> None:
    world = in_conflict()
    world.send(cancelled(2, saved="2026-12-03"))
    world.provision()
    assert world.access() == ["from 2027-01-15 until 2027-12-01: enterprise"]
    stands_as_wanted(world)


def test_what_stigg_started_before_anybody_noticed_that_its_deal_is_held_is_said_and_ends_by_approval() -> None:
    world = lived([won(1, plan(), start="2027-01-15", end="2027-11-30", contract=1, saved="2026-12-01")], Policy("end"))
    world.now = milliseconds(from_iso("2027-01-15T00:00:10Z"))  # the sweep has not come yet
    world.stigg.catch_up(world._clock)
    world.send(won(2, plan(price=100), start="2027-01-15", contract=2, saved="2027-01-15"))
    world.provision()
    assert world.access() == ["until 2027-12-01: enterprise"]
    said = world.customer.opportunities[opportunity_id(1)].outcome
    assert said.why is not None
    assert said.why.codes == ("no_deal_left", "price_unknown")
    world.approve(1)
    assert world.access() == []


# Trials


@given(
    everything(),
    everything(),
    st.sampled_from(["CANCEL_SUBSCRIPTION", "CONVERT_TO_PAID"]),
    st.sampled_from([*BEFORE, "2026-11-20", "2026-11-28", *DAYS[:3], None]),
    st.sampled_from(["2026-11-20", "2026-11-27"]),
)
@tried(40)
def test_between_a_trial_that_is_won_and_its_subscription_there_is_no_gap(
    tried: list[Json], sold: list[Json], behavior: str, start: str | None, closed: str
) -> None:
    terms = {"trialEnd": "2026-11-30", "trialEndBehavior": behavior, "paymentCollection": "INVOICE"}
    world = lived([on_trial(1, *tried, saved="2026-11-10", **terms)], OPEN)
    world.until(at_noon(closed))
    world.send(won(1, *sold, start=start, saved=closed))
    world.provision()
    moments = [at_noon(f"2026-11-{day:02}") for day in range(27, 31)] + [at_noon(day) for day in (*DAYS[:3], *AFTER)]
    for moment in sorted({*moments, *(milliseconds(from_iso(f"{day}T00:00:00Z")) for day in DAYS[:3])}):
        world.until(max(world.now, moment))
        assert any(s.live for s in world.stigg.book.subscriptions.values()), moment
    ended = sorted((s.ended_at, s) for s in world.stigg.book.subscriptions.values() if s.ended_at and s.is_trial)
    for (_, trial), _ in pairwise([*ended, (None, None)]):  # it ends when the other has begun, not before
        assert trial is not None
        assert trial.ended_at is not None
        assert any(s.start_date <= trial.ended_at and not s.is_trial for s in world.stigg.book.subscriptions.values())
    assert len([s for s in world.stigg.book.subscriptions.values() if s.live]) == 1
