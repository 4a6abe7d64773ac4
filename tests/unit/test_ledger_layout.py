"""A customer's items: what the first version stored is read and becomes items of today, and nothing is lost on the way.

Also what a newer version stored, which was taken back: what this one does not know it keeps.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from closedwon.aws.ledger import Ledger
from closedwon.aws.ledger_items import Stored, body_of, part_items, stored_of, text_of
from closedwon.domain.acceptance import Arrival
from closedwon.domain.application import Application
from closedwon.domain.codes import Facts
from closedwon.domain.customer import Customer, Outcome, SubscriptionLink, learned_key
from closedwon.domain.desired import Entitlement, Price, Slot, Subscription
from closedwon.domain.identifiers import AccountId, OpportunityId, SubscriptionId
from closedwon.domain.instants import Never, from_iso
from closedwon.domain.lease import Busy, Work
from closedwon.domain.order import Order, Problem, Revision
from closedwon.domain.records import EndedElsewhere, GrantRecord, SlotRecord
from closedwon.domain.results import Applied, Intended
from unit.capacity import CountingTable
from unit.domain import plain_order, settling

Json = dict[str, Any]

ACCOUNT = AccountId("0015g00000XyZaBAAV")
PK = f"ACCOUNT#{ACCOUNT}"
A, B, C = (OpportunityId(f"0065g00000ABCd{name}") for name in ("EAAX", "FAAX", "GAAX"))
NOW = 1_795_338_931_000
LEASE = 120_000
AT = from_iso("2026-12-24T00:00:00.000Z")


class Clock:
    now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table() -> CountingTable:
    return CountingTable()


@pytest.fixture
def ledger(table: CountingTable, clock: Clock) -> Ledger:
    return Ledger("ledger", table, clock, pause=lambda seconds: None)


def order(opportunity: str = A, quantity: int = 1, **given: Any) -> Order:
    return plain_order(opportunity, ACCOUNT, quantity, **given)


def record(slot: Slot, lines: int = 3) -> SlotRecord:
    """A slot in which a subscription stands."""
    applied = Subscription(
        slot=slot,
        plan_id="plan-enterprise",
        unit_quantity=1,
        addons=(("addon-premium-support", 1),),
        entitlements=tuple(Entitlement("FEATURE", f"feature-{n}", 250 + n) for n in range(lines)),
        prices=(Price(None, 48000.0, "usd"),),
        billing_period="ANNUALLY",
        payment_collection="INVOICE",
        start=AT,
        cancellation=Never(),
        opportunities=(A,),
        minimum_spend=Price(None, 100.0, "usd"),
    )
    return SlotRecord(2, True, SubscriptionId("sub-2"), "ACTIVE", None, applied, (EndedElsewhere(1, "EXPIRED", AT),))


def slots_of(count: int) -> dict[str, SlotRecord]:
    slots = [Slot("product-platform", f"workspace-{n}") for n in range(count)]
    return {slot.key: record(slot) for slot in slots}


def provisioned(ledger: Ledger, slots: dict[str, SlotRecord]) -> Customer:
    """A customer of everything there is, with so many slots: nothing of it is under way."""
    refused = order(B, problems=(Problem(None, "amends", "unknown"),), end=AT)
    ends = order(C, trigger="cancellation", items=(), amends=(A,), cancel="end_of_term")
    ledger.accept([Arrival(order(), Revision(1, 0)), Arrival(refused, Revision(1, 0)), Arrival(ends, Revision(1, 0))])
    ledger.accept([Arrival(order(quantity=2), Revision(2, 0))])
    work = ledger.acquire_lease(ACCOUNT, "one", 0, LEASE)
    assert isinstance(work, Work)
    ledger.record_result(
        work, Intended({key: one.generation for key, one in slots.items()}, {"credits": GrantRecord(5)})
    )
    outcome = Outcome(
        "Held",
        "Half of it would go.",
        (SubscriptionLink("plan-enterprise", SubscriptionId("sub-2"), "ACTIVE"),),
        "half",
    )
    ledger.record_result(
        work,
        Applied(
            slots,
            {A: outcome},
            settling(work.customer, A),
            ensured=True,
            grants={"credits": GrantRecord(5, "grant-5")},
            learned={C: {learned_key("product-platform|", 1): AT}, A: {learned_key("product-platform|", 1): AT}},
        ),
    )
    assert ledger.approve(A, "half", 0)[0] == "approved"
    known = ledger.customer(ACCOUNT)
    assert known.learned == {(C, "product-platform|#1"): AT}, "only what was cancelled ends"
    application = Application(NOW, answered=True, resource_id="workspace-1", metadata=(("workspace", "1"),))
    states = {**known.opportunities, A: replace(known.opportunities[A], application=application)}
    ledger._table.write(ledger._table._read(ACCOUNT, True), replace(known, opportunities=states))
    return ledger.customer(ACCOUNT)


def items_of(table: CountingTable) -> dict[str, Json]:
    return {item["sk"]["S"]: item for item in table.all() if item["pk"]["S"] == PK}


def put(table: CountingTable, items: dict[str, Json]) -> None:
    """The customer's items are these."""
    for key in [key for key in table._items if key[0] == PK]:
        del table._items[key]
    table._items |= {(PK, sk): item for sk, item in items.items()}


