"""Components: which deals can have anything to do with each other, so that only those are looked at again. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from closedwon.domain.contract.contracts import Contracts
from closedwon.domain.contract.subscriptions import static_slots
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.order import Order


class Components:
    """Deals that name each other, belong to one contract or meet in one slot, directly or through others.

    In: every order that was ever read; the contracts of those that contribute.
    """

    def __init__(self, orders: Iterable[Order], contracts: Contracts) -> None:
        self._parent: dict[str, str] = {}
        for order in orders:
            for name in order.names | order.references:
                self._join(order.opportunity_id, name)
            for slot in static_slots(order, contracts.catalogue):
                self._join(order.opportunity_id, f"slot {slot._replace(trial=False).key}")
        for line in contracts.lines:
            self._join(line.deal.id, line.contract.root.id)
            self._join(line.deal.id, f"slot {line.slot._replace(trial=False).key}")
        self._members: dict[str, set[OpportunityId]] = defaultdict(set)

    def with_members(self, ids: Iterable[OpportunityId]) -> Components:
        """The components of some opportunities."""
        for id in ids:
            self._members[self._root(id)].add(id)
        return self

    def of(self, id: OpportunityId) -> set[OpportunityId]:
        """The opportunities that can have to do with one, itself among them."""
        return self._members[self._root(id)]

    def _root(self, name: str) -> str:
        while (parent := self._parent.setdefault(name, name)) != name:
            self._parent[name] = self._parent[parent]  # halves the way for the next one
            name = parent
        return name

    def _join(self, one: str, other: str) -> None:
        self._parent[self._root(one)] = self._root(other)
