"""The desired state: the subscriptions a customer should have. Pure.

What a customer's deals come to is the `contract` model's; see `contract.agreement.Agreement.desired`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

from closedwon.domain.codes import Reason
from closedwon.domain.identifiers import CustomerId, OpportunityId
from closedwon.domain.instants import (
    Instant,
    Until,
    from_iso,
    iso_utc,
    until_from_json,
    until_to_json,
)
from closedwon.domain.order import Problem


class Slot(NamedTuple):
    """Where one subscription lives: Stigg keeps at most one that is paid and one trial for a customer, resource and
    product.
    """

    product_id: str
    resource_id: str | None
    trial: bool = False

    @property
    def key(self) -> str:
        """A text that names it within its customer; `of_key` is its inverse."""
        return f"{'|' if self.trial else ''}{self.product_id}|{self.resource_id or ''}"

    @classmethod
    def of_key(cls, key: str) -> Slot:
        product_id, _, resource_id = key.removeprefix("|").partition("|")
        return cls(product_id, resource_id or None, key.startswith("|"))


@dataclass(frozen=True)
class Policy:
    """What a stack chooses.

    end_of_term: at the end without a renewal, ``keep`` the subscription (and report), ``end`` it, or end it after
    grace_days. reopened_deal: what becomes of a won deal that is not won any more: ``flag`` it, or ``revoke`` its
    access. foreign_subscription: what happens to a subscription closed-won did not make that stands where a deal's
    should: ``hold`` the deal, ``replace-free`` (replace it only if its plan is free), ``replace``. time_zone: the zone
    of the days in reasons. removal_guard_percent: how much of a subscription's entitlements one change may take away.
    """

    end_of_term: Literal["keep", "grace", "end"] = "keep"
    grace_days: int = 14
    reopened_deal: Literal["flag", "revoke"] = "flag"
    foreign_subscription: Literal["hold", "replace-free", "replace"] = "hold"
    removal_guard_percent: int = 50
    time_zone: str = "UTC"


@dataclass(frozen=True, order=True)
class Entitlement:
    """A feature with a limit (units), unlimited, or just granted (neither); or recurring credits (amount, cadence)."""

    type: Literal["FEATURE", "CREDIT"]
    id: str
    limit: int | None = None
    unlimited: bool = False
    soft_limit: bool = False
    reset_period: str | None = None
    cadence: str | None = None


def amount_of(entitlement: Entitlement) -> float:
    """How much an entitlement gives; a granted feature counts as one."""
    if entitlement.unlimited:
        return float("inf")
    return 1 if entitlement.limit is None else entitlement.limit


@dataclass(frozen=True, order=True)
class Price:
    """A price override: of an add-on, of a unit of a feature that the plan charges, or of the plan's base charge (both
    None). amount: whole units of the currency.
    """

    addon_id: str | None
    amount: float
    currency: str
    feature_id: str | None = None

    @property
    def of(self) -> str | None:
        """The add-on or feature that it is a price of; None for the plan's base charge."""
        return self.addon_id or self.feature_id

    def to_json(self) -> dict[str, Any]:
        """Plain data for the ledger and fingerprints: as the first version wrote it, but where a feature is named."""
        told = dict(vars(self))
        if self.feature_id is None:
            del told["feature_id"]
        return told


def price_order(price: Price) -> tuple[int, str]:
    """The place of a price among those of a subscription: the base price, then by add-on, then by feature."""
    if price.feature_id is not None:
        return (2, price.feature_id)
    return (0, "") if price.addon_id is None else (1, price.addon_id)


