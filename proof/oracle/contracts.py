"""From facts to lines: which contract each belongs to, from when, until when (the model's sections 3 and 4).

Everything is worked out anew for each set of facts. Contracts are taken in the order of their renewals.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any, NamedTuple

from proof.oracle.facts import Fact, how_it_ends, references
from proof.oracle.words import (
    ADDONS,
    BEGINNING,
    FEATURES,
    FOREVER,
    PRODUCTS,
    ROOTS,
    Cut,
    Deal,
    Line,
    Rules,
    Slot,
    as_list,
    instant,
    later_by,
    stamp,
)

Key = tuple[str, str]


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


def agree(facts: Mapping[str, Fact], rules: Rules, known: Iterable[str], kept: Iterable[str] = ()) -> Agreed:
    """Lay all facts out. known: the opportunities and names that anybody ever said."""
    made = Agreed(rules, facts, frozenset(known), frozenset(kept))
    for id, fact in facts.items():
        if fact.deal is not None and fact.deal["trigger"] != "cancellation":
            names = {id, fact.deal.get("contractId"), *(each.get("contractId") for each in fact.deal["lines"])}
            names |= {each.get("subscriptionRecord") for each in fact.deal["lines"]}
            for name in names - {None}:
                made.names.setdefault(str(name), set()).add(id)
        elif fact.deal is not None:
            made.names.setdefault(id, set()).add(id)
    _Layer(made).lay()
    return made


class _Layer:
    """Lays the lines of all deals."""

    def __init__(self, made: Agreed) -> None:
        self.made = made
        self.rules = made.rules
        self.facts = made.facts
        self.deals = {id: fact.deal for id, fact in made.facts.items() if fact.deal is not None}
        self.starts: dict[str, datetime] = {}
        self.homes: dict[str, list[Key]] = {}

    def lay(self) -> None:
        made = self.made
        for fact in self.facts.values():
            if fact.trial is not None:
                self._trial(fact)
        roots = [id for id, deal in self.deals.items() if deal["trigger"] in ROOTS]
        amendments = [id for id, deal in self.deals.items() if deal["trigger"] == "amendment"]
        waiting = dict.fromkeys(sorted(amendments, key=lambda id: (made.depth(id), id)))
        for root in sorted(roots, key=lambda id: (made.depth(id), id)):
            self._root(root)
            for id in list(waiting):
                if self._belongs(id, root):
                    del waiting[id]
                    self._placed(id, lambda id=id: self._amendment(id))
            self._ends(root)
        for id in waiting:
            gone = [name for name in references(self.deals[id]) if not made.owners(name)]
            made.fault("waits_for" if any(name in made.known for name in gone) else "no_base", [id])
        # Only now it is certain which renewals really start.
        for id in sorted(self.deals, key=lambda id: (made.depth(id), id)):
            if self.deals[id]["trigger"] == "cancellation":
                self._judge_churn(id)
        self._twice()

    def _placed(self, id: str, lay: Any) -> None:
        try:
            lay()
        except Unfit as unfit:
            self.made.lines = [line for line in self.made.lines if line.deal != id]
            self.made.fault(str(unfit), [id])

    # Days

    def _start(self, id: str) -> datetime:
        """When a deal takes effect."""
        return self.starts.get(id, BEGINNING)

    def _day(self, value: str | None, last: bool = False) -> datetime | None:
        return instant(value, last, self.rules.zone)

    # Roots

    def _trial(self, fact: Fact) -> None:
        """What was tried before it was sold: until its trial ends, or the sale starts."""
        assert fact.trial is not None
        before = len(self.made.lines)
        self._lines(
            fact.trial, fact.id, (fact.id, "trial"), BEGINNING, self._day(fact.trial["terms"].get("trialEnd"), True)
        )
        if fact.deal is not None and fact.deal is not fact.trial:
            start = self._day(fact.deal["terms"].get("start")) or BEGINNING
            for line in self.made.lines[before:]:
                line.cuts.append(Cut(start, "own", fact.id))

    def _root(self, id: str) -> None:
        deal = self.deals[id]
        terms = deal["terms"]
        if any(name in self.made.known and not self.made.owners(name) for name in references(deal)):
            self.made.fault("waits_for", [id])
        end = self._day(terms.get("trialEnd" if deal["trigger"] == "trial" else "end"), True)
        start = self._day(terms.get("start")) or BEGINNING
        if deal["trigger"] == "renewal" and not terms.get("start"):
            ends = {self._last(key) for key in {line.contract for line in self._renewed(id)}}
            if len(ends) > 1 or FOREVER in ends:
                self.made.fault("start_unknown", [id])
                return
            start = next(iter(ends), BEGINNING)
        self.starts[id] = start
        names = {each.get("contractId") for each in deal["lines"]} - {None}
        for name in names or {None}:
            some = [each for each in deal["lines"] if each.get("contractId") == name] if name else deal["lines"]
            self._lines({**deal, "lines": some}, id, (id, name or deal.get("contractId") or id), start, end)
        if names and (rest := [each for each in deal["lines"] if not each.get("contractId")]):
            self._lines({**deal, "lines": rest}, id, (id, deal.get("contractId") or id), start, end)
        self._ends_of_term(id)
        self._own_end(id)
        for churn in self._churns(id):
            self._cut_by(churn, [line for line in self._hits(churn) if line.contract[0] == id])
        if deal["trigger"] == "renewal":
            self._renew(id, start)

    def _last(self, key: Key) -> datetime:
        """When a contract ends, as it was sold or was cancelled."""
        lines = self.made.in_contract(key)
        plans = [line for line in lines if line.is_plan] or lines
        return max(min([line.end, *(cut.at for cut in line.cuts)]) for line in plans)

    def _renewed(self, id: str) -> list[Line]:
        """The lines that a renewal names, on itself or line by line."""
        deal = self.deals[id]
        said = as_list(deal.get("amends")) + [name for each in deal["lines"] for name in as_list(each.get("renews"))]
        found = {line: None for name in said for line in self.made.named(name) if line.deal != id}
        return [line for line in found if not line.slot.trial]

    def _renew(self, id: str, start: datetime) -> None:
        made = self.made
        own = made.of(id)
        if not any(line.ever for line in own):
            return
        for line in self._renewed(id):
            firsts = [mine.start for mine in own if mine.place == line.place and mine.ever]
            line.cuts.append(Cut(min(firsts, default=start), "renewed", id))
            ids = made.successors.setdefault(line.contract, [])
            if id not in ids:
                ids.append(id)
        self._moved(id)

    # Amendments

    def _belongs(self, id: str, root: str) -> bool:
        """Whether an amendment is one of the contracts of a root, now that these are laid."""
        parents = self.made.parents(id)
        homes = {key[0] for one in parents for key in self._homes(one)}
        return root in homes and all(self._homes(one) for one in parents)

    def _homes(self, id: str) -> list[Key]:
        """The contracts of a deal: its own, or those that it amends."""
        if self.made.is_root(id):
            return sorted({line.contract for line in self.made.lines if line.deal == id and not line.slot.trial}) or []
        return self.homes.get(id, [])

    def _keys(self, id: str) -> list[Key]:
        """The contracts that an amendment names."""
        deal, found = self.deals[id], dict[Key, None]()
        said = as_list(deal.get("amends")) + [name for each in deal["lines"] for name in as_list(each.get("amends"))]
        for name in said:
            for line in self.made.named(name):
                found[line.contract] = None
        return list(found)

    def _amendment(self, id: str, into: Key | None = None) -> None:
        deal, made = self.deals[id], self.made
        keys = [into] if into else self._keys(id)
        if not keys:
            raise Unfit("no_base")
        first = self.deals[keys[0][0]]
        if deal["opportunity"].get("currencyIsoCode", "USD") != first["opportunity"].get("currencyIsoCode", "USD"):
            raise Unfit("currency_conflict")
        self.homes[id] = keys
        start = self._day(deal["terms"].get("start")) or min(self._start(key[0]) for key in keys)
        self.starts[id] = start
        if not into and (over := self._over(keys, id, start)):
            raise Unfit(over)
        end = self._day(deal["terms"].get("end"), True)
        for each in deal["lines"]:
            key = self._key_of(each, keys, deal)
            resource = deal.get("resourceId") or self._resource_of(each, key)
            self._lines({**deal, "lines": [each]}, id, key, start, end, resource=resource, whole_deal=deal)
        whole = deal.get("quantities") != "differences"
        for key in keys:
            self._bounded(key, id, whole)
            if whole:
                for line in made.in_contract(key):
                    if line.deal != id and line.day < start:
                        line.cuts.append(Cut(start, "amended", id))
            self._ends_of_term(key[0])
        self._own_end(id)
        for churn in self._churns(keys[0][0]):
            self._cut_by(churn, [line for line in self._hits(churn) if line.deal == id])

    def _key_of(self, each: Mapping[str, Any], keys: list[Key], deal: Deal) -> Key:
        """The one contract of several that a line amends: the one that has its place."""
        said = [line.contract for name in as_list(each.get("amends")) for line in self.made.named(name)]
        if said:
            return said[0]
        if len(keys) == 1:
            return keys[0]
        products = _takers(each, [])
        if "planId" in each:
            products = [PRODUCTS[each["planId"]]]
        having = [
            key
            for key in keys
            if any(
                line.kind == each["stiggType"]
                and (line.name == each["stiggId"] or line.is_plan)
                and (not products or line.slot.product in products)
                for line in self.made.in_contract(key)
            )
        ]
        if len(having) != 1:
            raise Unfit("reference_ambiguous")
        return having[0]

    def _resource_of(self, each: Mapping[str, Any], key: Key) -> str | None:
        lines = self.made.in_contract(key)
        same = [line for line in lines if line.name == each["stiggId"]] or lines
        return same[0].slot.resource if same else None

    def _bounded(self, key: Key, id: str, whole: bool) -> None:
        """An amendment never outlasts its contract; one that says all there is may move its end, if it says one."""
        others = [line for line in self.made.in_contract(key) if line.deal != id]
        for line in self.made.in_contract(key):
            if line.deal == id and (not whole or line.end == FOREVER):
                plans = [o for o in others if o.is_plan and o.slot.product == line.slot.product] or others
                if plans:
                    line.end = min(line.end, max(o.end for o in plans))

    def _over(self, keys: list[Key], id: str, start: datetime) -> str | None:
        """Why a contract takes no amendment any more: it was cancelled by then."""
        plans = [line for key in keys for line in self.made.in_contract(key) if line.is_plan and line.ever]
        if plans and all(min(line.until, line.end) <= start for line in plans):
            return (
                "contract_over" if any(c.how == "cancelled" and c.at <= start for p in plans for c in p.cuts) else None
            )
        return None

    def _moved(self, renewal: str) -> None:
        """What amends a contract that has been renewed by then belongs to the renewal that has its slot."""
        made = self.made
        own = made.of(renewal)
        for id, keys in list(self.homes.items()):
            late = [
                line
                for line in made.lines
                if line.deal == id and any(cut.how == "renewed" and cut.by == renewal for cut in line.cuts)
            ]
            plans = [line for key in keys for line in made.in_contract(key) if line.is_plan]
            if not late or not plans or self._start(id) < max(line.until for line in plans):
                continue
            made.lines = [line for line in made.lines if line.deal != id]
            takers = sorted({mine.contract for mine in own if any(mine.slot == line.slot for line in late)})
            if len(takers) == 1:
                self._placed(id, lambda id=id, key=takers[0]: self._amendment(id, key))
            else:
                made.fault("contract_over", [id])

    # Lines

    def _lines(
        self,
        deal: Deal,
        id: str,
        key: Key,
        start: datetime,
        end: datetime | None,
        *,
        resource: str | None = None,
        whole_deal: Deal | None = None,
    ) -> None:
        whole_deal = whole_deal or deal
        difference = deal.get("quantities") == "differences"
        resource = resource or deal.get("resourceId") or self._inherited(deal, id)
        for each in deal["lines"]:
            kind, name = each["stiggType"], each["stiggId"]
            quantity = _quantity(each, difference)
            if kind == "Credit grant" or quantity == 0:
                continue
            product = self._product(each, whole_deal, key)
            slot = Slot(product, resource, deal["trigger"] == "trial")
            begins = max(start, self._day(each.get("start")) or BEGINNING)
            ends = self._day(each.get("end"), True) or end or FOREVER
            price = Fraction(str(each["price"])) if each.get("price") is not None else None
            self.made.lines.append(
                Line(id, whole_deal, each, key, slot, kind, name, quantity, price, difference, start, begins, ends)
            )

    def _inherited(self, deal: Deal, id: str) -> str | None:
        """The resource of what a renewal renews."""
        if deal["trigger"] != "renewal":
            return None
        resources = {line.slot.resource for line in self._renewed(id)}
        return next(iter(resources)) if len(resources) == 1 else None

    def _product(self, each: Mapping[str, Any], deal: Deal, key: Key) -> str:
        """Its plan's; else of the deal's own plans that take it; else where the contract has it; else of the contract's
        plans that take it.
        """
        if each["stiggType"] == "Plan":
            return PRODUCTS[each["stiggId"]]
        if each.get("planId"):
            return PRODUCTS[each["planId"]]
        own = {PRODUCTS[o["stiggId"]] for o in deal["lines"] if o["stiggType"] == "Plan" and o.get("quantity", 1) > 0}
        lines = self.made.in_contract(key)
        named = [line for name in as_list(each.get("amends")) for line in self.made.named(name)]
        for products in (
            {line.slot.product for line in named if line.name == each["stiggId"]},
            set(_takers(each, own)),
            {line.slot.product for line in lines if line.kind == each["stiggType"] and line.name == each["stiggId"]},
            set(_takers(each, {line.slot.product for line in lines if line.is_plan})),
        ):
            if len(products) == 1:
                return products.pop()
            if products:
                raise Unfit("plan_ambiguous")
        raise Unfit("no_plan")

    def _ends_of_term(self, root: str) -> None:
        """What ends with or after the last plan of its contract and product ends by the policy; the rest on its day."""
        rules = self.rules
        for line in self.made.lines:
            if line.contract[0] != root or line.slot.trial:
                if line.slot.trial:
                    line.policy_end = line.end
                continue
            plans = [
                o
                for o in self.made.in_contract(line.contract)
                if o.is_plan and o.slot == line.slot and not o.slot.trial and o.quantity > 0
            ] or [o for o in self.made.in_contract(line.contract) if o.is_plan]
            last = max((plan.end for plan in plans), default=line.end)
            if line.end < last:
                line.policy_end = line.end
            elif rules.end_of_term == "keep" or self._is_kept(root) or line.end == FOREVER:
                line.policy_end = FOREVER
            else:
                line.policy_end = line.end + timedelta(days=rules.grace_days if rules.end_of_term == "grace" else 0)

    def _is_kept(self, root: str) -> bool:
        """Whether a renewal that is held would renew a root's contracts."""
        deal = self.deals[root]
        mine = {root, deal.get("contractId")}
        for each in deal["lines"]:
            mine |= {each.get("contractId"), each.get("subscriptionRecord")}
        return bool(self.made.kept & (mine - {None}))

    # Ends

    def _churns(self, root: str) -> Iterator[str]:
        """The cancellations that name something of a root's contracts."""
        for id in sorted(self.deals):
            if self.deals[id]["trigger"] == "cancellation" and any(
                root in {key[0] for key in self._homes(owner)} or owner == root for owner in self.made.parents(id)
            ):
                yield id

    def _ends(self, root: str) -> None:
        """The cancellations of a root's contracts, now that all of its lines are laid."""
        for id in self._churns(root):
            self._cut_by(id, [line for line in self._hits(id) if line.contract[0] == root])

    def _hits(self, id: str) -> list[Line]:
        """The lines that a cancellation names."""
        deal = self.deals[id]
        on_deal = [line for name in as_list(deal.get("amends")) for line in self.made.named(name)]
        if not deal["lines"]:
            return list(dict.fromkeys(on_deal))
        found: dict[Line, None] = {}
        for each in deal["lines"]:
            named = [line for name in as_list(each.get("ends")) for line in self.made.named(name)] or on_deal
            found |= dict.fromkeys(_listed(each, named))
        return list(found)

    def _cut_by(self, id: str, lines: list[Line]) -> None:
        deal, fact = self.deals[id], self.facts[id]
        known = self.made.ends.setdefault(id, [])
        known[:] = [(line, at) for line, at in known if line not in lines]
        for line in lines:
            line.cuts[:] = [cut for cut in line.cuts if cut.by != id]
            at = self._day(deal["terms"].get("end"), True)
            if at is None and how_it_ends(deal) == "now":
                at = fact.since
            if at is None:
                at = line.end if line.end < FOREVER else self._period_end(line, fact.since or stamp(deal))
            if at is not None:
                line.cuts.append(Cut(at, "cancelled", id))
                known.append((line, at))

    def _period_end(self, line: Line, since: datetime) -> datetime | None:
        """The end of the billing period under way at an instant: periods go from the start of what runs."""
        plans = [o for o in self.made.lines if o.is_plan and o.slot == line.slot and o.start <= since < o.until]
        if not plans:
            return None
        start = min(plan.start for plan in plans)
        months = 12 if plans[0].said["terms"].get("billingPeriod") == "ANNUALLY" else 1
        periods = 1
        while (end := later_by(start, periods * months, self.rules.zone)) <= since:
            periods += 1
        return end

    def _own_end(self, id: str) -> None:
        fact = self.facts[id]
        if fact.own_end is None and not fact.with_term:
            return
        lines = [line for line in self.made.lines if line.deal == id and line.contract[1] != "trial"]
        if fact.ending:
            lines = [line for each in fact.ending for line in _listed(each, lines)]
        for line in lines:
            at = fact.own_end or (line.end if line.end < FOREVER else self._period_end(line, fact.since or BEGINNING))
            line.cuts = [cut for cut in line.cuts if cut.how != "own"]
            line.cuts.append(Cut(at or FOREVER, "own", id))

    def _judge_churn(self, id: str) -> None:
        """A cancellation that does not fit, or that ends nothing."""
        made, deal = self.made, self.deals[id]
        names = references(deal)
        unknown = [name for name in names if not made.owners(name)]
        if unknown:
            made.fault("waits_for" if any(name in made.known for name in unknown) else "reference_unknown", [id])
            return
        hits = self._hits(id)
        ended = made.ends.get(id, [])
        if any(line not in {one for one, _ in ended} for line in hits if line.end == FOREVER):
            made.fault("end_unknown", [id])
        if hits and not any(at <= line.until for line, at in ended):
            renewals = [cut.by for line in hits for cut in line.cuts if cut.how == "renewed" and cut.at == line.until]
            if renewals and any(stamp(self.deals[one]) < stamp(deal) for one in renewals):
                made.fault("renewed_meanwhile", [id])
        for each in deal["lines"]:
            listed = [line for line in _listed(each, hits) if line.name == each["stiggId"]]
            at = max((at for line, at in ended if line in listed), default=None)
            if each["stiggType"] == "Plan" or each.get("quantity") is None or at is None:
                continue
            there = sum(line.quantity for line in listed if line.start < at <= max(at, line.until) and line.until >= at)
            if there != each["quantity"]:
                made.fault("quantity_mismatch", [id])

    def _twice(self) -> None:
        """Two renewals, neither renewing the other, that give one place of one renewed line at one time."""
        for line in self.made.lines:
            by = [cut.by for cut in line.cuts if cut.how == "renewed"]
            for place, one in enumerate(by):
                for other in by[:place]:
                    mine, theirs = ([o for o in self.made.of(id) if o.place == line.place] for id in (one, other))
                    meet = any(a.start < b.until and b.start < a.until for a in mine for b in theirs)
                    if meet and one not in self.made.parents(other) and other not in self.made.parents(one):
                        self.made.fault("renewed_twice", [one, other])


