"""An order: a deal compiled by the mapping, as the ledger keeps it.

Plain frozen dataclasses: the steps of the state machine read orders without paying for a validation library at
start-up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

from closedwon.domain.codes import Reason
from closedwon.domain.identifiers import AccountId, ContractId, CustomerId, OpportunityId
from closedwon.domain.instants import Instant, from_iso, iso_utc

Kind = Literal["Plan", "Add-on", "Entitlement", "Credit entitlement", "Credit grant"]


class Problem(NamedTuple):
    """Why a deal is refused: the line (None where it is not in a line), the field, the reason, and its code."""

    line: int | None
    field: str
    message: str
    code: str = "invalid"

    def __str__(self) -> str:
        return f"{f'line {self.line}, ' if self.line is not None else ''}{self.field}: {self.message}"

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


@dataclass(frozen=True)
class Item:
    """One Stigg entity of a deal. Lines that name the same one are added up into one item.

    lines: the numbers of the lines it came from, for messages. quantity: units; 1 for an unlimited entitlement; how
    many more or fewer (negative) in an order of differences. price: net price of one unit for one billing period, in
    whole units of the order's currency, None where the deal does not override it. value: what a difference changes the
    price of them all by, in the same units. prior: how many there were before a difference, None where the deal does
    not say. start, end: when it counts, where that is not the whole of its order's time.
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

    def meets(self, other: Item) -> bool:
        """Whether the two count at the same time, now or then."""
        return _before(self.start, other.end) and _before(other.start, self.end)

    def to_json(self) -> dict[str, Any]:
        """Plain data for the ledger; `from_json` is its inverse."""
        data = dict(vars(self))
        if self.start is not None:
            data["start"] = iso_utc(self.start)
        if self.end is not None:
            data["end"] = iso_utc(self.end)
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Item:
        given = {**data, "lines": tuple(data["lines"])}
        for name in ("start", "end"):
            if given.get(name) is not None:
                given[name] = from_iso(given[name])
        return cls(**given)


def _before(start: Instant | None, end: Instant | None) -> bool:
    """Whether a start (None: it always was) lies before an end (None: never)."""
    # An end is the first instant that no longer counts, so what only touches does not meet.
    return start is None or end is None or start < end


_INSTANTS = ("start", "end", "as_of", "trial_end")
"""The fields of an order that are instants, and texts where it is stored."""


@dataclass(frozen=True)
class Order:
    """What one opportunity contributes.

    customer_id is what the deal or its account says the customer is called in Stigg; None leaves it to closed-won.
    amends: the contract or opportunity it amends, renews or cancels; contract_id: the contract it was turned into.
    differences: its quantities are differences, not all there is. end is the instant at which the term is over, and of
    a cancellation, access. cancel: when a cancellation without an end takes effect. as_of: when the deal was saved:
    the now of a cancellation. An order with problems is refused: it contributes nothing. metadata: what the user's own
    application wants on its subscriptions.
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
    amends: OpportunityId | ContractId | None = None
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

    # Kept among the instance's attributes, which is why `to_json` goes by the fields and not by `vars`.
    @cached_property
    def digest(self) -> str:
        """What makes two deals the same: a hash of the whole order but for what changes without the deal.

        Line numbers: CPQ deletes line items and makes them again. The customer's ID: the account shows it once it was
        written back (another customer's is refused when the order is accepted, and a refusal is part of the hash).
        When it was saved, which any field of the opportunity moves.
        """
        content = self.to_json()
        for name in ("stored_customer_id", "customer_id", "as_of"):
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

    def of_kind(self, kind: Kind) -> tuple[Item, ...]:
        return tuple(item for item in self.items if item.kind == kind)

    def to_json(self) -> dict[str, Any]:
        """Plain data for the ledger; `from_json` is its inverse."""
        # not `asdict`, which takes ten times as long: reconciliation does this for every deal there is. Empty fields
        # are left out: one that a later version adds then changes no digest of an order without it.
        data = {name: value for name in self.__dataclass_fields__ if (value := getattr(self, name)) not in (None, ())}
        if self.items:
            data["items"] = tuple(item.to_json() for item in self.items)
        for name in _INSTANTS:
            if name in data:
                data[name] = iso_utc(data[name])
        # As the first version stored them, but where the code says more than that the deal is invalid.
        data["problems"] = [list(problem if problem.code != "invalid" else problem[:3]) for problem in self.problems]
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Order:
        given = {name: value for name, value in data.items() if name in cls.__dataclass_fields__}
        for name in _INSTANTS:
            if (told := given.get(name)) is not None:
                given[name] = from_iso(told)
        # JSON made lists of the tuples: with these an order would not equal the one that was stored.
        given["items"] = tuple(Item.from_json(item) for item in data.get("items", ()))
        given["problems"] = tuple(Problem(*problem) for problem in data.get("problems", ()))
        given["metadata"] = tuple((name, value) for name, value in data.get("metadata", ()))
        # These have no default, and `to_json` leaves them out where they are None.
        for optional in ("account_email", "stored_customer_id", "customer_id", "resource_id"):
            given.setdefault(optional, None)
        return cls(**given)


class Standing(NamedTuple):
    """One opportunity's orders as far as the fold needs them: the newest; the last one that was provisioned; and the
    last of these that was no cancellation.
    """

    newest: Order
    provisioned: Order | None = None
    won: Order | None = None
