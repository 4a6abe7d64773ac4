"""References: what deals say of each other, followed to the contracts they are about. Pure.

A name is an opportunity, a contract, a subscription record, or `opportunity/stiggId[/start]` for lines that have no
record yet. What a name means is looked up, never guessed from the order in which deals came.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from closedwon.domain.contract.facts import Contribution, sort_of
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import Instant, Moment, from_iso, starting
from closedwon.domain.order import Item, Order

ROOTS = ("closed_won", "trial", "renewal")
"""The triggers that begin a contract."""


@dataclass(eq=False)
class Deal:
    """One opportunity in one timeline.

    order: what it sells or cancels. fresh: whether what it contributes was never provisioned as it is: only then is
    it judged by today's catalogue. sold: when it was sold, for what was sold later. depth: how many references lead
    from it to a base. effective: from when it counts, once it is dated. shadow: whether it is a trial beside the sale
    of its own opportunity. plans: those of its order.
    """

    id: OpportunityId
    order: Order
    contribution: Contribution
    fresh: bool = True
    sold: Instant | None = None
    shadow: bool = False
    depth: int = 0
    effective: Moment = field(default_factory=lambda: starting(None))

    def __post_init__(self) -> None:
        self.plans = self.order.of_kind("Plan")

    @property
    def is_root(self) -> bool:
        return self.order.trigger in ROOTS

    @property
    def is_churn(self) -> bool:
        return self.order.trigger == "cancellation"

    @property
    def is_renewal(self) -> bool:
        return self.order.trigger == "renewal"

    @property
    def is_whole_amendment(self) -> bool:
        return self.order.trigger == "amendment" and not self.order.differences


class Target(NamedTuple):
    """What a name leads to: all of a deal, or those of its lines that a contract, record, ID or day picks out."""

    deal: Deal
    contract_id: str | None = None
    record: str | None = None
    stigg_id: str | None = None
    start: str | None = None

    @property
    def names_lines(self) -> bool:
        """Whether it names lines, and not a deal or contract with all that belongs to it."""
        return self.record is not None or self.stigg_id is not None

    def takes(self, deal: Deal, item: Item, contract_id: str | None) -> bool:
        """Whether it names an item of a deal."""
        if deal is not self.deal:
            return False
        if self.contract_id is not None:
            return contract_id == self.contract_id
        if self.record is not None:
            return item.record == self.record
        if self.stigg_id is None:
            return True
        starts = item.start or deal.order.start
        return item.stigg_id == self.stigg_id and (
            self.start is None or (starts is not None and starts == from_iso(self.start))
        )


def _contracts_of(order: Order) -> Iterable[str]:
    """The contracts that an order names, on the deal or on its lines, each once."""
    return dict.fromkeys(filter(None, (order.contract_id, *(item.contract_id for item in order.items))))


def _records_of(order: Order) -> Iterable[str]:
    """The subscription records of an order's lines, each once."""
    return dict.fromkeys(filter(None, (item.record for item in order.items)))


def references_of(order: Order) -> tuple[str, ...]:
    """All that an order refers to, on the deal or on its lines, each once."""
    on_lines = (name for item in order.items for name in (*item.renews, *item.amends, *item.ends))
    return tuple(dict.fromkeys((*order.amends, *on_lines)))


