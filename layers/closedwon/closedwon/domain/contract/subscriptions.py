"""Subscriptions: what a slot's timeline comes to as one subscription of Stigg, at a moment. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from closedwon.domain.catalogue import Catalogue, Plan
from closedwon.domain.contract.money import override
from closedwon.domain.contract.pieces import Entity, Line
from closedwon.domain.contract.references import Deal
from closedwon.domain.contract.sweep import Present, Span, Total, Totals
from closedwon.domain.contract.terms import ContractTerms
from closedwon.domain.contract.timeline import Giving, SlotTimeline, within
from closedwon.domain.desired import Entitlement, Price, Slot, Subscription
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import NO_DAY, At, EndOfBillingPeriod, Moment, Never, Until, iso_utc, starting
from closedwon.domain.order import Item, Kind, Order

if TYPE_CHECKING:
    from closedwon.domain.contract.standing import Evaluation, World


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
        self._courses: dict[Slot, _Course] = {}
        self.never: dict[Slot, list[Line]] = defaultdict(list)
        for line in evaluation.contracts.lines:
            if line.is_plan and not line.ever:
                self.never[line.slot].append(line)

    def at(self, slot: Slot, at: Moment) -> Subscription | None:
        """What should stand in a slot at a moment; where that is nothing, what comes next; None: nothing any more."""
        course = self._courses.get(slot)
        if course is None:
            found = self._evaluation.timeline.slots.get(slot)
            if found is None:
                return None
            course = _Course(found, self._evaluation.terms, self._catalogue, self.never.get(slot, ()))
            self._courses[slot] = course
        return course.at(at)


class _Course:
    """The subscriptions of one slot, one after the other. In: its timeline; the terms of contracts; the catalogue; plan
    lines of it that never count.
    """

    def __init__(self, found: SlotTimeline, terms: ContractTerms, catalogue: Catalogue, never: Iterable[Line]) -> None:
        self._found = found
        self._slot = found.slot
        self._terms = terms
        self._catalogue = catalogue
        self._never = never
        self._totals = Totals(found)
        self._entitlements: dict[Entity, Entitlement] = {}
        self._made: dict[int, Subscription] = {}
        self._ends = [end for _, end in found.stands]

    def at(self, at: Moment) -> Subscription | None:
        """See `Subscriptions.at`."""
        for start, end in self._found.stands[bisect_right(self._ends, at) :]:
            moment = max(start, at)
            if self._is_won_trial(moment):
                return None  # a trial that was won ends when the paid subscription stands
            if start > at and self._becomes_paid(moment):
                continue  # it becomes so by itself: none to be made before
            place = bisect_right(self._edges, moment)
            if place not in self._made:
                self._made[place] = self._make(moment, end)
            return self._made[place]
        return None

    def _make(self, moment: Moment, end: Moment) -> Subscription:
        first = self._leading.first(moment)
        assert first is not None  # a slot stands where a plan is given
        terms = self._terms.at(first.contract, self._slot, moment).terms
        self._go_to(moment)
        plan_id, spend = first.item.stigg_id, terms.minimum_spend
        plan = self._catalogue.plan(plan_id)
        addons, charges = self._parts("Add-on"), self._charges(plan)
        return Subscription(
            slot=self._slot,
            plan_id=plan_id,
            unit_quantity=self._totals.units,
            addons=tuple([(id, total.units) for id, total in addons]),
            entitlements=self._beside(charges),
            prices=tuple(_prices(self._totals, addons, charges, terms.currency, plan)),
            charges=tuple([(id, total.units) for id, total in charges]),
            charged=tuple(sorted(plan.charged)) if plan else (),
            unit_feature=plan.unit_feature if plan else None,
            billing_period=terms.billing_period,
            payment_collection=terms.payment_collection,
            start=first.start.instant,
            cancellation=self._until(moment, end),
            opportunities=tuple(dict.fromkeys([deal.id for deal in self._deals.at(moment)])),
            metadata=tuple(self._metadata.at(moment)),
            milestones=tuple(self._milestones.at(moment)),
            trial_end=terms.trial_end if self._slot.trial else None,
            trial_end_behavior=terms.trial_end_behavior if self._slot.trial else None,
            coupon=terms.coupon,
            budget=terms.budget,
            budget_soft=terms.budget_soft,
            minimum_spend=None if spend is None else Price(None, spend, terms.currency),
            paying_customer_id=terms.paying_customer_id,
        )

    def _go_to(self, moment: Moment) -> None:
        """Make anew what changed since the moment that was asked for before."""
        self._totals.move(moment)
        for entity in self._totals.changed():
            kind, id = entity
            if kind not in _ENTITLEMENTS:
                continue
            total = self._totals.of.get(entity)
            if total is not None and total.holdings:
                self._entitlements[entity] = self._entitlement(kind, id, total, moment)
            else:
                self._entitlements.pop(entity, None)

    def _entitlement(self, kind: str, id: str, total: Total, moment: Moment) -> Entitlement:
        said = self._said((kind, id), moment)
        if kind == "Entitlement" and self._catalogue.feature_types.get(id) == "BOOLEAN":
            return Entitlement("FEATURE", id, cadence=said.get("cadence"))
        unlimited = total.without_limit > 0
        return Entitlement(_ENTITLEMENTS[kind], id, None if unlimited else total.units, unlimited, **said)

    def _said(self, entity: Entity, moment: Moment) -> dict[str, Any]:
        """What the newest lines say of an entity beside how much of it there is: each thing, that which says it."""
        if entity not in self._saying:
            return {}
        newest = ((name, lines.first(moment)) for name, lines in self._saying[entity].items())
        return {name: getattr(line.item, name) for name, line in newest if line is not None}

    def _until(self, moment: Moment, end: Moment) -> Until:
        if self._slot.trial:
            return Never()  # a trial ends by its own date
        if end.instant is not None:
            return At(end.instant)
        first = self._going_on.first(moment)
        return EndOfBillingPeriod() if first is None or first.lapses is not None else Never()

    def _is_won_trial(self, moment: Moment) -> bool:
        """Whether all that gives the plan are trials that were won."""
        first = self._sold.first(moment)
        return first is None or first.deal.shadow

    def _becomes_paid(self, moment: Moment) -> bool:
        """Whether what stands at a moment is a trial that became paid."""
        first = self._not_tried.first(moment)
        return not self._slot.trial and (first is None or first.contract.is_trial)

    def _parts(self, kind: Kind) -> list[tuple[str, Total]]:
        """What there is of each add-on, or of each feature, by ID."""
        of = self._totals.of
        return [(entity[1], of[entity]) for entity in self._by_kind[kind] if entity in of and of[entity].holdings]

    def _charges(self, plan: Plan | None) -> list[tuple[str, Total]]:
        """What the plan charges by the unit. What has no limit is no quantity: it stays an entitlement, as it was."""
        if plan is None or not plan.charges:
            return []
        charged = plan.charged
        parts = self._parts("Entitlement")
        return [(id, total) for id, total in parts if id in charged and not total.without_limit]

    def _beside(self, charges: Iterable[tuple[str, Total]]) -> tuple[Entitlement, ...]:
        """What is set beside the plan: not what it charges by the unit, nor the credits that come with it."""
        made = self._entitlements
        charged = {("Entitlement", id) for id, _ in charges}
        return tuple([made[entity] for entity in self._order if entity in made and entity not in charged])

    # What there is at each moment

    @cached_property
    def _order(self) -> list[Entity]:
        """The entitlements in the order in which they are told."""
        found = [entity for kind in _ENTITLEMENTS for entity in self._by_kind[kind]]
        return [entity for entity in found if not self._catalogue.includes(*entity)]

    @cached_property
    def _by_kind(self) -> dict[str, list[Entity]]:
        """What it ever has of each kind, by ID."""
        found: dict[str, list[Entity]] = defaultdict(list)
        for entity in sorted(self._found.by_entity):
            found[entity[0]].append(entity)
        return found

    @cached_property
    def _plan_lines(self) -> list[tuple[Line, Span]]:
        """The lines of plans, those that take too, with the spans in which their plan is given."""
        return [one for giving in self._found.plan_givings for one in _given(giving, giving.track.lines)]

    def _plans(self, order: Callable[[Line], Any], giving: bool = True) -> Present[Line]:
        """The lines of plans, without those that take unless that is said. order: what comes first."""
        return Present((one for one in self._plan_lines if not giving or one[0].item.quantity > 0), order)

    @cached_property
    def _leading(self) -> Present[Line]:
        """Lines of plans: from the first a subscription takes its plan, its start and its terms."""
        return self._plans(by_lead)

    @cached_property
    def _going_on(self) -> Present[Line]:
        return self._plans(lambda line: line.lapses is not None)

    @cached_property
    def _sold(self) -> Present[Line]:
        return self._plans(lambda line: line.deal.shadow, giving=False)

    @cached_property
    def _not_tried(self) -> Present[Line]:
        return self._plans(lambda line: line.contract.is_trial, giving=False)

    @cached_property
    def _saying(self) -> dict[Entity, dict[str, Present[Line]]]:
        """By entity, and by what is said of it, the lines that say it, the newest first."""
        found: dict[Entity, dict[str, Present[Line]]] = {}
        for entity in self._order:
            lines = [
                (giving, line) for giving in self._found.by_entity[entity] for line in _lines_saying(giving.track.lines)
            ]
            if lines:
                found[entity] = {name: _newest(name, lines) for name in _SAID}
        return found

    @cached_property
    def _deals(self) -> Present[Deal]:
        """The deals of which a line counts, by their starts."""
        times = {
            (line.deal, (line.start, line.end), giving.times): None
            for giving in self._found.givings
            for line in giving.track.lines
        }
        spans = {(deal, one): None for deal, span, shared in times for one in within([span], shared.spans)}
        return Present(spans, _by_start)

    @cached_property
    def _metadata(self) -> Present[tuple[str, str]]:
        """What the contracts that give a plan say of themselves."""
        spans = [
            (pair, one)
            for giving in self._found.plan_givings
            for span, said in self._terms.spans(giving.contract, self._slot)
            for pair in said.metadata
            for one in within([span], giving.gives)
        ]
        return Present(spans, lambda pair: pair)

    @cached_property
    def _milestones(self) -> Present[str]:
        """The renewals, cancellations and dates that lie behind: what may have lowered it without an approval."""
        lines = [*(line for giving in self._found.givings for line in giving.track.lines), *self._never]
        return Present(((name, (since, NO_DAY)) for name, since in _milestones(lines)), str)

    @cached_property
    def _edges(self) -> list[Moment]:
        """When anything of it may change."""
        found = {*self._found.moments, *self._milestones.moments}
        for giving in self._found.plan_givings:
            found.update(self._terms.moments(giving.contract, self._slot))
        return sorted(found)


_ENTITLEMENTS: dict[str, Literal["CREDIT", "FEATURE"]] = {"Credit entitlement": "CREDIT", "Entitlement": "FEATURE"}
"""The kinds that are entitlements, and what Stigg calls them."""

_SAID = ("soft_limit", "reset_period", "cadence")
"""What lines say of an entitlement beside how much of it there is."""


def _lines_saying(lines: Iterable[Line]) -> list[Line]:
    """The lines that give something and say anything of it."""
    return [line for line in lines if line.item.quantity > 0 and _says(line.item)]


def _says(item: Item) -> bool:
    return bool(item.reset_period or item.cadence or item.soft_limit)


def _newest(name: str, lines: Iterable[tuple[Giving, Line]]) -> Present[Line]:
    """Of lines, those that say one thing, the newest first."""
    saying = [(giving, line) for giving, line in lines if getattr(line.item, name)]
    return Present((one for giving, line in saying for one in _given(giving, [line])), _by_effect, latest=True)


def _given(giving: Giving, lines: Iterable[Line]) -> list[tuple[Line, Span]]:
    """Lines of a giving with the spans in which they count and it gives something."""
    gives = giving.gives
    return [(line, span) for line in lines for span in within([(line.start, line.end)], gives)]


def by_lead(line: Line) -> tuple[Moment, int, str, str]:
    """In which order plan lines lead: the one that starts first."""
    return (line.start, line.deal.depth, line.item.stigg_id, line.deal.id)


def _by_effect(line: Line) -> tuple[Moment, int]:
    return (line.deal.effective, line.deal.depth)


def _by_start(deal: Deal) -> tuple[Moment, Moment, int, str]:
    """By what the deal says of its start: the first is the one that Stigg links to."""
    return (starting(deal.order.start), deal.effective, deal.depth, deal.id)


def _milestones(lines: Iterable[Line]) -> Iterator[tuple[str, Moment]]:
    """What of lines lies behind one day, and from when on: renewals, starts of their own, ends and who ended them."""
    days: dict[tuple[OpportunityId, Moment], None] = {}
    deals: dict[tuple[OpportunityId, Moment], None] = {}
    for line in lines:
        if line.deal.is_renewal:
            deals[line.deal.id, line.start] = None
        if line.item.start is not None:
            days[line.deal.id, starting(line.item.start)] = None
        if line.end.instant is not None:
            days[line.deal.id, line.end] = None
            deals |= {(c.by, line.end): None for c in line.causes if c.by and c.kind in ("renewed", "cancelled")}
    yield from deals
    for id, day in days:
        if day.instant is not None:
            yield f"{id}@{iso_utc(day.instant)}", day


def _prices(
    totals: Totals,
    addons: Iterable[tuple[str, Total]],
    charges: Iterable[tuple[str, Total]],
    currency: str,
    plan: Plan | None,
) -> Iterator[Price]:
    """The price overrides: the plan's, then by add-on, then by what the plan charges by the unit. What is at the
    catalogue's price has none.
    """
    of_units = [Price(None, _part_price(total), currency, id) for id, total in charges if total.priced]
    own = _plan_price(totals, currency, plan.unit_feature if plan else None)
    # Where the units are on a line of their own, that line says their price.
    if own is not None and all(price.of != own.of for price in of_units):
        yield own
    yield from (Price(id, _part_price(total), currency) for id, total in addons if total.priced)
    yield from of_units


def _plan_price(totals: Totals, currency: str, unit_feature: str | None) -> Price | None:
    """The price override of a plan: of its base charge, or, where it is sold by the unit, of the feature it counts."""
    plans = [one for one in totals.plans if one.priced]
    if not plans:
        return None
    charge = sum((one.charge for one in plans), start=Fraction(0))
    return Price(None, override(charge, totals.units).amount, currency, unit_feature)


def _part_price(total: Total) -> float:
    """The price of one unit of an add-on or feature, of which some has a price."""
    if total.priced < len(total.holdings) or total.mixed:
        # A fault that nobody can make way for any more: the price that was told goes on.
        return round(float(max(holding.told or 0 for holding in total.holdings.values() if holding.priced)), 6)
    return override(total.charge, total.priced_units).amount
