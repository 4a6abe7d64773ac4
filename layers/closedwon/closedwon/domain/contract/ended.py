"""Ended: the slots that deals gave something once, and give nothing any more. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.contract.facts import History
from closedwon.domain.contract.pieces import Line
from closedwon.domain.contract.subscriptions import static_slots
from closedwon.domain.contract.timeline import Timeline
from closedwon.domain.desired import Slot
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import Moment
from closedwon.domain.order import Order


def ended_slots(timeline: Timeline, never: Mapping[Slot, Sequence[Line]], at: Moment) -> dict[Slot, set[OpportunityId]]:
    """The slots in which no plan stands at a moment or later, with the deals that gave them one and that ended it.

    In: the timeline; never: plan lines that never count, by slot; the moment.
    """
    found: dict[Slot, set[OpportunityId]] = {}
    for slot, one in timeline.slots.items():
        if any(end > at for _, end in one.stands):
            continue
        lines = [line for giving in one.plan_givings for line in giving.track.lines]
        lines += never.get(slot, ())
        if not all(line.deal.shadow for line in lines):
            found[slot] = _deals(lines)
    return found


def _deals(lines: Iterable[Line]) -> set[OpportunityId]:
    """The deals of lines, and those that ended them."""
    found: set[OpportunityId] = set()
    for line in lines:
        found.add(line.deal.id)
        found.update(cause.by for cause in line.causes if cause.by is not None)
    return found


def former_slots(histories: Iterable[History], catalogue: Catalogue) -> Iterator[tuple[Slot, OpportunityId]]:
    """The slots of what deals gave by earlier readings, and do not any more, each with its deal."""
    for history in histories:
        for order in _former_orders(history):
            for slot in static_slots(order, catalogue):
                if not (slot.trial and _sells_now(history)):
                    yield slot, history.id


def _former_orders(history: History) -> Iterator[Order]:
    """The earlier readings of a deal by which it gave what it does not give any more."""
    if history.sells is not None and history.contribution.unwon:
        yield history.sells.order
    if history.settled is not None and history.settled.order is not None and not history.stands:
        yield history.settled.order


def _sells_now(history: History) -> bool:
    """Whether a deal sells by its newest readings, and does not only try: it goes on where its trial was."""
    order = history.contribution.order
    return order is not None and order.trigger != "trial"
