"""The IDs of the subscriptions closed-won makes: by them it knows its own. Pure."""

from __future__ import annotations

import hashlib

from closedwon.domain.desired import Slot
from closedwon.domain.identifiers import CustomerId, SubscriptionId


def subscription_id(customer_id: CustomerId, slot: Slot, generation: int) -> SubscriptionId:
    """The ID of a subscription closed-won makes: its slot and generation, so that the same wish has the same name."""
    return SubscriptionId(f"{stem_of_slot(customer_id, slot)}-{generation}")


def is_ours(customer_id: CustomerId, slot: Slot, id: SubscriptionId) -> bool:
    """Whether an ID is one that `subscription_id` gives for this slot, of whatever generation."""
    return stem_of(id) == stem_of_slot(customer_id, slot)


def generation_of(id: SubscriptionId) -> int:
    """The generation in an ID of ours; 0 for an adopted one's."""
    generation = id.rpartition("-")[2]
    return int(generation) if generation.isdecimal() else 0


def stem_of(id: SubscriptionId) -> str | None:
    """What all generations of a slot have in common, of an ID that may be ours; None of one that cannot be."""
    stem, _, generation = id.rpartition("-")
    return _without_at(stem) if generation.isdecimal() else None


def stem_of_slot(customer_id: CustomerId, slot: Slot) -> str:
    """What the IDs of all subscriptions in a slot begin with."""
    # The hash keeps IDs apart that would read the same once joined; the rest is for people.
    name = hashlib.sha256(f"{customer_id}|{slot.key}".encode()).hexdigest()[:8]
    return _without_at(f"{customer_id[:80]}-{slot.product_id[:80]}-{name}")


def _without_at(stem: str) -> str:
    """A customer's ID may have an @, and no other ID (`identifiers.ENTITY_ID`). Before that was known, it was kept."""
    return stem.replace("@", "-")
