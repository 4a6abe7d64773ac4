"""Growth: what a customer with many deals costs, in calls of functions, which no clock and no other process changes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import log2
from typing import Any

import pytest

from closedwon.domain.changes import Create
from closedwon.domain.contract.agreement import Agreement
from closedwon.domain.contract.facts import History, Reading, begin, record, settle
from closedwon.domain.contract.standing import World
from closedwon.domain.identifiers import AccountId, ContractId, CustomerId, OpportunityId
from closedwon.domain.instants import Instant, from_iso, from_milliseconds, milliseconds, starting
from closedwon.domain.marks import Backlinks
from closedwon.domain.order import Item, Kind, Order, Revision
from closedwon.domain.plan import plan
from closedwon.domain.records import SlotRecord
from closedwon.domain.subscription_ids import subscription_id
from closedwon.preview.foresight import remembered
from unit.agreements import Life
from unit.domain import ACCOUNT, CATALOGUE, POLICY, SEATS, WORKSPACE

START = from_iso("2027-01-01T00:00:00Z")
END = from_iso("2030-01-01T00:00:00Z")
DAY = 86_400_000
MOST = 1.2
"""The largest exponent of growth: 1 is linear."""


def on(day: int) -> Instant:
    return from_milliseconds(milliseconds(START) + day * DAY)


def line(kind: Kind, id: str, quantity: int, place: int = 1, price: float | None = None, **more: Any) -> Item:
    return Item(kind, id, quantity, (place,), price=price, **more)


def deal(number: int, trigger: str, *items: Item, **more: Any) -> History:
    """An opportunity with one reading."""
    order = Order(
        opportunity_id=OpportunityId(f"006{number:015d}"),
        opportunity_name="",
        account_id=AccountId(ACCOUNT),
        account_name="",
        account_email=None,
        stored_customer_id=None,
        customer_id=None,
        resource_id=more.pop("resource_id", None),
        trigger=trigger,
        currency="usd",
        billing_period="ANNUALLY",
        payment_collection="INVOICE",
        as_of=on(-30),
        items=items,
        form=1,
        **more,
    )
    return record(None, Reading(order, Revision(milliseconds(on(-30)) + number, 0)))


def name(number: int) -> OpportunityId | ContractId:
    return OpportunityId(f"006{number:015d}")


def base(number: int = 0, parts: int = 1, resource: str | None = None) -> History:
    features = (SEATS, "feature-api-calls", "feature-storage")
    more = [line("Entitlement", features[place % 3], 10 + place) for place in range(parts)]
    items = (line("Plan", "plan-enterprise", 1, price=48000), line("Add-on", WORKSPACE, 5, price=1200), *more)
    return deal(number, "closed_won", *items, start=START, end=END, resource_id=resource)


def independent(count: int) -> list[History]:
    return [base(number, resource=f"bu-{number}") for number in range(count)]


def amendments(count: int) -> list[History]:
    """Amendments of one contract, each quoted on the one before it."""
    changes = [
        deal(
            number,
            "amendment",
            line("Entitlement", SEATS, 1, prior=9 + number),
            line("Add-on", WORKSPACE, 1, price=1000 + number),
            amends=(name(0),),
            differences=True,
            start=on(number),
        )
        for number in range(1, count + 1)
    ]
    return [base(), *changes]


def differing(count: int, *items: Item, **more: Any) -> list[History]:
    """A base with amendments of the same lines."""
    given = {"amends": (name(0),), "differences": True, **more}
    days = given.pop("days", True)
    changes = (
        deal(number, "amendment", *items, **given, start=on(number) if days else None) for number in range(1, count + 1)
    )
    return [base(), *changes]


def priceless(count: int) -> list[History]:
    """Units added at what the others cost."""
    return differing(count, line("Add-on", WORKSPACE, 1))


def of_one_day(count: int) -> list[History]:
    """Amendments that do not know of each other."""
    return differing(count, line("Add-on", WORKSPACE, 1, price=1000), line("Entitlement", SEATS, 1), days=False)


def taken_back(count: int) -> list[History]:
    """Units that are taken back one by one, which the guard looks at."""
    first = base()
    many = replace(first.newest.order, items=(line("Plan", "plan-enterprise", 1), line("Entitlement", SEATS, 10_000)))
    return [record(None, Reading(many, first.newest.revision)), *differing(count, line("Entitlement", SEATS, -1))[1:]]


def one_on_the_other(count: int) -> list[History]:
    """Amendments that each name the one before."""
    items = (line("Entitlement", SEATS, 1),)
    changes = (
        deal(number, "amendment", *items, amends=(name(number - 1),), differences=True, start=on(number))
        for number in range(1, count + 1)
    )
    return [base(), *changes]


def in_one_slot(count: int) -> list[History]:
    """Deals that add up, beginning one after another."""
    items = (
        line("Plan", "plan-enterprise", 1, price=1000),
        line("Entitlement", SEATS, 10, reset_period="MONTH", soft_limit=True),
        line("Add-on", WORKSPACE, 1, price=10),
    )
    return [
        deal(number, "closed_won", *items, start=on(number), end=END, metadata=(("deal", str(number)),))
        for number in range(count)
    ]


def revised_in_one_slot(count: int) -> list[History]:
    """Settled deals that add up; one of them is saved anew without most of its seats, which the guard looks at."""
    first, *others = in_one_slot(count)
    order = first.newest.order
    fewer = tuple(replace(item, quantity=1) if item.stigg_id == SEATS else item for item in order.items)
    again = Reading(replace(order, items=fewer), Revision(milliseconds(on(1)), 0))
    return [
        record(begin(settle(first, first.contribution)), again),
        *(begin(settle(history, history.contribution)) for history in others),
    ]


def revised(count: int) -> list[History]:
    """Settled deals of their own resources, all of them saved anew with fewer seats in one bulk save."""
    found = []
    for history in independent(count):
        settled = begin(settle(history, history.contribution))
        order = history.newest.order
        fewer = tuple(replace(item, quantity=9) if item.stigg_id == SEATS else item for item in order.items)
        found.append(record(settled, Reading(replace(order, items=fewer), Revision(milliseconds(on(1)), 0))))
    return found


def without_base(count: int, lines: int = 3) -> list[History]:
    items = [line("Entitlement", SEATS, 1 + place, place) for place in range(lines)]
    return [
        deal(number, "amendment", *items, amends=(name(9999),), differences=True, start=on(number))
        for number in range(1, count + 1)
    ]


def renewals(count: int) -> list[History]:
    """A contract that was renewed year after year."""
    items = (line("Plan", "plan-enterprise", 1, price=48000), line("Entitlement", SEATS, 10))
    first = deal(0, "closed_won", *items, start=START, end=on(30))
    return [
        first,
        *(
            deal(number, "renewal", *items, amends=(name(number - 1),), start=on(30 * number), end=on(30 * number + 30))
            for number in range(1, count + 1)
        ),
    ]


def ramps(count: int) -> list[History]:
    steps = [
        line("Entitlement", SEATS, 10 + step, step, start=on(step), end=on(step + 1)) for step in range(1, count + 1)
    ]
    return [deal(0, "closed_won", line("Plan", "plan-enterprise", 1), *steps, start=START, end=END)]


def in_conflict(count: int) -> list[History]:
    """Deals that give one slot different plans, one after another."""
    plans = ("plan-enterprise", "plan-enterprise-plus")
    return [
        deal(number, "closed_won", line("Plan", plans[number % 2], 1), start=on(number), end=END)
        for number in range(count)
    ]


def taking_too_much(count: int) -> list[History]:
    return [
        base(),
        *(
            deal(
                number,
                "amendment",
                line("Entitlement", SEATS, -11),
                amends=(name(0),),
                differences=True,
                start=on(number),
            )
            for number in range(1, count + 1)
        ),
    ]


def calls(work: Callable[[], object]) -> int:
    """How many functions are called, C's included."""
    counted = 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return counted


