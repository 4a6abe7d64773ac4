"""Subscriptions: what a slot's timeline comes to as one subscription of Stigg, at a moment. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.contract.money import Holding, override
from closedwon.domain.contract.pieces import Contract, Entity, Line
from closedwon.domain.contract.timeline import Giving, SlotTimeline, is_sold_by_unit
from closedwon.domain.desired import Entitlement, Price, Slot, Subscription
from closedwon.domain.identifiers import OpportunityId
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
            lines = _plan_lines(given, moment)
            if all(line.deal.shadow for line in lines):
                return None  # a trial that was won ends when the paid subscription stands
            if start > at and _becomes_paid(slot, lines):
                continue  # it becomes so by itself: none to be made before
            key = (slot, found.place(moment), start > at)
            if key not in self._made:
                self._made[key] = self._make(found, moment, end, given)
            return self._made[key]
        return None

    def _make(self, found: SlotTimeline, moment: Moment, end: Moment, given: Given) -> Subscription:
        slot = found.slot
        plans = plans_of(given)
        first = leading_line(plans, moment)
        terms = self._evaluation.terms.at(first.contract, slot, moment).terms
        plan_id, spend = first.item.stigg_id, terms.minimum_spend
        units = units_of(plans, self._catalogue)
        plan = self._catalogue.plan(plan_id)
        entities = by_entity(given)
        addons = {id: some for (kind, id), some in entities.items() if kind == "Add-on"}
        charges = {
            id: some
            for (kind, id), some in entities.items()
            # What has no limit is no quantity: it stays an entitlement, as it was.
            if kind == "Entitlement" and plan and id in plan.charged and not _unlimited(some)
        }
        unit_feature = plan.unit_feature if plan else None
        of_units = tuple(_part_prices(charges, lambda id, amount: Price(None, amount, terms.currency, id)))
        prices = [
            # Where the units are on a line of their own, that line says their price.
            *(price for price in _plan_price(plans, units, terms.currency, unit_feature) if not _says(of_units, price)),
            *_part_prices(addons, lambda id, amount: Price(id, amount, terms.currency)),
            *of_units,
        ]
        return Subscription(
            slot=slot,
            plan_id=plan_id,
            unit_quantity=units,
            addons=tuple(sorted((id, _units(some)) for id, some in addons.items())),
            entitlements=self._entitlements(entities, charges, moment),
            prices=tuple(prices),
            charges=tuple(sorted((id, _units(some)) for id, some in charges.items())),
            charged=tuple(sorted(plan.charged)) if plan else (),
            unit_feature=unit_feature,
            billing_period=terms.billing_period,
            payment_collection=terms.payment_collection,
            start=first.start.instant,
            cancellation=_until(slot, giving_lines(plans, moment), end),
            opportunities=_deals(found, moment),
            metadata=self._metadata(slot, plans, moment),
            milestones=tuple(sorted(self._milestones(found, moment))),
            trial_end=terms.trial_end if slot.trial else None,
            trial_end_behavior=terms.trial_end_behavior if slot.trial else None,
            coupon=terms.coupon,
            budget=terms.budget,
            budget_soft=terms.budget_soft,
            minimum_spend=None if spend is None else Price(None, spend, terms.currency),
            paying_customer_id=terms.paying_customer_id,
        )

    def _metadata(self, slot: Slot, plans: Given, moment: Moment) -> tuple[tuple[str, str], ...]:
        """What the contracts that give a plan say of themselves."""
        all_terms = (self._evaluation.terms.at(giving.contract, slot, moment).terms for giving, _ in plans)
        return tuple(sorted({pair for terms in all_terms for pair in terms.metadata}))

    def _entitlements(
        self, entities: dict[Entity, Given], charges: Container[str], moment: Moment
    ) -> tuple[Entitlement, ...]:
        """What is set beside the plan: not what it charges by the unit, nor the credits that come with it."""
        made = (
            self._entitlement(kind, id, given, moment)
            for (kind, id), given in entities.items()
            if kind == "Credit entitlement"
            or (kind == "Entitlement" and id not in charges and not self._catalogue.includes(kind, id))
        )
        return tuple(sorted(made, key=lambda entitlement: (entitlement.type, entitlement.id)))

    def _entitlement(self, kind: str, id: str, given: Given, moment: Moment) -> Entitlement:
        lines = giving_lines(given, moment)
        newest = sorted(lines, key=lambda line: (line.deal.effective, line.deal.depth), reverse=True)
        type_: Literal["CREDIT", "FEATURE"] = "CREDIT" if kind == "Credit entitlement" else "FEATURE"
        cadence = _first_said(line.item.cadence for line in newest)
        if type_ == "FEATURE" and self._catalogue.feature_types.get(id) == "BOOLEAN":
            return Entitlement(type_, id, cadence=cadence)
        unlimited = _unlimited(given)
        return Entitlement(
            type=type_,
            id=id,
            limit=None if unlimited else _units(given),
            unlimited=unlimited,
            soft_limit=any(line.item.soft_limit for line in lines),
            reset_period=_first_said(line.item.reset_period for line in newest),
            cadence=cadence,
        )

    def _milestones(self, found: SlotTimeline, moment: Moment) -> set[str]:
        """The renewals, cancellations and dates that lie behind: what may have lowered it without an approval."""
        lines = [*(line for giving in found.givings for line in giving.track.lines), *self.never[found.slot]]
        return {milestone for line in lines for milestone in _behind(line, moment)}


def plans_of(given: Given) -> Given:
    """What of it is a plan."""
    return [(giving, holding) for giving, holding in given if giving.is_plan]


def by_entity(given: Given) -> dict[Entity, Given]:
    """What each contract gives, by what it is."""
    found: dict[Entity, Given] = defaultdict(list)
    for giving, holding in given:
        found[giving.entity].append((giving, holding))
    return found


def giving_lines(given: Given, moment: Moment) -> list[Line]:
    """The lines that count at a moment, without those that take."""
    return [line for giving, _ in given for line in giving.lines(moment) if line.item.quantity > 0]


def leading_line(plans: Given, moment: Moment) -> Line:
    """The plan line that a subscription takes its plan, its start and its terms from: the one that starts first."""
    lines = giving_lines(plans, moment)
    return min(lines, key=lambda line: (line.start, line.deal.depth, line.item.stigg_id, line.deal.id))


def units_of(plans: Given, catalogue: Catalogue) -> int:
    """The units of a plan: those of all contracts where it is sold by the unit, else 1. Of one that left the catalogue
    it is not known: then it is sold so if any contract has another number.
    """
    sold: dict[Contract, int] = defaultdict(int)
    known = False
    for giving, holding in plans:
        if is_sold_by_unit(catalogue, giving.entity[1]):
            sold[giving.contract] += holding.units
            known = known or catalogue.plan(giving.entity[1]) is not None
    return sum(sold.values()) if known or any(units != 1 for units in sold.values()) else 1


def _unlimited(given: Given) -> bool:
    return any(holding.unlimited > 0 for _, holding in given)


def _plan_lines(given: Given, moment: Moment) -> list[Line]:
    """The lines of plans that count at a moment, with those that take."""
    return [line for giving, _ in plans_of(given) for line in giving.lines(moment)]


def _units(given: Given) -> int:
    """The units of all contracts together."""
    return sum(holding.units for _, holding in given)


def _first_said(values: Iterable[str | None]) -> str | None:
    """The first that says anything."""
    return next(filter(None, values), None)


def _becomes_paid(slot: Slot, lines: Iterable[Line]) -> bool:
    """Whether what stands in a slot is a trial that became paid."""
    return not slot.trial and all(line.contract.is_trial for line in lines)


def _behind(line: Line, moment: Moment) -> Iterator[str]:
    """What of a line lies behind: its start as a renewal, its own start, its end and who ended it."""
    if line.deal.is_renewal and line.start <= moment:
        yield line.deal.id
    if line.item.start is not None and starting(line.item.start) <= moment:
        yield f"{line.deal.id}@{iso_utc(line.item.start)}"
    if line.end.instant is not None and line.end <= moment:
        yield f"{line.deal.id}@{iso_utc(line.end.instant)}"
        yield from (cause.by for cause in line.causes if cause.kind in ("renewed", "cancelled") and cause.by)


def _deals(found: SlotTimeline, moment: Moment) -> tuple[OpportunityId, ...]:
    """The deals of which a line counts in a slot at a moment, by their starts."""
    lines = (line for giving in found.givings for line in giving.lines(moment))
    return tuple(dict.fromkeys(line.deal.id for line in sorted(lines, key=_by_start)))


def _by_start(line: Line) -> tuple[Moment, Moment, int, str]:
    """By what the deal says of its start: the first is the one that Stigg links to."""
    return (starting(line.deal.order.start), line.deal.effective, line.deal.depth, line.deal.id)


def _until(slot: Slot, plan_lines: list[Line], end: Moment) -> Until:
    if slot.trial:
        return Never()  # a trial ends by its own date
    if end.instant is None and all(line.lapses is not None for line in plan_lines):
        return EndOfBillingPeriod()
    return At(end.instant) if end.instant is not None else Never()


def _plan_price(plans: Given, units: int, currency: str, unit_feature: str | None) -> Iterable[Price]:
    """The price override of a plan: of its base charge, or, where it is sold by the unit, of the feature it counts.
    What is at the catalogue's price has none.
    """
    if told := _priced(plans):
        yield Price(None, override(_charge(told), units).amount, currency, unit_feature)


def _says(prices: Iterable[Price], price: Price) -> bool:
    """Whether prices say one of the same thing already."""
    return any(other.of == price.of for other in prices)


def _part_prices(parts: dict[str, Given], price: Callable[[str, float], Price]) -> Iterable[Price]:
    """The price overrides of add-ons, or of what the plan charges by the unit, by ID."""
    for id in sorted(parts):
        if told := _priced(parts[id]):
            yield price(id, _part_price(parts[id], told))


def _part_price(given: Given, told: Given) -> float:
    """The price of one unit of an add-on or feature. In: what each contract gives of it; what of that has a price,
    never empty.
    """
    if len(told) < len(given) or any(holding.mixed for _, holding in told):
        # A fault that nobody can make way for any more: the price that was told goes on.
        return round(float(max(holding.told or 0 for _, holding in told)), 6)
    return override(_charge(told), _units(told)).amount


def _priced(given: Given) -> Given:
    """What has a price of its own."""
    return [(giving, holding) for giving, holding in given if holding.priced]


def _charge(given: Given) -> Fraction:
    """What all contracts together charge for one period."""
    return sum((holding.charge for _, holding in given), start=Fraction(0))