def _quantity(each: Mapping[str, Any], difference: bool) -> int:
    if each.get("unlimited"):
        return 1
    if difference and each.get("totalQuantity") is not None and each.get("priorQuantity") is not None:
        return int(each["totalQuantity"] - each["priorQuantity"])
    return int(1 if each.get("quantity") is None else each["quantity"])


def _takers(each: Mapping[str, Any], products: Iterable[str]) -> list[str]:
    """The products of those whose plans take an add-on or a feature: any where none of them knows the feature."""
    products = sorted(products)
    if each["stiggType"] == "Add-on":
        return [product for product in products if ADDONS[each["stiggId"]] == product]
    return [product for product in products if product in FEATURES.get(each["stiggId"], ())] or products


def _listed(each: Mapping[str, Any], lines: Iterable[Line]) -> list[Line]:
    """The lines that one of a cancellation's means: a plan takes all of its contract and product."""
    lines = list(lines)
    if each["stiggType"] == "Plan":
        taken = {(line.contract, line.slot) for line in lines if line.is_plan and line.name == each["stiggId"]}
        return [line for line in lines if (line.contract, line.slot) in taken]
    product = PRODUCTS[each["planId"]] if each.get("planId") else None
    return [
        line
        for line in lines
        if line.kind == each["stiggType"]
        and line.name == each["stiggId"]
        and product in (None, line.slot.product)
        and (not each.get("start") or line.raw.get("start") == each["start"])
    ]