def look(histories: Sequence[History]) -> None:
    """All that is asked of a customer when a deal is accepted: what stands and will stand at each moment to come, what
    each deal says, what is stored.
    """
    agreement = Agreement(list(histories), World(CATALOGUE, POLICY, on(5)))
    desired = agreement.desired()
    assert agreement.statuses()
    coming = [
        agreement.subscription(slot, interval.start)
        for slot in agreement.slots
        for interval in agreement.intervals(slot)
        if interval.end > starting(agreement.world.now)
    ]
    assert any(coming) == bool(desired.subscriptions)
    assert agreement.moments or agreement.held


KINDS = (
    independent,
    amendments,
    priceless,
    of_one_day,
    taken_back,
    one_on_the_other,
    in_one_slot,
    revised_in_one_slot,
    revised,
    without_base,
    renewals,
    ramps,
    in_conflict,
    taking_too_much,
)


@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
def test_twice_the_deals_take_about_twice_the_calls(kind: Callable[[int], list[History]]) -> None:
    look(kind(4))  # what is worked out once is worked out now
    some = [kind(count) for count in (25, 50, 100)]
    first, second, third = (calls(partial(look, histories)) for histories in some)
    assert log2(second / first) <= MOST, (first, second, third)
    assert log2(third / second) <= MOST, (first, second, third)


def planning(count: int) -> Callable[[], object]:
    """To plan for a customer all of whose deals stand in Stigg, with one that does not and one that nothing gives."""
    customer, links = CustomerId("northwind"), Backlinks("https://northwind.my.salesforce.com", AccountId(ACCOUNT))
    desired = Agreement(independent(count), World(CATALOGUE, POLICY, on(5))).desired()
    records = {
        slot: SlotRecord(1, True, subscription_id(customer, slot, 1), "ACTIVE", applied=one)
        for slot, one in desired.subscriptions.items()
    }
    actual = remembered(records, CATALOGUE, links)
    first, *others = desired.subscriptions.items()
    changed = replace(desired, subscriptions=dict(others))
    missing = [one for one in actual if one.slot != others[0][0]]

    def work() -> None:
        found = plan(customer, changed, missing, records, POLICY, links, milliseconds(on(5)))
        assert (len(found.kept), [type(change) for change in found.changes]) == (count - 2, [Create])
        assert [hold.slot for hold in found.holds] == [first[0]]

    return work


def test_the_plan_takes_about_twice_the_calls_for_twice_the_subscriptions() -> None:
    planning(4)()
    first, second, third = (calls(planning(count)) for count in (25, 50, 100))
    assert log2(second / first) <= MOST, (first, second, third)
    assert log2(third / second) <= MOST, (first, second, third)


def seconds(histories: Sequence[History]) -> float:
    begun = time.process_time()
    look(histories)
    return time.process_time() - begun


def test_eight_hundred_amendments_take_less_than_a_second() -> None:
    look(amendments(10))
    assert min(seconds(amendments(800)) for _ in range(2)) < 1


def test_forty_held_amendments_of_fifty_lines_take_well_under_a_second() -> None:
    assert seconds(without_base(40, 50)) < 0.5


def test_what_nobody_asks_for_is_not_worked_out_again() -> None:
    one = Life(now=on(5))
    one.histories = {history.id: history for history in amendments(30)}
    agreement = one.agreement()
    first = calls(agreement.desired)
    assert calls(agreement.desired) < first
    assert replace(one).agreement().desired().subscriptions == agreement.desired().subscriptions
