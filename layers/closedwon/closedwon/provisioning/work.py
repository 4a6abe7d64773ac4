"""What those who look at Stigg share: what a customer should have, and what is to be done so that it has it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

from closedwon.aws.ledger import Ledger
from closedwon.domain.catalogue import CERTAIN_SECONDS, Catalogue
from closedwon.domain.changes import Actual
from closedwon.domain.contract.agreement import Agreement
from closedwon.domain.contract.facts import History
from closedwon.domain.customer import Customer
from closedwon.domain.desired import Desired, Policy
from closedwon.domain.errors import StiggRefused
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.marks import Backlinks
from closedwon.domain.on_offer import catalogue_problems
from closedwon.domain.order import Order, Problem
from closedwon.domain.planned import Planned, planned
from closedwon.domain.world import world_of
from closedwon.stigg.answers import actual_of
from closedwon.stigg.catalogue import kept_catalogue, read_catalogue
from closedwon.stigg.client import Stigg

T = TypeVar("T")


class Provisioner:
    """Works out what a customer agreed to, and plans. Writes nothing but the catalogue it read, for the next to use.

    In: the ledger; the client of Stigg; the stack's policy; the way back from Stigg to an account; now, in epoch
    milliseconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        stigg: Stigg,
        policy: Policy,
        backlinks: Callable[[str], Backlinks],
        now: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._stigg = stigg
        self._policy = policy
        self._backlinks = backlinks
        self._now = now

    def agreed(self, customer: Customer) -> Agreement:
        """What a customer agreed to, by its deals in the ledger and Stigg's catalogue."""
        plans = plans_named(customer.histories)
        at = self._now()
        kept = kept_catalogue(self._ledger, at, plans, self._stigg)
        return agreed_by(customer, customer.histories, self._policy, kept, lambda: self._catalogue(plans), at)

    def planned(self, customer: Customer, agreement: Agreement) -> Planned:
        """What is to be done in Stigg, as it is there now, so that the customer has what it should. Writes nothing.

        Raises what `closedwon.stigg.client` does.
        """
        desired = agreement.desired()
        actual: list[Actual] = []
        # A customer that never had a subscription, and is to have none, costs Stigg no call.
        if customer.customer_id is not None and (desired.subscriptions or customer.slots):
            # Those that ended too: the ID of one is not used again.
            subscriptions = self._listed(customer)
            actual = [actual_of(subscription, agreement.world.catalogue) for subscription in subscriptions]
        return planned(customer, agreement, actual, self._backlinks(customer.account_id))

    def _listed(self, customer: Customer) -> list[dict[str, Any]]:
        """Stigg's subscriptions of a customer. Of one that was archived Stigg may know none any more."""
        try:
            return self._stigg.list_subscriptions(customer.bound_id)
        except StiggRefused as refusal:
            if customer.archived and refusal.status == 404:
                return []
            raise

    def catalogue_refusals(self, orders: Sequence[Order]) -> dict[OpportunityId, tuple[Problem, ...]]:
        """What Stigg's catalogue shows to be wrong with orders that were never provisioned, by opportunity.

        As in `agreed_by`, the kept snapshot is good enough for a yes; before a no, Stigg is asked again.
        """
        if not orders:
            return {}

        def assess(catalogue: Catalogue) -> tuple[dict[OpportunityId, tuple[Problem, ...]], bool]:
            found = {order.opportunity_id: catalogue_problems(order, catalogue) for order in orders}
            refused = {id: problems for id, problems in found.items() if problems}
            return refused, bool(refused)

        plans = plans_named(orders)
        at = self._now()
        kept = kept_catalogue(self._ledger, at, plans, self._stigg)
        return _by_certain_catalogue(assess, kept, lambda: self._catalogue(plans), at)[0]

    def _catalogue(self, plans: Collection[str]) -> Catalogue:
        """Stigg's catalogue as it is now, with all of some plans; kept for the next to ask."""
        return read_catalogue(self._ledger, self._stigg, self._now(), plans)


def plans_named(naming: Iterable[Order | History]) -> frozenset[str]:
    """The Stigg plans that orders, or what is kept of deals, name."""
    return frozenset().union(*(one.plan_ids for one in naming))


def agreed_by(
    customer: Customer,
    histories: Sequence[History],
    policy: Policy,
    kept: Catalogue | None,
    read: Callable[[], Catalogue],
    at: int,
) -> Agreement:
    """What a customer agreed to.

    In: the customer; what is kept of its deals, those that count; the stack's policy; the kept snapshot of the
    catalogue, if it is fresh; how to ask Stigg; now, in epoch milliseconds. The snapshot is good enough to provision
    by; before it refuses a deal, Stigg is asked again.
    """
    mapped = {history.id for history in histories if not history.newest.order.problems}

    def assess(catalogue: Catalogue) -> tuple[Agreement, bool]:
        agreement = Agreement(histories, world_of(customer, catalogue, policy, at))
        # What the mapping refused no newer catalogue can mend: it is no reason to ask Stigg again.
        return agreement, not mapped.isdisjoint(agreement.refused)

    return _by_certain_catalogue(assess, kept, read, at)[0]


def _by_certain_catalogue(
    assess: Callable[[Catalogue], tuple[T, bool]], kept: Catalogue | None, read: Callable[[], Catalogue], at: int
) -> tuple[T, Catalogue]:
    """An assessment, and the catalogue it was made by. assess: also says whether it refuses something."""
    if kept is not None:
        assessment, refuses = assess(kept)
        # A refusal by an older snapshot is not certain: the catalogue may just have been corrected (decision 9).
        if not refuses or kept.age(at) < CERTAIN_SECONDS:
            return assessment, kept
    catalogue = read()
    return assess(catalogue)[0], catalogue


def newest_contributing(customer: Customer, desired: Desired) -> Order | None:
    """The newest order that gives the customer something: its account says how the customer is called. None where
    nothing is to be provisioned.
    """
    contributing = {id for wanted in desired.subscriptions.values() for id in wanted.opportunities}
    contributing |= {grant.opportunity_id for grant in desired.grants}
    states = [customer.opportunities[id] for id in contributing]
    # By revision, not by arrival: the account is called as Salesforce last said.
    return max(states, key=lambda state: state.revision).order if states else None
