"""What customers should have: a plain model of docs/life-of-a-deal.md, apart from the product, which it never imports.

It lays the deals of each contract over each other by the day they take effect and looks what is there now, and when
that changes next. It is slow and simple on purpose, and knows only what the campaign makes up (`market`): deals that do
not contradict each other, one plan a deal, UTC.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any, NamedTuple

Deal = Mapping[str, Any]

PRODUCTS = {
    "plan-enterprise": "product-platform",
    "plan-enterprise-plus": "product-platform",
    "plan-team": "product-platform",
    "plan-analytics": "product-analytics",
}
SWITCHES = {"feature-sso"}
"""Features that are granted or not, without an amount."""

KNOWN = {
    *PRODUCTS,
    *SWITCHES,
    *("feature-seats", "feature-api-calls", "feature-storage-gb"),
    *("addon-premium-support", "addon-extra-workspace", "addon-data-export", "currency-ai-credits"),
}
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
GUARD = 0.5
"""A deal that takes away more than this share of what there is waits for somebody (RemovalGuardPercent)."""


class Slot(NamedTuple):
    product: str
    resource: str | None
    trial: bool


@dataclass
class Stands:
    """A subscription that should stand. starts: when, where that is still to come; ends: its cancellation's instant."""

    plan: str
    units: int
    addons: dict[str, int]
    limits: dict[str, Any]
    prices: dict[str | None, float]
    billing: str | None
    opportunities: set[str]
    starts: datetime | None = None
    ends: datetime | None = None
    trial_end: datetime | None = None


@dataclass
class Expected:
    """What should be. may_stand: trials that were won and may go on until the sale starts, with that instant.
    statuses: of each opportunity. granted: opportunities whose credits must have been granted, once; may_grant: those
    whose credits may have been, once.
    """

    subscriptions: dict[Slot, Stands] = field(default_factory=dict)
    may_stand: dict[Slot, datetime] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    granted: dict[str, int] = field(default_factory=dict)
    may_grant: dict[str, int] = field(default_factory=dict)


class Layer(NamedTuple):
    """A deal in its contract, in the order in which they are laid over each other."""

    effective: datetime
    depth: int
    rank: int
    id: str
    deal: Deal


def instant(value: str | None, last_day: bool = False) -> datetime | None:
    """A day or a time as an instant. A last day is included: it ends when the next one begins."""
    if not value:
        return None
    moment = datetime.fromisoformat(value)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment + timedelta(days=1) if last_day and len(value) == 10 else moment


def id_of(deal: Deal) -> str:
    return str(deal["opportunity"]["id"])


def expected(
    newest: Mapping[str, Deal],
    before: Mapping[str, Deal],
    approved: Iterable[str],
    foreign: Collection[str],
    now: datetime,
) -> Expected:
    """What one customer should have.

    In: the newest revision of each opportunity; what was provisioned of it before, where that matters (it is reopened,
    cancelled itself, or shrinks); the opportunities whose hold was approved; the resources where a subscription of
    somebody else stands; now.
    """
    found = Expected()
    deals: list[Deal] = []
    approved = set(approved)
    for id, deal in newest.items():
        if any(line["stiggId"] not in KNOWN for line in deal["lines"]):
            found.statuses[id] = "Failed"
        elif id in before and (_reopened(deal) or (id not in approved and _shrinks(before[id], deal))):
            found.statuses[id] = "Held"
            deals.append(before[id])
        elif deal["trigger"] == "cancellation" and not deal.get("amends"):
            found.statuses[id] = "Provisioned"  # its own deal, at once: nothing of it stands any more
            if id in before:
                for each in _grants(before[id]):
                    found.may_grant[id] = each["quantity"]
        elif str(deal.get("resourceId")) in foreign:
            found.statuses[id] = "Held"
        else:
            deals.append(deal)
    contracts = [contract for group in _contracts(deals) if (contract := Contract.of(group, found))]
    for contract in contracts:
        contract.tell(found, now)
    _subscriptions(contracts, found, now)
    return found


def _reopened(deal: Deal) -> bool:
    return deal["trigger"] == "cancellation" and not deal.get("amends") and not deal["terms"]


def _amounts(deal: Deal) -> dict[str, int]:
    """What a deal gives, by name; units of the plan where it is sold by the unit."""
    amounts: dict[str, int] = defaultdict(int)
    for each in deal["lines"]:
        if each["stiggType"] != "Credit grant" and (each["stiggType"] != "Plan" or each["quantity"] > 1):
            amounts[each["stiggId"]] += each.get("quantity", 1)
    return amounts


def _shrinks(was: Deal, now: Deal) -> bool:
    """Whether a correction takes away more than the guard's share: the mean, over what there was, of what goes."""
    if now["trigger"] == "cancellation":
        return False
    had, has = _amounts(was), _amounts(now)
    gone = [max(0.0, (amount - has.get(name, 0)) / amount) for name, amount in had.items()]
    return sum(gone) / len(gone) > GUARD


