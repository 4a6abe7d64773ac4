"""What Stigg, billing or a person ended is held on the deals that sold it, and sold again by approval alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from closedwon.domain.desired import Policy, Slot
from closedwon.domain.instants import from_iso
from closedwon.domain.records import EndedElsewhere, Payment, SlotRecord
from sandbox.stigg.state import Subscription as Held
from unit.domain import (
    ACCOUNT,
    PLATFORM,
    SEATS,
    amended,
    at_noon,
    cancelled,
    entitlement,
    opportunity_id,
    plan,
    renewed,
    won,
)
from unit.world import World

SOLD = won(1, plan(), entitlement(SEATS, 100), start="2026-11-16")
OTHER = won(2, plan("plan-analytics"), start="2026-11-16", saved="2026-12-02")
HERE = Slot(PLATFORM, None)

REASONS = [
    ("CANCELED", "Immediate", "ended_in_stigg"),
    ("CANCELED", "CANCELLED_BY_BILLING", "ended_in_stigg"),
    ("CANCELED", "UPGRADE_OR_DOWNGRADE", "ended_in_stigg"),
    ("CANCELED", "CustomerArchived", "ended_in_stigg"),
    ("CANCELED", "A reason of tomorrow", "ended_in_stigg"),
    ("EXPIRED", "PENDING_PAYMENT_EXPIRED", "checkout_expired"),
]


def sold(*deals: Any) -> World:
    world = World(now=at_noon("2026-12-01"))
    world.send(SOLD, *deals)
    world.provision()
    return world


def held(world: World, number: int = 0) -> Held:
    return list(world.stigg.book.subscriptions.values())[number]


def ended(world: World, status: Any = "CANCELED", reason: Any = "CANCELLED_BY_BILLING", number: int = 0) -> None:
    """It ends in Stigg, a day later."""
    world.until(world.now + 86_400_000)
    held(world, number).end(status, reason, world._clock)


def look(world: World) -> None:
    """Stigg is looked at again, as a sweep, an event or a repair has it done."""
    world.customer = replace(world.customer, look_again_at=world.now)
    world.provision()


def outcome(world: World, number: int = 1) -> tuple[str, str]:
    found = world.customer.opportunities[opportunity_id(number)].outcome
    return found.status, found.code


def live(world: World) -> list[str]:
    return [one.id for one in world.stigg.book.subscriptions.values() if one.status == "ACTIVE"]


@pytest.mark.parametrize(("status", "reason", "code"), REASONS)
def test_what_was_ended_elsewhere_is_not_given_back_by_another_deal_and_an_approval_sells_it_again(
    status: str, reason: str, code: str
) -> None:
    world = sold()
    first = held(world).id
    ended(world, status, reason)
    world.send(OTHER)
    world.provision()
    assert outcome(world) == ("Held", code)
    assert outcome(world, 2) == ("Provisioned", "")
    assert [one for one in live(world) if PLATFORM in one] == []
    record = world.customer.slots[HERE.key]
    assert [(one.reason, one.subscription) for one in record.ended] == [(reason, first)]

    for _ in range(2):  # nothing comes back by itself, however often it is looked at
        look(world)
    assert len(live(world)) == 1

    world.approve(1)
    assert outcome(world) == ("Provisioned", "")
    assert [one for one in live(world) if PLATFORM in one] == [first.removesuffix("-1") + "-2"]
    assert world.customer.slots[HERE.key].ended == ()
    assert world.customer.approved == ()


def test_it_may_end_a_second_time_and_needs_another_approval() -> None:
    world = sold()
    ended(world)
    look(world)
    before = world.customer.opportunities[opportunity_id(1)].outcome.approval
    world.approve(1)
    ended(world, number=1)
    look(world)
    after = world.customer.opportunities[opportunity_id(1)].outcome
    assert (after.status, after.approval == before) == ("Held", False)


def test_a_step_that_dies_between_two_writes_of_an_approved_sale_uses_the_approval_once() -> None:
    world = sold()
    ended(world)
    look(world)
    world.dies = True
    world.approve(1)
    assert outcome(world) == ("Provisioned", "")
    assert (len(live(world)), world.customer.approved) == (1, ())


def test_what_ended_by_the_dates_of_its_deal_is_no_stop() -> None:
    world = World(now=at_noon("2026-12-01"))
    world.send(won(1, plan(), entitlement(SEATS, 100), start="2026-11-16", end="2026-12-31"))
    world.policy = Policy(end_of_term="end")
    world.provision()
    world.until(at_noon("2027-01-05"))
    world.send(renewed(2, plan(), entitlement(SEATS, 100), of=1, start="2027-01-01", saved="2027-01-05"))
    world.provision()
    assert outcome(world, 2) == ("Provisioned", "")
    assert all(not record.ended for record in world.customer.slots.values())


def test_an_amendment_of_what_was_ended_waits_with_it() -> None:
    world = sold()
    ended(world)
    world.send(amended(3, entitlement(SEATS, 20), of=1, saved="2026-12-03"))
    world.provision()
    assert (outcome(world), outcome(world, 3)) == (("Held", "ended_in_stigg"), ("Held", "ended_in_stigg"))
    world.approve(1)
    assert (outcome(world), outcome(world, 3)) == (("Provisioned", ""), ("Provisioned", ""))
    [made] = [one for one in world.stigg.book.subscriptions.values() if one.status == "ACTIVE"]
    assert [entry["usageLimit"] for entry in made.entitlements] == [120]


def test_a_deal_that_is_won_again_after_its_end_is_a_sale() -> None:
    """What was agreed to end is forgotten, so that a step that died after ending it is not taken for a person."""
    world = sold()
    held(world).end("CANCELED", "Immediate", world._clock)
    world.send(cancelled(1, saved="2026-12-02"))
    world.policy = Policy(reopened_deal="revoke")
    world.until(at_noon("2026-12-02"))
    world.provision()
    assert world.customer.slots[HERE.key].applied is None
    world.until(at_noon("2026-12-04"))
    world.send(won(1, plan(), entitlement(SEATS, 100), start="2026-11-16", saved="2026-12-04"))
    world.provision()
    assert outcome(world) == ("Provisioned", "")
    assert len(live(world)) == 1


def test_a_sale_that_stigg_made_a_trial_of_is_not_provisioned_and_not_made_again_and_again() -> None:
    world = sold()
    trial = held(world)
    trial.is_trial, trial.status, trial.trial_end_date = True, "IN_TRIAL", world._clock.replace(year=2027)
    world.customer.slots[HERE.key] = SlotRecord(1, True, None, None)
    for number in (3, 4, 5):
        world.send(amended(number, entitlement(SEATS, 1), of=1, saved=f"2026-12-0{number}"))
        world.until(at_noon(f"2026-12-0{number}"))
        world.provision()
        assert outcome(world) == ("Held", "trial_not_wanted")
    assert [one.id for one in world.stigg.book.subscriptions.values()] == [trial.id]
    trial.is_trial, trial.status = False, "ACTIVE"
    world.until(world.now + 3_600_000)
    assert outcome(world) == ("Provisioned", "")


def test_a_failed_payment_shows_while_the_customer_has_access_and_goes_when_it_is_paid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = sold()
    shown = held(world).json
    for collection, invoice, expected in (
        ("FAILED", "OPEN", ("Payment required", "payment_failed")),
        ("ACTION_REQUIRED", "OPEN", ("Payment required", "payment_action_required")),
        ("NOT_REQUIRED", "PAID", ("Provisioned", "")),
    ):
        answer = {"paymentCollection": collection, "latestInvoice": {"status": invoice}}
        monkeypatch.setattr(Held, "json", lambda self, now, answer=answer, shown=shown: {**shown(now), **answer})
        look(world)
        assert outcome(world) == expected
        assert (held(world).status, len(world.writes)) == ("ACTIVE", 1)
    assert world.customer.slots[HERE.key].payment is None


def test_nothing_is_written_to_an_archived_customer_and_its_new_deals_wait() -> None:
    world = sold()
    world.customer = replace(world.customer, archived=True)
    before = len(world.writes)
    world.send(OTHER, amended(3, entitlement(SEATS, 20), of=1, saved="2026-12-02"))
    world.provision()
    assert len(world.writes) == before
    assert [outcome(world, number) for number in (1, 2, 3)] == [
        ("Provisioned", ""), ("Held", "customer_archived"), ("Held", "customer_archived"),
    ]  # fmt: skip
    assert world.customer.look_again_at == world.now + 86_400_000
    world.customer = replace(world.customer, archived=False)
    world.until(world.now + 86_400_000)
    assert {outcome(world, number) for number in (1, 2, 3)} == {("Provisioned", "")}


def test_what_is_remembered_of_an_end_or_a_payment_is_read_as_it_was_written_and_as_earlier_versions_wrote_it() -> None:
    at = from_iso("2026-12-01T09:00:00Z")
    record = SlotRecord(
        2, True, ended=(EndedElsewhere(1, "Immediate", at, f"{ACCOUNT}-1"),), payment=Payment("FAILED", "OPEN")
    )
    assert SlotRecord.from_json(record.to_json()) == record
    former = {**record.to_json(), "ended": [[1, "Immediate", "2026-12-01T09:00:00.000Z"]]}
    assert SlotRecord.from_json(former).ended == (EndedElsewhere(1, "Immediate", at),)
    assert {"ended", "payment"}.isdisjoint(SlotRecord().to_json())
