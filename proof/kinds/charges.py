"""Plans that charge their seats, or begin with a trial unless they are told not to."""

from __future__ import annotations

from proof.kinds.parts import (
    ENTERPRISE,
    GROWTH,
    PILOT,
    base,
    cancellation,
    id_of,
    kind,
    more_or_fewer,
    plan,
    renewal,
    seats,
    some_day,
    two_days,
)
from proof.shop import Shop


@kind
def seats_that_a_plan_charges(m: Shop, room: str) -> None:
    """At the catalogue's price, or at the contract's: more and fewer of them replace nothing."""
    price, whole = m.rng.choice([(None, None), (250, None), (250, 2500)])
    first = base(m, room, plan(GROWTH, price=whole), seats(40, price=price))
    for day in two_days(m):
        more_or_fewer(m, first, seats(m.rng.choice([-6, 3, 10]), price=m.rng.choice([None, price])), start=day)
    if m.maybe(0.3):
        cancellation(m, id_of(first), end=m.day(m.rng.randint(210, 300)))


@kind
def seats_at_two_prices(m: Shop, room: str) -> None:
    first = base(m, room, plan(GROWTH), seats(40, price=300))
    more_or_fewer(m, first, seats(10, price=m.rng.choice([200, 250])), start=some_day(m))


@kind
def a_renewal_with_other_charges(m: Shop, room: str) -> None:
    """Of charged seats as they are, at another price, or as a limit of a plan that charges none."""
    first = base(m, room, plan(GROWTH), seats(40, price=250))
    others = ([plan(GROWTH), seats(55, price=280)], [plan(GROWTH), seats(30)], [plan(ENTERPRISE), seats(60)])
    renewal(m, room, id_of(first), *m.rng.choice(others), start=some_day(m))


@kind
def two_deals_of_charged_seats(m: Shop, room: str) -> None:
    for _ in range(2):
        base(m, room, plan(GROWTH), seats(m.rng.randint(5, 30), price=m.rng.choice([240, 260])))


@kind
def a_plan_with_a_trial_by_default(m: Shop, room: str) -> None:
    """What is sold of it is no trial, whatever comes after."""
    first = base(m, room, plan(PILOT, price=m.rng.choice([None, 1800])))
    if m.maybe(0.5):
        renewal(m, room, id_of(first), plan(m.rng.choice([PILOT, GROWTH, ENTERPRISE])), start=some_day(m))
    elif m.maybe(0.5):
        cancellation(m, id_of(first), end=some_day(m))


@kind
def a_default_trial_that_was_tried_before(m: Shop, room: str) -> None:
    monthly = {"billingPeriod": "MONTHLY"}  # a trial of a plan that has a price says how it is to be paid, too
    trial = m.sell("trial", [plan(PILOT)], room, terms={**monthly, "trialEnd": m.day(20)})
    if m.maybe(0.7):
        terms = {**monthly, "paymentCollection": "INVOICE", "start": m.rng.choice([m.day(-3), m.soon()])}
        m.revise(trial, m.rng.choice([0, 1]), lambda deal: deal.update(trigger="closed_won", terms=terms))
