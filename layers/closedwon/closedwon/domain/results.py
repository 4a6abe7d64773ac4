"""Results of steps, and what recording one changes. Pure.

Times are epoch milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from closedwon.domain.application import Application, resource_conflict
from closedwon.domain.codes import Reason
from closedwon.domain.contract.facts import Contribution, History, begin, settle
from closedwon.domain.customer import RULES, Customer, Lease, Outcome
from closedwon.domain.due import due_after
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import Instant
from closedwon.domain.lease import Work
from closedwon.domain.order import Order
from closedwon.domain.records import GrantRecord, SlotRecord

BACKOFF = (300_000, 900_000, 3_600_000)
"""How long a failed customer waits for its first, second and every later try by the sweep."""


@dataclass(frozen=True)
class Prepared:
    """The user's own application was asked: its answers, by opportunity. asks: whether there is such an application.
    taken: customers in Stigg it names that are bound to another account, with that account; the ledger fills them in.
    """

    applications: dict[str, Application]
    asks: bool = True
    taken: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Naming:
    """The customer is about to be made in Stigg under its ID."""


@dataclass(frozen=True)
class Ensured:
    """The customer exists in Stigg. currency: what it is billed in, None where it has none; archived: whether somebody
    archived it there, so that nothing can be written to it.
    """

    currency: str | None = None
    archived: bool = False


@dataclass(frozen=True)
class Intended:
    """What is about to be sent, recorded first so that it is never sent twice: the generations of new subscriptions, by
    slot key, and credits, by the grant's key.
    """

    generations: dict[str, int]
    grants: dict[str, GrantRecord] = field(default_factory=dict)


@dataclass(frozen=True)
class Interrupted:
    """A step failed. unanswered_for: how long its last write may still land, in milliseconds; 0 when everything it
    wrote was answered, so that a retry need not wait. burned: slot keys whose generation turned out to be used already.
    """

    unanswered_for: int = 0
    burned: tuple[str, ...] = ()


@dataclass(frozen=True)
class Applied:
    """The plan was applied: Stigg stands for the work's version. slots: what to remember, by slot key; outcomes: by
    opportunity; look_again_at: when Stigg has to be read again, for a pending payment or a later change. grants: what
    is known of credits. approved: the approvals that are used up, because their change was made. learned: when what a
    cancellation ends with its billing period is over, by opportunity and `customer.learned_key`. looked: whether Stigg
    was only read, and what differs there was left as it is (`due.only_looks`).
    """

    slots: dict[str, SlotRecord]
    outcomes: dict[str, Outcome]
    settles: Mapping[OpportunityId, Contribution]
    ensured: bool
    look_again_at: int | None = None
    grants: dict[str, GrantRecord] = field(default_factory=dict)
    approved: frozenset[str] = frozenset()
    learned: Mapping[str, Mapping[str, Instant]] = field(default_factory=dict)
    begun: frozenset[str] = frozenset()
    products: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    looked: bool = False


@dataclass(frozen=True)
class Failed:
    """The execution gives up, and the sweep tries again later."""

    why: Reason


@dataclass(frozen=True)
class Written:
    """Salesforce shows these marks, by opportunity; and the account shows its customer where account is true."""

    marks: dict[str, str]
    account: bool
    failed: bool = False


StepResult = Prepared | Naming | Ensured | Intended | Interrupted | Applied | Failed | Written


class LeaseLost(Exception):
    """The lease has ended under which a result was to be recorded: another execution goes on from what it finds."""


def record_result(
    customer: Customer, work: Work, report: StepResult, now: int
) -> tuple[Customer, Literal["done", "again"]]:
    """Record what a step did.

    In: the customer as it is now; the work that the step had; its result; now.
    Out: the customer, and whether its execution is done or has to go round again because something was accepted
    meanwhile.
    Raises LeaseLost when another execution has the lease.
    """
    # A step that lasted longer than its lease must not record: another execution has read Stigg since.
    if customer.lease is None or customer.lease.token != work.lease.token:
        raise LeaseLost
    match report:
        case Prepared():
            return _prepared(customer, work, report, now), "again"
        case Naming():
            return replace(customer, named=True), "again"
        case Ensured(currency, archived):
            return _ensured(customer, currency, archived), "again"
        case Intended():
            return _intended(customer, report), "again"
        case Interrupted():
            return _interrupted(customer, customer.lease, report, now), "again"
        case Applied():
            return _applied(customer, work, report, now), "again"
        case Failed(why):
            return _failed(customer, work, why, now), "again"
        case Written(marks, account, failed):
            return _written(customer, marks, account, failed, now)


def _prepared(customer: Customer, work: Work, report: Prepared, now: int) -> Customer:
    """Record the answers of the user's own application. A customer that does not exist in Stigg yet is bound to the ID
    it names; an answer that contradicts a deal or the account is a failure, and the application is asked again.
    """
    opportunities = dict(customer.opportunities)
    # One after another: the first answer that names the customer binds it, and the others must agree with it.
    for id, application in report.applications.items():
        state = opportunities[id]
        if application.problem and state.version > work.customer.version:
            continue  # the failure was about an older order; the newer one has still to be asked about
        if problem := _contradiction(customer, state.order, application, report.taken):
            application = application.failed(problem, now)
        elif application.customer_id is not None:
            customer = replace(customer, customer_id=application.customer_id)
        opportunities[id] = replace(state, application=application)
    return replace(customer, asks=report.asks, opportunities=opportunities)


def _intended(customer: Customer, report: Intended) -> Customer:
    """Remember what is about to be sent."""
    slots = dict(customer.slots)
    for key, generation in report.generations.items():
        # Not known to be used yet: a retry that finds no subscription of this generation sends the same one again.
        slots[key] = replace(slots.get(key, SlotRecord()), generation=generation, made=False)
    return replace(customer, slots=slots, grants={**customer.grants, **report.grants})


def _interrupted(customer: Customer, lease: Lease, report: Interrupted, now: int) -> Customer:
    """Keep the lease for as long as a write without an answer may land; where all was answered, a retry may go on."""
    # Stigg answered 409 for these: their IDs are used, so the next try takes another generation.
    slots = {key: replace(r, made=True) if key in report.burned else r for key, r in customer.slots.items()}
    if report.unanswered_for:
        lease = lease._replace(until=now + report.unanswered_for)
    else:
        lease = lease._replace(answered=True)
    return replace(customer, slots=slots, lease=lease, due_at=lease.until)


def _contradiction(customer: Customer, order: Order, application: Application, taken: Mapping[str, str]) -> str | None:
    """What an answer contradicts, as a sentence; None when it fits."""
    if conflict := resource_conflict(order, application):
        return f"resourceId: {conflict}"
    id = application.customer_id
    if id is None or id == customer.customer_id:
        return None
    said = f"Your application's answer cannot be used: customerId {id}"
    if id in taken:
        return f"{said} is bound to another account, {taken[id]}"
    # The account's own ID is only a default until it may be in use: another answer is then welcome.
    return f"{said}, but this account is bound to the customer {customer.customer_id}" if customer.certain_id else None


def _applied(customer: Customer, work: Work, report: Applied, now: int) -> Customer:
    opportunities = dict(customer.opportunities)
    unprepared = work.customer.unprepared
    # Those that the step took: what was accepted since was not folded, and stays as it is.
    for id, taken in work.customer.opportunities.items():
        state = opportunities[id]
        outcome = report.outcomes.get(id)
        if id in unprepared:  # it was not folded: its outcome is the answer of the user's own application
            outcome = _waiting(taken.application, now) if taken.application else None
        else:
            # As it was folded, even where a newer reading has come since: Stigg stands for this.
            state = state.with_history(_stood(state.history, report.settles.get(OpportunityId(id)), id in report.begun))
            if products := report.products.get(id):
                state = replace(state, products=products)
        state = state.with_learned(report.learned.get(id, {}))
        # A newer order has come since: what became of the older one says nothing of it.
        if outcome is not None and state.version <= work.customer.version:
            state = state.became(outcome, now)
        opportunities[id] = state
    looks = [report.look_again_at, *(s.application.ask_again_at for s in unprepared.values() if s.application)]
    unasked = (unprepared[id].version - 1 for id in work.customer.unasked)
    return replace(
        customer,
        applied=min(unasked, default=work.customer.version),  # only what was folded; what was accepted since stays due
        slots={**customer.slots, **report.slots},
        grants={**customer.grants, **report.grants},
        approved=tuple(approval for approval in customer.approved if approval not in report.approved),
        opportunities=opportunities,
        ensured=customer.ensured or report.ensured,  # a customer stays in Stigg when its last deal has ended
        look_again_at=min((at for at in looks if at is not None), default=None),
        heard_at=_still_heard(customer, work),
        failures=0,
        rules=_compared_by(customer, report),
    )


def _compared_by(customer: Customer, report: Applied) -> int:
    """By whose rules Stigg was compared last with a customer's deals: one that was only looked at was not."""
    return customer.rules if report.looked else RULES


