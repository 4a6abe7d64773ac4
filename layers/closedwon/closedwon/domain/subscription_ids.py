"""The IDs of the subscriptions closed-won makes: by them it knows its own. Pure."""

from __future__ import annotations

import hashlib

from closedwon.domain.desired import Slot
from closedwon.domain.identifiers import CustomerId, SubscriptionId


def subscription_id(customer_id: CustomerId, slot: Slot, generation: int) -> SubscriptionId:
    """The ID of a subscription closed-won makes: its slot and generation, so that the same wish has the same name."""
    return SubscriptionId(f"{_stem(customer_id, slot)}-{generation}")


def is_ours(customer_id: CustomerId, slot: Slot, id: SubscriptionId) -> bool:
    """Whether an ID is one that `subscription_id` gives for this slot, of whatever generation."""
    stem, _, generation = id.rpartition("-")
    return generation.isdecimal() and stem in (_stem(customer_id, slot), _former_stem(customer_id, slot))


def generation_of(id: SubscriptionId) -> int:
    """The generation in an ID of ours; 0 for an adopted one's."""
    generation = id.rpartition("-")[2]
    return int(generation) if generation.isdecimal() else 0


def _stem(customer_id: CustomerId, slot: Slot) -> str:
    # An @, which a customer's ID may have, is taken of no other ID (`identifiers.ENTITY_ID`).
    return _former_stem(customer_id, slot).replace("@", "-")


def _former_stem(customer_id: CustomerId, slot: Slot) -> str:
    """As it was made before that was known."""
    # The hash keeps IDs apart that would read the same once joined; the rest is for people.
    name = hashlib.sha256(f"{customer_id}|{slot.key}".encode()).hexdigest()[:8]
    return f"{customer_id[:80]}-{slot.product_id[:80]}-{name}"
