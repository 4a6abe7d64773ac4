"""The desired state: the subscriptions a customer should have now. A pure fold over the customer's orders.

The fold looks at links, effective dates and IDs, never at what arrived first: the same orders give the same state in
whatever order they came.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any, Literal, NamedTuple

from closedwon.domain.catalogue import CURRENCIES, Catalogue
from closedwon.domain.chain import Chain, Fate, Fault, chained, trial_over
from closedwon.domain.codes import Reason
from closedwon.domain.identifiers import CustomerId, OpportunityId
from closedwon.domain.instants import (
    NO_DAY,
    At,
    EndOfBillingPeriod,
    Instant,
    Moment,
    Never,
    Until,
    ending,
    from_iso,
    from_milliseconds,
    iso_utc,
    milliseconds,
    starting,
    until_from_json,
    until_to_json,
)
from closedwon.domain.order import Item, Kind, Order, Problem, Standing, netted, same_deal


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


@dataclass(frozen=True, order=True)
class Price:
    """A price override: of an add-on, or of the plan's base charge (addon_id None). amount: whole units of the
    currency.
    """

    addon_id: str | None
    amount: float
    currency: str


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
    """A subscription that no deal gives any more. expected: whether a renewal, a cancellation or a date says so, and
    not merely a deal that left it out. opportunities: those that gave it, and the ones that ended it.
    """

    expected: bool
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
    contribute what they contributed before, if anything. ended: what stood once and no deal gives any more. fates:
    what became of each order that contributes, by opportunity. grants: credits to be granted once. trials: the
    opportunities whose order is a trial. lapsing: of what ends with its billing period, the cancellations that say so.
    next_change: when something changes by itself, epoch milliseconds. time_zone: the zone of the days in reasons.
    """

    subscriptions: dict[Slot, Subscription] = field(default_factory=dict)
    refused: dict[OpportunityId, tuple[Problem, ...]] = field(default_factory=dict)
    held: dict[OpportunityId, Reason] = field(default_factory=dict)
    ended: dict[Slot, Ended] = field(default_factory=dict)
    fates: dict[str, Fate] = field(default_factory=dict)
    grants: tuple[Grant, ...] = ()
    trials: frozenset[str] = frozenset()
    lapsing: dict[Slot, tuple[str, ...]] = field(default_factory=dict)
    next_change: int | None = None
    time_zone: str = "UTC"


