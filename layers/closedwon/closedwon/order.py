"""An order: a deal compiled by the mapping, as the ledger keeps it. What one opportunity contributes, whole.

Plain frozen dataclasses: the steps of the state machine read orders without paying for a validation library at
start-up.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal, NamedTuple


def iso_utc(moment: datetime) -> str:
    """An instant as orders and subscriptions keep it: ISO 8601 in UTC with milliseconds. In: a time with a zone."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Kind = Literal["Plan", "Add-on", "Entitlement", "Credit entitlement"]


class Problem(NamedTuple):
    """Why a deal is refused: the line (None where it is not in a line), the field and the reason."""

    line: int | None
    field: str
    message: str

    def __str__(self) -> str:
        return f"{f'line {self.line}, ' if self.line is not None else ''}{self.field}: {self.message}"


class Revision(NamedTuple):
    """What orders one opportunity's deals: its SystemModstamp, then the time Apex read it; in epoch milliseconds."""

    modified: int
    read: int


@dataclass(frozen=True)
class Item:
    """One Stigg entity of a deal. Lines that name the same one are added up into one item.

    lines: the numbers of the lines it came from, for messages. quantity: units; 1 for an unlimited entitlement. price:
    net price of one unit in whole units of the order's currency, None where the deal does not override it.
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


@dataclass(frozen=True)
class Order:
    """What one opportunity contributes, whole. Times are ISO 8601 in UTC.

    customer_id is what the deal or its account says the customer is called in Stigg; None leaves it to closed-won. end
    is the instant at which the term is over. An order with problems is refused: it contributes nothing.
    """

    opportunity_id: str
    opportunity_name: str
    account_id: str
    account_name: str
    account_email: str | None
    stored_customer_id: str | None
    customer_id: str | None
    resource_id: str | None
    trigger: str
    currency: str
    billing_period: str | None = None
    start: str | None = None
    end: str | None = None
    payment_collection: str | None = None
    items: tuple[Item, ...] = ()
    problems: tuple[Problem, ...] = ()

    @cached_property
    def digest(self) -> str:
        """What makes two deals the same: a hash of the whole order but for two things that change without the deal.

        Line numbers: CPQ deletes line items and makes them again. The customer's ID: the account shows it once it was
        written back (another customer's is refused when the order is accepted, and a refusal is part of the hash).
        """
        unnumbered = tuple(replace(item, lines=()) for item in self.items)
        content = replace(self, items=unnumbered, stored_customer_id=None, customer_id=None).to_json()
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def refused(self, problems: tuple[Problem, ...]) -> Order:
        """The order with more problems, if there are any."""
        return replace(self, problems=(*self.problems, *problems)) if problems else self

    def of_kind(self, kind: Kind) -> tuple[Item, ...]:
        return tuple(item for item in self.items if item.kind == kind)

    def to_json(self) -> dict[str, Any]:
        """Plain data for the ledger; `from_json` is its inverse."""
        data = asdict(self)
        data["problems"] = [list(problem) for problem in self.problems]
        return {name: value for name, value in data.items() if value not in (None, ())}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Order:
        known = {field.name for field in fields(cls)}
        given = {name: value for name, value in data.items() if name in known}
        given["items"] = tuple(Item(**{**item, "lines": tuple(item["lines"])}) for item in data.get("items", ()))
        given["problems"] = tuple(Problem(*problem) for problem in data.get("problems", ()))
        for optional in ("account_email", "stored_customer_id", "customer_id", "resource_id"):
            given.setdefault(optional, None)
        return cls(**given)
