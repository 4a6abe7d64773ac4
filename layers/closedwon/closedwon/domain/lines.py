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
    first = same[0]
    if len(same) == 1:
        return first
    return replace(
        first,
        quantity=first.quantity if first.unlimited and not differences else sum(item.quantity for item in same),
        prior=_sum_of(item.prior for item in same),
        lines=tuple(number for item in same for number in item.lines),
    )


def _sum_of(numbers: Iterable[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


def netted_item(same: list[Item], differences: bool, ends: bool) -> Item:
    """The items of one entity as the one of the first form. ends: they are a cancellation's, whose quantities that form
    did not keep.
    """
    first = same[0]
    if len(same) == 1 and not (differences or ends):
        return first
    unlimited = any(item.unlimited for item in same)
    total = 1 if unlimited and not differences else sum(item.quantity for item in same)
    # The whole amount of a difference: prices of units bought at different times are netted by it.
    values = [item.quantity * item.price for item in same if item.price is not None]
    return replace(
        first,
        quantity=0 if ends else total,
        price=_unit_price(same) if differences else first.price,
        value=sum(values) if differences and values else None,
        prior=_sum_of(item.prior for item in same),
        unlimited=unlimited,
        soft_limit=any(item.soft_limit for item in same),
        lines=tuple(number for item in same for number in item.lines),
    )


def _unit_price(items: list[Item]) -> float | None:
    """The price of one unit that differences add, in whole currency units: the mean, where lines differ."""
    added = [(item.quantity, item.price) for item in items if item.price is not None and item.quantity > 0]
    total = sum(quantity for quantity, _ in added)
    return round(sum(quantity * price for quantity, price in added) / total, 6) if total else None