def fold(standings: Iterable[Standing], catalogue: Catalogue, policy: Policy, now: int) -> Desired:
    """Fold a customer's orders into the subscriptions it should have.

    In: each opportunity's newest order with the one last provisioned; the catalogue; the stack's policy; now in epoch
    milliseconds.
    Out: the desired state. An order that is refused or held is replaced by the one its opportunity had provisioned
    before, so that a mistake in a new revision takes nothing away. Of deals that disagree, one that changed is held,
    the latest first: never one that stands as it was provisioned.
    """
    at = starting(from_milliseconds(now))
    refused: dict[OpportunityId, tuple[Problem, ...]] = {}
    held: dict[OpportunityId, Reason] = {}
    firm: set[OpportunityId] = set()  # held whatever becomes of other deals
    chosen: dict[OpportunityId, _Orders] = {}
    before: dict[OpportunityId, _Orders] = {}
    changed: set[OpportunityId] = set()
    for standing in sorted(map(_netted, standings), key=lambda standing: _effective(standing.newest)):
        newest, provisioned, _ = standing
        opportunity = newest.opportunity_id
        # What was provisioned once is not refused for what became of the catalogue since.
        stands = _same(newest, provisioned)
        problems = newest.problems or (() if stands else catalogue_problems(newest, catalogue))
        before[opportunity] = contribution(standing, provisioned)
        chosen[opportunity] = before[opportunity] if problems else contribution(standing, newest)
        if problems:
            refused[opportunity] = problems
        elif not stands and _reopened(standing) and policy.reopened_deal == "flag":
            held[opportunity] = REOPENED
        elif _trial_missed(standing, at):
            held[opportunity] = TRIAL_MISSED
        elif not stands:
            changed.add(opportunity)
        if opportunity in held:
            firm.add(opportunity)
            chosen[opportunity] = before[opportunity]
    newest_of = dict(chosen)
    known: dict[tuple[tuple[int, Moment, int], ...], _Contract] = {}
    while True:
        picture = _Picture(chosen.values(), catalogue, policy, at, known)
        yields = next((y for fault in picture.each_fault() for y in fault.yields if y[0] in changed), None)
        if yields is None:
            break
        opportunity, reason = yields
        held[opportunity] = reason
        chosen[opportunity] = before[opportunity]
        changed.remove(opportunity)
    waiting = [opportunity for opportunity in chosen if opportunity in held and opportunity not in firm]
    while waiting:  # what was held for a deal that was held itself since need not wait for it
        opportunity = waiting.pop(0)
        then = _Picture({**chosen, opportunity: newest_of[opportunity]}.values(), catalogue, policy, at, known)
        more = list(islice(then.each_fault(), len(picture.faults) + 1))
        if len(more) <= len(picture.faults):
            chosen[opportunity], picture = newest_of[opportunity], then
            del held[opportunity]
            waiting = [other for other in chosen if other in held and other not in firm]
        else:
            ours = (y for fault in more for y in fault.yields if y[0] == opportunity)
            held[opportunity] = next(ours, (opportunity, held[opportunity]))[1]
    for fault in picture.faults:
        held.setdefault(*fault.yields[0])
    grants, grant_days = _grants(picture)
    # What is held may fit once a day of its own has come: when its trial is over, or its term has begun.
    waiting_too = {**chosen, **{opportunity: newest_of[opportunity] for opportunity in held}}
    moments = _Picture(waiting_too.values(), catalogue, policy, at, known).moments if held else picture.moments
    later = (moment for moment in (*picture.moments, *moments, *grant_days) if moment > at)
    days = [moment.instant for moment in later if moment.instant]
    return Desired(
        subscriptions=picture.subscriptions(),
        refused=refused,
        held=held,
        ended=picture.ended(),
        fates=picture.fates,
        grants=grants,
        trials=frozenset(id for id, orders in chosen.items() if any(order.trigger == "trial" for order in orders)),
        lapsing=picture.lapsing(),
        next_change=milliseconds(min(days)) if days else None,
        time_zone=policy.time_zone,
    )


REOPENED = Reason("reopened")
TRIAL_MISSED = Reason("trial_missed")

_Orders = tuple[Order, ...]
"""What one opportunity puts into the fold: its order; a cancellation of its own beside the order that it ends."""


def _netted(standing: Standing) -> Standing:
    """The opportunity's orders in the form that chains are made of."""
    newest, provisioned, won = standing
    return Standing(netted(newest), provisioned and netted(provisioned), won and netted(won))


def contribution(standing: Standing, order: Order | None) -> _Orders:
    """What one opportunity puts into the fold with one of its orders."""
    if order is None:
        return ()
    if order.trigger == "cancellation" and not order.amends and standing.won is not None:
        return (standing.won, order)
    return (order,)


def _reopened(standing: Standing) -> bool:
    """Whether a deal that was won is merely not won any more, and nothing says that and when its access ends."""
    newest, won = standing.newest, standing.won
    return (
        newest.trigger == "cancellation"
        and won is not None
        and won.trigger != "trial"
        and (bool(newest.amends) or (newest.cancel is None and newest.end is None and not newest.items))
    )


def _trial_missed(standing: Standing, at: Moment) -> bool:
    """Whether a trial that would have become a paid subscription was over before it ever stood.

    Folded like others it would be paid for without ever having been tried, and without a deal that was won.
    """
    newest, provisioned, _ = standing
    stood = provisioned is not None and provisioned.trigger != "cancellation"
    over = trial_over(newest) if newest.trigger == "trial" else None
    return not stood and over is not None and starting(over) <= at and newest.trial_end_behavior == "CONVERT_TO_PAID"