class Names:
    """Who is who among the deals of one customer.

    In: the deals that contribute; every order that was ever read, contributing or not.
    """

    def __init__(self, deals: Iterable[Deal], known: Iterable[Order]) -> None:
        self.deals: dict[str, Deal] = {}
        self._contracts: dict[str, list[Deal]] = defaultdict(list)
        self._records: dict[str, list[Deal]] = defaultdict(list)
        self._known = {name for order in known for name in order.names}
        claims: dict[str, list[Deal]] = defaultdict(list)
        for deal in deals:
            self.deals[deal.id] = deal
            for contract in _contracts_of(deal.order):
                (self._contracts if deal.is_root else claims)[contract].append(deal)
            for record in _records_of(deal.order):
                self._records[record].append(deal)
        for name, others in claims.items():  # an amendment may say it: only where no root of it is known
            if name not in self._contracts:
                self._contracts[name] = others
        self._targets: dict[Deal, tuple[Target, ...]] = {}
        self._roots: dict[Deal, tuple[Target, ...]] = {}

    def says(self, name: str) -> bool:
        """Whether anybody ever had a name, contributing or not."""
        return name.partition("/")[0] in self._known

    def find(self, name: str) -> tuple[Target, ...]:
        """What a name leads to among the deals that contribute."""
        head, _, rest = name.partition("/")
        if (deal := self.deals.get(head)) is not None:
            stigg_id, _, start = rest.partition("/")
            return (Target(deal, stigg_id=stigg_id or None, start=start or None),)
        if head in self._contracts:
            return tuple(Target(deal, contract_id=head) for deal in self._contracts[head])
        return tuple(Target(deal, record=head) for deal in self._records.get(head, ()))

    def targets(self, deal: Deal) -> tuple[Target, ...]:
        """What a deal refers to, itself left out."""
        if deal not in self._targets:
            found = (target for name in references_of(deal.order) for target in self.find(name))
            self._targets[deal] = tuple(target for target in dict.fromkeys(found) if target.deal is not deal)
        return self._targets[deal]

    def set_depths(self) -> list[Deal]:
        """Say how deep each deal lies under a base. Out: the deals that name each other in a circle, or such."""
        waiting = {deal: {target.deal for target in self.targets(deal)} for deal in self.deals.values()}
        referring = _referring(waiting)
        # A name of something unknown is a reference too: such a deal makes way before one that refers to nothing.
        for deal in waiting:
            deal.depth = 1 if references_of(deal.order) else 0
        ready = [deal for deal, others in waiting.items() if not others]
        left = {deal: len(others) for deal, others in waiting.items()}
        while ready:
            deal = ready.pop()
            left.pop(deal)
            ready += _ready_after(deal, referring[deal], left)
            # What it refers to is done by now, so that no chain of amendments is followed twice.
            self._roots[deal] = self.roots(self.targets(deal))
        return list(left)

    def ahead_of(self, deal: Deal) -> list[OpportunityId]:
        """All that a deal refers to, directly or through others; of one in a circle, itself too."""
        found: dict[Deal, None] = {}
        waiting = [deal]
        while waiting:
            new = [target.deal for target in self.targets(waiting.pop()) if target.deal not in found]
            found |= dict.fromkeys(new)
            waiting += new
        return sorted(other.id for other in found)

    def roots(self, targets: Iterable[Target]) -> tuple[Target, ...]:
        """The roots that names lead to, through amendments of amendments; each with the contract that was named."""
        found: dict[Target, None] = {}
        for target in targets:
            if target.deal.is_root:
                found[target] = None
            elif sort_of(target.deal.order) == "sale":
                found |= dict.fromkeys(self._roots.get(target.deal, ()))
        return tuple(found)


def _referring(references: Mapping[Deal, Iterable[Deal]]) -> dict[Deal, list[Deal]]:
    """By deal, those that refer to it; of one to which none does, an empty list. In: by deal, what it refers to."""
    found: dict[Deal, list[Deal]] = defaultdict(list)
    for deal, others in references.items():
        for other in others:
            found[other].append(deal)
    return found


def _ready_after(deal: Deal, referring: Iterable[Deal], left: dict[Deal, int]) -> Iterator[Deal]:
    """Put those that refer to a deal under it. Out: those of them that wait for no other deal any more.

    In: the deal; those that refer to it; by deal, for how many it waits, which is counted down.
    """
    for other in referring:
        other.depth = max(other.depth, deal.depth + 1)
        left[other] -= 1
        if not left[other]:
            yield other
