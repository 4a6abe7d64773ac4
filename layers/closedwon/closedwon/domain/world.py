"""What a customer's deals are judged by, from what the ledger knows of it. Pure."""

from __future__ import annotations

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.contract.contracts import Learned
from closedwon.domain.contract.standing import World
from closedwon.domain.customer import Customer
from closedwon.domain.desired import Policy, Slot
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import Instant, from_milliseconds
from closedwon.domain.stops import approval_of_stop, stopped_of, stops_of


def world_of(customer: Customer, catalogue: Catalogue, policy: Policy, now: int) -> World:
    """The world a customer's deals are judged by. now: epoch milliseconds."""
    ends: dict[tuple[OpportunityId, Slot], Instant] = {}
    products: dict[str, str] = {}
    for id, state in customer.opportunities.items():
        products |= state.products
        for key, at in sorted(state.learned.items()):
            slot_key, _, _ = key.rpartition("#")
            ends[OpportunityId(id), Slot.of_key(slot_key)] = at
    slots = {Slot.of_key(key): record for key, record in customer.slots.items()}
    # What somebody approved is sold again, from then on as if it had not been ended.
    stopped = tuple(
        stopped_of(slot, one) for slot, one in stops_of(slots) if approval_of_stop(slot, one) not in customer.approved
    )
    return World(
        catalogue=catalogue,
        policy=policy,
        now=from_milliseconds(now),
        learned=Learned(ends, stopped, products),
        approvals=frozenset(customer.approved),
        currency=customer.currency,
        subscriptions={slot: record.subscription_id for slot, record in slots.items() if record.subscription_id},
    )