def _same(one: Order | None, other: Order | None) -> bool:
    return one is other or (one is not None and other is not None and same_deal(other, one))


class _Contract:
    """A chain and what it comes to by the catalogue, worked out once for all the pictures it is part of."""

    def __init__(self, chain: Chain, catalogue: Catalogue) -> None:
        self.chain = chain
        self._catalogue = catalogue
        self._parts: dict[Moment, dict[Slot, list[_Part]]] = {}

    @cached_property
    def faults(self) -> tuple[Fault, ...]:
        """What does not fit in the chain itself."""
        return (*self.chain.faults(), *self._unfit())

    def _unfit(self) -> Iterable[Fault]:
        """What amendments and partial cancellations made of a contract that Stigg's catalogue does not allow."""
        for moment in self.chain.moments:
            state = self.chain.state(moment)
            if state is None:
                continue
            changes = [order for order in state.orders if order.differences]
            changes += [
                p.order for p in self.chain.placed if p.order.trigger == "cancellation" and p.effective <= moment
            ]
            if not changes:
                continue
            items = tuple(item for item in state.items if item.quantity > 0)
            for problem, item in _unfit(items, self._catalogue):
                concerned = [o for o in changes if any(i.stigg_id == item.stigg_id for i in o.items)] or changes
                why = Reason.of(problem.code, problem=problem.facts)
                yield Fault(tuple((order.opportunity_id, why) for order in reversed(concerned)))

    def parts(self, moment: Moment) -> dict[Slot, list[_Part]]:
        """What it contributes to each slot at a moment."""
        if moment not in self._parts:
            slots: dict[Slot, list[_Part]] = {}
            for part in _parts(self.chain, moment, self._catalogue):
                slots.setdefault(part.slot, []).append(part)
            self._parts[moment] = slots
        return self._parts[moment]

    @cached_property
    def since(self) -> dict[Slot, Moment]:
        """The slots it ever gives something, each from when."""
        return {slot: moment for moment in reversed(self.chain.moments) for slot in self.parts(moment)}

    def milestones(self, slot: Slot, moment: Moment) -> frozenset[str]:
        """What lies behind it in a slot that it gave something by then, even if it gives nothing any more."""
        return self.chain.laid(moment).milestones if self.since.get(slot, NO_DAY) <= moment else frozenset()


