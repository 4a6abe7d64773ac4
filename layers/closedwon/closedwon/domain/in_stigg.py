"""A customer's subscriptions in Stigg, found by their slot and by the IDs closed-won gives. Pure.

Whoever looks through all of them for each slot takes the square of a large customer's time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from closedwon.domain.changes import LIVE, Actual
from closedwon.domain.desired import Slot
from closedwon.domain.identifiers import CustomerId, SubscriptionId
from closedwon.domain.records import SlotRecord
from closedwon.domain.subscription_ids import generation_of, stem_of, stem_of_slot


class InStigg:
    """What stands, and what once stood. In: the customer's ID in Stigg; all of its subscriptions that are known."""

    def __init__(self, customer_id: CustomerId, actual: Iterable[Actual]) -> None:
        self._customer_id = customer_id
        self._places: dict[SubscriptionId, int] = {}
        self._by_id: dict[SubscriptionId, Actual] = {}
        self._by_slot: dict[Slot, list[Actual]] = defaultdict(list)
        self._by_stem: dict[str, list[Actual]] = defaultdict(list)
        self._used: dict[str, int] = defaultdict(int)
        for place, one in enumerate(actual):
            if (stem := stem_of(one.id)) is not None:
                self._used[stem] = max(self._used[stem], generation_of(one.id))
            if one.status not in LIVE:
                continue
            self._places[one.id] = place
            self._by_id[one.id] = one
            self._by_slot[one.slot].append(one)
            if stem is not None:
                self._by_stem[stem].append(one)

    def in_slot(self, slot: Slot) -> list[Actual]:
        """What stands in a slot, whoever made it."""
        return self._by_slot.get(slot, [])

    def named_after(self, slot: Slot, record: SlotRecord) -> list[Actual]:
        """What stands and was made for a slot by its record or its own ID, whatever it became."""
        return self._named((slot,), record)

    def ours_in(self, slot: Slot, record: SlotRecord) -> list[Actual]:
        """The subscriptions that closed-won keeps in a slot, a trial of its own that became paid too: one, but for what
        a step that died left behind.
        """
        # Ours are known by their ID: their plan, and with it their product, may have left the catalogue.
        slots = (slot,) if slot.trial else (slot, slot._replace(trial=True))
        return [one for one in self._named(slots, record) if one.slot.trial == slot.trial]

    def generation(self, slot: Slot) -> int:
        """The highest generation that was used in a slot; 0 for none."""
        return self._used.get(stem_of_slot(self._customer_id, slot), 0)

    def _named(self, slots: Iterable[Slot], record: SlotRecord) -> list[Actual]:
        stems = (stem_of_slot(self._customer_id, slot) for slot in slots)
        found = {one.id: one for stem in stems for one in self._by_stem.get(stem, ())}
        if record.subscription_id is not None and record.subscription_id in self._by_id:
            found[record.subscription_id] = self._by_id[record.subscription_id]
        return sorted(found.values(), key=lambda one: self._places[one.id])
