"""Deals without an end, and what differences cost."""

from __future__ import annotations

import copy
from datetime import date, timedelta

from proof.kinds.parts import (
    TEAM,
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
    workspaces,
)
from proof.shop import PAID, Json, Shop

# Without an end


@kind
def evergreen_deals_end_with_their_billing_period(m: Shop, room: str) -> None:
    """One of two, or the only one. The period under way is not about to end while it is played."""
    today = m.began.date()
    started = next(
        day for n in range(70, 90) if 5 <= (day := today - timedelta(days=n)).day <= 25 and _is_apart(day, today)
    )
    terms = {**PAID, "billingPeriod": "MONTHLY", "start": started.isoformat()}
    some = [
        m.sell("closed_won", [plan(TEAM, price=490), workspaces(3, 120)], room, terms=terms),
        *(
            [m.sell("closed_won", [plan(TEAM, price=400), workspaces(2, 120)], room, terms=terms)]
            if m.maybe(0.5)
            else []
        ),
    ]
    churn = cancellation(m, id_of(some[0]), cancel="end_of_term", wave=1)
    if m.maybe(0.3):
        m.revise(churn, 2, lambda deal: None)
    elif len(some) == 1 and m.maybe(0.5):
        renewal(m, room, id_of(some[0]), plan(TEAM, price=400), start=m.day(m.rng.randint(60, 90)), wave=2)


def _is_apart(day: date, today: date) -> bool:
    return 3 <= (day.day - today.day) % 28 <= 25


# Money


@kind
def prices_of_differences(m: Shop, room: str) -> None:
    first = base(m, room, plan(price=48_000), seats(100), workspaces(5, 1200))
    days = two_days(m)
    steps: list[list[list[Json]]] = [
        [[workspaces(2, 1000)]],
        [[workspaces(5, 1000)], [workspaces(-10, 1100), workspaces(10, 950)]],
        [[workspaces(3)]],
        [[workspaces(3)], [workspaces(-8, 1200), workspaces(8, 900)]],
        [[workspaces(-2, 1200)], [workspaces(1, 800)]],
        [[workspaces(-2)], [workspaces(4, 1000)]],
        [[workspaces(-5, 1200), workspaces(5, 1000)]],
        [[workspaces(-5), workspaces(5, 1000)], [workspaces(-1, 1000)]],
        [[workspaces(-5, 1200), workspaces(7)]],
        [[workspaces(5, 0)]],
        [[plan(count=-1), plan(price=45_000)]],
        [[plan(count=-1, price=48_000), plan(price=45_000)], [seats(5)]],
    ]
    for lines, day in zip(m.rng.choice(steps), days, strict=False):
        more_or_fewer(m, first, *lines, start=day)


@kind
def differences_of_one_day(m: Shop, room: str) -> None:
    first = base(m, room, plan(), seats(100), workspaces(5, 1200))
    day = some_day(m)
    for lines in m.rng.sample([workspaces(-2), workspaces(3, 1000), workspaces(1)], 2):
        more_or_fewer(m, first, lines, start=day)


@kind
def prices_that_are_nobodys(m: Shop, room: str) -> None:
    """Units at a price that the contract does not have, or beside the catalogue's: held."""
    price = m.rng.choice([None, 1200])
    first = base(m, room, plan(), seats(100), workspaces(5, price))
    more_or_fewer(m, first, workspaces(2, 1000) if price is None else workspaces(-2, 900), start=some_day(m))


@kind
def a_base_whose_price_is_corrected_after_it_was_changed(m: Shop, room: str) -> None:
    first = base(m, room, plan(price=1000), seats(100))
    more_or_fewer(m, first, plan(count=-1, price=1000), plan(price=900), start=m.day(-m.rng.randint(10, 40)))

    def corrected(deal: Json) -> None:
        deal["lines"] = copy.deepcopy(deal["lines"])
        deal["lines"][0]["price"] = 950

    m.revise(first, 2, corrected)