class _Agreement:
    """The contributions to one slot at one moment, those that agree with the ones before them; and the disagreements.

    parts: all of them, by start, then ID.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self.parts: list[_Part] = []
        self.agreeing: list[_Part] = []
        self.faults: list[Fault] = []
        self._present: dict[tuple[str, str], tuple[Item, int]] = {}

    def of(self, parts: list[_Part]) -> _Agreement:
        """The agreement of these contributions, going on from this one where they only add to it."""
        known = len(self.parts)
        goes_on = known <= len(parts) and all(one is other for one, other in zip(self.parts, parts, strict=False))
        agreement = self if goes_on else _Agreement(self._catalogue)
        for part in parts[len(agreement.parts) :]:
            agreement._add(part)
        return agreement

    def _add(self, part: _Part) -> None:
        self.parts.append(part)
        reason = self.against(part)
        if reason is not None:
            self.faults.append(_yielding(part, self.agreeing, reason, self._catalogue))
            return
        self.agreeing.append(part)
        for item in part.items:
            known, total = self._present.get((item.kind, item.stigg_id), (item, 0))
            self._present[item.kind, item.stigg_id] = (known, total + item.quantity)

    def against(self, part: _Part) -> Reason | None:
        """Why a contribution cannot be added to those that agree; None when it can."""
        if not self.agreeing:
            return None
        return _disagreement(self.agreeing[0], self._present, part, self._catalogue)


class _Picture:
    """What some orders come to, now and at every later moment at which something changes.

    known: what was found out about chains of other pictures of the same orders. Faults are looked for one by one, and
    no further than somebody asks: most pictures are only drawn to see whether there is one.
    """

    def __init__(
        self,
        orders: Iterable[_Orders],
        catalogue: Catalogue,
        policy: Policy,
        at: Moment,
        known: dict[tuple[tuple[int, Moment, int], ...], _Contract],
    ) -> None:
        self.catalogue = catalogue
        self.at = at
        grace = {"keep": None, "grace": policy.grace_days * 86_400, "end": 0}[policy.end_of_term]
        self.contracts: list[_Contract] = []
        for placed in chained(order for given in orders for order in given):
            # The same orders in the same places are the same chain; all of them live as long as `known` does.
            key = tuple((id(order), effective, depth) for order, effective, depth in placed)
            if key not in known:
                known[key] = _Contract(Chain(placed, grace, policy.time_zone), catalogue)
            self.contracts.append(known[key])
        self.chains = [contract.chain for contract in self.contracts]
        self._changing: dict[Moment, list[_Contract]] = {at: self.contracts}
        for contract in self.contracts:
            for moment in contract.chain.moments[bisect_right(contract.chain.moments, at) :]:
                self._changing.setdefault(moment, []).append(contract)
        self.moments = sorted(self._changing)
        self._slots: dict[Moment, dict[Slot, list[_Part]]] = {}
        self._found: dict[Fault, None] = {}
        self._search = self._all_faults()

    def each_fault(self) -> Iterable[Fault]:
        """What does not fit: in a chain, then between chains from moment to moment."""
        yield from list(self._found)
        for fault in self._search:
            if fault not in self._found:
                self._found[fault] = None
                yield fault

    @cached_property
    def faults(self) -> list[Fault]:
        for _ in self.each_fault():
            pass
        return list(self._found)

    @cached_property
    def fates(self) -> dict[str, Fate]:
        return {id: fate for chain in self.chains for id, fate in chain.laid(self.at).fates.items()}

    def _all_faults(self) -> Iterator[Fault]:
        for contract in self.contracts:
            yield from contract.faults
        given: dict[int, dict[Slot, list[_Part]]] = {}
        members: dict[Slot, dict[int, list[_Part]]] = defaultdict(dict)
        agreements: dict[Slot, _Agreement] = {}
        standing: dict[Slot, list[_Part]] = {}
        for moment in self.moments:
            touched: dict[Slot, None] = {}  # only there can anything have changed
            for contract in self._changing[moment]:
                before, now = given.get(id(contract), {}), contract.parts(moment)
                given[id(contract)] = now
                for slot in (*before, *now):
                    if before.get(slot) != now.get(slot):
                        touched[slot] = None
                        members[slot][id(contract)] = now.get(slot, [])
            for slot in touched:
                parts = sorted((part for given_here in members[slot].values() for part in given_here), key=_by_start)
                agreements[slot] = agreements.get(slot, _Agreement(self.catalogue)).of(parts)
                standing = {**standing, slot: list(agreements[slot].agreeing)}
                if not parts:
                    del standing[slot]
                yield from agreements[slot].faults
            self._slots[moment] = standing

    def subscriptions(self) -> dict[Slot, Subscription]:
        """What there should be: in each slot what counts now, or where that is nothing, what counts next."""
        found: dict[Slot, Subscription] = {}
        ever: dict[Slot, list[_Contract]] = defaultdict(list)
        for contract in self.contracts:
            for slot in contract.since:
                ever[slot].append(contract)
        for place, moment in enumerate(self.moments):
            for slot, parts in self._slots[moment].items():
                # A trial that will become a paid subscription by itself is none to be made before.
                if moment > self.at and all(part.terms.trigger == "trial" and not slot.trial for part in parts):
                    continue
                if slot not in found:
                    later = (m for m in self.moments[place + 1 :] if slot not in self._slots[m])
                    milestones = {
                        milestone for contract in ever[slot] for milestone in contract.milestones(slot, moment)
                    }
                    found[slot] = _sum(slot, parts, next(later, NO_DAY), milestones)
        return found

    def lapsing(self) -> dict[Slot, tuple[str, ...]]:
        """By slot, the cancellations for the end of a billing period."""
        found: dict[Slot, tuple[str, ...]] = {}
        for contract in self.contracts:
            if contract.chain.ends_with_billing_period:
                by = tuple(p.order.opportunity_id for p in contract.chain.placed if p.effective == NO_DAY)
                found |= {slot: (*found.get(slot, ()), *by) for slot in contract.since}
        return found

    def ended(self) -> dict[Slot, Ended]:
        """What some chain gave before and nothing gives now or later."""
        slots: dict[Slot, Ended] = {}
        standing = {slot for slots in self._slots.values() for slot in slots}
        for contract in self.contracts:
            chain = contract.chain
            last: dict[Slot, _Part] = {}
            end: dict[Slot, Moment] = {}
            moments = [m for m in chain.moments if m <= self.at]
            for moment in (*moments, self.at):
                here = {slot: parts[-1] for slot, parts in contract.parts(moment).items()}
                for slot in last.keys() - here.keys() - end.keys():
                    end[slot] = moment
                for slot in here:
                    end.pop(slot, None)
                last |= here
            given = {slot: part.orders for slot, part in last.items()}
            for order in (placed.order for placed in chain.placed):  # what was cancelled before it began
                for slot in _slots_of(order, self.catalogue):
                    given.setdefault(slot, (order,))
            for slot, orders in given.items():
                if slot in standing:
                    continue
                by = [p.order for p in chain.placed if p.effective == end.get(slot) and p.order.trigger != "closed_won"]
                by = by or [p.order for p in chain.placed if p.order.trigger == "cancellation"]
                expected = not by or any(order.trigger in ("renewal", "cancellation") for order in by)
                ids = dict.fromkeys(order.opportunity_id for order in (*orders, *by))
                known = slots.get(slot)
                slots[slot] = Ended(
                    expected and (known is None or known.expected), (*(known.opportunities if known else ()), *ids)
                )
        return slots


def _grants(picture: _Picture) -> tuple[tuple[Grant, ...], list[Moment]]:
    """The credits that deals in force grant once, of those whose day has come; and the days to come."""
    grants: list[Grant] = []
    days: list[Moment] = []
    for chain in picture.chains:
        for order, effective, _ in chain.placed:
            fate = picture.fates.get(order.opportunity_id)
            if order.trigger == "cancellation" or fate is None or fate.kind not in ("in force", "scheduled"):
                continue
            for item in order.of_kind("Credit grant"):
                start = max(starting(item.start), effective)
                if start > picture.at:
                    days.append(start)
                else:
                    grants.append(_grant(order, item, start, chain))
    return tuple(grants), days


def _grant(order: Order, item: Item, start: Moment, chain: Chain) -> Grant:
    terms = chain.laid(start).terms
    resource_id = order.resource_id or (terms.resource_id if terms else None)
    name = [order.opportunity_id, item.stigg_id, *(day and iso_utc(day) for day in (item.start, item.end))]
    return Grant(
        key=hashlib.sha256(json.dumps(name).encode()).hexdigest()[:32],
        opportunity_id=order.opportunity_id,
        opportunity_name=order.opportunity_name,
        currency_id=item.stigg_id,
        amount=item.quantity,
        resource_id=resource_id,
        effective_at=start.instant,
        expire_at=item.end,
        cost=round(item.price * item.quantity, 6) if item.price else None,
        money=order.currency,
        payment_collection=order.payment_collection or (terms.payment_collection if terms else None),
    )


def _yielding(part: _Part, agreeing: list[_Part], reason: Reason, catalogue: Catalogue) -> Fault:
    """The opportunities whose absence would settle a disagreement, the latest first, each with the reason from its
    side.
    """
    yields = [(order.opportunity_id, reason) for order in reversed(part.orders)]
    for other in reversed(agreeing):
        why = None
        for others in ([part], [*(third for third in agreeing if third is not other), part]):
            why = why or _Agreement(catalogue).of(others).against(other)
        if why is not None:
            yields += [(order.opportunity_id, why) for order in reversed(other.orders)]
    return Fault(tuple(dict(reversed(yields)).items())[::-1])


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
        placed = [(starting(i.start), ending(i.end), i) for i in order.items if i.kind != "Credit grant"]
        for moment in sorted({start for start, _, _ in placed}):
            items = [item for start, end, item in placed if start <= moment < end]
            problems |= {problem: None for problem, _ in _unfit(items, catalogue)}
    return tuple(problems)


def _missing(line: int, field: str, message: str) -> Problem:
    return Problem(line, field, message, "not_in_catalogue")


def _unfit(items: Iterable[Item], catalogue: Catalogue) -> Iterable[tuple[Problem, Item]]:
    """What of some items that count together does not go together, by Stigg's catalogue."""
    items = list(items)
    plans = tuple(item for item in items if item.kind == "Plan")
    for item in items:
        line = item.lines[0]
        most = catalogue.max_quantities.get(item.stigg_id)
        if item.kind == "Add-on" and most is not None and item.quantity > most:
            said = f"a subscription holds at most {most} of {item.stigg_id}"
            yield Problem(line, "quantity", said, "too_many"), item
        if item.kind == "Plan" or (item.kind == "Add-on" and item.stigg_id not in catalogue.max_quantities):
            continue
        if not plans:
            yield Problem(line, "stiggId", f"{item.stigg_id} is left without a plan", "no_plan"), item
            continue
        takers = _takers(item, plans, catalogue)
        if not takers:
            names = " or ".join(plan.stigg_id for plan in plans)
            wanted = item.plan_id if item.plan_id and item.plan_id not in {p.stigg_id for p in plans} else None
            said = (
                f"no line of the deal has the plan {wanted}"
                if wanted
                else f"{item.stigg_id} is not compatible with {names}"
            )
            field_name, code = ("planId", "no_plan") if wanted else ("stiggId", "not_compatible")
            yield Problem(line, field_name, said, code), item
        elif len(takers) > 1:
            names = " and ".join(plan.stigg_id for plan in takers)
            said = f"{item.stigg_id} fits {names}: say which plan it belongs to"
            yield Problem(line, "planId", said, "plan_ambiguous"), item
    yield from _plans_of_one_product(plans, catalogue)
    yield from _named_twice(plans, items, catalogue)


