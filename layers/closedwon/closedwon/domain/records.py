"""The ledger's records of what stands in Stigg: a slot's subscription, and a credit grant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the callout and the sweep read records and never plan: the fold is slow to import
    from closedwon.domain.desired import Subscription
    from closedwon.domain.identifiers import SubscriptionId


@dataclass(frozen=True)
class GrantRecord:
    """What the ledger remembers of a credit grant. amount: as it was sent; grant_id: Stigg's, None until answered."""

    amount: int
    grant_id: str | None = None


@dataclass(frozen=True)
class SlotRecord:
    """What the ledger remembers of one slot.

    generation: raised before a subscription is made, so that its ID is new. made: whether that ID is known to have
    been used. subscription_id: the one that stands, ours or adopted. status and checkout_url: Stigg's last answer.
    applied: what was last written.
    """

    generation: int = 0
    made: bool = False
    subscription_id: SubscriptionId | None = None
    status: str | None = None
    checkout_url: str | None = None
    applied: Subscription | None = None

    def to_json(self) -> dict[str, Any]:
        applied = self.applied.to_json() if self.applied else None
        return {**{name: getattr(self, name) for name in self.__dataclass_fields__}, "applied": applied}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SlotRecord:
        applied = data.get("applied")
        if applied:
            from closedwon.domain.desired import Subscription  # with all of the fold: only who provisions needs it

            applied = Subscription.from_json(applied)
        return cls(**{**data, "applied": applied or None})
