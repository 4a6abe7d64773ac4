"""An order: a deal compiled by the mapping, as the ledger keeps it.

Plain frozen dataclasses: the steps of the state machine read orders without paying for a validation library at
start-up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

from closedwon.domain.codes import Reason
from closedwon.domain.identifiers import AccountId, ContractId, CustomerId, OpportunityId
from closedwon.domain.instants import Instant, from_iso, iso_utc
from closedwon.domain.lines import added_up, entity_of, groups_of, netted_item
from closedwon.domain.stored import given_of, told_of

Kind = Literal["Plan", "Add-on", "Entitlement", "Credit entitlement", "Credit grant"]

FORM = 1
"""The form of new orders: line by line. Form 0 is the first version's, which netted the lines of one entity."""


class Problem(NamedTuple):
    """Why a deal is refused: the line (None where it is not in a line), the field, the reason, and its code."""

    line: int | None
    field: str
    message: str
    code: str = "invalid"

    def __str__(self) -> str:
        return f"{f'line {self.line}, ' if self.line is not None else ''}{self.field}: {self.message}"

    def to_json(self) -> list[Any]:
        """As the first version stored it, but where the code says more than that the deal is invalid."""
        return list(self if self.code != "invalid" else self[:3])

    @property
    def facts(self) -> dict[str, Any]:
        """The problem as a fact of a reason."""
        return {"line": self.line, "field": self.field, "message": self.message}


def refusal(problems: Iterable[Problem]) -> Reason:
    """Why a deal with these problems is refused: one code for all of them, that of the first."""
    problems = tuple(problems)
    return Reason.of(problems[0].code, problems=[problem.facts for problem in problems])


class Revision(NamedTuple):
    """What orders one opportunity's deals: its SystemModstamp, then the time Apex read it; in epoch milliseconds."""

    modified: int
    read: int


_LATER = ("contract_id", "record", "renews", "amends", "ends")
"""Fields of an item that the first version did not have: left out where they are empty, so that no digest changes."""

_REFERENCES = ("renews", "amends", "ends")


@dataclass(frozen=True)
class Item:
    """One line of a deal. Lines that agree in all but the quantity are added up into one item.

    lines: the numbers of the lines it came from, for messages. quantity: units; 1 for an unlimited entitlement; how
    many more or fewer (negative) in an order of differences; of a cancellation, how many there have to be, 0 where it
    does not say. price: net price of one unit for one billing period, in whole units of the order's currency, None
    where the deal does not override it. value: what a difference changes the price of them all by, in the same units;
    only in orders of the first form. prior: how many there were before a difference, None where the deal does not say.
    start, end: when it counts, where that is not the whole of its order's time. extra: see `domain.stored`.

    Names: contract_id is the contract of its own that the line belongs to (else the order's), record the subscription
    record in Salesforce that it became, 18 characters. References are what the line renews, amends or ends: each the
    ID of a subscription record, contract or opportunity (18 characters), or `opportunity/stiggId[/start]`.
    """

    kind: Kind
    stigg_id: str
    quantity: int
    lines: tuple[int, ...]
    price: float | None = None
    unlimited: bool = False
    soft_limit: bool = False
    reset_period: str | None = None
    cadence: str | None = None
    plan_id: str | None = None
    value: float | None = None
    prior: int | None = None
    start: Instant | None = None
    end: Instant | None = None
    contract_id: ContractId | None = None
    record: str | None = None
    renews: tuple[str, ...] = ()
    amends: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def meets(self, other: Item) -> bool:
        """Whether the two count at the same time, now or then."""
        return _before(self.start, other.end) and _before(other.start, self.end)

    @property
    def names(self) -> tuple[ContractId | None, str | None]:
        return self.contract_id, self.record

    @property
    def references(self) -> tuple[str, ...]:
        """What the line renews, amends or ends."""
        return (*self.renews, *self.amends, *self.ends)

    def unnamed(self) -> Item:
        return self if self.names == (None, None) else replace(self, contract_id=None, record=None)

    def to_json(self) -> dict[str, Any]:
        """Plain data for the ledger; `from_json` is its inverse."""
        # not `told_of`: an order may have hundreds of items
        data = {name: value for name, value in vars(self).items() if value or name not in _LATER}
        data |= data.pop("extra")
        if self.start is not None:
            data["start"] = iso_utc(self.start)
        if self.end is not None:
            data["end"] = iso_utc(self.end)
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Item:
        given = given_of(cls, data)
        for name in ("lines", *_REFERENCES):
            given[name] = tuple(data.get(name) or ())
        for name in ("start", "end"):
            if given.get(name) is not None:
                given[name] = from_iso(given[name])
        return cls(**given)


