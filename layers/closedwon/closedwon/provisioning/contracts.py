"""Keeps the contracts in Stigg of what a customer has, where the account has contracts (parameter StiggContracts).

It comes last, when all access is as it should be: a contract that Stigg refuses is its deals' outcome and takes no
access away. Everything else that goes wrong stops the step; its retry finds the subscriptions standing, and under the
contract's own ID the contract.
"""

from __future__ import annotations

from collections.abc import Mapping

from closedwon.domain.changes import LIVE
from closedwon.domain.codes import Reason
from closedwon.domain.contract.agreement import Agreement
from closedwon.domain.customer import Customer
from closedwon.domain.desired import Slot
from closedwon.domain.errors import StiggRefused, StiggUnauthorized, as_read, unreadable
from closedwon.domain.identifiers import CustomerId, OpportunityId, SubscriptionId
from closedwon.domain.records import SlotRecord
from closedwon.domain.results import Applied
from closedwon.domain.stigg_contracts import StiggContract, is_ours, wanted_contracts, with_contracts
from closedwon.stigg.client import Json, Stigg, idempotency_key
from closedwon.stigg.contract_bodies import ARCHIVED, contract_difference, create_body, parts_of


def keep_contracts(
    customer: Customer,
    agreement: Agreement,
    records: Mapping[Slot, SlotRecord],
    report: Applied,
    execution: str,
    stigg: Stigg,
) -> Applied:
    """Make a customer's contracts in Stigg what its deals say. A customer without any to be kept costs no call.

    In: the customer and what it agreed to; what is known of each slot, and what is to be recorded, after the plan was
    applied. Out: what to record. Raises what `closedwon.stigg.client` does, but refusals.
    """
    wanted = wanted_contracts(customer, agreement, records)
    if not wanted:
        return with_contracts(report, customer)
    try:
        there = stigg.list_contracts(customer.bound_id)
    except (StiggRefused, StiggUnauthorized) as refusal:
        why = _unavailable(refusal)
        return with_contracts(report, customer, refusals={id: why for one in wanted for id in _deals(one)})
    keeper = _Keeper(customer.bound_id, there, execution, stigg)
    refusals: dict[OpportunityId, Reason] = {}
    for one in wanted:
        try:
            failed = keeper.keep(one)
        except StiggUnauthorized as refusal:
            failed = _unavailable(refusal)
        except StiggRefused as refusal:
            failed = _refused(one, str(refusal))
        if failed is not None:
            refusals |= dict.fromkeys(_deals(one), failed)
    return with_contracts(report, customer, keeper.by_deal(wanted), refusals)


def _deals(one: StiggContract) -> list[OpportunityId]:
    return [id for deals in one.subscriptions.values() for id in deals]


def _unavailable(refusal: StiggRefused | StiggUnauthorized) -> Reason:
    """What an account without contracts answers is not documented: any refusal to tell of them is taken for that. A
    key that is not accepted at all is another matter, and raised again.
    """
    if refusal.status == 401:
        raise refusal
    return Reason.of("contracts_unavailable", said=str(refusal))


def _refused(one: StiggContract, said: str) -> Reason:
    return Reason.of("contract_refused", contract=one.id, said=said)


class _Keeper:
    """One customer's contracts in Stigg, as they are while they are changed. In: the customer's ID; its contracts as
    Stigg answered them; the execution's name; the client.
    """

    def __init__(self, customer_id: CustomerId, there: list[Json], execution: str, stigg: Stigg) -> None:
        self._customer_id = customer_id
        self._execution = execution
        self._stigg = stigg
        self._live: frozenset[str] | None = None
        with as_read(lambda mistake: unreadable("list contracts", mistake)):
            self._there: dict[str, Json] = {one["contractId"]: one for one in there}
            self._parts = {one["contractId"]: parts_of(one) for one in there if one["state"] != ARCHIVED}

    def by_deal(self, wanted: tuple[StiggContract, ...]) -> dict[OpportunityId, str]:
        """The contract of each deal's subscription, by deal: of several, the first."""
        found: dict[OpportunityId, str] = {}
        for one in wanted:
            for subscription_id, deals in one.subscriptions.items():
                if (holder := self._holder(subscription_id)) is not None:
                    for id in deals:
                        found.setdefault(id, holder)
        return found

    def keep(self, wanted: StiggContract) -> Reason | None:
        """Make one contract what it should be. Out: why it cannot be, in a refusal's words; None where it is."""
        # What somebody attached to a contract of their own stays there: it has a contract.
        missing = [id for id in wanted.subscriptions if not self._attached(id, wanted)]
        if wanted.id not in self._there:
            if not missing:
                return None
            self._release(missing)
            self._create(wanted, missing)
            missing = [id for id in missing if id not in self._parts.get(wanted.id, ())]
        if self._there[wanted.id]["state"] == ARCHIVED:
            return _refused(wanted, "it was archived in Stigg, and nothing can be attached to it") if missing else None
        self._update(wanted, missing)
        return None

    def _update(self, wanted: StiggContract, missing: list[SubscriptionId]) -> None:
        """Write what a contract lacks; nothing where that is nothing."""
        with as_read(lambda mistake: unreadable("list contracts", mistake)):
            body = contract_difference(self._there[wanted.id], wanted)
        if missing:
            self._release(missing)
            # The set is replaced: others' subscriptions are sent along. Those that ended Stigg may refuse.
            body["subscriptionIds"] = self._parts[wanted.id] = [*self._still_live(self._parts[wanted.id]), *missing]
        if body:
            self._stigg.update_contract(wanted.id, body)

    def _holder(self, id: SubscriptionId) -> str | None:
        return next((contract for contract, parts in self._parts.items() if id in parts), None)

    def _attached(self, id: SubscriptionId, wanted: StiggContract) -> bool:
        holder = self._holder(id)
        return holder is not None and (holder == wanted.id or not is_ours(self._customer_id, holder))

    def _create(self, wanted: StiggContract, parts: list[SubscriptionId]) -> None:
        body = create_body(self._customer_id, wanted, parts)
        made = self._stigg.create_contract(body, idempotency_key(self._execution, wanted.id, body))
        # Where the list did not show it, it is what an earlier try made, or was archived since.
        self._there[wanted.id] = made
        with as_read(lambda mistake: unreadable("create contract", mistake)):
            if made["state"] != ARCHIVED:
                self._parts[wanted.id] = parts_of(made)

    def _release(self, moving: list[SubscriptionId]) -> None:
        """Take subscriptions out of contracts of ours that they are part of: a renewal's contract takes them over."""
        for contract in {holder for id in moving if (holder := self._holder(id)) is not None}:
            left = [id for id in self._still_live(self._parts[contract]) if id not in moving]
            self._stigg.update_contract(contract, {"subscriptionIds": left})
            self._parts[contract] = left

    def _still_live(self, parts: list[SubscriptionId]) -> list[SubscriptionId]:
        if self._live is None:
            standing = self._stigg.list_subscriptions(self._customer_id, LIVE)
            self._live = frozenset(one["id"] for one in standing)
        return [id for id in parts if id in self._live]
