"""Terms: what contracts say beside their lines (billing period, payment collection, currency ...). Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from closedwon.domain.contract.contracts import Contracts
from closedwon.domain.contract.pieces import Contract
from closedwon.domain.contract.references import Deal
from closedwon.domain.desired import Slot
from closedwon.domain.identifiers import CustomerId
from closedwon.domain.instants import BEGINNING, NO_DAY, Instant, Moment
from closedwon.domain.order import Order


class Terms(NamedTuple):
    """The terms of one subscription."""

    billing_period: str | None = None
    payment_collection: str | None = None
    currency: str = ""
    paying_customer_id: CustomerId | None = None
    coupon: str | None = None
    budget: float | None = None
    budget_soft: bool = False
    minimum_spend: float | None = None
    trial_end: Instant | None = None
    trial_end_behavior: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()

    @property
    def compared(self) -> Terms:
        """What contracts that share a subscription must agree about."""
        return self._replace(metadata=(), budget_soft=False, trial_end_behavior=None)


KEPT_BY_RENEWALS = ("billing_period", "payment_collection", "paying_customer_id")
"""Terms that a renewal keeps unless it says others."""

KEPT_BY_AMENDMENTS = (*KEPT_BY_RENEWALS, "coupon", "budget", "minimum_spend")

UNCHANGEABLE = ("payment_collection", "paying_customer_id", "currency", "trial_end_behavior")
"""What Stigg cannot change on a subscription that runs; a coupon can be replaced, and not taken away."""


def said(order: Order) -> Terms:
    """What an order says itself."""
    return Terms(
        order.billing_period,
        order.payment_collection,
        order.currency,
        order.paying_customer_id,
        order.coupon,
        order.budget,
        order.budget_soft,
        order.minimum_spend,
        order.trial_end,
        order.trial_end_behavior,
        order.metadata,
    )


def over(terms: Terms, order: Order, kept: tuple[str, ...]) -> Terms:
    """Terms with what a later order says of them; kept: what it need not say again."""
    new = said(order)
    changes: dict[str, object] = {name: getattr(terms, name) for name in kept if getattr(new, name) is None}
    changes["metadata"] = tuple(sorted({**dict(terms.metadata), **dict(new.metadata)}.items()))
    if "budget" in changes:
        changes["budget_soft"] = terms.budget_soft
    if order.trigger == "amendment":
        changes |= {"trial_end": terms.trial_end, "trial_end_behavior": terms.trial_end_behavior}
        changes["currency"] = terms.currency  # another one is a fault of its own
    return new._replace(**changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Saying:
    """Terms from a moment on, and the deal that says so."""

    at: Moment
    terms: Terms
    deal: Deal


_at = attrgetter("at")


class ContractTerms:
    """The terms of each contract, from moment to moment."""

    def __init__(self, contracts: Contracts) -> None:
        self._base: dict[Contract, Terms] = {}
        self._last: dict[Contract, Terms] = {}
        self._changes: dict[Contract, dict[Slot, list[Saying]]] = {}
        for contract in sorted(contracts.contracts, key=lambda contract: contract.rank):
            base = said(contract.root.order)
            if contract.renews:
                renewed = self._renewed(contract)
                base = over(self._last[renewed], contract.root.order, KEPT_BY_RENEWALS) if renewed else base
            self._base[contract] = self._last[contract] = base
            self._changes[contract] = self._amended(contract, base)

    def _renewed(self, contract: Contract) -> Contract | None:
        """Of the contracts that a renewal renews, the one whose terms it keeps: one that gives the same slot."""
        slots = {line.slot for line in contract.lines if line.is_plan}
        known = [other for other in contract.renews if other in self._last]
        same = [other for other in known if any(line.is_plan and line.slot in slots for line in other.lines)]
        return min(same or known, key=lambda other: (other.start, self._last[other].currency), default=None)

    def _amended(self, contract: Contract, base: Terms) -> dict[Slot, list[Saying]]:
        slots = _amended_slots(contract)
        changes: dict[Slot, list[Saying]] = defaultdict(list)
        for deal in sorted(slots, key=lambda deal: (deal.effective, deal.depth)):
            for slot in slots[deal]:
                before = changes[slot][-1].terms if changes[slot] else base
                after = over(before, deal.order, KEPT_BY_AMENDMENTS)
                if after != before:
                    changes[slot].append(Saying(deal.effective, after, deal))
                    self._last[contract] = after
        return {slot: some for slot, some in changes.items() if some}

    def at(self, contract: Contract, slot: Slot, moment: Moment) -> Saying:
        """The terms of a contract in a slot at a moment."""
        changes = self._changes[contract].get(slot, [])
        place = bisect_right(changes, moment, key=_at)
        return changes[place - 1] if place else Saying(BEGINNING, self._base[contract], contract.root)

    def spans(self, contract: Contract, slot: Slot) -> Iterator[tuple[tuple[Moment, Moment], Terms]]:
        """The terms of a contract in a slot, each with the span in which they hold."""
        since, terms = BEGINNING, self._base[contract]
        for change in self._changes[contract].get(slot, ()):
            yield (since, change.at), terms
            since, terms = change.at, change.terms
        yield (since, NO_DAY), terms

    def different(self, contract: Contract, slot: Slot) -> set[Terms]:
        """All terms that a contract ever has in a slot."""
        return {self._base[contract], *(change.terms for change in self._changes[contract].get(slot, ()))}

    def moments(self, contract: Contract, slot: Slot) -> list[Moment]:
        """When its terms in a slot change."""
        return [change.at for change in self._changes[contract].get(slot, ())]


def _amended_slots(contract: Contract) -> dict[Deal, set[Slot]]:
    """The slots that each amendment of a contract changes something of, at any time."""
    slots: dict[Deal, set[Slot]] = defaultdict(set)
    for line in contract.lines:
        if line.deal is not contract.root and line.ever and not line.is_grant:
            slots[line.deal].add(line.slot)
    return slots