def _named_twice(plans: tuple[Item, ...], items: list[Item], catalogue: Catalogue) -> Iterable[tuple[Problem, Item]]:
    """Items of one entity that only the catalogue brings together: one line says its plan, the other does not."""
    for plan in plans:
        first: dict[tuple[str, str], Item] = {}
        for item in _items_of(plan, plans, items, catalogue):
            other = first.setdefault((item.kind, item.stigg_id), item)
            for name, field_name in (
                ("price", "price"),
                ("reset_period", "resetPeriod"),
                ("cadence", "cadence"),
            ):
                if getattr(item, name) != getattr(other, name):
                    said = f"differs from line {other.lines[0]}, which names {other.stigg_id} too"
                    yield Problem(item.lines[0], field_name, said, "terms_conflict"), item


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
    known = [(plan, found) for plan in plans if (found := catalogue.plan(plan.stigg_id)) is not None]
    if item.kind == "Add-on":
        return [plan for plan, found in known if found.addons is None or item.stigg_id in found.addons]
    if len(known) > 1:  # any plan can be given any entitlement: with several, it goes where it is known
        named = [plan for plan, found in known if item.stigg_id in found.entitlements]
        return named or [plan for plan, _ in known]
    return [plan for plan, _ in known]


class _Part(NamedTuple):
    """What one chain contributes to one slot. since: from when it gave this plan without a break."""

    slot: Slot
    orders: _Orders
    terms: Order
    plan: Item
    items: tuple[Item, ...]
    boolean: frozenset[str]
    since: Moment
    ends_with_billing_period: bool


