"""Renewals, and what comes back."""

from __future__ import annotations

from proof.kinds.parts import (
    ANALYTICS,
    ENTERPRISE,
    PLUS,
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


@kind
def a_split_renewal_by_contract(m: Shop, room: str) -> None:
    _split(m, room, [m.contract_id(), m.contract_id()], both=True)


@kind
def a_renewal_of_one_of_two_contracts(m: Shop, room: str) -> None:
    _split(m, room, [m.contract_id(), m.contract_id()], both=False)


@kind
def a_split_renewal_by_record(m: Shop, room: str) -> None:
    _split(m, room, None, both=m.maybe(0.6))


def _split(m: Shop, room: str, names: list[str] | None, *, both: bool) -> None:
    """One deal became two contracts, by name or by record; each is renewed by itself, or only one of them."""
    records = [m.record_id() for _ in range(4)]

    def said(place: int, contract: int) -> Json:
        return {"contractId": names[contract]} if names else {"subscriptionRecord": records[place]}

    first = base(
        m,
        room,
        plan(**said(0, 0)),
        seats(100, planId=ENTERPRISE, **said(1, 0)),
        plan(ANALYTICS, **said(2, 1)),
        seats(10, planId=ANALYTICS, **said(3, 1)),
    )
    if m.maybe(0.4):
        more_or_fewer(m, first, seats(5, planId=ANALYTICS), start=m.day(-60))
    for contract, id in enumerate([ENTERPRISE, ANALYTICS]):
        if contract and not both:
            continue
        mine = [plan(id), seats(m.rng.randint(20, 150), planId=id)]
        if names:
            renewal(m, room, names[contract], *mine, start=some_day(m))
        else:
            for place, each in enumerate(mine):
                each["renews"] = records[2 * contract + place]
            renewal(m, room, id_of(first), *mine, start=some_day(m), amends=None)


@kind
def a_consolidated_renewal(m: Shop, room: str) -> None:
    some = [
        base(m, room, plan(price=48_000), seats(100), contractId=m.contract_id()),
        base(m, room, plan(price=10_000), seats(20), contractId=m.contract_id()),
    ]
    if m.maybe(0.4):
        more_or_fewer(m, some[0], seats(7), start=m.day(-50))
    names = [m.rng.choice([id_of(deal), deal["contractId"]]) for deal in some]
    start = m.rng.choice([None, some_day(m)])
    renewal(m, room, names, plan(m.rng.choice([ENTERPRISE, PLUS]), price=60_000), seats(130), start=start)


@kind
def a_renewal_line_starts_later(m: Shop, room: str) -> None:
    first = base(m, room, plan(price=48_000), seats(100), workspaces(3, 1200))
    days = two_days(m)
    lines = [plan(price=50_000), seats(120, start=days[1])]
    renewal(m, room, id_of(first), *lines, start=days[0])


@kind
def a_renewal_after_a_notice(m: Shop, room: str) -> None:
    first = base(m, room, plan(), seats(100))
    cancellation(m, id_of(first), end=m.day(330), wave=0)
    renewal(m, room, id_of(first), plan(), seats(120), start=m.rng.choice([None, some_day(m)]), wave=1)


@kind
def a_renewal_that_is_amended_by_its_own_contract(m: Shop, room: str) -> None:
    """An amendment names the contract that has been renewed by then: it is one of the renewal."""
    first = base(m, room, plan(), seats(100), contractId=m.contract_id())
    days = two_days(m)
    renewal(m, room, first["contractId"], plan(), seats(110), start=days[0])
    more_or_fewer(m, m.rng.choice([first["contractId"], id_of(first)]), seats(5), start=days[1])


@kind
def two_renewals_of_the_same(m: Shop, room: str) -> None:
    first = base(m, room, plan(), seats(100))
    start = m.day(m.rng.randint(60, 200))
    for count in (90, 120):
        renewal(m, room, id_of(first), plan(), seats(count), start=start)


@kind
def a_renewal_that_stigg_cannot_change(m: Shop, room: str) -> None:
    first = base(m, room, plan(), seats(100))
    terms = {**PAID, "paymentCollection": "CHARGE", "start": m.day(m.rng.randint(60, 200)), "end": m.day(700)}
    renewal(m, room, id_of(first), plan(), seats(120), start=None, terms=terms)


@kind
def a_win_back(m: Shop, room: str) -> None:
    first = base(m, room, plan(price=48_000), seats(100))
    cancellation(m, id_of(first), end=m.day(-m.rng.randint(50, 80)))
    lines = [plan(m.rng.choice([ENTERPRISE, PLUS]), price=40_000), seats(80)]
    if m.maybe(0.5):
        renewal(m, room, id_of(first), *lines, start=some_day(m))
    else:
        m.sell("closed_won", lines, room, terms={**PAID, "start": some_day(m)}, wave=m.rng.choice([0, 1]))
