"""What Stigg's catalogue allows a deal: judged by the deal alone, before anything of it is provisioned. Pure.

What the lines of several deals come to together is judged with their contract (`contract.offering`), by the same codes.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any, Literal, NamedTuple

from closedwon.domain.catalogue import CURRENCIES, Catalogue, FeatureCharge, IncludedCredits, Plan
from closedwon.domain.instants import ending, starting
from closedwon.domain.order import Item, Kind, Order, Problem


def catalogue_problems(order: Order, catalogue: Catalogue) -> tuple[Problem, ...]:
    """What is wrong with an order that only Stigg's catalogue shows: unknown IDs, incompatible add-ons, currency.

    What differences are compatible with is their contract's plan: that is judged with the contract.
    """
    problems: dict[Problem, None] = {}
    known: dict[Kind, Container[str]] = {
        "Plan": catalogue.plans,
        "Add-on": catalogue.max_quantities,
        "Entitlement": catalogue.feature_types,
        "Credit entitlement": catalogue.currencies,
        "Credit grant": catalogue.currencies,
    }
    for item in order.items:
        line = item.lines[0]
        if item.stigg_id not in known[item.kind] and not catalogue.includes(item.kind, item.stigg_id):
            problems[_missing(line, "stiggId", f"Stigg has no {item.kind.lower()} {item.stigg_id}")] = None
            continue
        if item.price is not None and order.currency not in CURRENCIES:
            problems[_missing(line, "price", f"Stigg has no prices in {order.currency.upper()}")] = None
        if catalogue.feature_types.get(item.stigg_id) == "ENUM":
            said = f"{item.stigg_id} is a list of values, which a deal cannot set"
            problems[_missing(line, "stiggId", said)] = None
    whole = order.trigger != "cancellation" and not order.differences
    if whole and all(plan.stigg_id in catalogue.plans for plan in order.of_kind("Plan")):
        problems |= {problem: None for problem, _ in _unfit(order.items, catalogue)}
    return tuple(problems)


def _missing(line: int, field: str, message: str) -> Problem:
    return Problem(line, field, message, "not_in_catalogue")


def _unfit(items: Iterable[Item], catalogue: Catalogue) -> Iterable[tuple[Problem, Item]]:
    """What of some items that count together at any time does not go together, by Stigg's catalogue."""
    placed = [(starting(i.start), ending(i.end), i) for i in items if i.kind != "Credit grant"]
    judged: set[tuple[int, ...]] = set()
    for moment in sorted({start for start, _, _ in placed}):
        there = [item for start, end, item in placed if start <= moment < end]
        plans = tuple(item for item in there if item.kind == "Plan")
        with_plans = tuple(map(id, plans))
        new = [item for item in there if (id(item), *with_plans) not in judged]  # most lines last from first to last
        judged.update((id(item), *with_plans) for item in new)
        yield from _unfit_for(plans, new, catalogue)
        yield from _plans_of_one_product(plans, catalogue)
        yield from _named_twice(plans, there, catalogue)
        for plan_item in plans:
            yield from _unfit_quantities(plan_item, _items_of(plan_item, plans, there, catalogue), catalogue)
        yield from _dependencies(there, catalogue)


def _unfit_for(plans: tuple[Item, ...], items: Iterable[Item], catalogue: Catalogue) -> Iterable[tuple[Problem, Item]]:
    """What of some items does not go with the plans that they count with: each judged by itself."""
    for item in items:
        if item.kind == "Add-on":
            yield from _too_many(item, catalogue)
        if item.kind == "Plan" or (item.kind == "Add-on" and item.stigg_id not in catalogue.max_quantities):
            continue
        takers = _takers(item, plans, catalogue)
        if not takers:
            yield _taken_by_none(item, plans), item
        elif len(takers) > 1:
            names = " and ".join(plan.stigg_id for plan in takers)
            said = f"{item.stigg_id} fits {names}: say which plan it belongs to"
            yield Problem(item.lines[0], "planId", said, "plan_ambiguous"), item
        elif item.kind == "Entitlement":
            yield from _unfit_feature(item, takers[0].stigg_id, catalogue)


def _too_many(addon: Item, catalogue: Catalogue) -> Iterable[tuple[Problem, Item]]:
    """That there is more of an add-on than one subscription holds."""
    most = catalogue.max_quantities.get(addon.stigg_id)
    if most is not None and addon.quantity > most:
        said = f"a subscription holds at most {most} of {addon.stigg_id}"
        yield Problem(addon.lines[0], "quantity", said, "too_many"), addon