def _grants(deal: Deal) -> list[Mapping[str, Any]]:
    return [each for each in deal["lines"] if each["stiggType"] == "Credit grant"]


def _contracts(deals: list[Deal]) -> list[list[Deal]]:
    """The deals, contract by contract: by what each says it amends, renews or cancels."""
    by_name = {id_of(deal): deal for deal in deals}
    by_name |= {str(deal["contractId"]): deal for deal in deals if deal.get("contractId")}
    groups: dict[str, list[Deal]] = defaultdict(list)
    for deal in deals:
        first = deal
        while first.get("amends") in by_name:
            first = by_name[first["amends"]]
        groups[id_of(first)].append(deal)
    return list(groups.values())


@dataclass
class Contract:
    """The deals of one contract, in the order in which they are laid over each other."""

    layers: list[Layer]

    @classmethod
    def of(cls, deals: list[Deal], found: Expected) -> Contract | None:
        """In: deals that belong together. What waits for somebody is told, and left out."""
        by_id = {id_of(deal): deal for deal in deals}
        by_id |= {str(deal["contractId"]): deal for deal in deals if deal.get("contractId")}
        if not any(deal["trigger"] in ("closed_won", "trial", "renewal") for deal in deals):
            found.statuses |= {id_of(deal): "Held" for deal in deals}  # what they amend is known to nobody
            return None

        def named(deal: Deal) -> Deal | None:
            return by_id.get(str(deal.get("amends")))

        def own(deal: Deal) -> datetime:
            terms, other = deal["terms"], named(deal)
            if deal["trigger"] == "cancellation":
                if terms.get("cancel") == "now":
                    return BEGINNING
                day = instant(terms.get("end"), last_day=True)
                return day or (instant(other["terms"].get("end"), last_day=True) if other else None) or BEGINNING
            start = instant(terms.get("start"))
            if deal["trigger"] == "renewal" and not start and other:
                start = instant(other["terms"].get("end"), last_day=True)
            return start or BEGINNING

        def effective(deal: Deal) -> datetime:
            other = named(deal)
            return max(own(deal), effective(other)) if other else own(deal)

        def depth(deal: Deal) -> int:
            other = named(deal)
            return 1 + depth(other) if other else 0

        layers = sorted(Layer(effective(deal), depth(deal), _rank(deal), id_of(deal), deal) for deal in deals)
        contract = cls(layers)
        contract.hold_back(found)
        return contract

    def hold_back(self, found: Expected) -> None:
        """Differences that go below zero wait."""
        for layer in [each for each in self.layers if each.deal.get("quantities") == "differences"]:
            shown = self.at(layer.effective)
            if shown and any(amount < 0 for amount in shown.amounts().values()):
                found.statuses[layer.id] = "Held"
                self.layers.remove(layer)

    def moments(self) -> list[datetime]:
        """When something may change."""
        moments = {layer.effective for layer in self.layers}
        for layer in self.layers:
            for each in layer.deal["lines"]:
                moments |= {instant(each.get("start")) or BEGINNING}
                moments |= {instant(each.get("end"), last_day=True) or BEGINNING}
            moments |= {instant(layer.deal["terms"].get("trialEnd"), last_day=True) or BEGINNING}
        return sorted(moments)

    def at(self, moment: datetime) -> Given | None:
        """What it gives at a moment, None for nothing."""
        given: Given | None = None
        cancelled = False
        for layer in takewhile(lambda layer: layer.effective <= moment, self.layers):
            deal = layer.deal
            if deal["trigger"] == "cancellation" and not deal["lines"]:
                given, cancelled = None, True
            elif deal["trigger"] == "cancellation" or deal.get("quantities") == "differences":
                if given:
                    given.change(deal)
            elif not (cancelled and deal["trigger"] == "amendment"):
                given = Given.of(deal, given)
        if given is None:
            return None
        trial_end = instant(given.terms.get("trialEnd"), last_day=True) if given.trial else None
        if trial_end and trial_end <= moment:
            return None
        return given.counting(moment)

    def tell(self, found: Expected, now: datetime) -> None:
        """The status of each deal, and the credits it grants."""
        for place, layer in enumerate(self.layers):
            status = self.status(place, now)
            found.statuses.setdefault(layer.id, status)  # unless its newest revision waits, and this is the one before
            for each in _grants(layer.deal):
                if status == "Provisioned":
                    found.granted[layer.id] = each["quantity"]
                elif layer.effective <= now:
                    found.may_grant[layer.id] = each["quantity"]

    def status(self, place: int, now: datetime) -> str:
        layer = self.layers[place]
        if layer.effective > now:
            return "Scheduled"
        if layer.deal["trigger"] == "cancellation":
            return "Provisioned"
        for later in self.layers[place + 1 :]:
            ends = later.deal["trigger"] == "cancellation" and not later.deal["lines"]
            whole = later.deal["trigger"] != "cancellation" and later.deal.get("quantities") != "differences"
            if later.effective <= now and (ends or whole):
                return "Superseded"
        over = instant(layer.deal["terms"].get("trialEnd"), last_day=True)
        return "Ended" if layer.deal["trigger"] == "trial" and over and over <= now else "Provisioned"


