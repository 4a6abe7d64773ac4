"""Offering: what Stigg's catalogue does not allow of what the contracts of a slot come to together. Pure.

What one deal says alone is judged by `on_offer`, with the same codes. What was provisioned once stays, allowed today or
not: a fault has to do with a deal that was not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.contract.faults import Code, Fault, tiers_of
from closedwon.domain.contract.judging import depths
from closedwon.domain.contract.money import NONE, Holding
from closedwon.domain.contract.pieces import Entity, Line
from closedwon.domain.contract.sweep import Total, is_sold_by_unit
from closedwon.domain.contract.timeline import Giving, SlotTimeline, within
from closedwon.domain.instants import NO_DAY, Moment
from closedwon.domain.on_offer import unsold_quantity
from closedwon.domain.order import Kind


def catalogue_faults(found: SlotTimeline, catalogue: Catalogue) -> Iterator[Fault]:
    """What Stigg's catalogue does not allow together in a slot."""
    yield from _compatible(found, catalogue)
    yield from _needed(found, catalogue)
    yield from _units(found, catalogue)
    yield from _charged(found, catalogue)
    yield from _included(found, catalogue)


def givers_of(giving: Giving, moment: Moment) -> list[Line]:
    """The lines that give something at a moment."""
    return [line for line in giving.lines(moment) if line.item.quantity > 0]


def _of_kind(found: SlotTimeline, kind: Kind) -> dict[Entity, list[Giving]]:
    """What contracts give a slot of one kind, by what it is."""
    return {entity: givings for entity, givings in found.by_entity.items() if entity[0] == kind}


def most_units(givings: Iterable[Giving]) -> int:
    """The units that givings come to if the most of each met: at no moment are there more."""
    return sum(max((holding.units for holding in giving.track.holdings), default=0) for giving in givings)


def totals(givings: Iterable[Giving]) -> Iterator[tuple[Moment, Total]]:
    """What some contracts give together, at each moment at which that changes."""
    changes: dict[Moment, list[Giving]] = defaultdict(list)
    for giving in givings:
        edges = (edge for span in giving.times.meets for edge in span if edge != NO_DAY)
        for moment in {*giving.times.moments, *edges}:
            changes[moment].append(giving)
    total = Total()
    for moment in sorted(changes):
        for giving in changes[moment]:
            total.put(giving, giving.at(moment) if giving.times.meet(moment) else NONE)
        yield moment, total


def _fault(found: SlotTimeline, code: Code, lines: Iterable[Line], at: Moment, **facts: Any) -> Iterator[Fault]:
    """A fault of some lines; none where all of them were provisioned as they are."""
    lines = list(lines)
    if any(line.deal.fresh for line in lines):
        yield Fault(code, tiers_of(depths(lines)), found.slot, at, facts)


def _lines(givings: Iterable[Giving], at: Moment) -> list[Line]:
    """All lines that count at a moment, those too that take something."""
    return [line for giving in givings for line in giving.lines(at)]


# Add-ons


def _compatible(found: SlotTimeline, catalogue: Catalogue) -> Iterator[Fault]:
    """Add-ons that a plan does not take, and more of one than a subscription holds."""
    plans = _of_kind(found, "Plan")
    for (_, addon), givings in _of_kind(found, "Add-on").items():
        for (_, plan), planned in plans.items():
            known = catalogue.plan(plan)
            if known is not None and known.addons is not None and addon not in known.addons:
                yield from _unfit(found, "not_compatible", givings, planned, item=addon, plans=[plan])
        most = catalogue.max_quantities.get(addon)
        if most is not None and most_units(givings) > most:
            yield from _too_many(found, addon, givings, most)


def _unfit(
    found: SlotTimeline,
    code: Code,
    givings: list[Giving],
    planned: list[Giving],
    gives: Callable[[Holding], bool] = lambda holding: holding.gives,
    **facts: Any,
) -> Iterator[Fault]:
    """Something with a plan that does not take it, where they first meet. A sale of both is refused by itself. gives:
    whether a holding of it is what the plan does not take.
    """
    for giving in givings:
        for other in planned:
            moment = _meeting(giving, other, gives)
            if moment is None:
                continue
            lines = [*giving.lines(moment), *other.lines(moment)]
            if len({line.deal for line in lines}) > 1 or any(line.difference for line in lines):
                yield from _fault(found, code, lines, moment, **facts)


def _meeting(giving: Giving, other: Giving, gives: Callable[[Holding], bool]) -> Moment | None:
    """The first moment at which one gives something while the other counts; None where there is none."""
    for start, end in within(giving.times.meets, other.times.meets):
        for moment in (start, *(moment for moment in giving.times.moments if start < moment < end)):
            if gives(giving.at(moment)):
                return moment
    return None


def _too_many(found: SlotTimeline, addon: str, givings: list[Giving], most: int) -> Iterator[Fault]:
    for moment, total in totals(givings):
        if total.units <= most:
            continue
        lines = [line for giving in total.holdings for line in givers_of(giving, moment)]
        if any(line.deal.fresh for line in lines):
            yield from _fault(found, "too_many", lines, moment, item=addon, most=most, there=total.units)
            return


