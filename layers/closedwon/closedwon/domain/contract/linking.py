"""Linking: which deals make one contract, and what renews what. Pure. Nothing is dated yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.contract.faults import Code
from closedwon.domain.contract.pieces import Contract
from closedwon.domain.contract.references import Deal, Names, Target
from closedwon.domain.instants import BEGINNING
from closedwon.domain.order import Item, Order


def renewed_names(contract: Contract) -> list[str]:
    """What a renewal's contract renews: what its lines say, and where one of them says nothing, what the deal does."""
    names = [name for item in contract.items for name in item.renews]
    if not names or any(not item.renews for item in contract.items):
        names = [*contract.root.order.amends, *names]
    return list(dict.fromkeys(names))


class Links:
    """Who belongs to whom.

    In: the deals that contribute, none of them in a circle; who is who; the catalogue; what notes a fault of a deal.
    Out: contracts; by_root: those that each root begins; amendments: the lines that amendments add to each;
    unknown_renewals: what renewals name that nobody knows.
    """

    def __init__(self, deals: Sequence[Deal], names: Names, catalogue: Catalogue, fault: Callable[..., None]) -> None:
        self.names = names
        self._catalogue = catalogue
        self._fault = fault
        self.by_root: dict[Deal, list[Contract]] = {}
        self.unknown_renewals: dict[Deal, list[str]] = {}
        self.amendments: dict[Contract, list[tuple[Deal, Item]]] = defaultdict(list)
        self._has_resources = any(deal.order.resource_id for deal in deals)
        for deal in deals:
            if deal.is_root:
                self._open(deal)
        for deal in deals:
            if deal.is_renewal:
                self._link(deal)
        for deal in deals:
            if deal.order.trigger == "amendment":
                self._attach(deal)

    @property
    def contracts(self) -> list[Contract]:
        return [contract for contracts in self.by_root.values() for contract in contracts]

    def _open(self, deal: Deal) -> None:
        """The contracts that a root begins."""
        items: dict[str | None, list[Item]] = {}
        for item in deal.order.items:
            items.setdefault(item.contract_id or deal.order.contract_id, []).append(item)
        items = items or {deal.order.contract_id: []}
        self.by_root[deal] = [
            Contract(deal, contract_id, tuple(some), deal.order.resource_id) for contract_id, some in items.items()
        ]

    def contracts_of(self, target: Target) -> list[Contract]:
        """The contracts that a name of a root leads to."""
        contracts = self.by_root.get(target.deal, [])
        if target.contract_id is not None:
            return [contract for contract in contracts if contract.contract_id == target.contract_id] or contracts
        if target.names_lines:
            return [
                contract
                for contract in contracts
                if any(target.takes(target.deal, item, contract.contract_id) for item in contract.items)
            ]
        return contracts

    def contracts_named(self, names: Iterable[str]) -> list[Contract]:
        """The contracts that names lead to, through amendments too."""
        return self._contracts_under(target for name in names for target in self.names.find(name))

    def _contracts_under(self, targets: Iterable[Target]) -> list[Contract]:
        """The contracts that targets lead to, through amendments too; each once."""
        found = (contract for root in self.names.roots(targets) for contract in self.contracts_of(root))
        return list(dict.fromkeys(found))

    def found(self, names: Iterable[str], deal: Deal, unknown: Code) -> tuple[Target, ...]:
        """What names lead to. One that leads nowhere is a fault of its deal: unknown, where nobody ever had it."""
        found: dict[Target, None] = {}
        for name in names:
            targets = [target for target in self.names.find(name) if target.deal is not deal]
            found |= dict.fromkeys(targets)
            if not targets and not self.waits(name, deal):
                self._fault(unknown, deal, reference=name)
        return tuple(found)

    def waits(self, name: str, deal: Deal) -> bool:
        """Whether a name is that of a deal that contributes nothing; noted where it is."""
        if self.names.says(name):
            self._fault("waits_for", deal, reference=name, other=name.partition("/")[0])
            return True
        return False

    def _link(self, deal: Deal) -> None:
        """Say what a renewal renews, and of which resource it is."""
        unknown: list[str] = []
        for contract in self.by_root[deal]:
            names = renewed_names(contract)
            unknown += self._unknown(names, deal)
            contract.renews = tuple(one for one in self.contracts_named(names) if one.root is not deal)
            contract.rank = deal.depth
            for other in contract.renews:
                other.renewed_by.append(contract)
            if contract.resource_id is None:
                self._take_resource(contract, unknown)
        if unknown:
            self.unknown_renewals[deal] = unknown

    def _unknown(self, names: Iterable[str], deal: Deal) -> list[str]:
        """Of the names that a deal says, those that lead to no other deal, and to none that contributes nothing."""
        missing = [name for name in names if all(target.deal is deal for target in self.names.find(name))]
        return [name for name in missing if not self.waits(name, deal)]

    def _take_resource(self, contract: Contract, unknown: list[str]) -> None:
        """A renewal that says no resource is of that of what it renews."""
        resources = {other.resource_id for other in contract.renews}
        if len(resources) == 1:
            contract.resource_id = next(iter(resources))
        elif resources:
            self._fault("reference_ambiguous", contract.root, others=sorted(str(one) for one in resources))
        elif unknown and self._has_resources:  # it would move when what it renews arrives
            self._fault("reference_unknown", contract.root, reference=unknown[0])

    def keep_terms(self, held: Iterable[Order]) -> None:
        """While a deal that would renew a contract is held, the contract's term goes on."""
        for order in held:
            for contract in self.contracts_named((*order.amends, *(n for item in order.items for n in item.renews))):
                contract.keeps = True

    def _attach(self, deal: Deal) -> None:
        """Say to which contracts an amendment belongs, and to which of them each of its lines."""
        order = deal.order
        targets = self.found(order.amends, deal, "no_base")
        own = self._contracts_under(targets)
        if targets and not own:
            self._fault("no_base", deal, reference=order.amends[0])
        for item in order.items:
            self._attach_line(deal, item, own)
        if deal.is_whole_amendment:
            for contract in own:
                contract.wholes.append((BEGINNING, deal))
        other = next((contract.root for contract in own if contract.root.order.currency != order.currency), None)
        if other is not None:
            self._fault("currency_conflict", deal, before=other.order.currency, after=order.currency, other=other.id)

    def _attach_line(self, deal: Deal, item: Item, own: list[Contract]) -> None:
        """Say to which contract a line of an amendment belongs."""
        among = self._among(deal, item, own)
        if len(among) == 1:
            self.amendments[among[0]].append((deal, item))
        elif among:
            others = sorted({contract.root.id for contract in among})
            self._fault("reference_ambiguous", deal, item=item.stigg_id, others=others)

    def _among(self, deal: Deal, item: Item, own: list[Contract]) -> list[Contract]:
        """The contracts that a line of an amendment may belong to: one, unless that is ambiguous."""
        among = own
        if item.amends:
            among = self._contracts_under(self.found(item.amends, deal, "reference_unknown"))
        return self._with_place(item, among) if len(among) > 1 else among

    def _with_place(self, item: Item, among: list[Contract]) -> list[Contract]:
        """Of several contracts, those that have an item's place; of a new one, those that have its plan."""
        if item.kind == "Plan":
            return self._with_product_of(item.stigg_id, among)
        having = [contract for contract in among if (item.kind, item.stigg_id) in contract.entities]
        if item.plan_id is not None and len(having or among) > 1:
            return self._with_product_of(item.plan_id, having or among) or having
        return having or among

    def _with_product_of(self, plan_id: str, among: Iterable[Contract]) -> list[Contract]:
        """The contracts whose root sells a plan of the same product as another plan."""
        product = self._catalogue.product_of
        wanted = product(plan_id)
        return [c for c in among if any(product(i.stigg_id) == wanted for i in c.items if i.kind == "Plan")]
