"""The ledger's records of what stands in Stigg: a slot's subscription, and a credit grant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from closedwon.domain.instants import Instant, from_iso, iso_utc
from closedwon.domain.stored import Json, given_of, told_of

if TYPE_CHECKING:  # the callout and the sweep read records and never plan: the fold is slow to import
    from closedwon.domain.desired import Subscription
    from closedwon.domain.identifiers import SubscriptionId


@dataclass(frozen=True)
class GrantRecord:
    """What the ledger remembers of a credit grant. amount: as it was sent; grant_id: Stigg's, None until answered.
    refusals: how often Stigg refused it. extra: see `domain.stored`.
    """

    amount: int
    grant_id: str | None = None
    refusals: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def to_json(self) -> Json:
        """Plain data for the ledger; `from_json` is its inverse."""
        data = told_of(self)
        if not self.refusals:
            del data["refusals"]
        return data

    def idempotency_key(self, key: str) -> str:
        """Under which it is sent. In: the grant's key, which no execution is part of: it is never to be granted twice.

        Stigg replays its first answer to a key for 24 hours. A refusal is an answer by which nothing was granted, so
        that the next try has another key, and is not told the old refusal.
        """
        return f"{key}-{self.refusals}" if self.refusals else key

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GrantRecord:
        return cls(**given_of(cls, data))


class EndedElsewhere(NamedTuple):
    """A subscription that Stigg, billing or a person ended, and no deal: its generation, why in Stigg's word, when, and
    its ID.
    """

    generation: int
    reason: str
    at: Instant
    subscription: str = ""


class Payment(NamedTuple):
    """What is wrong with the payment of a subscription that gives access: FAILED or ACTION_REQUIRED, and the state of
    its newest invoice, in Stigg's words.
    """

    collection: str
    invoice: str = ""


@dataclass(frozen=True)
class SlotRecord:
    """What the ledger remembers of one slot.

    generation: raised before a subscription is made, so that its ID is new. made: whether that ID is known to have
    been used. subscription_id: the one that stands, ours or adopted. status and checkout_url: Stigg's last answer.
    applied: what was last written. ended: those of its subscriptions that ended without a deal. payment: what is wrong
    with its payment. upgrades: whether the
    rules of this version would change what those of the first version made, and that waits; see `domain.upgrade`.
    extra: see `domain.stored`. told: `applied` as it was read, so that it is written back with what this version does
    not know.
    """

    generation: int = 0
    made: bool = False
    subscription_id: SubscriptionId | None = None
    status: str | None = None
    checkout_url: str | None = None
    applied: Subscription | None = None
    ended: tuple[EndedElsewhere, ...] = ()
    payment: Payment | None = None
    upgrades: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    told: tuple[Subscription, Json] | None = field(default=None, compare=False, repr=False)

    def to_json(self) -> Json:
        """Plain data for the ledger; `from_json` is its inverse."""
        data = told_of(self)
        del data["told"], data["ended"], data["payment"]
        if not self.upgrades:
            del data["upgrades"]
        if self.ended:
            data["ended"] = [[one.generation, one.reason, iso_utc(one.at), one.subscription] for one in self.ended]
        if self.payment:
            data["payment"] = list(self.payment)
        if self.applied is not None:
            same = self.told is not None and self.told[0] is self.applied
            data["applied"] = self.told[1] if same and self.told else self.applied.to_json()
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SlotRecord:
        given = given_of(cls, data)
        given["ended"] = tuple(
            EndedElsewhere(one[0], one[1], from_iso(one[2]), *one[3:4]) for one in data.get("ended", ())
        )
        payment = data.get("payment")
        given["payment"] = Payment(*payment[: len(Payment._fields)]) if payment else None
        if told := data.get("applied"):
            from closedwon.domain.desired import Subscription  # with all of the fold: only who provisions needs it

            given["applied"] = Subscription.from_json(told)
            given["told"] = (given["applied"], told)
        return cls(**given)