def _by_start(part: _Part) -> tuple[Moment, str]:
    return (part.since, part.orders[0].opportunity_id)


def _effective(order: Order) -> tuple[Moment, str]:
    return (starting(order.start), order.opportunity_id)


def _parts(chain: Chain, moment: Moment, catalogue: Catalogue) -> Iterable[_Part]:
    """What a chain contributes at a moment."""
    state = chain.state(moment)
    if state is None:
        return
    standing = [item for item in state.items if item.quantity > 0]
    plans = tuple(item for item in standing if item.kind == "Plan")
    for plan in plans:
        product = catalogue.product_of(plan.stigg_id)
        if product is None:  # provisioned once, unknown to Stigg since: what stands stays as it is
            continue
        items = _items_of(plan, plans, standing, catalogue)
        here = {(item.kind, item.stigg_id) for item in (plan, *items)}
        mine = tuple(o for o in state.orders if any((item.kind, item.stigg_id) in here for item in o.items))
        yield _Part(
            slot=Slot(product, state.terms.resource_id, state.trial),
            orders=mine or state.orders,
            terms=state.terms,
            plan=plan,
            items=items,
            boolean=frozenset(i.stigg_id for i in items if catalogue.feature_types.get(i.stigg_id) == "BOOLEAN"),
            since=chain.since(moment, plan.stigg_id),
            ends_with_billing_period=chain.ends_with_billing_period,
        )


