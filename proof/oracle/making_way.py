"""What does not fit, who makes way, and what is taken away by accident (the model's sections 7 to 9)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction

from proof.oracle.agreed import Agreed, Fault
from proof.oracle.contracts import agree
from proof.oracle.facts import Fact, references
from proof.oracle.money import PriceFault, charged
from proof.oracle.pictures import by_place, picture, term_of
from proof.oracle.words import Line, Rules, Slot

NEWEST, SETTLED, NOTHING = 0, 1, 2


@dataclass
class Standing:
    """Who stands. agreed: what all that stand come to. held: by deal, the code of why it does not stand as it is now.
    begun: the deals that stand of which something has begun.
    """

    agreed: Agreed
    held: dict[str, str] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)


def stand(
    newest: Mapping[str, Fact],
    settled: Mapping[str, Fact],
    begun: Collection[str],
    known: Collection[str],
    approved: Collection[str],
    rules: Rules,
    now: datetime,
) -> Standing:
    """Find out who stands.

    In: by opportunity, what it says now, and what stood of it before, if anything; of what stood, that of which
    something has begun; whatever was ever said as a name; the deals whose hold somebody lets through.
    """
    level = dict.fromkeys(newest, NEWEST)
    held: dict[str, str] = {}

    def facts(levels: Mapping[str, int]) -> dict[str, Fact]:
        found = {id: newest[id] if n == NEWEST else settled.get(id, Fact(id)) for id, n in levels.items()}
        return {id: Fact(id) if levels[id] == NOTHING else fact for id, fact in found.items()}

    def agreed(levels: Mapping[str, int]) -> Agreed:
        kept = set()
        for id, n in levels.items():
            deal = newest[id].deal
            if n != NEWEST and deal is not None and deal["trigger"] == "renewal":
                kept |= references(deal)
        return agree(facts(levels), rules, known, kept)

    def down(id: str) -> int | None:
        """Where a deal can step down to."""
        if level[id] == NEWEST and id in settled and settled[id] != newest[id]:
            return SETTLED
        if level[id] == NEWEST and id not in settled:
            return NOTHING
        return NOTHING if level[id] != NOTHING and id not in begun else None

    def step(fault: Fault) -> bool:
        for tier in fault.tiers:
            if ids := [id for id in tier if down(id) is not None]:
                for id in ids:
                    held.setdefault(id, fault.code)
                    level[id] = down(id)  # type: ignore[assignment]
                return True
        for id in sorted(settled):  # nobody of it can: is it somebody's doing who took back what others were sold on?
            if level[id] == NEWEST and settled[id] != newest[id]:
                without = agreed({**level, id: SETTLED})
                if fault not in {*without.faults, *faults_of(without, now)}:
                    held.setdefault(id, "others_hang_on_it")
                    level[id] = SETTLED
                    return True
        return False

    while True:
        there = agreed(level)
        faults = [*there.faults, *faults_of(there, now)]
        if any(step(fault) for fault in faults if _is_new(fault, level)):
            continue
        guard = _Guard(newest, settled, rules, now, lambda changed: agreed({**level, **changed}))
        shrinking = [id for id in newest if level[id] == NEWEST and id not in approved and guard.holds(id)]
        if not shrinking:
            return Standing(there, held, _begun(there, now))
        for id in shrinking:
            unwon = newest[id].unwon or newest[id].deal is None
            held.setdefault(id, "reopened" if unwon else "removal_guard")
            level[id] = SETTLED if id in settled else NOTHING


def _is_new(fault: Fault, level: Mapping[str, int]) -> bool:
    return any(level.get(id) != NOTHING for tier in fault.tiers for id in tier)


def _begun(there: Agreed, now: datetime) -> set[str]:
    """The deals of which something has begun: a line started, or an end came."""
    found = {line.deal for line in there.lines if line.ever and line.start <= now}
    return found | {id for id, ends in there.ends.items() if any(at <= now for line, at in ends if at <= line.until)}


# What does not fit


def faults_of(agreed: Agreed, now: datetime) -> list[Fault]:
    """What does not fit at any instant, of what can be seen only when all lines are laid."""
    found = Agreed(agreed.rules, agreed.facts, agreed.known, names=agreed.names, depths=agreed.depths)
    slots = {line.slot for line in agreed.lines}
    for slot in sorted(slots, key=str):
        before: tuple[datetime, str, str | None] | None = None
        for moment in [min(line.start for line in agreed.lines), *agreed.moments()]:
            _counts(agreed, slot, moment, found)
            before = _terms(agreed, slot, moment, before, found)
    for line in agreed.lines:
        if line.raw.get("priorQuantity") is not None and line.difference and line.ever:
            _prior(agreed, line, found)
    return list(dict.fromkeys(found.faults))


def _counts(agreed: Agreed, slot: Slot, moment: datetime, found: Agreed) -> None:
    """Amounts below zero, and prices that nobody agreed to, contract by contract."""
    lines = [line for line in agreed.lines if line.slot == slot and line.counts(moment)]
    for (kind, _), contracts in by_place(lines):
        for some in contracts:
            if sum(line.quantity for line in some) < 0:
                found.fault("below_zero", {line.deal for line in some if line.quantity < 0})
                found.fault("below_zero", {line.deal for line in some})
            elif kind in PRICED:
                _priced([some], found)
        if kind in PRICED:
            _priced(
                [o for some in contracts if (o := [line for line in agreed.alive(slot, moment) if line in some])], found
            )


PRICED = ("Plan", "Add-on", "Entitlement")
"""What has prices: of entitlements only what a plan charges by the unit, and no deal says a price of another."""


def _priced(contracts: list[list[Line]], found: Agreed) -> None:
    try:
        total = charged(contracts)
    except PriceFault as fault:
        deals = {line.deal for some in contracts for line in some}
        if fault.by:
            found.fault(fault.code, [fault.by])
        found.fault(fault.code, deals)
        return
    if total.amount is not None and total.units > 0:
        unit = Fraction(str(round(float(total.amount / total.units), 5)))
        if abs(unit * total.units - total.amount) > Fraction(1, 200):
            found.fault("price_not_exact", {line.deal for some in contracts for line in some})


def _terms(
    agreed: Agreed, slot: Slot, moment: datetime, before: tuple[datetime, str, str | None] | None, found: Agreed
) -> tuple[datetime, str, str | None] | None:
    """Two plans in one slot, terms that contradict each other, and what Stigg cannot change on a running one."""
    plans = [line for line in agreed.lines if line.is_plan and line.slot == slot and line.counts(moment)]
    standing = {plan for units in agreed.plans(slot, moment).values() for plan in units}
    mine = [line for line in plans if line.name in standing and line.quantity > 0]
    if len(standing) > 1:
        found.fault("two_plans", {line.deal for line in mine})
        return None
    if not mine:
        return None
    said = {term_of(agreed, line, "paymentCollection") for line in mine} - {None}
    if len(said) > 1:
        found.fault("terms_conflict", {line.deal for line in mine})
        return None
    now_is = (moment, standing.pop(), next(iter(said), None))
    if before is not None and before[1] == now_is[1] and None not in (before[2], now_is[2]) and before[2] != now_is[2]:
        found.fault("cannot_change", {line.deal for line in mine})
    return now_is


def _prior(agreed: Agreed, line: Line, found: Agreed) -> None:
    """A difference that was quoted on an amount that no lines of the contract come to on its day."""
    prior = int(line.raw["priorQuantity"])
    others = [
        other.quantity
        for other in agreed.lines
        if other.contract == line.contract
        and other.place == line.place
        and other.deal != line.deal
        and other.counts(line.start)
    ]
    sums = {0}
    for quantity in others:
        sums |= {total + quantity for total in sums}
    if prior not in sums:
        found.fault("prior_mismatch", [line.deal])
        found.fault("prior_mismatch", {line.deal, *(o.deal for o in agreed.lines if o.contract == line.contract)})


# What is taken away


@dataclass
class _Guard:
    """Whether a deal takes away more than somebody may without being asked. agreed: what all come to, with changed
    levels.
    """

    newest: Mapping[str, Fact]
    settled: Mapping[str, Fact]
    rules: Rules
    now: datetime
    agreed: Callable[[Mapping[str, int]], Agreed]

    def holds(self, id: str) -> bool:
        fact, before = self.newest[id], self.settled.get(id)
        if before == fact:
            return False
        if fact.unwon or fact.deal is None:
            return self._unwon(id, before)
        deal = fact.deal
        if deal["trigger"] in ("renewal", "cancellation") or fact.own_end is not None or fact.with_term:
            return False
        there = self.agreed({})
        if _ends_plan(there, id):
            return False
        if (before is None or _tried(before)) and deal["trigger"] in ("closed_won", "trial"):
            return False
        if before is None and deal.get("quantities") == "differences":
            return any(share * 100 > self.rules.guard for share in _minus(there, id, self.now))
        without = self.agreed({id: SETTLED if before is not None else NOTHING})
        return any(share * 100 > self.rules.guard for share in _shares(there, without, self.now))

    def _unwon(self, id: str, before: Fact | None) -> bool:
        if before is None or self.rules.reopened == "revoke" or before.deal is None:
            return False
        return any(share > 0 for share in _shares(self.agreed({}), self.agreed({id: SETTLED}), self.now))


def _tried(fact: Fact) -> bool:
    return fact.deal is not None and fact.deal["trigger"] == "trial"


def _ends_plan(agreed: Agreed, id: str) -> bool:
    """Whether an amendment takes a plan to zero: so CPQ cancels."""
    return any(
        line.is_plan and line.quantity < 0 and line.contract not in agreed.plans(line.slot, line.start)
        for line in agreed.of(id)
    )


def _moments(*all: Agreed, now: datetime) -> list[datetime]:
    return sorted({now, *(moment for agreed in all for moment in agreed.moments() if moment > now)})


def _minus(agreed: Agreed, id: str, now: datetime) -> Iterator[Fraction]:
    """What a deal's own lines take of all that is given in a slot, at each coming moment."""
    for moment in _moments(agreed, now=now):
        for slot in {line.slot for line in agreed.of(id)}:
            given: dict[tuple[str, str], int] = {}
            taken: dict[tuple[str, str], int] = {}
            for line in agreed.alive(slot, moment):
                key = (line.kind, line.name)
                if line.is_plan and abs(line.quantity) <= 1:
                    continue
                if line.deal == id:
                    taken[key] = taken.get(key, 0) - line.quantity
                elif line.quantity > 0:
                    given[key] = given.get(key, 0) + line.quantity
            yield _mean([(given[key], given[key] - max(0, taken.get(key, 0))) for key in given])


def _shares(there: Agreed, without: Agreed, now: datetime) -> Iterator[Fraction]:
    """By how much one timeline is less than another, slot by slot, at each coming moment."""
    for moment in _moments(there, without, now=now):
        for slot in {line.slot for line in without.lines}:
            had, has = picture(without, slot, moment), picture(there, slot, moment)
            if had is None:
                continue
            if has is None:
                yield Fraction(1)
            else:
                yield _mean([(n, min(n, has.amounts.get(name, 0))) for name, n in had.amounts.items()])


def _mean(pairs: Iterable[tuple[int, int]]) -> Fraction:
    shares = [Fraction(had - has, had) for had, has in pairs if had > 0]
    return sum(shares, Fraction()) / len(shares) if shares else Fraction()
