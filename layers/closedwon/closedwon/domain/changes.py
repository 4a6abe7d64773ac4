"""What is compared, and what comes of it: a subscription as Stigg holds it, the changes, and the plan they make. Pure.

What a change is in Stigg's API, `stigg.bodies` knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from closedwon.domain.codes import Reason
from closedwon.domain.desired import Grant, Price, Slot, Subscription
from closedwon.domain.identifiers import OpportunityId, SubscriptionId
from closedwon.domain.instants import EndOfBillingPeriod, Instant, Until
from closedwon.domain.records import Payment

LIVE = ("ACTIVE", "IN_TRIAL", "NOT_STARTED", "PAYMENT_PENDING")
"""States of a subscription that holds its slot, now or later. Every other state is an end."""


@dataclass(frozen=True)
class Actual:
    """One subscription as Stigg holds it. Not in its answers: entitlement values, the billing period, the units of the
    plan, and how many there are of what it charges by the unit.

    period: when the billing period under way began, and when it ends. tiered: the plan, add-ons or features of which
    somebody overrode the price in tiers, which no deal says. cancel_reason: why it ended, in Stigg's word; ended: when.
    payment_collection: how collecting its payment goes, and latest_invoice: the state of its newest invoice, both in
    Stigg's words.
    """

    id: SubscriptionId
    slot: Slot
    plan_id: str
    pricing_type: str
    status: str
    addons: tuple[tuple[str, int], ...]
    entitlement_ids: tuple[str, ...]
    prices: tuple[Price, ...]
    cancellation: Until
    metadata: dict[str, str]
    start: Instant | None = None
    trial_end: Instant | None = None
    coupons: tuple[str, ...] = ()
    period: tuple[Instant, Instant] | None = None
    tiered: tuple[str, ...] = ()
    cancel_reason: str | None = None
    ended: Instant | None = None
    payment_collection: str | None = None
    latest_invoice: str | None = None

    @property
    def payment(self) -> Payment | None:
        """What is wrong with its payment while it gives access; None where nothing is."""
        return payment_of(self.status, self.payment_collection, self.latest_invoice)

    @property
    def ends(self) -> Instant | None:
        """When it ends by itself; None where it does not, or nobody knows when."""
        return self.trial_end if self.slot.trial else self.cancellation.instant


def payment_of(status: str, collection: str | None, invoice: str | None) -> Payment | None:
    """What is wrong with a subscription's payment. One that waits at a checkout says so by its status.

    In: `status`, `paymentCollection` and the status of `latestInvoice`, as the SDK's types have them.
    """
    if status not in ("ACTIVE", "IN_TRIAL") or collection not in ("FAILED", "ACTION_REQUIRED"):
        return None
    return Payment(collection, invoice or "")


@dataclass(frozen=True)
class Create:
    """Make a subscription; Stigg ends the paid one that stands in its slot (replaces: its ID). start: the start date
    it is sent with, None for none.
    """

    subscription: Subscription
    generation: int
    replaces: SubscriptionId | None = None
    start: Instant | None = None


Aspect = Literal["add-ons", "prices", "entitlements", "charges", "end", "coupon", "end of trial", "terms", "links"]
"""What of a subscription can differ in place. Charges: how many there are of what is charged by the unit. Terms: what
else no answer of Stigg shows.
"""


@dataclass(frozen=True)
class Update:
    """Change a subscription in place.

    aspects: what is written anew. metadata: what stands on it, with what others keep there. withdrawn: spending terms
    that were written and no deal says any more; what no deal ever said is left alone. adopts: whether somebody else
    made it, and from here on it is closed-won's.
    """

    subscription: Subscription
    subscription_id: SubscriptionId
    aspects: tuple[Aspect, ...]
    metadata: Mapping[str, str]
    withdrawn: tuple[Literal["budget", "minimum_spend"], ...] = ()
    adopts: bool = False

    @property
    def changes(self) -> tuple[str, ...]:
        """What is done, in words."""
        return ("adopted",) if self.adopts else self.aspects

    @property
    def sets_values(self) -> bool:
        """Whether the values of entitlements are written anew: they go with every other term that is not shown."""
        return not {"entitlements", "terms"}.isdisjoint(self.aspects)


@dataclass(frozen=True)
class End:
    """End a subscription. at: now (None), or with its billing period. after: of a trial that was won, the slot of the
    paid subscription that must stand first, so that there is no gap. converts: whether a trial would become a paid
    subscription at its end. makes_way: whether it was not started yet and comes before a Create in its slot.
    """

    slot: Slot
    subscription_id: SubscriptionId
    plan_id: str
    opportunities: tuple[OpportunityId, ...]
    at: EndOfBillingPeriod | None = None
    after: Slot | None = None
    converts: bool = False
    makes_way: bool = False


@dataclass(frozen=True)
class AtOnce:
    """A subscription is cancelled now."""


@dataclass(frozen=True)
class TrialUntil:
    """A trial is given another end: it is not cancelled, so that there is no gap."""

    at: Instant


Ending = AtOnce | EndOfBillingPeriod | TrialUntil
"""How a subscription ends, once it is known what stands beside it."""


@dataclass(frozen=True)
class Keep:
    """Nothing to do: it stands as it should."""

    subscription: Subscription
    subscription_id: SubscriptionId
    status: str
    payment: Payment | None = None


@dataclass(frozen=True)
class Hold:
    """Nothing is done until somebody decides. approval: what somebody can approve, None where something else has to
    change. foreign: the subscription in the way that closed-won did not make.
    """

    slot: Slot
    opportunities: tuple[OpportunityId, ...]
    reason: Reason
    approval: str | None = None
    foreign: SubscriptionId | None = None


Change = Create | Update | End


def slot_of(change: Change | Keep | Hold) -> Slot:
    """The slot that a change is about."""
    return change.slot if isinstance(change, End | Hold) else change.subscription.slot


def opportunities_of(change: Change | Keep | Hold) -> tuple[OpportunityId, ...]:
    """The deals that a change comes from."""
    return change.opportunities if isinstance(change, End | Hold) else change.subscription.opportunities


@dataclass(frozen=True)
class Plan:
    """From actual to desired: the changes in the order they are made, the credits to grant, what stays, what waits.

    approved: the approvals that let a change through, by its slot.
    """

    changes: tuple[Change, ...] = ()
    kept: tuple[Keep, ...] = ()
    holds: tuple[Hold, ...] = ()
    grants: tuple[Grant, ...] = ()
    approved: Mapping[Slot, str] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return not self.changes and not self.holds and not self.grants