def _rank(deal: Deal) -> int:
    if deal["trigger"] == "cancellation":
        return 3 if deal["lines"] else 0
    return 2 if deal.get("quantities") == "differences" else 1


@dataclass
class Given:
    """What a contract gives at a moment."""

    deals: list[Deal]
    lines: list[Mapping[str, Any]]
    terms: dict[str, Any]
    resource: str | None
    trial: bool

    @classmethod
    def of(cls, deal: Deal, before: Given | None) -> Given:
        kept = ("billingPeriod", "paymentCollection")
        terms = {name: before.terms.get(name) for name in kept} if before else {}
        terms |= {name: value for name, value in deal["terms"].items() if value is not None}
        resource = deal.get("resourceId") or (before.resource if before else None)
        return cls([deal], list(deal["lines"]), terms, resource, deal["trigger"] == "trial")

    def change(self, deal: Deal) -> None:
        """Take out what a deal cancels, or add what one of differences adds."""
        if deal["trigger"] == "cancellation":
            gone = {each["stiggId"] for each in deal["lines"]}
            self.lines = [each for each in self.lines if each["stiggId"] not in gone]
        else:
            self.lines = [*self.lines, *deal["lines"]]
            self.deals.append(deal)

    def counting(self, moment: datetime) -> Given | None:
        """What of it counts at that moment."""
        lines = [
            each
            for each in self.lines
            if each["stiggType"] != "Credit grant"
            and (instant(each.get("start")) or BEGINNING) <= moment
            and not ((end := instant(each.get("end"), last_day=True)) and end <= moment)
        ]
        return Given(self.deals, lines, self.terms, self.resource, self.trial) if lines else None

    def amounts(self) -> dict[str, int]:
        amounts: dict[str, int] = defaultdict(int)
        for each in self.lines:
            amounts[each["stiggId"]] += each.get("quantity", 1)
        return amounts

    def plan(self) -> str | None:
        return next((each["stiggId"] for each in self.lines if each["stiggType"] == "Plan"), None)

    @property
    def slot(self) -> Slot | None:
        plan = self.plan()
        return Slot(PRODUCTS[plan], self.resource, self.trial) if plan else None


def _subscriptions(contracts: list[Contract], found: Expected, now: datetime) -> None:
    """In each slot what counts now, or where that is nothing, what counts next; and when that ends."""
    moments = sorted({now, *(m for contract in contracts for m in contract.moments() if m > now)})
    pictures = [(moment, _picture(contracts, moment)) for moment in moments]
    for place, (moment, slots) in enumerate(pictures):
        for slot, given_here in slots.items():
            if slot in found.subscriptions:
                continue
            ends = next((later for later, then in pictures[place + 1 :] if slot not in then), None)
            stands = _together(given_here)
            stands.starts = moment if moment > now else None
            stands.ends = None if slot.trial else ends
            found.subscriptions[slot] = stands
            if stands.starts and not slot.trial:
                found.may_stand[slot._replace(trial=True)] = stands.starts


def _picture(contracts: list[Contract], moment: datetime) -> dict[Slot, list[Given]]:
    """What contracts give at a moment, by slot."""
    slots: dict[Slot, list[Given]] = defaultdict(list)
    for contract in contracts:
        given = contract.at(moment)
        if given and given.slot:
            slots[given.slot].append(given)
    return slots


def _together(given: list[Given]) -> Stands:
    """What several contracts give in one slot adds up."""
    addons: dict[str, int] = defaultdict(int)
    limits: dict[str, Any] = {}
    prices: dict[str | None, float] = {}
    units = 0
    for each in given:
        for line in each.lines:
            id, quantity, kind = line["stiggId"], line.get("quantity", 1), line["stiggType"]
            if kind == "Plan":
                units += quantity
                if line.get("price") is not None:
                    prices[None] = prices.get(None, 0) + line["price"]
            elif kind == "Add-on":
                addons[id] += quantity
                if line.get("price") is not None:
                    prices[id] = line["price"]
            elif id in SWITCHES:
                limits[id] = "granted"
            else:
                limits[id] = limits.get(id, 0) + quantity
    return Stands(
        plan=str(given[0].plan()),
        units=units if units > len(given) else 1,
        addons=dict(addons),
        limits=limits,
        prices=prices,
        billing=given[0].terms.get("billingPeriod"),
        opportunities={id_of(deal) for each in given for deal in each.deals},
        trial_end=instant(given[0].terms.get("trialEnd"), last_day=True) if given[0].trial else None,
    )