def _taken_by_none(item: Item, plans: tuple[Item, ...]) -> Problem:
    """What is wrong with an item that none of some plans takes."""
    line = item.lines[0]
    if not plans:
        return Problem(line, "stiggId", f"{item.stigg_id} is left without a plan", "no_plan")
    if item.plan_id and item.plan_id not in {plan.stigg_id for plan in plans}:
        return Problem(line, "planId", f"no line of the deal has the plan {item.plan_id}", "no_plan")
    names = " or ".join(plan.stigg_id for plan in plans)
    return Problem(line, "stiggId", f"{item.stigg_id} is not compatible with {names}", "not_compatible")


# What a plan charges by the unit, and includes


class Quantity(NamedTuple):
    """How many of a feature a plan does not sell. code, facts: why; said: the same, for one deal."""

    code: Literal["not_whole_blocks", "too_few", "too_many"]
    facts: dict[str, Any]
    said: str


def unsold_quantity(charge: FeatureCharge, units: int) -> Quantity | None:
    """Why a plan does not sell so many of a feature that it charges by the unit; None where it does.

    Blocks: Stigg charges whole ones, 1,500 calls in blocks of 1,000 as two (docs.stigg.io, *In-advance commitment*,
    *Package*), so the customer would pay for more than was sold. Bounds: the same page, *Advanced*.
    """
    id = charge.feature_id
    if charge.block_size is not None and units % charge.block_size:
        facts = {"item": id, "quantity": units, "block": charge.block_size}
        said = f"{id} is charged in blocks of {charge.block_size:,}, and {units:,} are no whole blocks"
        return Quantity("not_whole_blocks", facts, said)
    if charge.least is not None and units < charge.least:
        said = f"{id} is sold from {charge.least:,} on, and there would be {units:,}"
        return Quantity("too_few", {"item": id, "there": units, "least": charge.least}, said)
    if charge.most is not None and units > charge.most:
        said = f"{id} is sold up to {charge.most:,}, and there would be {units:,}"
        return Quantity("too_many", {"item": id, "there": units, "most": charge.most}, said)
    return None


def _unfit_feature(item: Item, plan_id: str, catalogue: Catalogue) -> Iterable[tuple[Problem, Item]]:
    """What is wrong with a line of a feature, or of included credits, by the plan that it belongs to."""
    line, id = item.lines[0], item.stigg_id
    plan = catalogue.plan(plan_id)
    if plan is None:
        return
    if catalogue.includes(item.kind, id):
        if (problem := _other_credits(item, plan_id, plan.included(id))) is not None:
            yield problem, item
    elif (charge := plan.charge(id)) is None:
        if item.price is not None:
            said = f"{plan_id} does not charge {id} by the unit: a price override goes on the plan or an add-on"
            yield Problem(line, "price", said, "not_charged_by_unit"), item
    else:
        not_sold = (("unlimited", item.unlimited), ("softLimit", item.soft_limit), ("resetPeriod", item.reset_period))
        for field, said_so in not_sold:
            if said_so:
                said = f"{plan_id} charges {charge.feature_id} by the unit: that takes a quantity, and no {field}"
                code = "unlimited_units" if field == "unlimited" else "not_in_catalogue"
                yield Problem(line, field, said, code), item


def _other_credits(item: Item, plan_id: str, credits: IncludedCredits | None) -> Problem | None:
    """Why a line that names credits which come with a plan says something else than the plan."""
    line, id = item.lines[0], item.stigg_id
    if credits is None:
        said = f"{plan_id} includes no {id}: to add credits, use the Stigg Type Credit entitlement or Credit grant"
        return Problem(line, "stiggId", said, "included_credits_differ")
    each = {"MONTH": "each month", "YEAR": "each year"}.get(credits.cadence or "", "each period")
    if item.unlimited or item.quantity != credits.amount:
        says = "no limit" if item.unlimited else f"{item.quantity:,}"
        said = f"{plan_id} includes {credits.amount:,g} {id} {each}, and the line says {says}"
        return Problem(line, "quantity", said, "included_credits_differ")
    return None


