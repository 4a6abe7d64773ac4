"""The kinds of contracts that the campaign sells, each in resources of its own: what the contract model is about.

Each kind is a function: in: the shop, a resource. Days lie far behind, within the play, or far ahead, so that each kind
is met before, while and after it takes effect. Where deals contradict each other, it is certain who makes way.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from proof.shop import CALLS, PAID, SEATS, SUPPORT, WORKSPACE, Json, Shop, line

Kind = Callable[[Shop, str], None]

KINDS: dict[str, Kind] = {}
ENTERPRISE, PLUS, ANALYTICS, TEAM = "plan-enterprise", "plan-enterprise-plus", "plan-analytics", "plan-team"
DASHBOARDS = "feature-dashboards"


def kind(sells: Kind) -> Kind:
    KINDS[sells.__name__.replace("_", " ").strip()] = sells
    return sells


# What kinds are made of


def seats(count: int, **more: Any) -> Json:
    return line("Entitlement", SEATS, count, **more)


def workspaces(count: int, price: float | None = None, **more: Any) -> Json:
    return line("Add-on", WORKSPACE, count, price=price, **more)


def plan(id: str = ENTERPRISE, count: int = 1, price: float | None = None, **more: Any) -> Json:
    return line("Plan", id, count, price=price, **more)


def some_day(m: Shop) -> str:
    """Behind, within the play, or ahead: in any case after a base's start."""
    return m.rng.choice([m.day(-m.rng.randint(10, 40)), m.soon(), m.day(m.rng.randint(60, 200))])


def two_days(m: Shop) -> list[str]:
    """Two of them, in order."""
    found = {some_day(m) for _ in range(9)}
    return sorted(m.rng.sample(sorted(found), 2))


def base(m: Shop, room: str, *lines: Json, end: bool = True, **more: Any) -> Json:
    """A deal that began long ago."""
    terms = {**PAID, "start": m.day(-m.rng.randint(100, 250)), **({"end": m.day(330)} if end else {})}
    return m.sell("closed_won", list(lines), room, **{"terms": terms, **more})


def id_of(deal: Json) -> str:
    return str(deal["opportunity"]["id"])


def more_or_fewer(m: Shop, of: Json | str, *lines: Json, start: str, wave: int | None = None, **more: Any) -> Json:
    """An amendment that says differences."""
    by = of if isinstance(of, str) else id_of(of)
    wave = m.rng.choice([0, 1]) if wave is None else wave
    return m.sell(
        "amendment", list(lines), amends=by, terms={"start": start}, quantities="differences", wave=wave, **more
    )


def renewal(m: Shop, room: str, of: Any, *lines: Json, start: str | None, wave: int | None = None, **more: Any) -> Json:
    """Where what it renews may arrive after it, it says its resource: else it would begin in no resource, and move."""
    wave = m.rng.choice([0, 1]) if wave is None else wave
    terms = {**PAID, "end": m.day(700), **({"start": start} if start else {})}
    resource = room if wave == 0 or m.maybe(0.5) else None
    return m.sell("renewal", list(lines), resource, **{"amends": of, "terms": terms, "wave": wave, **more})


def cancellation(m: Shop, of: str, *lines: Json, wave: int | None = None, **terms: Any) -> Json:
    wave = m.rng.choice([0, 1]) if wave is None else wave
    return m.sell("cancellation", list(lines), amends=of, terms=terms, wave=wave)


def is_won_no_more(m: Shop, deal: Json, wave: int = 2) -> None:
    def change(revision: Json) -> None:
        revision.update(trigger="cancellation", lines=[], terms={})
        revision.pop("amends", None)
        revision.pop("quantities", None)

    m.revise(deal, wave, change)


def ends_itself(m: Shop, deal: Json, wave: int, **terms: Any) -> None:
    """A cancellation by its own opportunity."""

    def change(revision: Json) -> None:
        revision.update(trigger="cancellation", lines=[], terms=terms)
        revision.pop("amends", None)
        revision.pop("quantities", None)

    m.revise(deal, wave, change)


def maybe_approved(m: Shop, deal: Json) -> None:
    if m.maybe(0.5):
        m.customer.approves.add(id_of(deal))


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


# Renewals


@kind
def a_split_renewal_by_contract(m: Shop, room: str) -> None:
    _split(m, room, [m.contract_id(), m.contract_id()])


@kind
def a_split_renewal_by_record(m: Shop, room: str) -> None:
    _split(m, room, None)


def _split(m: Shop, room: str, names: list[str] | None) -> None:
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
        if contract and m.maybe(0.4):
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


# Lines: relations, parts, resources, ramps


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


@kind
def fewer_than_somebody_may_take_without_asking(m: Shop, room: str) -> None:
    first = base(m, room, plan(), seats(100))
    fewer = more_or_fewer(m, first, seats(-80), start=some_day(m))
    maybe_approved(m, fewer)