def as_first_stored(items: dict[str, Json]) -> dict[str, Json]:
    """The items of a customer as the first version stored them: slots, grants and approvals in the head, every order of
    an opportunity in full, no revs.
    """
    head = copy.deepcopy(items["CUSTOMER"])
    body = json.loads(text_of(head)) | {"slots": {}, "grants": {}, "approved": []}
    stored: dict[str, Json] = {}
    for sk, item in items.items():
        kind, _, key = sk.partition("#")
        told = json.loads(text_of(item))
        match kind:
            case "OPPORTUNITY":
                whole = {n: told[v["as"]] if isinstance(v, dict) and v.keys() == {"as"} else v for n, v in told.items()}
                stored[sk] = {"pk": item["pk"], "sk": item["sk"], "body": {"S": json.dumps(whole)}}
            case "SLOT" | "GRANT":
                body[{"SLOT": "slots", "GRANT": "grants"}[kind]][key] = told
            case "APPROVAL":
                body["approved"].append(key)
    del head["revs"]
    return {"CUSTOMER": {**head, "body": {"S": json.dumps(body)}}, **stored}


def same(one: Customer, other: Customer) -> bool:
    """Whether two states say the same, whenever they were written."""
    return replace(one, rev=0) == replace(other, rev=0)


# Items of their own


def test_the_head_has_nothing_of_slots_and_deals_and_only_what_changes_is_written(
    ledger: Ledger, table: CountingTable, clock: Clock
) -> None:
    known = provisioned(ledger, slots_of(150))
    before = items_of(table)
    assert len(text_of(before["CUSTOMER"])) < 600
    assert {sk.partition("#")[0] for sk in before} == {"CUSTOMER", "OPPORTUNITY", "SLOT", "GRANT", "APPROVAL"}
    assert len(before) == 1 + 3 + 150 + 1 + 1
    clock.now += 2 * LEASE
    work = ledger.acquire_lease(ACCOUNT, "two", 0, LEASE)
    assert isinstance(work, Work)
    [key] = slots_of(1)
    changed = replace(known.slots[key], status="CANCELED")
    ledger.record_result(work, Applied({**known.slots, key: changed}, {}, {}, True, approved=frozenset({"half"})))
    after = items_of(table)
    assert {sk for sk in after if after[sk] != before.get(sk)} == {"CUSTOMER", f"SLOT#{key}", "APPROVAL#half"}
    assert ledger.customer(ACCOUNT).slots[key] == changed
    assert ledger.customer(ACCOUNT).approved == ()
    assert (text_of(after["APPROVAL#half"]), len(after)) == ("null", len(before)), "what is used up stays, and says so"
    assert ledger.approve(A, "half", 0)[0] == "approved"
    assert ledger.customer(ACCOUNT).approved == ("half",), "the same can be approved again"


def test_orders_that_are_equal_are_stored_once(ledger: Ledger, table: CountingTable) -> None:
    known = provisioned(ledger, {})
    told = json.loads(text_of(items_of(table)[f"OPPORTUNITY#{A}"]))
    assert (told["order"]["items"][0]["quantity"], told["provisioned"], told["settled"]) == (2, {"as": "order"}, {})
    assert not told.keys() & {"sells_order", "trial_order", "settled_trial", "won"}, "the newest is what sells"
    state = known.opportunities[A]
    assert state.settled is not None
    assert state.settled.order is state.order


