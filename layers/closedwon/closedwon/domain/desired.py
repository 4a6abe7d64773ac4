"""The desired state: the subscriptions a customer should have, and what Stigg's catalogue allows a deal. Pure.

What a customer's deals come to is the `contract` model's; see `contract.agreement.Agreement.desired`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

from closedwon.domain.catalogue import CURRENCIES, Catalogue
from closedwon.domain.codes import Reason
from closedwon.domain.identifiers import CustomerId, OpportunityId
from closedwon.domain.instants import (
    Instant,
    Until,
    ending,
    from_iso,
    iso_utc,
    starting,
    until_from_json,
    until_to_json,
)
from closedwon.domain.order import Item, Kind, Order, Problem


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
    """A price override: of an add-on, or of the plan's base charge (addon_id None). amount: whole units of the
    currency.
    """

    addon_id: str | None
    amount: float
    currency: str


def price_order(price: Price) -> str:
    """The place of a price among those of a subscription: the base price, then by add-on."""
    return price.addon_id or ""


@dataclass(frozen=True)
class Subscription:
    """One subscription as it should be. start: None means when it is provisioned.

    cancellation: until when it lasts. opportunities: those that contribute to it, by start, then ID; the first is the
    one Stigg links to. minimum_spend: for each billing period. milestones: the renewals, cancellations and dates that
    lie behind: what may have lowered it without anybody's approval.
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

    @property
    def ends(self) -> Instant | None:
        """When it ends by the dates it is written with; None where it does not, or only Stigg knows when."""
        return self.trial_end if self.slot.trial else self.cancellation.instant

    @cached_property
    def fingerprint(self) -> str:
        """The units, then a hash of what else Stigg's answers do not show (entitlement values, billing period ...):
        kept in the subscription's metadata, it tells whether what was written still is what is wanted.
        """
        unseen = [
            [vars(entitlement) for entitlement in self.entitlements],
            self.billing_period,
            self.payment_collection,
            self.opportunities[0],
            self.coupon,
            self.budget,
            self.budget_soft,
            self.minimum_spend and vars(self.minimum_spend),
            self.paying_customer_id,
        ]
        digest = hashlib.sha256(json.dumps(unseen, separators=(",", ":")).encode()).hexdigest()
        return f"{self.unit_quantity}-{digest[:32]}"

    def to_json(self) -> dict[str, Any]:
        """Plain data for the ledger; `from_json` is its inverse."""
        data = {name: getattr(self, name) for name in self.__dataclass_fields__}
        data["turns"] = data.pop("milestones")  # as it was called when ledgers were first written
        return {
            **data,
            "entitlements": tuple(dict(vars(entitlement)) for entitlement in self.entitlements),
            "prices": tuple(dict(vars(price)) for price in self.prices),
            "minimum_spend": self.minimum_spend and dict(vars(self.minimum_spend)),
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
    contribute what they contributed before, if anything. ended: what stood once and no deal gives any more. grants:
    credits to be granted once. trials: the opportunities whose order is a trial. lapsing: of what ends with its billing
    period, the cancellations that say so. next_change: when something changes by itself, epoch milliseconds. time_zone:
    the zone of the days in reasons.
    """

    subscriptions: dict[Slot, Subscription] = field(default_factory=dict)
    refused: dict[OpportunityId, tuple[Problem, ...]] = field(default_factory=dict)
    held: dict[OpportunityId, Reason] = field(default_factory=dict)
    ended: dict[Slot, Ended] = field(default_factory=dict)
    grants: tuple[Grant, ...] = ()
    trials: frozenset[str] = frozenset()
    lapsing: dict[Slot, tuple[str, ...]] = field(default_factory=dict)
    next_change: int | None = None
    time_zone: str = "UTC"


def catalogue_problems(order: Order, catalogue: Catalogue) -> tuple[Problem, ...]:
    """What is wrong with an order that only Stigg's catalogue shows: unknown IDs, incompatible add-ons, currency.

    What differences are compatible with is their contract's plan: that is judged with the contract.
    """
    problems: dict[Problem, None] = {}
    known: dict[Kind, Container[str]] = {
        "Plan": catalogue.plans,
        "Add-on": catalogue.max_quantities,
        "Entitlement": catalogue.feature_types,
        "Credit entitlement": catalogue.currencies,
        "Credit grant": catalogue.currencies,
    }
    for item in order.items:
        line = item.lines[0]
        if item.stigg_id not in known[item.kind]:
            problems[_missing(line, "stiggId", f"Stigg has no {item.kind.lower()} {item.stigg_id}")] = None
            continue
        if item.price is not None and order.currency not in CURRENCIES:
            problems[_missing(line, "price", f"Stigg has no prices in {order.currency.upper()}")] = None
        if catalogue.feature_types.get(item.stigg_id) == "ENUM":
            said = f"{item.stigg_id} is a list of values, which a deal cannot set"
            problems[_missing(line, "stiggId", said)] = None
    whole = order.trigger != "cancellation" and not order.differences
    if whole and all(plan.stigg_id in catalogue.plans for plan in order.of_kind("Plan")):
        problems |= dict.fromkeys(_unfit(order.items, catalogue))
    return tuple(problems)


def _missing(line: int, field: str, message: str) -> Problem:
    return Problem(line, field, message, "not_in_catalogue")


def _unfit(items: Iterable[Item], catalogue: Catalogue) -> Iterator[Problem]:
    """What of some items that count together at any time does not go together, by Stigg's catalogue."""
    placed = [(starting(i.start), ending(i.end), i) for i in items if i.kind != "Credit grant"]
    judged: set[tuple[int, ...]] = set()
    for moment in sorted({start for start, _, _ in placed}):
        there = [item for start, end, item in placed if start <= moment < end]
        plans = tuple(item for item in there if item.kind == "Plan")
        with_plans = tuple(map(id, plans))
        new = [item for item in there if (id(item), *with_plans) not in judged]  # most lines last from first to last
        judged.update((id(item), *with_plans) for item in new)
        yield from _without_plan(new, plans, catalogue)
        yield from (problem for problem, _ in _plans_of_one_product(plans, catalogue))
        yield from _named_twice(plans, there, catalogue)


def _without_plan(items: Iterable[Item], plans: tuple[Item, ...], catalogue: Catalogue) -> Iterator[Problem]:
    """Of some items that count with some plans, what none or several of them take, and what is too many."""
    for item in items:
        if item.kind == "Add-on":
            yield from _too_many(item, catalogue)
        if item.kind == "Plan" or (item.kind == "Add-on" and item.stigg_id not in catalogue.max_quantities):
            continue
        takers = _takers(item, plans, catalogue)
        if not takers:
            yield _taken_by_none(item, plans)
        elif len(takers) > 1:
            names = " and ".join(plan.stigg_id for plan in takers)
            said = f"{item.stigg_id} fits {names}: say which plan it belongs to"
            yield Problem(item.lines[0], "planId", said, "plan_ambiguous")


def _too_many(addon: Item, catalogue: Catalogue) -> Iterator[Problem]:
    """That there is more of an add-on than one subscription may have."""
    most = catalogue.max_quantities.get(addon.stigg_id)
    if most is not None and addon.quantity > most:
        said = f"a subscription holds at most {most} of {addon.stigg_id}"
        yield Problem(addon.lines[0], "quantity", said, "too_many")


def _taken_by_none(item: Item, plans: tuple[Item, ...]) -> Problem:
    """What is wrong with an item that none of some plans takes."""
    line = item.lines[0]
    if not plans:
        return Problem(line, "stiggId", f"{item.stigg_id} is left without a plan", "no_plan")
    if item.plan_id and item.plan_id not in {plan.stigg_id for plan in plans}:
        return Problem(line, "planId", f"no line of the deal has the plan {item.plan_id}", "no_plan")
    names = " or ".join(plan.stigg_id for plan in plans)
    return Problem(line, "stiggId", f"{item.stigg_id} is not compatible with {names}", "not_compatible")


def _named_twice(plans: tuple[Item, ...], items: list[Item], catalogue: Catalogue) -> Iterator[Problem]:
    """Items of one entity that only the catalogue brings together: one line says its plan, the other does not."""
    for plan in plans:
        first: dict[tuple[str, str], Item] = {}
        for item in _items_of(plan, plans, items, catalogue):
            other = first.setdefault((item.kind, item.stigg_id), item)
            if other is item:
                continue
            for name, field_name in (
                ("price", "price"),
                ("reset_period", "resetPeriod"),
                ("cadence", "cadence"),
            ):
                if getattr(item, name) != getattr(other, name):
                    said = f"differs from line {other.lines[0]}, which names {other.stigg_id} too"
                    yield Problem(item.lines[0], field_name, said, "terms_conflict")


def same_product_problems(order: Order, catalogue: Catalogue) -> tuple[Problem, ...]:
    """Two plans of one product in one deal at one time: Stigg would cancel the first for the second."""
    if order.differences or order.trigger == "cancellation":
        return ()
    return tuple(problem for problem, _ in _plans_of_one_product(order.of_kind("Plan"), catalogue))


def _plans_of_one_product(plans: tuple[Item, ...], catalogue: Catalogue) -> Iterable[tuple[Problem, Item]]:
    for place, plan in enumerate(plans):
        product = catalogue.product_of(plan.stigg_id)
        for other in plans[:place]:
            if product is not None and product == catalogue.product_of(other.stigg_id) and plan.meets(other):
                both = f"{plan.stigg_id} and {other.stigg_id} (line {other.lines[0]})"
                said = f"{both} are plans of one product: a deal names one of them"
                yield Problem(plan.lines[0], "stiggId", said, "two_plans"), plan
                break


def _takers(item: Item, plans: tuple[Item, ...], catalogue: Catalogue) -> list[Item]:
    """The plans of the deal that an add-on or entitlement can belong to."""
    if item.plan_id:
        plans = tuple(plan for plan in plans if plan.stigg_id == item.plan_id)
    taking = catalogue.takers(item.kind, item.stigg_id, [plan.stigg_id for plan in plans])
    return [plan for plan in plans if plan.stigg_id in taking]


def _items_of(plan: Item, plans: tuple[Item, ...], items: Iterable[Item], catalogue: Catalogue) -> tuple[Item, ...]:
    """The add-ons and entitlements of a plan."""
    others = (item for item in items if item.kind != "Plan")
    # With one plan there is no choice: what was provisioned once stays with it, compatible today or not.
    return tuple(item for item in others if len(plans) == 1 or plan in _takers(item, plans, catalogue))