def _items_of(plan: Item, plans: tuple[Item, ...], items: Iterable[Item], catalogue: Catalogue) -> tuple[Item, ...]:
    """The add-ons and entitlements of a plan."""
    others = (item for item in items if item.kind != "Plan")
    # With one plan there is no choice: what was provisioned once stays with it, compatible today or not.
    return tuple(item for item in others if len(plans) == 1 or plan in _takers(item, plans, catalogue))


def _slots_of(order: Order, catalogue: Catalogue) -> Iterable[Slot]:
    """The slots an order contributes to at some time, as far as it says itself."""
    for plan in order.of_kind("Plan"):
        if (product := catalogue.product_of(plan.stigg_id)) is not None:
            yield Slot(product, order.resource_id, order.trigger == "trial")


def _disagreement(
    first: _Part, present: Mapping[tuple[str, str], tuple[Item, int]], part: _Part, catalogue: Catalogue
) -> Reason | None:
    """Why a contribution cannot be added to those before it in its slot; None when it can.

    first: the first of those before. present: what they have, each with its quantity in all of them.
    """
    other_deal = first.orders[0].opportunity_id
    if part.plan.stigg_id != first.plan.stigg_id:
        plans = [first.plan.stigg_id]
        return Reason.of("two_plans", other=other_deal, plans=plans, plan=part.plan.stigg_id)
    for name, words in (
        ("billing_period", "billing period"),
        ("payment_collection", "payment collection"),
        ("currency", "currency"),
        ("paying_customer_id", "paying customer"),
        ("coupon", "coupon"),
        ("budget", "budget"),
        ("minimum_spend", "minimum spend"),
        ("trial_end", "end of its trial"),
    ):
        if name == "trial_end" and not part.slot.trial:
            continue
        if getattr(part.terms, name) != getattr(first.terms, name):
            return Reason.of("terms_conflict", other=other_deal, term=words, plan=first.plan.stigg_id)
    for item in part.items:
        other, before = present.get((item.kind, item.stigg_id), (None, 0))
        if other and (item.price, item.reset_period, item.cadence) != (
            other.price,
            other.reset_period,
            other.cadence,
        ):
            return Reason.of("terms_conflict", other=other_deal, item=item.stigg_id)
        most = catalogue.max_quantities.get(item.stigg_id) if item.kind == "Add-on" else None
        if other and most is not None:
            total = before + item.quantity
            if total > most:
                return Reason.of("too_many", other=other_deal, there=total, item=item.stigg_id, most=most)
    return None


