"""Sharing: what does not fit between the contracts that meet in one slot. Pure.

One subscription has one plan and one set of terms; prices, limits and add-ons of several contracts add up. A fault that
lasts from one moment to the next is one fault, of all the deals it meets meanwhile.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.contract.faults import Fault, tiers_of
from closedwon.domain.contract.judging import depths
from closedwon.domain.contract.money import override
from closedwon.domain.contract.offering import catalogue_faults, givers_of, most_units, totals
from closedwon.domain.contract.pieces import Entity, Line
from closedwon.domain.contract.terms import UNCHANGEABLE, ContractTerms, Saying, Terms
from closedwon.domain.contract.timeline import Giving, SlotTimeline, Timeline
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import NO_DAY, Moment


def slot_faults(timeline: Timeline, terms: ContractTerms, catalogue: Catalogue) -> Iterator[Fault]:
    """What does not fit within slots."""
    for found in timeline.slots.values():
        yield from _two_plans(found)
        yield from _terms(found, terms)
        yield from _prices(found)
        yield from catalogue_faults(found, catalogue)
        yield from _periods(found)
    for line in timeline.unplanned:
        if line.difference and line.deal.fresh and line.item.quantity > 0:
            yield Fault(
                "no_plan", tiers_of(depths([line])), line.slot, line.start, {"item": line.item.stigg_id, "plans": []}
            )


def _edges(givings: Iterable[Giving]) -> dict[Moment, tuple[list[Giving], list[Giving]]]:
    """When contracts begin and cease to give something: the moment, who ceases, who begins."""
    edges: dict[Moment, tuple[list[Giving], list[Giving]]] = defaultdict(lambda: ([], []))
    for giving in givings:
        for start, end in giving.times.meets:
            edges[start][1].append(giving)
            edges[end][0].append(giving)
    return edges


def _together(
    givings: Iterable[Giving], kind_of: dict[Giving, Any]
) -> Iterator[tuple[Moment, dict[OpportunityId, int], dict[Any, list[Line]]]]:
    """The times in which givings of more than one kind count together.

    Out: for each, when it begins, the deals that it meets with their depths, and lines of each kind.
    """
    edges = _edges(givings)
    active: dict[Giving, None] = {}
    kinds: Counter[Any] = Counter()
    run: tuple[Moment, dict[OpportunityId, int], dict[Any, list[Line]]] | None = None
    for moment in sorted(edges):
        ceasing, beginning = edges[moment]
        for giving in ceasing:
            del active[giving]
            kinds[kind_of[giving]] -= 1
        for giving in beginning:
            active[giving] = None
            kinds[kind_of[giving]] += 1
        kinds += Counter()  # drops those of which there is none
        if len(kinds) < 2:
            if run is not None:
                yield run
            run = None
            continue
        if run is None:
            run = (moment, {}, defaultdict(list))
            beginning = list(active)
        for giving in beginning:
            lines = givers_of(giving, moment)
            run[2][kind_of[giving]] += lines
            run[1].update(depths(lines))
    if run is not None:
        yield run


def _two_plans(found: SlotTimeline) -> Iterator[Fault]:
    """Two plans of one product at one time."""
    kinds = {giving: giving.entity[1] for giving in found.plan_givings}
    if len(set(kinds.values())) > 1:
        for moment, deals, by_plan in _together(found.plan_givings, kinds):
            facts = {"plans": sorted(by_plan), "plan": min(by_plan)}
            yield Fault("two_plans", tiers_of(deals.items()), found.slot, moment, facts)


# Terms


def _terms(found: SlotTimeline, terms: ContractTerms) -> Iterator[Fault]:
    """Terms that contracts disagree about, and those that cannot change while the subscription runs."""
    if _vary(found, terms):
        yield from _disagreed(found, terms)
        yield from _unchangeable(found, terms)


def _vary(found: SlotTimeline, terms: ContractTerms) -> bool:
    """Whether a slot's contracts ever have different terms, at one time or one after the other: few have."""
    contracts = dict.fromkeys(giving.contract for giving in found.plan_givings)
    different = {one for contract in contracts for one in terms.different(contract, found.slot)}
    return len({one.compared for one in different}) > 1 or len({one.trial_end_behavior for one in different}) > 1


def _disagreed(found: SlotTimeline, terms: ContractTerms) -> Iterator[Fault]:
    """Terms that contracts disagree about while they give one plan together."""
    bases = {giving: terms.at(giving.contract, found.slot, NO_DAY).terms.compared for giving in found.plan_givings}
    for moment, deals, by_terms in _together(found.plan_givings, bases):
        name = next(name for name in Terms._fields if len({getattr(one, name) for one in by_terms}) > 1)
        values = sorted(str(getattr(one, name)) for one in by_terms)
        code = "currency_conflict" if name == "currency" else "terms_conflict"
        facts = {"term": name, "before": values[0], "after": values[-1]}
        yield Fault(code, tiers_of(deals.items()), found.slot, moment, facts)  # type: ignore[arg-type]


class Running(NamedTuple):
    """What runs in a slot at a moment. saying: its terms; givers: what gives its plan, each with the lines that do."""

    plan: str
    saying: Saying
    givers: dict[Giving, list[Line]]

    def continues(self, before: Running) -> bool:
        """Whether what ran before goes on: with the same plan, of however many units."""
        return self.plan == before.plan


