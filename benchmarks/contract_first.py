"""One customer's deals in the first version's fold: what stands, what became of each deal, the plan.

Of coming moments it knows only when the next one is. Its modules are not there any more: they are imported by name.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from benchmarks.timing import ACCOUNT, CUSTOMER, ORGANIZATION, SALESFORCE, Json, answer, told


def _module(name: str) -> Any:
    return import_module(f"closedwon.{name}")


def work_of(question: Json) -> Callable[[], Json]:
    """The work, with everything stored that it finds: the deals, and in Stigg what they come to."""
    desired, planning, mapping = _module("desired"), _module("plan"), _module("mapping")
    catalogue, policy = _module("catalogue").Catalogue.from_json(question["catalogue"]), desired.Policy()
    now, rules = question["now"], mapping.MappingRules(ORGANIZATION)
    links = planning.Backlinks(SALESFORCE, ACCOUNT)
    deals = [_module("deal").Deal.model_validate(one) for one in question["deals"]]
    standings = [_module("order").Standing(mapping.compile_deal(deal, rules), None, None) for deal in deals]
    records = {
        slot: _module("records").SlotRecord(1, True, planning.subscription_id(CUSTOMER, slot, 1), "ACTIVE", applied=one)
        for slot, one in desired.fold(standings, catalogue, policy, now).subscriptions.items()
    }
    actual = _module("foresight").remembered(records, catalogue, links)

    def work() -> Json:
        wanted = desired.fold(standings, catalogue, policy, now)
        found = planning.plan(CUSTOMER, wanted, actual, records, policy, links, now)
        kept = len(found.kept) == len(records) and not found.changes
        return {**told(wanted.subscriptions, [*wanted.held, *wanted.refused]), "kept": kept, "coming": 0}

    return work


if __name__ == "__main__":
    answer(work_of)