def _still_heard(customer: Customer, work: Work) -> int | None:
    """When Stigg is to be looked at for what it said since a step took its work; None where it said nothing since."""
    return customer.heard_at if customer.heard_token >= work.lease.token else None


def _stood(history: History, settled: Contribution | None, begun: bool) -> History:
    """A history after what it contributes was provisioned, and something of it has begun."""
    if settled is not None:
        newest = history.newest.order
        if newest == newest.nameless():  # erased, maybe since the step took it: what it took has the names still
            settled = settled.with_orders(Order.nameless)
        history = settle(history, settled)
    return begin(history) if begun and history.settled is not None else history


def _waiting(application: Application, now: int) -> Outcome:
    """The outcome of a deal that the user's own application has not prepared."""
    return Outcome.because("Failed" if application.problem else "Provisioning", application.why(now))


def _failed(customer: Customer, work: Work, why: Reason, now: int) -> Customer:
    opportunities = {
        # Its subscriptions stay: what was provisioned before still stands. A refused deal keeps its own reason.
        id: state.became(replace(state.outcome, status="Failed", reason="", code=why.code, facts=why.facts), now)
        if customer.applied < state.version <= work.customer.version and not state.order.problems
        else state
        for id, state in customer.opportunities.items()
    }
    return replace(customer, opportunities=opportunities)


def _written(
    customer: Customer, marks: Mapping[str, str], account: bool, failed: bool, now: int
) -> tuple[Customer, Literal["done", "again"]]:
    opportunities = dict(customer.opportunities)
    for id, mark in marks.items():
        # The mark of what was sent: where the outcome is another by now, the deal still counts as unwritten.
        opportunities[id] = replace(opportunities[id], written=mark)
    customer = replace(customer, opportunities=opportunities)
    if account:
        customer = replace(customer, account_written=customer.customer_id)
    assert customer.lease is not None
    if failed:  # stays due: the sweep tries again, later each time
        wait = BACKOFF[min(customer.failures, len(BACKOFF) - 1)]
        return replace(customer, lease=None, due_at=now + wait, failures=customer.failures + 1), "done"
    if customer.applied < customer.version or customer.unwritten or customer.account_unwritten:
        return customer, "again"
    return replace(customer, lease=None, due_at=due_after(customer, now)), "done"


def _ensured(customer: Customer, currency: str | None, archived: bool) -> Customer:
    """The customer as Stigg has it: the currency that is known stays where Stigg tells none."""
    return replace(customer, ensured=True, currency=currency or customer.currency, archived=archived)
