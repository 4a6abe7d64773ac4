"""Lines of one entity: which they are, and how they are added up. Pure; `order` says what an item is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from closedwon.domain.instants import starting

if TYPE_CHECKING:
    from closedwon.domain.order import Item, Kind

KINDS: tuple[Kind, ...] = ("Plan", "Add-on", "Entitlement", "Credit entitlement", "Credit grant")
"""All kinds, in the order in which an order lists its items."""


def entity_of(item: Item, differences: bool) -> tuple[Any, ...]:
    """What an item is of, as a key to sort by: entity, plan, days. Of differences, those of a limit and those of no
    limit at all do not mix.
    """
    return (
        # A kind that only a later version knows comes last.
        KINDS.index(item.kind) if item.kind in KINDS else len(KINDS),
        item.kind,
        item.stigg_id,
        item.plan_id or "",
        starting(item.start),
        starting(item.end),
        differences and item.unlimited,
    )


def groups_of(items: Iterable[Item], differences: bool) -> list[list[Item]]:
    """Items by their entity, sorted by it; those of one entity by the lines they came from."""
    groups: dict[tuple[Any, ...], list[Item]] = {}
    for item in items:
        groups.setdefault(entity_of(item, differences), []).append(item)
    return [sorted(groups[entity], key=lambda item: item.lines) for entity in sorted(groups)]


def added_up(items: Iterable[Item], differences: bool) -> tuple[Item, ...]:
    """Lines that agree in everything but how many (and how many there were before) as one item each.

    Out: in one order, whatever the order of the lines. More and fewer of the same stay apart.
    """
    found: list[Item] = []
    for group in groups_of(items, differences):
        alike: dict[tuple[Item, bool, bool], list[Item]] = {}
        for item in group:
            rest = replace(item, quantity=0, prior=None, lines=())
            alike.setdefault((rest, item.quantity > 0, item.quantity < 0), []).append(item)
        together = (_together(same, differences) for same in alike.values())
        # `repr`, because prices and names may be None, which has no order; names last, they are no part of a digest.
        found += sorted(together, key=lambda item: (repr(replace(item.unnamed(), lines=())), repr(item.names)))
    return tuple(found)


def _together(same: list[Item], differences: bool) -> Item:
    if len(same) == 1:
        return same[0]
    one = _first_of(same)
    return one if one.unlimited and not differences else replace(one, quantity=_units(same))


def _first_of(same: list[Item]) -> Item:
    """The first of several, for all of them: with all their lines, and what there was before all of them."""
    lines = tuple(number for item in same for number in item.lines)
    return replace(same[0], prior=_sum_of(item.prior for item in same), lines=lines)


def _units(same: list[Item]) -> int:
    return sum(item.quantity for item in same)


def _sum_of(numbers: Iterable[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


def netted_item(same: list[Item], differences: bool, ends: bool) -> Item:
    """The items of one entity as the one of the first form. ends: they are a cancellation's, whose quantities that form
    did not keep.
    """
    unlimited, soft = any(item.unlimited for item in same), any(item.soft_limit for item in same)
    one = replace(_first_of(same), unlimited=unlimited, soft_limit=soft)
    if ends:
        return replace(one, quantity=0)
    if not differences:
        return replace(one, quantity=1 if unlimited else _units(same))
    # The whole amount of a difference: prices of units bought at different times are netted by it.
    values = [item.quantity * item.price for item in same if item.price is not None]
    return replace(one, quantity=_units(same), price=_unit_price(same), value=sum(values) if values else None)


def _unit_price(items: list[Item]) -> float | None:
    """The price of one unit that differences add, in whole currency units: the mean, where lines differ."""
    added = [(item.quantity, item.price) for item in items if item.price is not None and item.quantity > 0]
    total = sum(quantity for quantity, _ in added)
    return round(sum(quantity * price for quantity, price in added) / total, 6) if total else None
