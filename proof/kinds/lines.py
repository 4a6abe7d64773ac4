"""What lines say: what they amend, which plan they belong to, in which resource, from when until when."""

from __future__ import annotations

from datetime import timedelta

from proof.kinds.parts import (
    ANALYTICS,
    DASHBOARDS,
    ENTERPRISE,
    PER_SEAT,
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
from proof.shop import CALLS, LATEST, PAID, SUPPORT, WORKSPACE, Shop, iso, line


@kind
def lines_that_say_what_they_amend(m: Shop, room: str) -> None:
    record = m.record_id()
    first = base(m, room, plan(), seats(100, subscriptionRecord=record), workspaces(4, 1200))
    more_or_fewer(m, first, seats(10, amends=record), start=some_day(m))
    more_or_fewer(m, first, workspaces(1, amends=f"{id_of(first)}/{WORKSPACE}"), start=some_day(m))
    if m.maybe(0.5):
        renewal(
            m,
            room,
            None,
            plan(renews=f"{id_of(first)}/{ENTERPRISE}"),
            seats(120, renews=record),
            workspaces(6, 1100, renews=f"{id_of(first)}/{WORKSPACE}"),
            start=m.day(m.rng.randint(210, 300)),
        )


@kind
def a_segment_of_a_ramp_is_cancelled(m: Shop, room: str) -> None:
    step = m.rng.randint(60, 120)
    starts = m.day(step + 1)
    first = base(m, room, plan(), seats(100), line("Entitlement", CALLS, 500, end=m.day(step)))
    first["lines"].append({"line": 4, **line("Entitlement", CALLS, 900, start=starts)})
    listed = line("Entitlement", CALLS, 900, ends=f"{id_of(first)}/{CALLS}/{starts}", start=starts)
    cancellation(m, id_of(first), listed, end=m.day(step + m.rng.choice([30, 60])))


@kind
def parts_of_two_plans(m: Shop, room: str) -> None:
    """One of two products is cancelled, with its parts listed or not: the other's stay."""
    first = base(
        m,
        room,
        plan(),
        seats(100, planId=ENTERPRISE),
        plan(ANALYTICS),
        seats(10, planId=ANALYTICS),
        line("Entitlement", DASHBOARDS, 50),
    )
    if m.maybe(0.5):
        more_or_fewer(m, first, line("Entitlement", DASHBOARDS, 5), start=m.day(-60))
    parts = [seats(10, planId=ANALYTICS), line("Entitlement", DASHBOARDS, None)]
    listed = m.rng.choice([[plan(ANALYTICS)], [plan(ANALYTICS), *parts], parts[:1]])
    cancellation(m, id_of(first), *listed, end=some_day(m))


@kind
def another_product_takes_the_place_of_one(m: Shop, room: str) -> None:
    first = base(m, room, plan(), seats(100))
    swap = [plan(count=-1), plan(ANALYTICS), line("Entitlement", DASHBOARDS, 50)]
    more_or_fewer(m, first, *swap, start=some_day(m))


@kind
def an_amendment_for_another_resource(m: Shop, room: str) -> None:
    first = base(m, room, plan(), seats(100))
    base(m, "workspace-3", plan(), seats(50))
    more_or_fewer(m, first, seats(10), start=some_day(m), resourceId="workspace-3")


@kind
def a_ramp_that_is_amended(m: Shop, room: str) -> None:
    step = m.rng.choice([-20, 90])
    first = base(m, room, plan(), seats(100, end=m.day(step)))
    first["lines"].append({"line": 3, **seats(200, start=m.day(step + 1))})
    first["lines"].append({"line": 4, **line("Add-on", SUPPORT, 1, start=m.day(250))})
    more_or_fewer(m, first, seats(5, priorQuantity=100), start=m.day(-50))
    if m.maybe(0.5):
        later = seats(-10, priorQuantity=m.rng.choice([200, 205]), start=m.day(step + 2))
        more_or_fewer(m, first, later, start=m.day(step + 2))
    if m.maybe(0.5):
        gone = line("Add-on", SUPPORT, -1, priorQuantity=1, totalQuantity=0, start=m.day(250))
        more_or_fewer(m, first, gone, start=some_day(m))


@kind
def a_quote_on_what_was_never_there(m: Shop, room: str) -> None:
    first = base(m, room, plan(), seats(100))
    more_or_fewer(m, first, seats(5, priorQuantity=90), start=some_day(m))


@kind
def names_that_come_later(m: Shop, room: str) -> None:
    """What names a contract waits until the deal has said that it became that contract."""
    first = base(m, room, plan(), seats(100))
    contract = m.contract_id()
    more_or_fewer(m, contract, seats(10), start=some_day(m))
    m.revise(first, m.rng.choice([0, 1, 2]), lambda deal: deal.update(contractId=contract))


@kind
def a_deal_that_begins_in_a_while(m: Shop, room: str) -> None:
    """When the last of the play's instants come: long after all was brought about that was sold with it."""
    begins, more = (iso(m.began + timedelta(seconds=LATEST - before)) for before in (3, 1))
    first = m.sell("closed_won", [plan(price=48_000), seats(100)], room, terms={**PAID, "start": begins})
    more_or_fewer(m, first, seats(20), workspaces(2, 1100), start=more, wave=0)


@kind
def a_plan_that_is_sold_by_the_unit(m: Shop, room: str) -> None:
    first = base(m, room, plan(PER_SEAT, m.rng.randint(5, 9)))
    for day in two_days(m):
        more_or_fewer(m, first, plan(PER_SEAT, m.rng.choice([-1, 2, 3])), start=day)