# The first version's


@pytest.mark.parametrize("slots", [0, 3, 150])
def test_what_the_first_version_stored_is_read_as_it_is_and_converted_when_all_of_it_is_written(
    ledger: Ledger, table: CountingTable, clock: Clock, slots: int
) -> None:
    known = provisioned(ledger, slots_of(slots))
    put(table, as_first_stored(items_of(table)))
    assert ledger.customer(ACCOUNT) == known
    found = ledger.find(A)
    assert found is not None
    assert found[1] == known.opportunities[A]
    first = text_of(items_of(table)["CUSTOMER"])
    ledger.accept([Arrival(order(quantity=3), Revision(3, 0))])
    inherited = ("slots", "grants", "approved")
    then = json.loads(text_of(items_of(table)["CUSTOMER"]))
    assert {name: then[name] for name in inherited} == {name: json.loads(first)[name] for name in inherited}, (
        "who accepts has not read the rest, and leaves it where it is"
    )
    accepted = ledger.customer(ACCOUNT)
    assert (accepted.slots, accepted.grants, accepted.approved) == (known.slots, known.grants, known.approved)
    clock.now += 2 * LEASE
    work = ledger.acquire_lease(ACCOUNT, "two", 0, LEASE)
    assert isinstance(work, Work)
    after = items_of(table)
    assert not json.loads(text_of(after["CUSTOMER"])).keys() & {"slots", "grants", "approved"}
    assert sum(sk.startswith("SLOT#") for sk in after) == slots
    assert same(ledger.customer(ACCOUNT), replace(work.customer, rev=0))
    assert (work.customer.slots, work.customer.grants, work.customer.approved) == (
        known.slots,
        known.grants,
        known.approved,
    )


def test_a_conversion_that_ends_between_its_transactions_is_gone_on_with(
    ledger: Ledger, table: CountingTable, clock: Clock
) -> None:
    known = provisioned(ledger, slots_of(250))
    put(table, as_first_stored(items_of(table)))
    clock.now += 2 * LEASE
    transact = table.transact_write_items
    for _ in range(2):
        done: list[Json] = []

        def once(done: list[Json] = done, **given: Any) -> Json:
            if done:
                raise ConnectionError
            done.append(given)
            return transact(**given)

        table.transact_write_items = once  # type: ignore[method-assign]
        with pytest.raises(ConnectionError):
            ledger.acquire_lease(ACCOUNT, "two", 0, LEASE)
        assert same(ledger.customer(ACCOUNT), known)
    table.transact_write_items = transact  # type: ignore[method-assign]
    work = ledger.acquire_lease(ACCOUNT, "two", 0, LEASE)
    assert isinstance(work, Work)
    assert work.customer.slots == known.slots
    assert "slots" not in json.loads(text_of(items_of(table)["CUSTOMER"]))
    assert ledger.acquire_lease(ACCOUNT, "three", 0, LEASE) == Busy(clock.now + LEASE)


# A newer version's


def news_in(told: Any) -> Any:
    """What is stored, with a field more in everything that has fields."""
    match told:
        case dict():
            return {**{name: news_in(value) for name, value in told.items()}, "news": {"of": ["later"]}}
        case list():
            return [news_in(one) for one in told]
    return told


def newer(items: dict[str, Json]) -> dict[str, Json]:
    """A customer's items as a newer version may have stored them."""
    by_newer: dict[str, Json] = {}
    for sk, item in items.items():
        told = json.loads(text_of(item))
        if sk.startswith("OPPORTUNITY#"):
            learned = told.pop("learned", None)
            told = {n: v if isinstance(v, dict) and v.keys() == {"as"} else news_in(v) for n, v in told.items()}
            told |= {"offers": {"as": "order"}, **({"learned": learned} if learned else {})}
        else:
            told = news_in(told)
        by_newer[sk] = {**item, "body": body_of(json.dumps(told))}
    thing = {"pk": {"S": PK}, "sk": {"S": "THING#1"}, "rev": {"N": "1"}, "unknown": {"BOOL": True}}
    head = by_newer["CUSTOMER"]
    head["revs"] = {"N": str(int(head["revs"]["N"]) + 1)}
    return {**by_newer, "THING#1": thing}