@dataclass(frozen=True)
class Subscription:
    """One subscription as it should be. start: None means when it is provisioned.

    cancellation: until when it lasts. opportunities: those that contribute to it, by start, then ID; the first is the
    one Stigg links to. minimum_spend: for each billing period. milestones: the renewals, cancellations and dates that
    lie behind: what may have lowered it without anybody's approval. charges: how many there are of each feature that
    the plan charges by the unit and a deal gives, by its ID. charged: all features that the plan charges so: of those
    that no deal gives there are none. unit_feature: of a plan that is sold by the unit itself, the feature that
    unit_quantity counts.
    """

    slot: Slot
    plan_id: str
    unit_quantity: int
    addons: tuple[tuple[str, int], ...]
    entitlements: tuple[Entitlement, ...]
    prices: tuple[Price, ...]
    billing_period: str | None
    payment_collection: str | None
    start: Instant | None
    cancellation: Until
    opportunities: tuple[OpportunityId, ...]
    trial_end: Instant | None = None
    trial_end_behavior: str | None = None
    coupon: str | None = None
    budget: float | None = None
    budget_soft: bool = False
    minimum_spend: Price | None = None
    paying_customer_id: CustomerId | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    milestones: tuple[str, ...] = ()
    charges: tuple[tuple[str, int], ...] = ()
    charged: tuple[str, ...] = ()
    unit_feature: str | None = None

    @property
    def ends(self) -> Instant | None:
        """When it ends by the dates it is written with; None where it does not, or only Stigg knows when."""
        return self.trial_end if self.slot.trial else self.cancellation.instant

    def charged_as(self, other: Subscription) -> Subscription:
        """It with another's quantities of what is charged by the unit."""
        return replace(self, charges=other.charges, unit_quantity=other.unit_quantity)

    @property
    def counted(self) -> dict[str, int]:
        """How many there are of each feature that is charged by the unit, with those that the plan's own units are."""
        own = {} if self.unit_feature is None else {self.unit_feature: self.unit_quantity}
        return {**own, **dict(self.charges)}

    @cached_property
    def fingerprint(self) -> str:
        """The units, then a hash of what else Stigg's answers do not show (entitlement values, charges, billing period
        ...): kept in the subscription's metadata, it tells whether what was written still is what is wanted.
        """
        unseen: list[Any] = [
            [vars(entitlement) for entitlement in self.entitlements],
            self.billing_period,
            self.payment_collection,
            self.opportunities[0],
            self.coupon,
            self.budget,
            self.budget_soft,
            self.minimum_spend and self.minimum_spend.to_json(),
            self.paying_customer_id,
        ]
        if self.charges:  # added later: the fingerprints of all others stay what they were
            unseen.append(self.charges)
        digest = hashlib.sha256(json.dumps(unseen, separators=(",", ":")).encode()).hexdigest()
        return f"{self.unit_quantity}-{digest[:32]}"

    def to_json(self) -> dict[str, Any]:
        """Plain data for the ledger; `from_json` is its inverse."""
        data = {name: getattr(self, name) for name in self.__dataclass_fields__}
        data["turns"] = data.pop("milestones")  # as it was called when ledgers were first written
        for added_later in ("charges", "charged", "unit_feature"):
            if not data[added_later]:
                del data[added_later]
        return {
            **data,
            "entitlements": tuple(dict(vars(entitlement)) for entitlement in self.entitlements),
            "prices": tuple(price.to_json() for price in self.prices),
            "minimum_spend": self.minimum_spend and self.minimum_spend.to_json(),
            "start": self.start and iso_utc(self.start),
            "cancellation": until_to_json(self.cancellation),
            "trial_end": self.trial_end and iso_utc(self.trial_end),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Subscription:
        """What a newer version added is left out here, and kept by the record that holds it (`SlotRecord.told`)."""
        return cls(
            **{
                **_known(cls, data),
                "slot": Slot(*data["slot"]),
                "addons": tuple((id, quantity) for id, quantity in data["addons"]),
                "entitlements": tuple(Entitlement(**_known(Entitlement, one)) for one in data["entitlements"]),
                "prices": tuple(Price(**_known(Price, one)) for one in data["prices"]),
                "start": data["start"] and from_iso(data["start"]),
                "cancellation": until_from_json(data["cancellation"]),
                "opportunities": tuple(data["opportunities"]),
                "trial_end": data.get("trial_end") and from_iso(data["trial_end"]),
                "minimum_spend": Price(**_known(Price, told)) if (told := data.get("minimum_spend")) else None,
                "metadata": tuple((name, value) for name, value in data.get("metadata", ())),
                "milestones": tuple(data.get("turns", ())),
                "charges": tuple((id, quantity) for id, quantity in data.get("charges", ())),
                "charged": tuple(data.get("charged", ())),
            }
        )


def _known(cls: Any, data: dict[str, Any]) -> dict[str, Any]:
    """The fields that a class knows."""
    return {name: value for name, value in data.items() if name in cls.__dataclass_fields__}


@dataclass(frozen=True)
class Ended:
    """A subscription that no deal gives any more, as was agreed. opportunities: those that gave it, and the ones that
    ended it.
    """

    opportunities: tuple[OpportunityId, ...]


@dataclass(frozen=True)
class Grant:
    """Credits that a deal grants once. key: names it for ever: its opportunity, currency and dates. amount: units of
    the currency of credits. effective_at, expire_at: None for at once and never. cost: whole units of
    money.
    """

    key: str
    opportunity_id: OpportunityId
    opportunity_name: str
    currency_id: str
    amount: int
    resource_id: str | None
    effective_at: Instant | None
    expire_at: Instant | None
    cost: float | None
    money: str
    payment_collection: str | None


@dataclass(frozen=True)
class Desired:
    """What a customer should have.

    refused: opportunity to what is wrong with its newest order. held: opportunity to why it waits for somebody. Both
    contribute what they contributed before, if anything. withheld: those that are held and contribute nothing. ended:
    what stood once and no deal gives any more. grants: credits to be granted once. trials: the opportunities whose
    order is a trial. lapsing: of what ends with its billing period, the cancellations that say so. next_change: when
    something changes by itself, epoch milliseconds. time_zone: the zone of the days in reasons.
    """

    subscriptions: dict[Slot, Subscription] = field(default_factory=dict)
    refused: dict[OpportunityId, tuple[Problem, ...]] = field(default_factory=dict)
    held: dict[OpportunityId, Reason] = field(default_factory=dict)
    withheld: frozenset[OpportunityId] = frozenset()
    ended: dict[Slot, Ended] = field(default_factory=dict)
    grants: tuple[Grant, ...] = ()
    trials: frozenset[str] = frozenset()
    lapsing: dict[Slot, tuple[str, ...]] = field(default_factory=dict)
    next_change: int | None = None
    time_zone: str = "UTC"