def _needed(found: SlotTimeline, catalogue: Catalogue) -> Iterator[Fault]:
    """Add-ons without those that they are not sold without."""
    addons = _of_kind(found, "Add-on")
    for entity, givings in addons.items():
        for needed in catalogue.dependencies.get(entity[1], ()):
            others = addons.get(("Add-on", needed), [])
            moment = _without(givings, others)
            if moment is not None:
                lines = _lines((*givings, *others), moment)
                yield from _fault(found, "addon_dependency_missing", lines, moment, item=entity[1], needs=needed)


def _without(givings: list[Giving], others: list[Giving]) -> Moment | None:
    """The first moment at which some give something and no other does; None where there is none."""
    for moment, total in totals((*givings, *others)):
        given = total.holdings
        if any(giving in given for giving in givings) and not any(giving in given for giving in others):
            return moment
    return None


# Plans that are sold by the unit, and what others charge by the unit


def _units(found: SlotTimeline, catalogue: Catalogue) -> Iterator[Fault]:
    """More than one of a plan that is not sold by the unit; and units that are said of a plan and of its feature."""
    for giving in found.plan_givings:
        plan_id = giving.entity[1]
        if not is_sold_by_unit(catalogue, plan_id):
            yield from _several(found, giving)
        elif (plan := catalogue.plan(plan_id)) is not None and most_units([giving]) > 1:
            both = [other for other in found.givings if other.entity == ("Entitlement", plan.unit_feature)]
            yield from _unfit(found, "units_said_twice", both, [giving], item=plan.unit_feature, plan=plan_id)


def _several(found: SlotTimeline, giving: Giving) -> Iterator[Fault]:
    for moment, holding in zip(giving.track.moments, giving.track.holdings, strict=True):
        if holding.units <= 1:
            continue
        lines = [line for line in giving.track.lines if line.at(moment)]
        if any(line.deal.fresh for line in lines):
            yield from _fault(found, "units_not_priced", lines, moment, plan=giving.entity[1], quantity=holding.units)
            return


def _charged(found: SlotTimeline, catalogue: Catalogue) -> Iterator[Fault]:
    """Prices of features that a plan does not charge by the unit, and quantities that it does not sell."""
    plans = {id: (plan, some) for (_, id), some in _of_kind(found, "Plan").items() if (plan := catalogue.plan(id))}
    for (_, feature), givings in _of_kind(found, "Entitlement").items():
        priced = [giving for giving in givings if _is_priced(giving)]
        charges = [plan.charge(feature) for plan, _ in plans.values()]
        for charge, (plan_id, (_, planned)) in zip(charges, plans.items(), strict=True):
            if charge is None:
                yield from _unfit(found, "not_charged_by_unit", priced, planned, _told, item=feature, plan=plan_id)
            else:
                yield from _unfit(found, "unlimited_units", givings, planned, _endless, item=feature, plan=plan_id)
        if any(charge.bounded for charge in filter(None, charges)):
            yield from _unsold(found, feature, givings, catalogue)


def _is_priced(giving: Giving) -> bool:
    """Whether any of it has a price that was told."""
    return any(map(_told, giving.track.holdings))


def _told(holding: Holding) -> bool:
    """Whether there is some of it, and a price of it was told."""
    return holding.gives and holding.told is not None


def _endless(holding: Holding) -> bool:
    """Whether there is some of it without a limit."""
    return holding.unlimited > 0


def _unsold(found: SlotTimeline, feature: str, givings: list[Giving], catalogue: Catalogue) -> Iterator[Fault]:
    for moment, total in totals(givings):
        plan_id = found.plan_at(moment)
        plan = catalogue.plan(plan_id) if plan_id is not None else None
        charge = plan.charge(feature) if plan is not None else None
        wrong = unsold_quantity(charge, total.units) if charge is not None and total.units > 0 else None
        if wrong is None:
            continue
        lines = _lines(givings, moment)
        if any(line.deal.fresh for line in lines):
            yield from _fault(found, wrong.code, lines, moment, **wrong.facts)
            return


# Credits that come with a plan


def _included(found: SlotTimeline, catalogue: Catalogue) -> Iterator[Fault]:
    """Lines that name credits which come with the plan, and come to another number: in each contract by itself."""
    for giving in found.givings:
        if not catalogue.includes(*giving.entity):
            continue
        for moment in giving.times.moments:
            holding, plan_id, id = giving.at(moment), found.plan_at(moment), giving.entity[1]
            credits = _credits_of(plan_id, id, catalogue)
            if holding.gives and (holding.unlimited > 0 or holding.units != credits):
                facts = {"item": id, "quantity": holding.units, "there": credits, "plan": plan_id}
                yield from _fault(found, "included_credits_differ", giving.lines(moment), moment, **facts)
                break


def _credits_of(plan_id: str | None, currency_id: str, catalogue: Catalogue) -> float:
    """How many credits come with a plan each period; 0 where none do."""
    plan = catalogue.plan(plan_id) if plan_id is not None else None
    credits = plan.included(currency_id) if plan is not None else None
    return 0 if credits is None else credits.amount