def test_what_a_newer_version_stored_is_read_and_written_back_with_what_this_one_does_not_know(
    ledger: Ledger, table: CountingTable, clock: Clock
) -> None:
    known = provisioned(ledger, slots_of(2))
    stored = newer(items_of(table))
    put(table, stored)
    read = ledger.customer(ACCOUNT)
    assert same(without_news(read), known)
    written = part_items(Stored(Customer(ACCOUNT)), read)
    assert written.keys() == stored.keys() - {"CUSTOMER", "THING#1"}
    for sk in written:
        if not sk.startswith("APPROVAL#"):
            assert told(written[sk]) == told(stored[sk]), sk
    clock.now += 2 * LEASE
    assert isinstance(ledger.acquire_lease(ACCOUNT, "two", 0, LEASE), Work)
    assert json.loads(text_of(items_of(table)["CUSTOMER"]))["news"] == {"of": ["later"]}
    assert items_of(table)["THING#1"] == stored["THING#1"]
    assert ledger.customer(ACCOUNT).opportunities[A].mark(None) == read.opportunities[A].mark(None)


def without_news(customer: Customer) -> Customer:
    """The customer without what is not known of it; of slots and links this is not compared anyway."""

    def plain(one: Any) -> Any:
        return one and replace(one, extra={})

    def plain_outcome(one: Outcome) -> Outcome:
        return replace(one, extra={}, facts=Facts(without(one.facts.to_json())))

    def without(facts: Any) -> Any:
        match facts:
            case dict():
                return {name: without(value) for name, value in facts.items() if name != "news"}
            case list():
                return [without(one) for one in facts]
        return facts

    def plain_order(one: Order) -> Order:
        return replace(one, extra={}, items=tuple(map(plain, one.items)))

    states = {
        id: replace(
            state,
            extra={},
            order=plain_order(state.order),
            settled=state.settled and plain(state.settled.with_orders(plain_order)),
            outcome=plain_outcome(state.outcome),
            application=plain(state.application),
        )
        for id, state in customer.opportunities.items()
    }
    return replace(
        customer,
        extra={},
        opportunities=states,
        slots={key: plain(one) for key, one in customer.slots.items()},
        grants={key: plain(one) for key, one in customer.grants.items()},
    )


def told(item: Json) -> Json:
    """What an item says; an order that is stored once, wherever it counts."""
    body = json.loads(text_of(item))
    return {n: body[v["as"]] if isinstance(v, dict) and v.keys() == {"as"} else v for n, v in body.items()}


def test_an_order_keeps_its_digest_whoever_reads_it() -> None:
    stored = json.loads(json.dumps(order().to_json()))
    later = Order.from_json({**stored, "sold_by": "partner"})
    assert (later.extra, later.digest) != ({}, order().digest)
    assert Order.from_json(json.loads(json.dumps(later.to_json()))).digest == later.digest
    assert Order.from_json({**stored, "sold_by": None}).digest == order().digest, "what is empty says nothing"


# One moment


def mutations() -> list[tuple[str, Callable[[Json], None]]]:
    def lost(items: Json) -> None:
        del items[f"OPPORTUNITY#{A}"]

    def older(items: Json) -> None:
        item = items[f"OPPORTUNITY#{A}"]
        items[f"OPPORTUNITY#{A}"] = {**item, "rev": {"N": str(int(item["rev"]["N"]) - 1)}}

    def made_up_by_a_newer_one(items: Json) -> None:
        older(items)
        item = items[f"OPPORTUNITY#{B}"]
        more = int(items["CUSTOMER"]["rev"]["N"]) + 1
        items[f"OPPORTUNITY#{B}"] = {**item, "rev": {"N": str(more)}}
        head = items["CUSTOMER"]
        head["revs"] = {"N": str(int(head["revs"]["N"]) + more - int(item["rev"]["N"]) - 1)}

    return [(one.__name__, one) for one in (lost, older, made_up_by_a_newer_one)]


@pytest.mark.parametrize(("name", "mutate"), mutations())
def test_items_of_several_moments_are_no_customer(
    ledger: Ledger, table: CountingTable, name: str, mutate: Callable[[Json], None]
) -> None:
    provisioned(ledger, slots_of(2))
    items = items_of(table)
    assert stored_of(ACCOUNT, items.values()) is not None
    mutate(items)
    assert stored_of(ACCOUNT, items.values()) is None, name
