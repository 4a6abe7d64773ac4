"""From facts to lines: which contract each belongs to, from when, until when (the model's sections 3 and 4).

Everything is worked out anew for each set of facts. Contracts are taken in the order of their renewals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from fractions import Fraction
from typing import Any

from proof.oracle.agreed import Agreed, Key, Unfit
from proof.oracle.ends import Ends
from proof.oracle.facts import Fact, references
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
)


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
        self.ends = Ends(made, self.deals, self._homes)

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
            self.ends.ends(root)
        for id in waiting:
            gone = [name for name in references(self.deals[id]) if not made.owners(name)]
            made.fault("waits_for" if any(name in made.known for name in gone) else "no_base", [id])
        # Only now it is certain which renewals really start.
        for id in sorted(self.deals, key=lambda id: (made.depth(id), id)):
            if self.deals[id]["trigger"] == "cancellation":
                self.ends.judge(id)
        self.ends.twice()

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

    # Roots

    def _trial(self, fact: Fact) -> None:
        """What was tried before it was sold: until its trial ends, or the sale starts."""
        assert fact.trial is not None
        before = len(self.made.lines)
        self._lines(
            fact.trial, fact.id, (fact.id, "trial"), BEGINNING, self.made.day(fact.trial["terms"].get("trialEnd"), True)
        )
        if fact.deal is not None and fact.deal is not fact.trial:
            start = self.made.day(fact.deal["terms"].get("start")) or BEGINNING
            for line in self.made.lines[before:]:
                line.cuts.append(Cut(start, "own", fact.id))

    def _root(self, id: str) -> None:
        deal = self.deals[id]
        terms = deal["terms"]
        if any(name in self.made.known and not self.made.owners(name) for name in references(deal)):
            self.made.fault("waits_for", [id])
        if self._would_move(id):
            self.made.fault("reference_unknown", [id])
            return
        end = self.made.day(terms.get("trialEnd" if deal["trigger"] == "trial" else "end"), True)
        start = self.made.day(terms.get("start")) or BEGINNING
        if deal["trigger"] == "renewal" and not terms.get("start"):
            ends = {self._last(key) for key in {line.contract for line in self._renewed(id)}}
            if len(ends) != 1 or FOREVER in ends:
                self.made.fault("start_unknown" if ends else "reference_unknown", [id])
                return
            start = ends.pop()
        self.starts[id] = start
        names = {each.get("contractId") for each in deal["lines"]} - {None}
        for name in names or {None}:
            some = [each for each in deal["lines"] if each.get("contractId") == name] if name else deal["lines"]
            self._lines({**deal, "lines": some}, id, (id, name or deal.get("contractId") or id), start, end)
        if names and (rest := [each for each in deal["lines"] if not each.get("contractId")]):
            self._lines({**deal, "lines": rest}, id, (id, deal.get("contractId") or id), start, end)
        self.ends.end_of_term(id)
        self.ends.own_end(id)
        for churn in self.ends.churns(id):
            self.ends.cut_by(churn, [line for line in self.ends.hits(churn) if line.contract[0] == id])
        if deal["trigger"] == "renewal":
            self._renew(id, start)

    def _would_move(self, id: str) -> bool:
        """Whether nobody knows the resource of a renewal: when what it renews arrives, it would move there."""
        deal = self.deals[id]
        if deal["trigger"] != "renewal" or deal.get("resourceId") or self._renewed(id):
            return False
        unknown = any(not self.made.owners(name) for name in references(deal))
        return unknown and any(other.get("resourceId") for other in self.deals.values())

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
        start = self.made.day(deal["terms"].get("start")) or min(self._start(key[0]) for key in keys)
        self.starts[id] = start
        if not into and (over := self._over(keys, id, start)):
            raise Unfit(over)
        end = self.made.day(deal["terms"].get("end"), True)
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
            self.ends.end_of_term(key[0])
        self.ends.own_end(id)
        for churn in self.ends.churns(keys[0][0]):
            self.ends.cut_by(churn, [line for line in self.ends.hits(churn) if line.deal == id])

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
            begins = max(start, self.made.day(each.get("start")) or BEGINNING)
            ends = self.made.day(each.get("end"), True) or end or FOREVER
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