def _unfit_quantities(plan_item: Item, items: Iterable[Item], catalogue: Catalogue) -> Iterable[tuple[Problem, Item]]:
    """Quantities that a plan does not sell: of itself, and of what it charges by the unit. items: those that belong to
    it.
    """
    plan, id = catalogue.plan(plan_item.stigg_id), plan_item.stigg_id
    if plan is None:
        return
    if plan_item.quantity != 1 and not plan.unit_pricing:
        yield Problem(plan_item.lines[0], "quantity", _no_units(id, plan), "units_not_priced"), plan_item
    charged = _charged(plan, items)
    if plan_item.quantity != 1 and plan.unit_feature in charged:
        first = charged[plan.unit_feature][0]
        said = f"the units of {id} are its {plan.unit_feature}: say how many on one of the two lines"
        yield Problem(first.lines[0], "quantity", said, "units_said_twice"), first
    for feature, some in charged.items():
        charge = plan.charge(feature)
        wrong = charge and unsold_quantity(charge, sum(item.quantity for item in some))
        if wrong:
            yield Problem(some[-1].lines[0], "quantity", wrong.said, wrong.code), some[-1]


def _charged(plan: Plan, items: Iterable[Item]) -> dict[str, list[Item]]:
    """The items of each feature that a plan charges by the unit."""
    charged: dict[str, list[Item]] = {}
    for item in items:
        if item.kind == "Entitlement" and item.stigg_id in plan.charged:
            charged.setdefault(item.stigg_id, []).append(item)
    return charged


def _no_units(plan_id: str, plan: Plan) -> str:
    by_the_unit = f": it charges {' and '.join(sorted(plan.charged))} by the unit" if plan.charged else ""
    return f"{plan_id} is not sold by the unit{by_the_unit}. Its quantity is 1"


def _dependencies(items: list[Item], catalogue: Catalogue) -> Iterable[tuple[Problem, Item]]:
    """Add-ons without those that Stigg does not sell them without (its AddonDependencyMissingError)."""
    addons = {item.stigg_id for item in items if item.kind == "Add-on"}
    for item in items:
        for needed in catalogue.dependencies.get(item.stigg_id, ()) if item.kind == "Add-on" else ():
            if needed not in addons:
                said = f"{item.stigg_id} is not sold without {needed}"
                yield Problem(item.lines[0], "stiggId", said, "addon_dependency_missing"), item


def _named_twice(plans: tuple[Item, ...], items: list[Item], catalogue: Catalogue) -> Iterable[tuple[Problem, Item]]:
    """Items of one entity that only the catalogue brings together: one line says its plan, the other does not."""
    for plan in plans:
        first: dict[tuple[str, str], Item] = {}
        for item in _items_of(plan, plans, items, catalogue):
            other = first.setdefault((item.kind, item.stigg_id), item)
            if other is item:
                continue
            for name, field_name in (
                ("price", "price"),
                ("reset_period", "resetPeriod"),
                ("cadence", "cadence"),
            ):
                if getattr(item, name) != getattr(other, name):
                    said = f"differs from line {other.lines[0]}, which names {other.stigg_id} too"
                    yield Problem(item.lines[0], field_name, said, "terms_conflict"), item


def same_product_problems(order: Order, catalogue: Catalogue) -> tuple[Problem, ...]:
    """Two plans of one product in one deal at one time: Stigg would cancel the first for the second."""
    if order.differences or order.trigger == "cancellation":
        return ()
    return tuple(problem for problem, _ in _plans_of_one_product(order.of_kind("Plan"), catalogue))


def _plans_of_one_product(plans: tuple[Item, ...], catalogue: Catalogue) -> Iterable[tuple[Problem, Item]]:
    for place, plan in enumerate(plans):
        product = catalogue.product_of(plan.stigg_id)
        for other in plans[:place]:
            if product is not None and product == catalogue.product_of(other.stigg_id) and plan.meets(other):
                both = f"{plan.stigg_id} and {other.stigg_id} (line {other.lines[0]})"
                said = f"{both} are plans of one product: a deal names one of them"
                yield Problem(plan.lines[0], "stiggId", said, "two_plans"), plan
                break


def _takers(item: Item, plans: tuple[Item, ...], catalogue: Catalogue) -> list[Item]:
    """The plans of the deal that an add-on or entitlement can belong to."""
    if item.plan_id:
        plans = tuple(plan for plan in plans if plan.stigg_id == item.plan_id)
    taking = catalogue.takers(item.kind, item.stigg_id, [plan.stigg_id for plan in plans], item.price is not None)
    return [plan for plan in plans if plan.stigg_id in taking]


def _items_of(plan: Item, plans: tuple[Item, ...], items: Iterable[Item], catalogue: Catalogue) -> tuple[Item, ...]:
    """The add-ons and entitlements of a plan."""
    others = (item for item in items if item.kind != "Plan")
    # With one plan there is no choice: what was provisioned once stays with it, compatible today or not.
    return tuple(item for item in others if len(plans) == 1 or plan in _takers(item, plans, catalogue))
