"""When a customer is due, and what starting it takes: names, rate slots, claims. Pure.

Times are epoch milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime

from closedwon.domain.customer import Customer
from closedwon.domain.identifiers import SubscriptionId
from closedwon.domain.order import Order, Revision

START_GRACE = 120_000
"""How long the sweep leaves a requested start alone: StartExecution and a cold start take seconds."""

LOOK_AGAIN = 3_600_000
"""How often a pending payment is checked in Stigg: an hour."""

QUIET = 5_000
"""From an event of Stigg's to the look that it leads to: what Stigg says meanwhile is seen by the same look."""


def execution_name(opportunity_id: str, revision: Revision, attempt: int) -> str:
    """``<opportunity>-<SystemModstamp>-<attempt>``: at most 80 characters, none that Step Functions refuses."""
    # Step Functions keeps a name for 90 days after the end: without the attempt nothing could be tried again.
    stamp = datetime.fromtimestamp(revision.modified / 1000, UTC)
    return f"{opportunity_id}-{stamp:%Y%m%dT%H%M%S}{revision.modified % 1000:03d}Z-{attempt}"


def rate_slots_for(orders: Iterable[Order]) -> int:
    """How many of the governor's rate slots an execution takes that brings about these orders of one customer.

    A rate slot stands for one subscription's writes. With one for each customer, deals of several plans would ask more
    of Stigg than the rate slots let through.
    """
    # A deal without a plan, such as one of add-ons, changes a subscription all the same.
    return max(1, len({item.stigg_id for order in orders for item in order.of_kind("Plan")}))


def rate_slots_due(customer: Customer) -> int:
    """How many rate slots a due customer takes: those of its orders that Stigg does not stand for yet.

    One where Stigg is only read again (for a date, a payment, a repair): what differs is not known beforehand, and is
    mostly one subscription.
    """
    return rate_slots_for(state.order for state in customer.opportunities.values() if state.version > customer.applied)


def claim(customer: Customer, now: int, rate_slot: int = 0) -> tuple[Customer, str | None]:
    """Claim a customer that is due, for the sweep.

    In: the customer; now; when the rate slot of its execution comes, 0 for at once.
    Out: the customer and the name of the execution to start; None when it is not due any more. Where no start
    follows a claim, the customer is due again after START_GRACE, under a new name.
    """
    # Another sweep may have claimed it since the index was read; without an opportunity no execution has a name.
    if customer.due_at is None or customer.due_at > now or not customer.opportunities:
        return customer, None
    attempt = customer.attempt + 1
    newest = max(customer.opportunities.values(), key=lambda state: (state.version, state.order.opportunity_id))
    name = execution_name(newest.order.opportunity_id, newest.revision, attempt)
    opportunities = {
        # What Stigg stands for keeps showing the execution that provisioned it.
        id: replace(state, execution=name) if state.version > customer.applied else state
        for id, state in customer.opportunities.items()
    }
    due_at = max(now, rate_slot) + START_GRACE
    return replace(customer, attempt=attempt, due_at=due_at, opportunities=opportunities), name


def heard(customer: Customer, now: int, rate_slot: Callable[[], int | None]) -> tuple[Customer, str | None]:
    """Note that Stigg said that something of a customer changed.

    In: the customer; now; what reserves a rate slot and says when it comes, None where none comes soon: called only
    where an execution is to start.
    Out: the customer, and the name of the execution to start. None where nothing has to start: a look is to come that
    sees this too; or an execution is at work, after which the customer is due; or the sweep is to start it.
    """
    at_work = customer.lease is not None and now < customer.lease.until
    to_come = customer.heard_at is not None and (at_work or now < customer.heard_at)
    # Noted once for each step at work, which may have read Stigg already; and once for a look that is to come.
    if to_come and customer.heard_token == customer.token:
        return customer, None
    customer = replace(customer, heard_at=now + QUIET, heard_token=customer.token)
    # Its writes are what Stigg mostly tells of: what is under way is looked at once it is done, and not before.
    if customer.applied < customer.version or at_work:
        return customer, None
    slot = rate_slot()
    if slot is None:
        return replace(customer, due_at=sooner(customer.due_at, now + QUIET)), None
    at = max(now + QUIET, slot)
    return claim(replace(customer, heard_at=at, due_at=now), now, at)


def is_made_by(customer: Customer, subscription_id: str) -> bool:
    """Whether a subscription is one that closed-won made for a customer, or is about to have made."""
    from closedwon.domain.desired import Slot  # with all of the fold: as a rule nobody asks
    from closedwon.domain.subscription_ids import is_ours

    id, bound = SubscriptionId(subscription_id), customer.bound_id
    return any(is_ours(bound, Slot.of_key(key), id) for key in customer.slots)


def only_looks(customer: Customer, now: int) -> bool:
    """Whether Stigg is read for no other reason than that it said something: then nothing is written there.

    What differs then was changed there by others, and what is done about that is reconciliation's to decide. A payment
    that is made is another matter: what follows from it, such as the end of a trial, is the deals' own.
    """
    if customer.heard_at is None or customer.applied < customer.version:
        return False
    if customer.look_again_at is not None and customer.look_again_at <= now:
        return False
    return all(record.status != "PAYMENT_PENDING" for record in customer.slots.values())


def due_after(customer: Customer, now: int) -> int | None:
    """When a customer is due next, once an execution has nothing left to do."""
    if customer.heard_at is None:
        return customer.look_again_at
    return sooner(customer.look_again_at, max(now, customer.heard_at))


def made_due(
    customer: Customer, rev: int, look: bool, opportunities: Iterable[str], account: bool, now: int
) -> tuple[Customer, bool]:
    """Make a customer due, so that an execution repairs what differs.

    In: the customer; its rev when it was compared; whether Stigg has to be read again; the opportunities whose outcome
    Salesforce does not show any more; whether the account does not show its customer; now.
    Out: the customer, and whether it is due now. It is not where it was written since the comparison: the difference
    may be gone already.
    """
    # It changed since it was compared, so the finding may be out of date: the next run finds what remains.
    if customer.rev != rev:
        return customer, False
    # Whatever the ledger believes, Salesforce shows something else: the mark must not vouch for it any more.
    states = {id: replace(customer.opportunities[id], written=None) for id in opportunities}
    return replace(
        customer,
        opportunities={**customer.opportunities, **states},
        account_written=None if account else customer.account_written,
        # A date that has come stays known: what it changes is no drift.
        look_again_at=sooner(customer.look_again_at, now) if look else customer.look_again_at,
        due_at=sooner(customer.due_at, now),
        failures=0,
    ), True


def sooner(one: int | None, other: int) -> int:
    return other if one is None else min(one, other)
