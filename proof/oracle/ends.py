"""What ends lines: the policy for the end of a term, cancellations, and a deal's own end (the model's section 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from proof.oracle.agreed import Agreed, Key
from proof.oracle.facts import how_it_ends, references
from proof.oracle.words import BEGINNING, FOREVER, PRODUCTS, Cut, Deal, Line, as_list, later_by, stamp


class Ends:
    """Ends the lines that are laid. homes: the contracts of a deal, as far as it is laid."""

    def __init__(self, made: Agreed, deals: Mapping[str, Deal], homes: Callable[[str], list[Key]]) -> None:
        self.made = made
        self.rules = made.rules
        self.facts = made.facts
        self.deals = deals
        self.homes = homes

    def end_of_term(self, root: str) -> None:
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

    def churns(self, root: str) -> Iterator[str]:
        """The cancellations that name something of a root's contracts."""
        for id in sorted(self.deals):
            if self.deals[id]["trigger"] == "cancellation" and any(
                root in {key[0] for key in self.homes(owner)} or owner == root for owner in self.made.parents(id)
            ):
                yield id

    def ends(self, root: str) -> None:
        """The cancellations of a root's contracts, now that all of its lines are laid."""
        for id in self.churns(root):
            self.cut_by(id, [line for line in self.hits(id) if line.contract[0] == root])

    def hits(self, id: str) -> list[Line]:
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

    def cut_by(self, id: str, lines: list[Line]) -> None:
        deal, fact = self.deals[id], self.facts[id]
        known = self.made.ends.setdefault(id, [])
        known[:] = [(line, at) for line, at in known if line not in lines]
        for line in lines:
            line.cuts[:] = [cut for cut in line.cuts if cut.by != id]
            at = self.made.day(deal["terms"].get("end"), True)
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

    def own_end(self, id: str) -> None:
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

    def judge(self, id: str) -> None:
        """A cancellation that does not fit, or that ends nothing."""
        made, deal = self.made, self.deals[id]
        names = references(deal)
        unknown = [name for name in names if not made.owners(name)]
        if unknown:
            made.fault("waits_for" if any(name in made.known for name in unknown) else "reference_unknown", [id])
            return
        hits = self.hits(id)
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

    def twice(self) -> None:
        """Two renewals, neither renewing the other, that give one place of one renewed line at one time."""
        for line in self.made.lines:
            by = [cut.by for cut in line.cuts if cut.how == "renewed"]
            for place, one in enumerate(by):
                for other in by[:place]:
                    mine, theirs = ([o for o in self.made.of(id) if o.place == line.place] for id in (one, other))
                    meet = any(a.start < b.until and b.start < a.until for a in mine for b in theirs)
                    if meet and one not in self.made.parents(other) and other not in self.made.parents(one):
                        self.made.fault("renewed_twice", [one, other])


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
