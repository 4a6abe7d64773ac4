"""All lines of a customer, who refers to whom, and what follows for an instant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from proof.oracle.facts import Fact, references
from proof.oracle.words import BEGINNING, FOREVER, ROOTS, Line, Rules, Slot, as_list, instant

Key = tuple[str, str]
"""A contract: its root's opportunity, and its name."""


class Fault(NamedTuple):
    """What does not fit, and who may make way for it: those of the first tier before those of the next."""

    code: str
    tiers: tuple[tuple[str, ...], ...]


class Unfit(Exception):
    """A deal cannot be laid anywhere."""


@dataclass
class Agreed:
    """All lines of a customer, and what does not fit.

    kept: what renewals name that wait for somebody: these terms go on. successors: by contract, the renewals that took
    lines of it. ends: by cancellation, the lines it names with the instants.
    """

    rules: Rules
    facts: Mapping[str, Fact]
    known: frozenset[str]
    kept: frozenset[str] = frozenset()
    lines: list[Line] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    successors: dict[Key, list[str]] = field(default_factory=dict)
    ends: dict[str, list[tuple[Line, datetime]]] = field(default_factory=dict)
    names: dict[str, set[str]] = field(default_factory=dict)
    depths: dict[str, int] = field(default_factory=dict)

    # Who refers to whom

    def owners(self, reference: str) -> set[str]:
        return self.names.get(reference.partition("/")[0], set())

    def parents(self, id: str) -> set[str]:
        deal = self.facts[id].deal
        return {owner for name in references(deal) for owner in self.owners(name)} - {id} if deal else set()

    def depth(self, id: str) -> int:
        """How far it is from a deal that refers to none."""
        if id not in self.depths:
            self.depths[id] = 0
            self.depths[id] = 1 + max((self.depth(one) for one in self.parents(id)), default=-1)
        return self.depths[id]

    def fault(self, code: str, ids: Iterable[str]) -> None:
        """Those who refer make way before those they refer to, and equals together."""
        by_depth: dict[int, set[str]] = {}
        for id in ids:
            by_depth.setdefault(self.depth(id), set()).add(id)
        self.faults.append(Fault(code, tuple(tuple(sorted(by_depth[n])) for n in sorted(by_depth, reverse=True))))

    # Lines

    def of(self, id: str) -> list[Line]:
        return [line for line in self.lines if line.deal == id and not line.slot.trial] or [
            line for line in self.lines if line.deal == id
        ]

    def in_contract(self, key: Key) -> list[Line]:
        return [line for line in self.lines if line.contract == key]

    def named(self, reference: str) -> list[Line]:
        """The lines that a reference names: a record with what was added to it, a contract, an opportunity, or one of
        its lines. What was tried before is no part of what was sold.
        """
        name, _, rest = reference.partition("/")
        part, _, day = rest.partition("/")
        sold = [line for line in self.lines if line.contract[1] != "trial"]
        if name.startswith("a0X"):
            return self._of_record(name, sold)
        if name.startswith("800"):
            found = [line for line in sold if line.contract[1] == name]
        elif self.is_root(name):
            found = [line for line in sold if line.contract[0] == name]
        else:
            found = [line for line in sold if line.deal == name]
        return [
            line
            for line in found
            if (not part or line.name == part)
            and (not day or (line.raw.get("start") or line.said["terms"].get("start")) == day)
        ]

    @staticmethod
    def _of_record(name: str, lines: list[Line]) -> list[Line]:
        """A record's line, and what was added to it: where an amendment's line names no record, kind and ID decide."""
        own = [line for line in lines if line.raw.get("subscriptionRecord") == name]
        places = {(line.contract, line.place) for line in own}
        return own + [
            line
            for line in lines
            if line.deal != line.contract[0]
            and (
                name in (said := as_list(line.raw.get("amends")))
                or (not said and (line.contract, line.place) in places)
            )
        ]

    def is_root(self, id: str) -> bool:
        fact = self.facts.get(id)
        return fact is not None and fact.deal is not None and fact.deal["trigger"] in ROOTS

    def day(self, value: str | None, last: bool = False) -> datetime | None:
        """A day as an instant, where the stack is."""
        return instant(value, last, self.rules.zone)

    # What follows for an instant

    def lineage(self, key: Key) -> set[Key]:
        """A contract and those that renewed it."""
        found, waiting = {key}, [key]
        while waiting:
            for id in self.successors.get(waiting.pop(), ()):
                for line in self.lines:
                    if line.contract[0] == id and line.contract not in found:
                        found.add(line.contract)
                        waiting.append(line.contract)
        return found

    def plans(self, slot: Slot, moment: datetime) -> dict[Key, dict[str, int]]:
        """By contract, the plans that it gives in a slot."""
        given: dict[Key, dict[str, int]] = {}
        for line in self.lines:
            if line.is_plan and line.slot == slot and line.counts(moment):
                units = given.setdefault(line.contract, {})
                units[line.name] = units.get(line.name, 0) + line.quantity
        found = {key: {plan: n for plan, n in units.items() if n > 0} for key, units in given.items()}
        return {key: units for key, units in found.items() if units}

    def alive(self, slot: Slot, moment: datetime) -> list[Line]:
        """The lines that give or take something in a slot at an instant: with a plan of their contract, or where that
        never has one in the slot, with whoever's is there. Where no plan is, nothing is.
        """
        plans = self.plans(slot, moment)
        if not plans:
            return []
        found = []
        for line in self.lines:
            if line.slot == slot and line.counts(moment):
                family = self.lineage(line.contract)
                has = any(o.is_plan and o.slot == slot and o.ever and o.contract in family for o in self.lines)
                if not has or family & plans.keys():
                    found.append(line)
        return found

    def moments(self) -> list[datetime]:
        """When something may change."""
        found = {moment for line in self.lines for moment in (line.start, line.until)}
        return sorted(moment for moment in found if BEGINNING < moment < FOREVER)
