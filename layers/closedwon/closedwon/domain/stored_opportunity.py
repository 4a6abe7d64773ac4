"""What the ledger stores of an opportunity's readings, and how it reads what this version or the first stored. Pure.

In and out: a `History` as `customer.OpportunityState` keeps it: `sells` and `trial` are None where they are the newest
reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from closedwon.domain.contract.facts import NOTHING, Contribution, History, Reading, of_first_version
from closedwon.domain.order import Order, Revision
from closedwon.domain.stored import Json

STORED_APART = (
    "order",
    "sells_order",
    "trial_order",
    "provisioned",
    "settled_trial",
    "won",
    "sells_revision",
    "trial_revision",
)
"""Names under which parts of an opportunity are stored by this version or the first; all but the order are no field."""

_OF_READINGS = {"settled", "said", "first", "sells_revision", "trial_revision"}
"""What is stored of readings. The first version kept none of it; where none is stored, none is what it means."""


def readings_to_json(kept: History) -> Json:
    """Plain data for the ledger; `readings_of` is its inverse, but for the newest revision. An order that is equal to
    an earlier one is stored as ``{"as": <the earlier one's field>}``.
    """
    settled, stood = kept.settled, kept.settled or NOTHING
    orders = {
        "order": kept.newest.order,
        "sells_order": _order_of(kept.sells),
        "trial_order": _order_of(kept.trial),
        "provisioned": stood.order,
        "settled_trial": stood.trial,
    }
    later = {
        "sells_revision": _revision_of(kept.sells),
        "trial_revision": _revision_of(kept.trial),
        "said": [[list(revision), when] for revision, when in kept.said],
        "first": kept.first and list(kept.first),
        "settled": stood.without_orders_json(),
        "begun": kept.begun,
    }
    # Empty they are left out, but for a contribution that was settled as nothing.
    said = {name for name, value in later.items() if value} | ({"settled"} if settled else set())
    return _orders_to_json(orders) | {name: value for name, value in later.items() if name in said}


def _orders_to_json(orders: Mapping[str, Order | None]) -> Json:
    """Orders by the fields in which they are stored."""
    data: Json = {}
    stored: dict[str, Order] = {}
    for name, one in orders.items():
        if one is not None:
            same = next((earlier for earlier, other in stored.items() if other == one), None)
            stored[name] = one
            data[name] = {"as": same} if same else one.to_json()
    return data


def _order_of(reading: Reading | None) -> Order | None:
    return None if reading is None else reading.order


def _revision_of(reading: Reading | None) -> list[int] | None:
    return None if reading is None else list(reading.revision)


def without_pointers(data: Mapping[str, Any]) -> Json:
    """A stored opportunity, each field with what it holds, also where that is stored as another field's."""
    # Those of a newer version too: what stays in `extra` must not point at what changes.
    return {name: data[value["as"]] if _points(value) else value for name, value in data.items()}


def _points(value: Any) -> bool:
    """Whether a stored field says that it holds what another one does."""
    return isinstance(value, dict) and value.keys() == {"as"}


def readings_of(data: Mapping[str, Any]) -> History:
    """What was stored of an opportunity's readings. In: the stored opportunity, without pointers."""
    orders = _Orders(data)
    newest = Reading(orders.of(data["order"]), _revision(data["revision"]))
    if not data.keys() & _OF_READINGS:
        former = of_first_version(*newest, orders.named("provisioned"), orders.named("won"))
        sells, trial = (None if one == former.newest else one for one in (former.sells, former.trial))
        return replace(former, sells=sells, trial=trial)
    settled, first = data.get("settled"), data.get("first")
    return History(
        newest=newest,
        sells=orders.reading("sells"),
        trial=orders.reading("trial"),
        said=tuple((_revision(at), when) for at, when in data.get("said", ())),
        first=first and _revision(first),
        settled=None
        if settled is None
        else Contribution.from_json(settled, orders.named("provisioned"), orders.named("settled_trial")),
        begun=bool(data.get("begun")),
    )


class _Orders:
    """The orders of a stored opportunity. Mostly all are one, and then its digest, which is cached, is computed once.

    In: the stored opportunity, without pointers.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data
        self._read: list[tuple[Any, Order]] = []

    def of(self, told: Json) -> Order:
        """An order as it is stored."""
        found = next((order for earlier, order in self._read if earlier is told or earlier == told), None)
        if found is None:
            found = Order.from_json(told)
            self._read.append((told, found))
        return found

    def named(self, name: str) -> Order | None:
        """The order that is stored under a name; None where none is."""
        told = self._data.get(name)
        return self.of(told) if told else None

    def reading(self, name: str) -> Reading | None:
        """The reading of which order and revision are stored under a name."""
        order = self.named(f"{name}_order")
        return None if order is None else Reading(order, _revision(self._data[f"{name}_revision"]))


def _revision(told: Sequence[int]) -> Revision:
    return Revision(*told[: len(Revision._fields)])
