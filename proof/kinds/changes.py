"""Cancellations, deals that are won no more, and what somebody is asked about."""

from __future__ import annotations

from proof.kinds.parts import (
    base,
    cancellation,
    ends_itself,
    id_of,
    is_won_no_more,
    kind,
    maybe_approved,
    more_or_fewer,
    plan,
    renewal,
    seats,
    some_day,
    two_days,
    workspaces,
)
from proof.shop import Shop

# Cancellations


@kind
def a_cancellation_is_moved(m: Shop, room: str) -> None:
    first = base(m, room, plan(), seats(100), workspaces(5, 1200))
    if m.maybe(0.5):
        more_or_fewer(m, first, seats(5), start=m.day(-50))
    churn = cancellation(m, id_of(first), end=some_day(m))
    for _ in range(m.rng.choice([1, 2])):
        terms = m.rng.choice([{"end": some_day(m)}, {"end": some_day(m)}, {"cancel": "now"}, churn["terms"]])
        churn = m.revise({**churn, "terms": terms}, m.rng.choice([0, 1, 2]), lambda deal: None)


@kind
def a_cancellation_is_withdrawn(m: Shop, room: str) -> None:
    first = base(m, room, plan(), seats(100), workspaces(5, 1200))
    churn = cancellation(m, id_of(first), end=some_day(m))
    if m.maybe(0.4):
        churn = m.revise(churn, 1, lambda deal: deal.update(terms={"end": some_day(m)}))
    is_won_no_more(m, churn, m.rng.choice([0, 1, 2]))


@kind
def a_cancellation_is_cancelled_itself(m: Shop, room: str) -> None:
    first = base(m, room, plan(), seats(100))
    churn = cancellation(m, id_of(first), end=some_day(m))
    ends_itself(m, churn, m.rng.choice([1, 2]), end=some_day(m))


@kind
def a_cancellation_of_a_quantity_that_is_not_there(m: Shop, room: str) -> None:
    first = base(m, room, plan(), seats(100))
    cancellation(m, id_of(first), seats(m.rng.choice([40, 120])), end=some_day(m))


# Deals that are won no more


@kind
def an_upsell_is_won_no_more(m: Shop, room: str) -> None:
    first = base(m, room, plan(), seats(100), workspaces(5, 1200))
    days = two_days(m)
    upsell = more_or_fewer(m, first, seats(20), workspaces(2, 1000), start=days[0])
    if m.maybe(0.4):
        more_or_fewer(m, first, seats(7), start=days[1])
    is_won_no_more(m, upsell)
    maybe_approved(m, upsell)


@kind
def an_upsell_ends_itself(m: Shop, room: str) -> None:
    first = base(m, room, plan(), seats(100), workspaces(5, 1200))
    upsell = more_or_fewer(m, first, seats(20), workspaces(2), start=some_day(m))
    terms = m.rng.choice([{"cancel": "now"}, {"end": some_day(m)}])
    ends_itself(m, upsell, m.rng.choice([1, 2]), **terms)


@kind
def a_partial_cancellation_is_won_no_more(m: Shop, room: str) -> None:
    first = base(m, room, plan(), seats(100), workspaces(5, 1200))
    churn = cancellation(m, id_of(first), workspaces(5), end=some_day(m))
    is_won_no_more(m, churn, m.rng.choice([1, 2]))


@kind
def a_renewal_is_won_no_more(m: Shop, room: str) -> None:
    first = base(m, room, plan(price=48_000), seats(100))
    again = renewal(m, room, id_of(first), plan(price=50_000), seats(m.rng.choice([90, 120])), start=some_day(m))
    is_won_no_more(m, again)
    maybe_approved(m, again)


@kind
def a_base_is_won_no_more_and_others_hang_on_it(m: Shop, room: str) -> None:
    first = base(m, room, plan(), seats(100))
    more_or_fewer(m, first, seats(20), start=m.day(-m.rng.randint(10, 40)))
    is_won_no_more(m, first)


@kind
def an_upsell_is_won_no_more_that_another_was_quoted_on(m: Shop, room: str) -> None:
    first = base(m, room, plan(), seats(100))
    upsell = more_or_fewer(m, first, seats(20, priorQuantity=100), start=m.day(-60))
    more_or_fewer(m, first, seats(5, priorQuantity=120), start=m.day(-30))
    is_won_no_more(m, upsell)


@kind
def fewer_than_somebody_may_take_without_asking(m: Shop, room: str) -> None:
    first = base(m, room, plan(), seats(100))
    more_or_fewer(m, first, seats(-80), start=some_day(m))


@kind
def fewer_than_somebody_may_take_and_somebody_is_asked(m: Shop, room: str) -> None:
    first = base(m, room, plan(), seats(100))
    m.customer.approves.add(id_of(more_or_fewer(m, first, seats(-80), start=some_day(m))))