def _running(found: SlotTimeline, terms: ContractTerms, moment: Moment) -> Running | None:
    """What runs in a slot at a moment, with the terms of the contract that began first; None where no plan counts."""
    givers = {giving: givers_of(giving, moment) for giving in found.plan_givings if giving.times.meet(moment)}
    if not givers:
        return None
    first = min(givers, key=lambda giving: (giving.contract.start, giving.contract.rank))
    saying = terms.at(first.contract, found.slot, moment)
    return Running(first.entity[1], saying, givers)


def _plan_moments(found: SlotTimeline, terms: ContractTerms) -> list[Moment]:
    """When what gives a slot its plan changes, or what is said of its terms."""
    edges = {edge for giving in found.plan_givings for span in giving.times.meets for edge in span}
    sayings = {moment for giving in found.plan_givings for moment in terms.moments(giving.contract, found.slot)}
    return sorted((edges | sayings) - {NO_DAY})


def _unchangeable(found: SlotTimeline, terms: ContractTerms) -> Iterator[Fault]:
    """What would change on a subscription that runs and goes on with the same plan."""
    before: Running | None = None
    for moment in _plan_moments(found, terms):
        now = _running(found, terms, moment)
        if before is not None and now is not None and now.continues(before):
            was, new = before.saying.terms, now.saying.terms
            name = _changed(was, new)
            if name is not None:
                facts = {"term": name, "before": getattr(was, name), "after": getattr(new, name), "plan": now.plan}
                yield Fault("cannot_change", _changers(before, now), found.slot, moment, facts)
        before = now


def _changers(before: Running, now: Running) -> tuple[frozenset[OpportunityId], ...]:
    """Who makes way for what cannot change: the deals that join, else the one that says it; then those that ran."""
    joining = [line for giving, lines in now.givers.items() if giving not in before.givers for line in lines]
    blamed = depths(joining) or [(now.saying.deal.id, now.saying.deal.depth)]
    standing = depths(line for lines in before.givers.values() for line in lines)
    return (*tiers_of(blamed), *tiers_of(one for one in standing if one not in blamed))


def _changed(before: Terms, after: Terms) -> str | None:
    """The term that changes and cannot; None where there is none."""
    for name in UNCHANGEABLE:
        if getattr(before, name) != getattr(after, name):
            return name
    return "coupon" if before.coupon is not None and after.coupon is None else None


# Prices


def _prices(found: SlotTimeline) -> Iterator[Fault]:
    """Prices that are known in one contract and not in another; and charges that no price of one unit comes to."""
    for entity, givings in found.by_entity.items():
        if not any(giving.track.priced for giving in givings):
            continue
        kinds = {giving: _ever_priced(giving) for giving in givings}
        if len(givings) > 1 and any(map(_ever_unpriced, givings)):
            for moment, deals, _ in _together(givings, kinds):
                yield Fault("price_unknown", tiers_of(deals.items()), found.slot, moment, {"item": entity[1]})
        if most_units(givings) > 10_000:
            yield from _inexact(found, entity, givings)


def _ever_priced(giving: Giving) -> bool:
    """Whether a price is ever known of any of it."""
    return any(holding.priced for holding in giving.track.holdings)


def _ever_unpriced(giving: Giving) -> bool:
    """Whether it ever gives something of which no price is known."""
    return any(holding.gives and not holding.priced for holding in giving.track.holdings)


def _inexact(found: SlotTimeline, entity: Entity, givings: list[Giving]) -> Iterator[Fault]:
    """Charges that no price of one unit, rounded, comes to: only where there are many units."""
    for moment, total in totals(givings):
        if total.units <= 0 or total.listed:
            continue
        price = override(total.charge, total.units)
        if not price.exact:
            lines = [line for giving in total.holdings for line in giving.lines(moment)]
            facts = {"item": entity[1], "price": price.amount, "quantity": total.units}
            yield Fault("price_not_exact", tiers_of(depths(lines)), found.slot, moment, facts)
            return


# Periods


def _periods(found: SlotTimeline) -> Iterator[Fault]:
    """Reset periods and cadences: one entitlement of a subscription has one of each."""
    for entity, givings in found.by_entity.items():
        if len(givings) < 2 or entity[0] not in ("Entitlement", "Credit entitlement"):
            continue
        kinds = {giving: period for giving in givings if (period := _period(giving)) is not None}
        if len(set(kinds.values())) > 1:
            for moment, deals, _ in _together(list(kinds), kinds):
                facts = {"item": entity[1], "term": "reset period" if entity[0] == "Entitlement" else "cadence"}
                yield Fault("terms_conflict", tiers_of(deals.items()), found.slot, moment, facts)


def _period(giving: Giving) -> str | None:
    """How often an entitlement of a contract comes back, as it was said last."""
    said = [line for line in giving.track.lines if line.item.reset_period or line.item.cadence]
    given = [line for line in said if line.item.quantity > 0] if said else ()
    last = max(given, key=lambda line: (line.deal.effective, line.deal.depth), default=None)
    return None if last is None else last.item.reset_period or last.item.cadence