def _before(start: Instant | None, end: Instant | None) -> bool:
    """Whether a start (None: it always was) lies before an end (None: never)."""
    # An end is the first instant that no longer counts, so what only touches does not meet.
    return start is None or end is None or start < end


_INSTANTS = ("start", "end", "as_of", "trial_end", "activation")
"""The fields of an order that are instants, and texts where it is stored."""

SENT_AGAIN = ("stored_customer_id", "customer_id", "as_of")
"""The fields of an order that change without the deal: no part of its digest."""


@dataclass(frozen=True)
class Order:
    """What one opportunity contributes.

    customer_id is what the deal or its account says the customer is called in Stigg; None leaves it to closed-won.
    amends: the contracts or opportunities it amends, renews or cancels, sorted; contract_id: the contract it was turned
    into. differences: its quantities are differences, not all there is. end is the instant at which the term is over,
    and of a cancellation, access. cancel: when a cancellation without an end takes effect. as_of: when the deal was
    saved: the now of a cancellation. An order with problems is refused: it contributes nothing. metadata: what the
    user's own application wants on its subscriptions. purchase_order, activation, setup_billing: of the contract in
    Stigg, where the account has those; see `domain.stigg_contracts`. form: how its items are written, see `FORM`.
    extra: see `domain.stored`.
    """

    opportunity_id: OpportunityId
    opportunity_name: str
    account_id: AccountId
    account_name: str
    account_email: str | None
    stored_customer_id: CustomerId | None
    customer_id: CustomerId | None
    resource_id: str | None
    trigger: str
    currency: str
    billing_period: str | None = None
    start: Instant | None = None
    end: Instant | None = None
    payment_collection: str | None = None
    amends: tuple[OpportunityId | ContractId, ...] = ()
    contract_id: ContractId | None = None
    differences: bool = False
    cancel: Literal["now", "end_of_term"] | None = None
    as_of: Instant | None = None
    trial_end: Instant | None = None
    trial_end_behavior: str | None = None
    coupon: str | None = None
    budget: float | None = None
    budget_soft: bool = False
    minimum_spend: float | None = None
    paying_customer_id: CustomerId | None = None
    items: tuple[Item, ...] = ()
    problems: tuple[Problem, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    purchase_order: str | None = None
    activation: Instant | None = None
    setup_billing: bool | None = None
    form: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    # Kept among the instance's attributes, which is why `to_json` goes by the fields and not by `vars`.
    @cached_property
    def digest(self) -> str:
        """What makes two deals the same: a hash of the whole order but for what changes without the deal.

        Line numbers: CPQ deletes line items and makes them again. The customer's ID: the account shows it once it was
        written back (another customer's is refused when the order is accepted, and a refusal is part of the hash).
        When it was saved, which any field of the opportunity moves. What contracts and records it became, which comes
        after the deal was won; in the first form the contract counts, because digests of it were stored.
        """
        content = self._without_names().to_json() if self.form else self.to_json()
        for name in (*SENT_AGAIN, "form"):
            # Left in, the second send of a deal would look like a change, only because the first one was written back.
            content.pop(name, None)
        for item in content.get("items", ()):
            item["lines"] = ()
        content["problems"] = [problem[:3] for problem in content["problems"]]  # its code does not make it another deal
        # Names sorted: only what a deal says may count, never the order in which fields are declared.
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def refused(self, problems: tuple[Problem, ...]) -> Order:
        """The order with more problems, if there are any."""
        return replace(self, problems=(*self.problems, *problems)) if problems else self

    def nameless(self) -> Order:
        """The order without what could name a person: what is left is IDs, products, numbers and dates."""
        return replace(self, opportunity_name="", account_name="", account_email=None)

    def _without_names(self) -> Order:
        # Added up anew: what only their names kept apart is one line without them.
        items = added_up((item.unnamed() for item in self.items), self.differences)
        return replace(self, contract_id=None, items=items)

    @property
    def names(self) -> frozenset[str]:
        """The IDs that another deal may refer to it by: its opportunity, its contracts and its lines' records."""
        said = (self.opportunity_id, self.contract_id, *(name for item in self.items for name in item.names))
        return frozenset(name for name in said if name)

    @property
    def references(self) -> frozenset[str]:
        """The IDs it refers to, on the deal or on a line: of a line elsewhere, its opportunity."""
        on_lines = (reference.partition("/")[0] for item in self.items for reference in item.references)
        return frozenset((*self.amends, *on_lines))

    @property
    def plan_ids(self) -> frozenset[str]:
        """The Stigg plans it sells, or says that its lines belong to."""
        sold = (item.stigg_id if item.kind == "Plan" else item.plan_id for item in self.items)
        return frozenset(id for id in sold if id)

    def of_kind(self, kind: Kind) -> tuple[Item, ...]:
        return tuple(item for item in self.items if item.kind == kind)

    def to_json(self) -> dict[str, Any]:
        """Plain data for the ledger; `from_json` is its inverse."""
        # not `asdict`, which takes ten times as long: reconciliation does this for every deal there is. Empty fields
        # are left out: one that a later version adds then changes no digest of an order without it.
        data = {name: value for name, value in told_of(self).items() if value not in (None, ())}
        if self.items:
            data["items"] = tuple(item.to_json() for item in self.items)
        for name in _INSTANTS:
            if name in data:
                data[name] = iso_utc(data[name])
        if len(self.amends) == 1:  # as it was stored when there could be no more
            data["amends"] = self.amends[0]
        if not self.form:
            del data["form"]
        data["problems"] = [problem.to_json() for problem in self.problems]
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Order:
        given = given_of(cls, data)
        for name in _INSTANTS:
            if (told := given.get(name)) is not None:
                given[name] = from_iso(told)
        # JSON made lists of the tuples: with these an order would not equal the one that was stored.
        given["items"] = tuple(Item.from_json(item) for item in data.get("items", ()))
        given["problems"] = tuple(Problem(*problem[: len(Problem._fields)]) for problem in data.get("problems", ()))
        given["amends"] = _one_or_more(data.get("amends"))
        given["metadata"] = tuple((name, value) for name, value in data.get("metadata", ()))
        # These have no default, and `to_json` leaves them out where they are None.
        for optional in ("account_email", "stored_customer_id", "customer_id", "resource_id"):
            given.setdefault(optional, None)
        return cls(**given)


def _one_or_more(said: str | Iterable[str] | None) -> tuple[str, ...]:
    return (said,) if isinstance(said, str) else tuple(said or ())


def plans_named_twice(plans: Iterable[Item]) -> Iterable[Problem]:
    """A plan stands for one subscription: named twice, its times must not overlap (a ramp of its price)."""
    before: list[Item] = []
    for plan in plans:
        other = next((other for other in before if plan.stigg_id == other.stigg_id and plan.meets(other)), None)
        if other is not None:  # once for each line, however many others it meets
            said = f"{plan.stigg_id} is on line {other.lines[0]} already: one subscription has one plan"
            yield Problem(plan.lines[0], "stiggId", said)
        before.append(plan)


def lines_that_differ(same: list[Item], *names: str) -> Iterable[Problem]:
    """What the items of one entity must have in common and have not. names: of fields."""
    first = same[0]
    for other in same[1:]:
        for name in names:
            if getattr(other, name) != getattr(first, name):
                field = {"reset_period": "resetPeriod"}.get(name, name)
                said = f"differs from line {first.lines[0]}, which names {first.stigg_id} too"
                yield Problem(other.lines[0], field, said)


def netted(order: Order) -> Order:
    """An order brought to the first form: what is of one entity and time is one item, more and fewer are netted.

    Without names of lines and what they refer to, which that form did not know; where only lines refer to something,
    the order amends that. What the first form could not say is refused, in its words.
    """
    if not order.form:
        return order
    bare = (replace(item.unnamed(), renews=(), amends=(), ends=()) for item in order.items)
    groups = groups_of(bare, order.differences)
    ends = order.trigger == "cancellation"
    items = tuple(netted_item(group, order.differences, ends) for group in groups)
    on_lines = sorted(order.references - {order.opportunity_id})  # its own lines: what it cancels without a name
    amends = order.amends or tuple(OpportunityId(name) for name in on_lines)
    problems = () if order.differences else tuple(_unsayable(groups, ends))
    together = replace(order, form=0, items=items, amends=amends)
    return together.refused(tuple(problem for problem in problems if problem not in order.problems))


def _unsayable(groups: list[list[Item]], ends: bool) -> Iterable[Problem]:
    """What of a whole deal the first form has no place for. groups: its items by entity."""
    for group in groups:
        yield from lines_that_differ(group, "price")
    if not ends:
        yield from plans_named_twice(item for group in groups for item in group if item.kind == "Plan")


def same_deal(stored: Order, arriving: Order) -> bool:
    """Whether an order says what the stored one says, in whatever form that was stored: then it is a duplicate."""
    if stored.digest == arriving.digest:
        return True
    return stored.form < arriving.form and _comparable(stored) == _comparable(netted(arriving))


def _comparable(order: Order) -> dict[str, Any]:
    """What an order of the first form says, but for names, for what changes nothing, and for how sums were rounded."""
    items = tuple(
        replace(item, lines=(), price=_cents(item.price), value=_cents(item.value))
        for item in order.items
        # A line that changes neither units nor money was an item of its own, and is none any more.
        if item.quantity or item.value or not order.differences
    )
    sent_again: dict[str, Any] = dict.fromkeys((*SENT_AGAIN, "contract_id"))
    data = replace(order, items=items, **sent_again).to_json()
    return {**data, "problems": {tuple(problem) for problem in data["problems"]}}


def _cents(money: float | None) -> float | None:
    return None if money is None else round(money, 6)


Names = tuple[ContractId | None, frozenset[tuple[Any, ...]]]


def names_said(order: Order) -> Names:
    """The names an order says, each of a line with the line, so that two orders of one deal can be compared."""
    named = (item for item in order.items if item.names != (None, None))
    return order.contract_id, frozenset(
        (item.kind, item.stigg_id, item.plan_id, item.start, item.end, item.quantity, *item.names) for item in named
    )


def says_nothing_new(arriving: Order, stored: Order) -> bool:
    """Whether an order is the stored deal and adds no name to it."""
    return same_deal(stored, arriving) and names_said(with_names(stored, arriving)) == names_said(stored)


def with_names(order: Order, other: Order) -> Order:
    """The order with the names that another order of its opportunity adds: a name that was said once stays said.

    A line takes what it lacks from the other's lines of its entity and time, where those agree. Where several are the
    same lines in both, those are taken that say more names, the order's own where both say as many. An order of the
    first form whose one item stands for lines of several names cannot hold them: then the other is taken, line by line.
    """
    if other.contract_id and not order.contract_id:
        order = replace(order, contract_id=other.contract_id)
    if not any(map(_said, other.items)):
        return order
    theirs = {entity_of(group[0], order.differences): group for group in groups_of(other.items, order.differences)}
    if order.form < other.form and any(map(_named_apart, theirs.values())) and same_deal(order, other):
        return with_names(other, order)
    items: list[Item] = []
    for group in groups_of(order.items, order.differences):
        items += _named(group, theirs.get(entity_of(group[0], order.differences), []), order.differences)
    return replace(order, items=added_up(items, order.differences) if order.form else tuple(items))


def _named_apart(items: list[Item]) -> bool:
    return len({item.names for item in items}) > 1


def _named(ours: list[Item], theirs: list[Item], differences: bool) -> list[Item]:
    """Items of one entity with the names that others of it add."""
    if len(ours) == 1 and theirs and not _named_apart(theirs):
        return [_completed(ours[0], theirs[0])]
    more = sum(map(_said, theirs)) > sum(map(_said, ours)) and _unnamed(theirs, differences) == _unnamed(
        ours, differences
    )
    return theirs if more else ours


def _completed(item: Item, other: Item) -> Item:
    contract_id, record = item.contract_id or other.contract_id, item.record or other.record
    return item if item.names == (contract_id, record) else replace(item, contract_id=contract_id, record=record)


def _said(item: Item) -> int:
    return sum(name is not None for name in item.names)


def _unnamed(items: list[Item], differences: bool) -> tuple[Item, ...]:
    bare = added_up((item.unnamed() for item in items), differences)
    return tuple(replace(item, lines=()) for item in bare)
