"""The upgrade from the first version: by itself it changes nobody's access or price. Pure.

The contract model reads some deals otherwise than the first version did. Where nothing has come since the first version
made what stands in a slot (no reading, no date, no approval), a difference is the upgrade's alone: it is held for
approval. As soon as something comes, the slot is the contract model's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from closedwon.domain.contract.agreement import Agreement
from closedwon.domain.customer import RULES, Customer, OpportunityState
from closedwon.domain.desired import Desired, Entitlement, Price, Slot, Subscription
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import EndOfBillingPeriod, Instant, from_milliseconds, iso_utc, starting, until_to_json
from closedwon.domain.records import SlotRecord


def untouched(
    customer: Customer, agreement: Agreement, desired: Desired, records: Mapping[Slot, SlotRecord]
) -> frozenset[Slot]:
    """The slots in which everything is as the first version left it: there a difference is the upgrade's alone."""
    former = customer.rules < RULES
    slots = {slot for slot in (*records, *desired.subscriptions) if former or _waits(records.get(slot))}
    come = {
        id for id, state in customer.opportunities.items() if _has_come(customer, agreement, OpportunityId(id), state)
    }
    return frozenset(
        slot
        for slot in slots
        if come.isdisjoint(_concerned(slot, agreement, desired, records)) and not _dated(slot, customer, agreement)
    )


def _waits(record: SlotRecord | None) -> bool:
    return record is not None and record.upgrades


def _has_come(customer: Customer, agreement: Agreement, id: OpportunityId, state: OpportunityState) -> bool:
    """Whether something of a deal is still to be made, and it is not the upgrade that changes it."""
    if id not in agreement.histories or id in agreement.held or id in agreement.refused:
        return False
    # Its approval raises the version, and it lets through one slot only.
    if state.outcome.code == "changed_by_upgrade":
        return False
    return state.version > customer.applied or state.outcome.status in ("Provisioning", "Failed")


def _concerned(
    slot: Slot, agreement: Agreement, desired: Desired, records: Mapping[Slot, SlotRecord]
) -> Iterable[OpportunityId]:
    """The deals that have to do with a slot."""
    applied = records[slot].applied if slot in records else None
    givers = (applied, desired.subscriptions.get(slot), desired.ended.get(slot))
    for giver in givers:
        for id in () if giver is None else giver.opportunities:
            yield from agreement.relatives.get(id, (id,))


def _dated(slot: Slot, customer: Customer, agreement: Agreement) -> bool:
    """Whether a date has come that changes a slot, and was not looked at yet."""
    if customer.look_again_at is None:
        return False
    since, now = starting(from_milliseconds(customer.look_again_at)), starting(agreement.world.now)
    return any(since <= interval.start <= now for interval in agreement.intervals(slot))


def differences(
    applied: Subscription | None, wanted: Subscription | None, not_started: bool
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """What an upgrade would change of access and money: before, and after; None where that is nothing.

    In: what the first version made; what the deals say now; whether it has not started yet, so that another start would
    make it anew.
    """
    before, after = _told(applied, not_started), _told(wanted, not_started)
    if applied is not None and wanted is not None and applied.cancellation == EndOfBillingPeriod():
        # Its day is learned now, and is no other end.
        before.pop("end", None)
        after.pop("end", None)
    before, after = _other_than(before, after), _other_than(after, before)
    return (before, after) if before or after else None


def _other_than(told: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that another telling has not, or says otherwise."""
    return {name: value for name, value in told.items() if other.get(name) != value}


def _told(one: Subscription | None, not_started: bool) -> dict[str, Any]:
    """A subscription as facts by name: what it gives and costs."""
    if one is None:
        return {}
    told: dict[str, Any] = {
        "plan": one.plan_id,
        "units": one.unit_quantity,
        "billing period": one.billing_period,
        "coupon": one.coupon,
        "budget": one.budget,
        "minimum spend": one.minimum_spend and _money(one.minimum_spend),
        "start": _day(one.start) if not_started else None,
        "end": _day(one.trial_end) if one.slot.trial else until_to_json(one.cancellation),
        **_told_items(one),
    }
    return {name: value for name, value in told.items() if value is not None}


def _told_items(one: Subscription) -> dict[str, Any]:
    """What a subscription has beside its plan, and its prices, as facts by name."""
    return {
        **dict(one.addons),
        **{entitlement.id: _amount(entitlement) for entitlement in one.entitlements},
        **{f"charged {id}": quantity for id, quantity in one.charges},
        **{f"price of {price.of or one.plan_id}": _money(price) for price in one.prices},
    }


def _money(price: Price) -> str:
    return f"{price.amount:g} {price.currency}"


def _day(instant: Instant | None) -> str | None:
    return None if instant is None else iso_utc(instant)


def _amount(one: Entitlement) -> str:
    """How much an entitlement gives, with all that goes with it."""
    amount = "unlimited" if one.unlimited else "granted" if one.limit is None else str(one.limit)
    return " ".join(filter(None, (amount, "soft" if one.soft_limit else None, one.reset_period, one.cadence)))
