"""Contracts in Stigg: which there should be, and what they say, where the account has contracts (decision 89). Pure.

A contract of ours in Stigg stands for a base or a renewal. It has what stands in force of it: the subscriptions of
custom plans, each in the contract of its first deal, because a subscription is part of one contract only. Nothing here
ends anything: archiving a contract would cancel each of its subscriptions, so that closed-won never does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from closedwon.domain.changes import LIVE
from closedwon.domain.codes import Reason
from closedwon.domain.contract.agreement import Agreement
from closedwon.domain.customer import Customer, Outcome
from closedwon.domain.desired import Slot, Subscription
from closedwon.domain.identifiers import CustomerId, OpportunityId, SubscriptionId
from closedwon.domain.instants import Instant
from closedwon.domain.order import Order
from closedwon.domain.records import SlotRecord
from closedwon.domain.results import Applied

_PREFIX = "closed-won-"


@dataclass(frozen=True)
class StiggContract:
    """A contract as it should be in Stigg.

    purchase_order, activation: None leaves what Stigg has. setup_billing: counts when the contract is made.
    subscriptions: those that should be part of it, each with the deals that give it.
    """

    id: str
    name: str
    purchase_order: str | None
    activation: Instant | None
    setup_billing: bool
    subscriptions: Mapping[SubscriptionId, tuple[OpportunityId, ...]]


def contract_id(customer_id: CustomerId, root: OpportunityId) -> str:
    """The ID of the contract of a base or renewal: the same for every try, so that none makes a second one. It leads
    back to the opportunity, as Stigg's contracts have no metadata.
    """
    return f"{_PREFIX}{root}-{_mark(customer_id)}"


def is_ours(customer_id: CustomerId, id: str) -> bool:
    """Whether closed-won gave a contract of a customer its ID."""
    return id.startswith(_PREFIX) and id.endswith(f"-{_mark(customer_id)}")


def _mark(customer_id: CustomerId) -> str:
    # An opportunity may move to another account, and one ID makes one contract for good.
    return hashlib.sha256(customer_id.encode()).hexdigest()[:8]


def wanted_contracts(
    customer: Customer, agreement: Agreement, records: Mapping[Slot, SlotRecord]
) -> tuple[StiggContract, ...]:
    """The contracts there should be: one for each base or renewal that is the first to give a subscription.

    In: the customer; what it agreed to; what is known of each slot, after the plan was applied.
    """
    standing: dict[OpportunityId, dict[SubscriptionId, tuple[OpportunityId, ...]]] = {}
    for slot, record in records.items():
        applied = record.applied
        if applied is None or record.subscription_id is None or record.status not in LIVE:
            continue
        root = _root(slot, applied, agreement)
        if root is not None and _has_contracts(slot, applied, agreement):
            standing.setdefault(root, {})[record.subscription_id] = applied.opportunities
    return tuple(_contract(customer, root, agreement, standing[root]) for root in sorted(standing))


def _has_contracts(slot: Slot, applied: Subscription, agreement: Agreement) -> bool:
    """Whether a subscription can be part of a contract: Stigg takes those of custom plans; a trial is no contract."""
    plan = agreement.world.catalogue.plan(applied.plan_id)
    return not slot.trial and plan is not None and plan.pricing_type == "CUSTOM"


def _root(slot: Slot, applied: Subscription, agreement: Agreement) -> OpportunityId | None:
    roots = (agreement.roots.get((slot, id)) for id in applied.opportunities)
    return next((root for root in roots if root is not None), None)


def _contract(
    customer: Customer,
    root: OpportunityId,
    agreement: Agreement,
    subscriptions: Mapping[SubscriptionId, tuple[OpportunityId, ...]],
) -> StiggContract:
    base = _order(root, agreement)
    return StiggContract(
        id=contract_id(customer.bound_id, root),
        name=(base and base.opportunity_name) or root,  # the opportunity's name may have been erased
        purchase_order=_purchase_order(root, agreement, subscriptions),
        activation=None if base is None else base.activation or base.start,
        setup_billing=bool(base and base.setup_billing),
        subscriptions=subscriptions,
    )


def _purchase_order(
    root: OpportunityId,
    agreement: Agreement,
    subscriptions: Mapping[SubscriptionId, tuple[OpportunityId, ...]],
) -> str | None:
    """The number that the contract's newest deal in force says: an amendment may come with an order of its own."""
    own = {deal for (_, deal), of in agreement.roots.items() if of == root}
    in_force = dict.fromkeys(id for deals in subscriptions.values() for id in deals if id in own)
    orders = (_order(id, agreement) for id in reversed(in_force))
    return next((order.purchase_order for order in orders if order and order.purchase_order), None)


def _order(id: OpportunityId, agreement: Agreement) -> Order | None:
    return agreement.contribution(id).order if id in agreement.histories else None


def with_contracts(
    report: Applied,
    customer: Customer,
    contracts: Mapping[OpportunityId, str] = {},
    refusals: Mapping[OpportunityId, Reason] = {},
) -> Applied:
    """What to record, with the deals' contracts.

    In: what is to be recorded without them; the customer as it was; the contracts in Stigg by deal, where a deal has
    none now it keeps the one it had; by deal, why its contract is not as it should be.
    """

    def told(id: str, outcome: Outcome) -> Outcome:
        deal = OpportunityId(id)
        outcome = replace(outcome, contract_id=contracts.get(deal, customer.opportunities[id].outcome.contract_id))
        why = refusals.get(deal)
        # What is held or refused already has something more pressing to say. What stands, stands: it is settled.
        if why is None or outcome.status not in ("Provisioned", "Payment required"):
            return outcome
        why = why.beside(outcome.why) if outcome.why else why
        return replace(outcome, status="Failed", code=why.code, facts=why.facts)

    return replace(report, outcomes={id: told(id, outcome) for id, outcome in report.outcomes.items()})
