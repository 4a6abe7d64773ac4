"""Accepting orders and approvals: which of them count, and whether an execution is to be started. Pure.

Times are epoch milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from closedwon.domain.contract.facts import Reading, record
from closedwon.domain.customer import Customer, OpportunityState, Outcome
from closedwon.domain.due import START_GRACE, execution_name, sooner
from closedwon.domain.former_approvals import former_approval_of
from closedwon.domain.identifiers import CustomerId, OpportunityId
from closedwon.domain.order import Order, Problem, Revision, names_said, refusal, same_deal, with_names


class Arrival(NamedTuple):
    """One order as it arrives."""

    order: Order
    revision: Revision


@dataclass(frozen=True)
class Due:
    """When what is accepted is due, and by which execution.

    rate_slot: when that of the execution comes that is asked for, 0 for at once. grace: how long the sweep leaves it
    alone. execution: the one that an earlier part of the same request has named, which these orders join.
    """

    rate_slot: int = 0
    grace: int = START_GRACE
    execution: str | None = None

    def named(self, opportunity_id: str, revision: Revision, attempt: int) -> str:
        """The name of the execution that is asked for, by the first order that asks."""
        return self.execution or execution_name(opportunity_id, revision, attempt)

    def joined(self, before: Customer, after: Customer) -> Due:
        """For the next part of a request. In: the customer before and after the arrivals of this one."""
        if self.execution or after.version == before.version:
            return self
        named = (state.execution for state in after.opportunities.values() if state.version == after.version)
        return replace(self, execution=next(named))


@dataclass(frozen=True)
class Acceptance:
    """The answer to one arrival. execution: the name of the one that provisions it, or did; start: whether to start it
    now.
    """

    opportunity_id: OpportunityId
    status: Literal["accepted", "duplicate", "superseded", "invalid"]
    execution: str | None = None
    problems: tuple[Problem, ...] = ()
    start: bool = False


def accept(
    customer: Customer, arrivals: Iterable[Arrival], now: int, when: Due = Due()
) -> tuple[Customer, list[Acceptance]]:
    """Accept orders of one customer.

    In: the customer with the state of the arrivals' opportunities; orders with their revisions, in any order; now; when
    what is accepted is due.
    Out: the customer, with its version raised once if anything was recorded that may change what it should have, and
    an answer to each arrival in turn. An older revision is superseded; the same deal as the newest is a duplicate,
    whatever its revision; a duplicate of one that failed is tried again, and one that adds names is recorded, for
    others may refer to them. An order that is refused is recorded too: it keeps older ones superseded, and its reason
    is shown.
    """
    accepting = _Accepting(customer, now, when)
    answers = [accepting.accept(*arrival) for arrival in arrivals]
    return accepting.accepted(), answers


class _Accepting:
    """The acceptance of some orders of one customer. In: the customer; now; when what is accepted is due."""

    def __init__(self, customer: Customer, now: int, when: Due) -> None:
        self._customer = customer
        self._now = now
        self._when = when
        self._opportunities = dict(customer.opportunities)
        self._customer_id = customer.customer_id
        # One version for all of them: whoever provisions folds the customer as a whole, so one round is enough.
        self._version, self._attempt = customer.version + 1, customer.attempt + 1
        self._started: str | None = None  # one execution for all of them: it sees the customer whole

    def accept(self, order: Order, revision: Revision) -> Acceptance:
        """Accept one order, and answer."""
        order, now_bound = bound(order, self._customer_id)
        id, version = order.opportunity_id, self._version
        state = self._opportunities.get(id)
        name = self._started or self._when.named(id, revision, self._attempt)
        if state is not None and _is_older(state, order, revision):
            # It is recorded all the same: it may be the newest that sells, where the newest is a cancellation.
            state = _late(state, order, revision, version, name)
            self._keep(state, name)
            return Acceptance(id, "superseded", state.execution, start=state.version == version)
        same = state is not None and same_deal(state.order, order)
        if state is None or not same or _is_tried_again(state, order):
            state = _recorded(state, order, revision, version, name, self._now)
            self._customer_id = now_bound  # only a recorded order binds: else nothing would be due that shows the ID
        else:
            state = _again(state, order, revision, version, name)
        self._keep(state, name)
        # A duplicate of a deal that is not provisioned yet starts its execution again, in case that start was lost;
        # the same name cannot start twice.
        start = state.version == version or state.outcome.status == "Provisioning"
        return Acceptance(id, _answer(order, same), state.execution, order.problems, start)

    def _keep(self, state: OpportunityState, execution: str) -> None:
        """Keep an opportunity, and the execution's name where it needs one."""
        self._opportunities[state.order.opportunity_id] = state
        if state.version == self._version:
            self._started = execution

    def accepted(self) -> Customer:
        """The customer after all of them."""
        customer = replace(self._customer, opportunities=self._opportunities, customer_id=self._customer_id)
        if not self._started:
            return customer
        return replace(
            customer,
            version=self._version,
            attempt=self._attempt,
            failures=0,
            # Due although somebody starts it now: if that start is lost, the sweep finds it after the grace.
            # From the rate slot on: until then its execution only waits, and would be started twice.
            due_at=sooner(customer.due_at, max(self._now, self._when.rate_slot) + self._when.grace),
        )


