"""What customers should have and pay: a second opinion on the contract model, apart from the product, which it never
imports.

It is written from the model's rules and is slow and simple on purpose: all lines are laid out anew for every set of
facts, and every instant is looked at by itself. What the rules leave open, and the campaign therefore does not sell:

- a renewal that says no start, of a contract of which a part ends before the rest;
- a renewal that says no resource and arrives before the first deal that has one: it moves when that deal arrives;
- differences of which a line starts only after the contract was renewed, and differences of their base's own day;
- a swap of plans within a product of which the new one does not take all parts;
- whether a deal that was ended on the very day of its end was superseded or has ended (`EITHER`);
- credits beyond whether they must, may or must not have been granted;
- codes: of a deal that is held it knows that it is, and `codes` is no more than a guess at why.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from proof.oracle.agreed import Agreed
from proof.oracle.facts import Fact, fact_of
from proof.oracle.making_way import Standing, stand
from proof.oracle.pictures import Picture, picture
from proof.oracle.words import BEGINNING, KNOWN, Deal, Line, Rules, Slot, grants, instant

EITHER = "Superseded|Ended"
"""Of a deal that was ended on the day on which it would have ended: the model says neither."""

RULES = Rules()
"""What a stack chooses that chooses nothing."""

__all__ = ["Expected", "Memory", "Rules", "Slot", "Stands", "expected", "instant"]


@dataclass
class Stands:
    """A subscription that should stand. charges: the units of what its plan charges. prices: of the plan (None), of
    add-ons and of such units, of one for one period, where they are not the catalogue's. since: its start, where it is
    made anew now. currency: of its prices. starts: when, where that is still to come; ends: its cancellation's instant.
    """

    plan: str
    units: int
    addons: dict[str, int]
    limits: dict[str, Any]
    prices: dict[str | None, float]
    billing: str | None
    opportunities: set[str]
    since: datetime
    starts: datetime | None = None
    ends: datetime | None = None
    trial_end: datetime | None = None
    charges: dict[str, int] = field(default_factory=dict)
    currency: str = "usd"


@dataclass
class Memory:
    """What is remembered of a customer. settled: of each opportunity, its readings when it last stood as it was then;
    begun: those of which something has begun since.
    """

    settled: dict[str, list[Deal]] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)


@dataclass
class Expected:
    """What should be. may_stand: trials that were won and go on until the sale starts, if they were ever seen, with
    that instant. statuses: of each opportunity. codes: of those that are held, why. granted: opportunities whose
    credits must have been granted, once; may_grant: those whose credits may have been, once. agreed: where it comes
    from. begun: the deals that stand of which something has begun.
    """

    agreed: Agreed
    begun: set[str] = field(default_factory=set)
    subscriptions: dict[Slot, Stands] = field(default_factory=dict)
    may_stand: dict[Slot, datetime] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)
    granted: dict[str, int] = field(default_factory=dict)
    may_grant: dict[str, int] = field(default_factory=dict)


def expected(
    readings: Mapping[str, Sequence[Deal]],
    memory: Memory,
    approved: Iterable[str],
    foreign: Collection[str],
    now: datetime,
    rules: Rules = RULES,
) -> Expected:
    """What one customer should have.

    In: all readings of each opportunity, oldest first; what is remembered, which is brought up to date (`Memory`); the
    opportunities whose hold was approved; the resources where a subscription of somebody else stands; now.
    """
    newest: dict[str, Fact] = {}
    before = {id: fact_of(then, rules.zone) for id, then in memory.settled.items()}
    left: dict[str, str] = {}
    for id, deals in readings.items():
        if any(line["stiggId"] not in KNOWN for line in deals[-1]["lines"]):
            left[id] = "Failed"
            newest[id] = before.get(id, Fact(id))
        elif str(deals[-1].get("resourceId")) in foreign:
            left[id] = "Held"
            newest[id] = before.get(id, Fact(id))
        else:
            newest[id] = fact_of(deals, rules.zone)
    standing = stand(newest, before, memory.begun, _said(readings), {*approved}, rules, now)
    found = Expected(standing.agreed, standing.begun, codes=standing.held)
    for id, deals in readings.items():
        found.statuses[id] = left.get(id) or _status(standing, id, now)
        _grants(found, id, deals, now)
        if found.statuses[id] not in ("Held", "Failed") and memory.settled.get(id) != deals:
            memory.settled[id] = list(deals)
            memory.begun.discard(id)
    memory.begun |= standing.begun & memory.settled.keys()
    _subscriptions(found, now, rules)
    return found


def _said(readings: Mapping[str, Sequence[Deal]]) -> set[str]:
    """All names that anybody ever said of a deal."""
    names: set[str] = set(readings)
    for deal in (deal for deals in readings.values() for deal in deals):
        lines = deal["lines"]
        names |= {str(name) for name in (deal.get("contractId"), *(each.get("contractId") for each in lines)) if name}
        names |= {str(each["subscriptionRecord"]) for each in lines if each.get("subscriptionRecord")}
    return names


# What a deal says


def _status(standing: Standing, id: str, now: datetime) -> str:
    """Held, else Scheduled, else Provisioned, else Superseded, else Ended."""
    agreed = standing.agreed
    if id in standing.held:
        return "Held"
    deal = agreed.facts[id].deal
    if deal is None:
        return "Provisioned"
    if deal["trigger"] == "cancellation":
        return _of_cancellation(agreed, id, now)
    lines = [line for line in agreed.of(id) if line.contract[1] != "trial"] or agreed.of(id)
    if not lines:
        return "Scheduled" if (instant(deal["terms"].get("start")) or BEGINNING) > now else "Provisioned"
    starts = sorted(line.start for line in lines if line.ever)
    if starts and starts[0] > now:
        return "Scheduled"
    if any(line in agreed.alive(line.slot, now) for line in lines):
        return "Provisioned"
    if any(line.is_plan and line.quantity < 0 and line.counts(now) for line in lines):
        return "Provisioned"  # it takes the plan away, and so all of its parts: that is what it is for
    if any(start > now for start in starts):
        return "Scheduled"
    return _over(agreed, lines, now)


def _of_cancellation(agreed: Agreed, id: str, now: datetime) -> str:
    named = agreed.ends.get(id, ())
    # What was renewed by then goes on: the cancellation ends nothing of it.
    ends = [at for line, at in named if line.start < at <= line.until and not _is_renewed(line, at)]
    if ends:
        return "Scheduled" if min(ends) > now else "Provisioned"
    renewed = any(_is_renewed(line, at) for line, at in named)
    return "Superseded" if renewed else "Provisioned"


def _is_renewed(line: Line, by: datetime) -> bool:
    return any(cut.how == "renewed" and cut.at <= by for cut in line.cuts)


def _over(agreed: Agreed, lines: Sequence[Line], now: datetime) -> str:
    """Of a deal of which nothing counts any more: what ended last says whether others took its place."""
    ends = []
    for line in lines:
        plans = [o for o in agreed.lines if o.is_plan and o.slot == line.slot and o.contract == line.contract]
        takers = [o for o in plans if o.quantity < 0 and o.counts(now)]
        last = max(plans, key=lambda plan: plan.until) if plans else line
        if takers and line.until > min(taker.start for taker in takers):
            ends.append((min(taker.day for taker in takers), "amended"))
        elif last.until < line.until:
            ends.append((last.until, _how(last)))
        else:
            ends.append((line.until, _how(line)))
    if any(how == "own" for _, how in ends):
        return "Provisioned"
    at = max(at for at, _ in ends)
    hows = {how for when, how in ends if when == at}
    if "over" in hows:
        return "Ended"
    return EITHER if "either" in hows else "Superseded"


def _how(line: Line) -> str:
    """How a line ended: by whom, or in its own time; either, where somebody ended it just then."""
    hows = [cut.how for cut in line.cuts if cut.at == line.until]
    if line.policy_end == line.until and "renewed" not in hows:
        return "either" if hows else "over"
    return min(hows, key=("renewed", "amended", "cancelled", "own").index)


def _grants(found: Expected, id: str, deals: Sequence[Deal], now: datetime) -> None:
    deal = found.agreed.facts[id].deal
    starts = instant(deal["terms"].get("start")) if deal else None
    for each in grants(deal) if deal else ():
        if found.statuses[id] == "Provisioned":
            found.granted[id] = each["quantity"]
        elif (starts or BEGINNING) <= now:
            found.may_grant[id] = each["quantity"]
    if id not in found.granted:
        for each in (each for deal in deals for each in grants(deal)):
            if found.statuses[id] != "Scheduled":
                found.may_grant[id] = each["quantity"]


# What stands


def _subscriptions(found: Expected, now: datetime, rules: Rules) -> None:
    """In each slot what counts now, or where that is nothing, what counts next; and when that ends."""
    agreed = found.agreed
    moments = [now, *(moment for moment in agreed.moments() if moment > now)]
    for slot in {line.slot for line in agreed.lines}:
        pictures = [(moment, picture(agreed, slot, moment)) for moment in moments]
        first = next(((n, at, there) for n, (at, there) in enumerate(pictures) if there), None)
        if first is None:
            continue
        place, starts, there = first
        ends = next((later for later, then in pictures[place + 1 :] if then is None), None)
        plans = [line for line in there.lines if line.is_plan]
        until = max(plan.until for plan in plans)
        if slot.trial and all(agreed.facts[plan.deal].trial is not None for plan in plans):
            found.may_stand[slot] = until
            continue
        found.subscriptions[slot] = Stands(
            plan=there.plan,
            units=there.units,
            addons=there.addons,
            limits=there.limits,
            charges=there.charges,
            prices=_prices(there),
            billing=there.billing,
            opportunities={line.deal for line in there.lines},
            since=min(plan.start for plan in plans),
            currency=str(plans[0].said["opportunity"].get("currencyIsoCode") or "USD").lower(),
            starts=starts if starts > now else None,
            ends=None if slot.trial else ends,
            trial_end=until if slot.trial else None,
        )


def _prices(there: Picture) -> dict[str | None, float]:
    found = {}
    for name, charged in there.prices.items():
        units = there.units if name is None else charged.units
        if charged.amount is not None and units > 0:
            found[name] = round(float(charged.amount / units), 6)
    return found
