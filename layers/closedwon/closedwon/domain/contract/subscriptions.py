"""Subscriptions: what a slot's timeline comes to as one subscription of Stigg, at a moment. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.contract.money import Holding, override
from closedwon.domain.contract.pieces import Contract, Entity, Line
from closedwon.domain.contract.timeline import Giving, SlotTimeline
from closedwon.domain.desired import Entitlement, Price, Slot, Subscription
from closedwon.domain.instants import At, EndOfBillingPeriod, Moment, Never, Until, iso_utc, starting
from closedwon.domain.order import Order

if TYPE_CHECKING:
    from closedwon.domain.contract.standing import Evaluation, World

Given = list[tuple[Giving, Holding]]


def static_slots(order: Order, catalogue: Catalogue) -> Iterable[Slot]:
    """The slots an order gives something, as far as it says itself."""
    for plan in order.of_kind("Plan"):
        if (product := catalogue.product_of(plan.stigg_id)) is not None:
            yield Slot(product, order.resource_id, order.trigger == "trial")


class Subscriptions:
    """The subscriptions of an evaluation. In: the evaluation; the world it was judged by.

    never: plan lines that never count, by slot: what was cancelled before it began.
    """

    def __init__(self, evaluation: Evaluation, world: World) -> None:
        self._evaluation = evaluation
        self._catalogue = world.catalogue
        self._made: dict[tuple[Slot, int, bool], Subscription | None] = {}
        self.never: dict[Slot, list[Line]] = defaultdict(list)
        for line in evaluation.contracts.lines:
            if line.is_plan and not line.ever:
                self.never[line.slot].append(line)

    def at(self, slot: Slot, at: Moment) -> Subscription | None:
        """What should stand in a slot at a moment; where that is nothing, what comes next; None: nothing any more."""
        found = self._evaluation.timeline.slots.get(slot)
        if found is None:
            return None
        for start, end in found.stands:
            if end <= at:
                continue
            moment = max(start, at)
            given = found.given(moment)
            plans = [(giving, holding) for giving, holding in given if giving.is_plan]
            lines = [line for giving, _ in plans for line in giving.lines(moment)]
            if all(line.deal.shadow for line in lines):
                return None  # a trial that was won ends when the paid subscription stands
            if start > at and not slot.trial and all(line.contract.is_trial for line in lines):
                continue  # a trial that becomes paid by itself is none to be made before
            key = (slot, found.place(moment), start > at)
            if key not in self._made:
                self._made[key] = self._make(found, moment, end, given)
            return self._made[key]
        return None

    def _make(self, found: SlotTimeline, moment: Moment, end: Moment, given: Given) -> Subscription:
        slot = found.slot
        plans = [(giving, holding) for giving, holding in given if giving.is_plan]
        plan_lines = [line for giving, _ in plans for line in giving.lines(moment) if line.item.quantity > 0]
        first = leading_line(plans, moment)
        terms = self._evaluation.terms.at(first.contract, slot, moment).terms
        units, spend = units_of(plans), terms.minimum_spend
        entities: dict[Entity, Given] = defaultdict(list)
        for giving, holding in given:
            if not giving.is_plan:
                entities[giving.entity].append((giving, holding))
        addons = {id: some for (kind, id), some in entities.items() if kind == "Add-on"}
        all_terms = (self._evaluation.terms.at(giving.contract, slot, moment).terms for giving, _ in plans)
        metadata = {pair for one in all_terms for pair in one.metadata}
        lines = [line for giving in found.givings for line in giving.lines(moment)]
        return Subscription(
            slot=slot,
            plan_id=first.item.stigg_id,
            unit_quantity=units,
            addons=tuple(sorted((id, sum(h.units for _, h in some)) for id, some in addons.items())),
            entitlements=self._entitlements(entities, moment),
            prices=tuple(_prices(plans, units, addons, terms.currency)),
            billing_period=terms.billing_period,
            payment_collection=terms.payment_collection,
            start=first.start.instant,
            cancellation=_until(slot, plan_lines, end),
            opportunities=tuple(dict.fromkeys(line.deal.id for line in sorted(lines, key=_by_start))),
            metadata=tuple(sorted(metadata)),
            milestones=tuple(sorted(self._milestones(found, moment))),
            trial_end=terms.trial_end if slot.trial else None,
            trial_end_behavior=terms.trial_end_behavior if slot.trial else None,
            coupon=terms.coupon,
            budget=terms.budget,
            budget_soft=terms.budget_soft,
            minimum_spend=None if spend is None else Price(None, spend, terms.currency),
            paying_customer_id=terms.paying_customer_id,
        )

    def _entitlements(self, entities: dict[Entity, Given], moment: Moment) -> tuple[Entitlement, ...]:
        made = (
            self._entitlement(kind, id, given, moment)
            for (kind, id), given in entities.items()
            if kind in ("Entitlement", "Credit entitlement")
        )
        return tuple(sorted(made, key=lambda entitlement: (entitlement.type, entitlement.id)))

    def _entitlement(self, kind: str, id: str, given: Given, moment: Moment) -> Entitlement:
        lines = [line for giving, _ in given for line in giving.lines(moment) if line.item.quantity > 0]
        newest = sorted(lines, key=lambda line: (line.deal.effective, line.deal.depth), reverse=True)
        boolean = kind == "Entitlement" and self._catalogue.feature_types.get(id) == "BOOLEAN"
        unlimited = any(holding.unlimited > 0 for _, holding in given)
        period = next((line.item.reset_period for line in newest if line.item.reset_period), None)
        return Entitlement(
            type="CREDIT" if kind == "Credit entitlement" else "FEATURE",
            id=id,
            limit=None if unlimited or boolean else sum(holding.units for _, holding in given),
            unlimited=unlimited and not boolean,
            soft_limit=any(line.item.soft_limit for line in lines) and not boolean,
            reset_period=None if boolean else period,
            cadence=next((line.item.cadence for line in newest if line.item.cadence), None),
        )

    def _milestones(self, found: SlotTimeline, moment: Moment) -> set[str]:
        """The renewals, cancellations and dates that lie behind: what may have lowered it without an approval."""
        milestones: set[str] = set()
        for line in [*(line for giving in found.givings for line in giving.track.lines), *self.never[found.slot]]:
            if line.deal.is_renewal and line.start <= moment:
                milestones.add(line.deal.id)
            if line.item.start is not None and starting(line.item.start) <= moment:
                milestones.add(f"{line.deal.id}@{iso_utc(line.item.start)}")
            if line.end.instant is not None and line.end <= moment:
                milestones.add(f"{line.deal.id}@{iso_utc(line.end.instant)}")
                milestones |= {cause.by for cause in line.causes if cause.kind in ("renewed", "cancelled") and cause.by}
        return milestones


def leading_line(plans: Given, moment: Moment) -> Line:
    """The plan line that a subscription takes its plan, its start and its terms from: the one that starts first."""
    lines = (line for giving, _ in plans for line in giving.lines(moment) if line.item.quantity > 0)
    return min(lines, key=lambda line: (line.start, line.deal.depth, line.item.stigg_id, line.deal.id))


def units_of(plans: Given) -> int:
    """The units of a plan: 1, unless any contract sells it by the unit."""
    units: dict[Contract, int] = defaultdict(int)
    for giving, holding in plans:
        units[giving.contract] += holding.units
    return sum(units.values()) if any(unit != 1 for unit in units.values()) else 1


def _by_start(line: Line) -> tuple[Moment, Moment, int, str]:
    """By what the deal says of its start: the first is the one that Stigg links to."""
    return (starting(line.deal.order.start), line.deal.effective, line.deal.depth, line.deal.id)


def _until(slot: Slot, plan_lines: list[Line], end: Moment) -> Until:
    if slot.trial:
        return Never()  # a trial ends by its own date
    if end.instant is None and all(line.lapses is not None for line in plan_lines):
        return EndOfBillingPeriod()
    return At(end.instant) if end.instant is not None else Never()


def _prices(plans: Given, units: int, addons: dict[str, Given], currency: str) -> Iterable[Price]:
    """The price overrides: the plan's, then by add-on. What is at the catalogue's price has none."""
    known = [holding for _, holding in plans if holding.priced]
    if known:
        charge = sum((holding.charge for holding in known), start=Fraction(0))
        yield Price(None, override(charge, units).amount, currency)
    for id in sorted(addons):
        holdings = [holding for _, holding in addons[id]]
        told = [holding for holding in holdings if holding.priced]
        if not told:
            continue
        if len(told) < len(holdings) or any(holding.mixed for holding in told):
            # A fault that nobody can make way for any more: the price that was told goes on.
            yield Price(id, round(float(max(holding.told or 0 for holding in told)), 6), currency)
            continue
        charge = sum((holding.charge for holding in told), start=Fraction(0))
        yield Price(id, override(charge, sum(holding.units for holding in told)).amount, currency)