def _is_older(state: OpportunityState, order: Order, revision: Revision) -> bool:
    """Whether an order is an older one of its opportunity, and another than the newest."""
    # The digest breaks a tie between two saves of one millisecond, in the same way on every machine.
    newer = (revision, order.digest) > (state.revision, state.order.digest)
    return not newer and not same_deal(state.order, order)


def _is_tried_again(state: OpportunityState, order: Order) -> bool:
    """Whether a deal that arrives again, unchanged, is tried again."""
    # It failed, and the catalogue may have been corrected.
    return state.outcome.status == "Failed" and not order.problems


def _recorded(
    state: OpportunityState | None, order: Order, revision: Revision, version: int, execution: str, now: int
) -> OpportunityState:
    """An opportunity with another newest order, or one that is tried again. state: None where it is new."""
    outcome = Outcome.because("Failed", refusal(order.problems)) if order.problems else Outcome()
    if state is None:
        fresh = OpportunityState(order, revision, version, execution, outcome=outcome, at=now)
        return fresh.with_history(record(None, Reading(order, revision)))
    if same_deal(state.order, order) and order.problems == state.order.problems:
        state = state.sent_again(order, revision)
    else:
        if order.form:  # what its lines were called stays so when the deal is changed; in the first form it is hashed
            order = with_names(order, state.order)
        # An older copy that is tried again lets nothing older in.
        state = state.with_history(record(state.history, Reading(order, max(revision, state.revision))))
    application = state.application
    if application is not None and application.problem:  # asked again: the deal or the application may be corrected
        application = None
    return replace(
        state,
        version=version,
        execution=execution,
        outcome=outcome,
        at=now,
        written=None,
        application=application,
    )


def _late(state: OpportunityState, order: Order, revision: Revision, version: int, execution: str) -> OpportunityState:
    """An opportunity whose older reading arrives late. What it says of the deal, and its names, may be news all the
    same; the outcome stays until an execution has folded the customer again.
    """
    history = state.history
    if order.form and not order.problems:  # as if it had come in time: a name that was said once stays said
        history = history.with_orders(lambda newer: with_names(newer, order))
        order = with_names(order, state.order)
    late = state.with_history(record(history, Reading(order, revision)))
    return late if _says(late) == _says(state) else replace(late, version=version, execution=execution)


def _says(state: OpportunityState) -> tuple[Any, ...]:
    """What others see of an opportunity: what it contributes, and its names."""
    contribution = state.history.contribution
    orders = [state.order, contribution.order, contribution.trial]
    return contribution.digest, *(order and names_said(order) for order in orders)


def _again(state: OpportunityState, order: Order, revision: Revision, version: int, execution: str) -> OpportunityState:
    """An opportunity whose newest order arrives once more.

    A contract or record that is named only now raises the version, so that an execution folds the customer again. What
    waits for that name is mostly another deal, which is not looked at here: accepting reads only the opportunities that
    arrive. Where nobody refers to it, the execution finds nothing to do. The outcome stays, for nothing about this deal
    is open, and Salesforce is not written twice.
    """
    again = state.sent_again(order, revision)
    if order.problems or names_said(again.order) == names_said(state.order):
        return again
    return replace(again, version=version, execution=execution)