def _sum(slot: Slot, parts: list[_Part], ends: Moment, milestones: Iterable[str]) -> Subscription:
    """Contributions of one slot as one subscription: quantities, limits and base prices add up, unlimited wins.

    A plan sold by the unit has one price a unit: where deals differ, the mean that charges what they charge together.
    ends: the moment at which nothing contributes to it any more. milestones: see `Subscription`.
    """
    terms = parts[0].terms
    addons: dict[str, int] = defaultdict(int)
    prices: dict[str | None, Price] = {}
    limits: dict[tuple[str, str], list[tuple[Item, bool]]] = defaultdict(list)
    currency = terms.currency
    units = [part.plan.quantity for part in parts]
    by_unit = any(unit != 1 for unit in units)
    charged = [(part.plan.price, part.plan.quantity) for part in parts if part.plan.price is not None]
    if charged:
        total = sum(price * quantity for price, quantity in charged)
        shares = sum(quantity for _, quantity in charged) if by_unit else 1
        prices[None] = Price(None, round(total / shares, 6), currency)
    for part in parts:
        for item in part.items:
            if item.kind == "Add-on":
                addons[item.stigg_id] += item.quantity
                if item.price is not None:
                    prices[item.stigg_id] = Price(item.stigg_id, item.price, currency)
            else:
                limits["CREDIT" if item.kind == "Credit entitlement" else "FEATURE", item.stigg_id].append(
                    (item, item.stigg_id in part.boolean)
                )
    orders = sorted((order for part in parts for order in part.orders), key=lambda order: starting(order.start))
    return Subscription(
        slot=slot,
        plan_id=parts[0].plan.stigg_id,
        unit_quantity=sum(units) if by_unit else 1,
        addons=tuple(sorted(addons.items())),
        entitlements=tuple(
            sorted((_entitlement(key, items) for key, items in limits.items()), key=lambda e: (e.type, e.id))
        ),
        prices=tuple(price for _, price in sorted(prices.items(), key=lambda entry: entry[0] or "")),
        billing_period=terms.billing_period,
        payment_collection=terms.payment_collection,
        start=min(part.since for part in parts).instant,
        cancellation=Never() if slot.trial else _until(parts, ends),  # a trial ends by its own date
        opportunities=tuple(dict.fromkeys(order.opportunity_id for order in orders)),
        trial_end=terms.trial_end if slot.trial else None,
        trial_end_behavior=terms.trial_end_behavior if slot.trial else None,
        coupon=terms.coupon,
        budget=terms.budget,
        budget_soft=terms.budget_soft,
        minimum_spend=Price(None, terms.minimum_spend, currency) if terms.minimum_spend is not None else None,
        paying_customer_id=terms.paying_customer_id,
        metadata=tuple(sorted({pair for part in parts for pair in part.terms.metadata})),
        milestones=tuple(sorted(milestones)),
    )


def _until(parts: list[_Part], ends: Moment) -> Until:
    if all(part.ends_with_billing_period for part in parts):
        return EndOfBillingPeriod()
    return At(ends.instant) if ends.instant else Never()


def _entitlement(key: tuple[str, str], items: list[tuple[Item, bool]]) -> Entitlement:
    first, boolean = items[0]
    unlimited = any(item.unlimited for item, _ in items)
    return Entitlement(
        type="CREDIT" if key[0] == "CREDIT" else "FEATURE",
        id=key[1],
        limit=None if unlimited or boolean else sum(item.quantity for item, _ in items),
        unlimited=unlimited and not boolean,
        soft_limit=any(item.soft_limit for item, _ in items) and not boolean,
        reset_period=None if boolean else first.reset_period,
        cadence=first.cadence,
    )
