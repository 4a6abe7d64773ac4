"""The user's own application, which creates workspaces before Stigg: what an order becomes with its answer.
Pure; `own_application` asks it, `customer` records its answers.

Times are epoch milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from closedwon.domain.codes import Reason
from closedwon.domain.identifiers import CustomerId
from closedwon.domain.instants import iso_of
from closedwon.domain.order import Order, Problem
from closedwon.domain.stored import given_of, told_of

TRY_AGAIN = (300_000, 900_000, 3_600_000)
"""How long after a first, second and every later failure the application is asked again about one opportunity."""

LONG = 24 * 3_600_000
"""How long a workspace may be in preparation before the reason on the deal says for how long: 24 hours."""


@dataclass(frozen=True)
class Application:
    """The state of the user's own application about one opportunity.

    since: when it was asked first. answered: whether it is done: customer_id, resource_id and metadata then are its
    answer, which stays for good. ask_again_at: when it is to be asked again; None of one that is not answered: only
    when something else happens to its customer. problem: why it failed, in a sales rep's words; empty while it
    prepares. failures: how often it failed, one after another. execution: the one that could not reach it, whose
    retries ask again at once. extra: see `domain.stored`.
    """

    since: int
    answered: bool = False
    customer_id: CustomerId | None = None
    resource_id: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    ask_again_at: int | None = None
    problem: str = ""
    failures: int = 0
    execution: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def asks(self, execution: str, now: int) -> bool:
        """Whether an execution has to ask about it now."""
        if self.answered:
            return False
        # The execution that could not reach it asks at once: its retries by the state machine are the wait.
        return self.ask_again_at is None or self.ask_again_at <= now or self.execution == execution

    def failed(self, problem: str, now: int, unreached_by: str | None = None) -> Application:
        """The state after a failure. unreached_by: the execution that could not reach it, whose retries count once."""
        # Retries of one execution are one failure: counted singly, a short outage would mean the longest wait.
        failures = self.failures + (0 if unreached_by and unreached_by == self.execution else 1)
        wait = TRY_AGAIN[min(failures, len(TRY_AGAIN)) - 1]
        return Application(
            self.since, problem=problem, ask_again_at=now + wait, failures=failures, execution=unreached_by
        )

    def why(self, now: int) -> Reason:
        """Why its opportunity is not provisioned yet."""
        # Only what the catalogue refuses is not asked about again by itself: the application never heard of it.
        if self.problem and self.ask_again_at is None:
            return Reason.of("not_in_catalogue", said=self.problem)
        if self.problem:
            return Reason.of("application_problem", said=self.problem)
        hours = (now - self.since) // 3_600_000 if now - self.since >= LONG else None
        minute = (self.ask_again_at or now) // 60_000 * 60_000
        return Reason.of("application_preparing", at=iso_of(minute), hours=hours)

    def to_json(self) -> dict[str, Any]:
        """Plain data for the ledger; `from_json` is its inverse."""
        return told_of(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Application:
        metadata = tuple((key, value) for key, value in data.get("metadata", ()))
        return cls(**{**given_of(cls, data), "metadata": metadata})


def begins(order: Order, others: Mapping[str, Order]) -> bool:
    """Whether an order is a new start, which the application is asked about: a won deal, a trial, or the renewal of
    something that is not in the ledger. others: the customer's orders, by opportunity.
    """
    # A refused deal is never provisioned: it must not leave a workspace behind.
    if order.problems:
        return False
    # A renewal of a contract in the ledger belongs to the workspace that the contract got.
    if order.trigger == "renewal":
        ours = (known for id, known in others.items() if id != order.opportunity_id)
        return not any(order.references & known.names for known in ours)
    return order.trigger in ("closed_won", "trial")


def prepared(order: Order, application: Application | None) -> Order:
    """The order with what the application answered: its resource, and metadata for its subscriptions.

    An order that names another resource itself is refused: nobody but a person can say which is meant.
    """
    if application is None or not application.answered:
        return order
    if conflict := resource_conflict(order, application):
        return order.refused((Problem(None, "resourceId", conflict),))
    resource_id = application.resource_id or order.resource_id
    return replace(order, resource_id=resource_id, metadata=application.metadata)


def resource_conflict(order: Order, application: Application) -> str | None:
    """What is wrong where the deal and the application name different resources; None when they agree."""
    if order.resource_id is None or application.resource_id in (None, order.resource_id):
        return None
    return f"{order.resource_id}, but your application made {application.resource_id}: leave it out of the deal"
