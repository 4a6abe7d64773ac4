"""Acquiring a customer's lease: the right of one execution at a time to write for it. Pure.

Times are epoch milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from closedwon.domain.customer import Customer, Lease


@dataclass(frozen=True)
class Work:
    """What an execution may do for a customer while it holds the lease. needs: read and change Stigg, or only write to
    Salesforce.
    """

    customer: Customer
    needs: Literal["provision", "write_back"]

    @property
    def lease(self) -> Lease:
        assert self.customer.lease is not None
        return self.customer.lease


@dataclass(frozen=True)
class Busy:
    """Another execution holds the lease. Before it releases the lease, it sees what was accepted meanwhile."""

    until: int


@dataclass(frozen=True)
class Current:
    """There is nothing to do for the customer."""


@dataclass(frozen=True)
class Unanswered:
    """An earlier try of this execution may have a write under way until then."""

    until: int


def acquire_lease(
    customer: Customer, owner: str, token: int, now: int, lease_milliseconds: int
) -> tuple[Customer, Work | Busy | Current | Unanswered]:
    """Acquire the customer's lease.

    In: the customer; the execution's name; the token its last step handed on, 0 at the start; now; how long a write of
    this step can take to land, in milliseconds from now.
    Out: the customer and the work, with the lease held; or why there is none. A step that ended hands its token on. An
    execution with an older token is the retry of a step that died: it waits until that step's writes have landed or
    never will.
    """
    lease = customer.lease
    held = lease is not None and now < lease.until
    goes_on = False
    if lease is not None and lease.owner == owner:
        goes_on = token == lease.token  # handed on by a step whose every write was answered
        # The same execution with an older token: its last try died in mid-step, and its write may still land.
        if not goes_on and not lease.answered and held:
            return customer, Unanswered(lease.until)
    elif lease is not None and held:
        return customer, Busy(lease.until)
    needs: Literal["provision", "write_back"] = "write_back"
    # A customer whose only news is for Salesforce costs no call to Stigg.
    if _concerns_stigg(customer, now):
        needs = "provision"
    # A step that goes on gets the lease even so: its execution has still to record what came of it.
    elif not (customer.unwritten or customer.account_unwritten or goes_on):
        return replace(customer, lease=None, due_at=customer.look_again_at), Current()
    # Due at the lease's end: if this execution dies, the sweep starts the customer then.
    granted = Lease(owner, customer.token + 1, now + lease_milliseconds)
    customer = replace(customer, lease=granted, token=granted.token, due_at=granted.until)
    return customer, Work(customer, needs)


def _concerns_stigg(customer: Customer, now: int) -> bool:
    """Whether Stigg is to be read: for an order, a time that has come, or because it said that something changed."""
    looks = customer.look_again_at is not None and customer.look_again_at <= now
    return customer.applied < customer.version or looks or customer.heard_at is not None