def _answer(order: Order, same: bool) -> Literal["accepted", "duplicate", "invalid"]:
    if order.problems:
        return "invalid"
    return "duplicate" if same else "accepted"


def accept_owned(
    customer: Customer,
    arrivals: Sequence[Arrival],
    opportunities: Mapping[str, str],
    customers: Mapping[str, str],
    now: int,
    when: Due = Due(),
) -> tuple[Customer, list[Acceptance]]:
    """`accept`, where orders may name what belongs to other accounts: then they are refused.

    In: besides, the accounts that opportunities belong to for ever, and those that customers in Stigg are bound to; of
    both what is known and matters.
    """
    ours: list[Arrival] = []
    moved: dict[int, Acceptance] = {}
    for index, arrival in enumerate(arrivals):
        id, stigg_id = arrival.order.opportunity_id, arrival.order.customer_id or customer.account_id
        if (owner := opportunities.get(id, customer.account_id)) != customer.account_id:
            words = f"the opportunity belongs to the account {owner}; a moved deal is not moved by itself"
            # Answered but not recorded: the opportunity is in the ledger already, as another customer's.
            moved[index] = Acceptance(id, "invalid", None, (Problem(None, "account.id", words),))
            continue
        if (owner := customers.get(stigg_id, customer.account_id)) != customer.account_id:
            problem = Problem(None, "customerId", f"{stigg_id} is bound to another account, {owner}")
            # Recorded, though refused: it keeps older revisions superseded, and its reason is shown.
            arrival = arrival._replace(order=arrival.order.refused((problem,)))
        ours.append(arrival)
    customer, accepted = accept(customer, ours, now, when)
    answers = iter(accepted)
    return customer, [moved.get(index) or next(answers) for index in range(len(arrivals))]


def approve(
    customer: Customer, opportunity_id: str, approval: str, now: int, rate_slot: int = 0
) -> tuple[Customer, Literal["approved", "unknown"], str | None]:
    """Approve what is held on one opportunity.

    In: the customer; the opportunity, and the approval ID that its outcome shows; now; when the rate slot of the
    execution comes, 0 for at once.
    Out: the customer; whether that approval waits (or was given before); the execution to start, None where there is
    none.
    """
    state = customer.opportunities.get(opportunity_id)
    held = state.outcome if state is not None else Outcome()
    # Under the ID that the first version gave it, somebody may have it before their eyes still.
    former = former_approval_of(held.why) if held.why and held.approval else None
    if state is None or held.approval is None or approval not in (held.approval, former):
        return customer, "unknown", None  # another change may be held by now: it needs an approval of its own
    approval = held.approval
    if approval in customer.approved:
        return customer, "approved", state.execution  # a second tick must not start it again
    version, attempt = customer.version + 1, customer.attempt + 1
    name = execution_name(opportunity_id, state.revision, attempt)
    # No order is new, but the raised version makes an execution read Stigg and plan again.
    states = {**customer.opportunities, opportunity_id: replace(state, version=version, execution=name)}
    customer = replace(
        customer,
        version=version,
        attempt=attempt,
        failures=0,
        approved=(*customer.approved, approval),
        due_at=sooner(customer.due_at, max(now, rate_slot) + START_GRACE),
        opportunities=states,
    )
    return customer, "approved", name


def bound(order: Order, customer_id: CustomerId | None) -> tuple[Order, CustomerId | None]:
    """Bind the account to one customer in Stigg, by its first valid order: to the ID given, else the account's own ID.

    Out: the order as it is recorded, refused where it names another customer; the customer's ID.
    """
    if order.problems:
        return order, customer_id
    if customer_id is None:
        # The account's own ID is the same at every try: one made up here could become two customers in Stigg.
        return order, order.customer_id or CustomerId(order.account_id)
    if order.customer_id in (None, customer_id):
        return order, customer_id
    problem = Problem(
        None, "customerId", f"{order.customer_id}, but this account is bound to the customer {customer_id}"
    )
    return replace(order, problems=(problem,)), customer_id
