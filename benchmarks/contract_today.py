"""One customer's deals in the contract model: what stands, what each deal says, the plan, every coming moment."""

from __future__ import annotations

import json
from collections.abc import Callable

from benchmarks.timing import ACCOUNT, CUSTOMER, ORGANIZATION, SALESFORCE, Json, answer, told
from closedwon.domain.catalogue import Catalogue, Plan
from closedwon.domain.contract.agreement import Agreement
from closedwon.domain.contract.facts import Reading, record
from closedwon.domain.contract.standing import World
from closedwon.domain.desired import Policy
from closedwon.domain.identifiers import AccountId, CustomerId
from closedwon.domain.instants import from_milliseconds, starting
from closedwon.domain.marks import Backlinks
from closedwon.domain.plan import plan
from closedwon.domain.records import SlotRecord
from closedwon.domain.subscription_ids import subscription_id
from closedwon.intake.deal import Deal
from closedwon.intake.mapping import MappingRules, compile_deal, revision_of
from closedwon.preview.foresight import remembered


def catalogue_of(told: Json) -> Catalogue:
    """The question's catalogue: as the first version kept it, which this one does not read."""
    plans = {
        id: Plan(product, pricing, frozenset(addons), frozenset(entitlements), detailed=True)
        for id, (product, pricing, addons, entitlements) in told["plans"].items()
    }
    return Catalogue(plans, told["addons"], told["features"], frozenset(told["currencies"]), told["readAt"])


def work_of(question: Json) -> Callable[[], Json]:
    """The work, with everything stored that it finds: the deals, and in Stigg what they come to."""
    catalogue, policy, now = catalogue_of(json.loads(question["catalogue"])), Policy(), question["now"]
    rules, links = MappingRules(ORGANIZATION), Backlinks(SALESFORCE, AccountId(ACCOUNT))
    deals = [Deal.model_validate(one) for one in question["deals"]]
    histories = [record(None, Reading(compile_deal(deal, rules), revision_of(deal))) for deal in deals]
    world = World(catalogue, policy, from_milliseconds(now))
    customer = CustomerId(CUSTOMER)
    records = {
        slot: SlotRecord(1, True, subscription_id(customer, slot, 1), "ACTIVE", applied=one)
        for slot, one in Agreement(histories, world).desired().subscriptions.items()
    }
    actual = remembered(records, catalogue, links)

    def work() -> Json:
        agreement = Agreement(histories, world)
        desired = agreement.desired()
        agreement.statuses()
        found = plan(customer, desired, actual, records, policy, links, now)
        coming = [
            agreement.subscription(slot, interval.start)
            for slot in agreement.slots
            for interval in agreement.intervals(slot)
            if interval.start > starting(world.now)
        ]
        kept = len(found.kept) == len(records) and not found.changes
        return {**told(desired.subscriptions, [*desired.held, *desired.refused]), "kept": kept, "coming": len(coming)}

    return work


if __name__ == "__main__":
    answer(work_of)
