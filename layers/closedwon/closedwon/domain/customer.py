"""One customer in the ledger: its state and the rules of the four verbs. Pure; `ledger` stores what they return.

A customer is a Salesforce account with the customer it is bound to in Stigg. Every verb reads the customer, applies
one rule and writes it back on the condition that nobody wrote it in between: the rules see one customer's history in
one order, which is why they can be checked exhaustively (tests/unit/test_ledger_model.py).

Times are epoch milliseconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from closedwon.domain.application import Application, begins, prepared, resource_conflict
from closedwon.domain.codes import NO_FACTS, Facts, Reason
from closedwon.domain.former_approvals import former_approval_of
from closedwon.domain.identifiers import AccountId, CustomerId, OpportunityId, SubscriptionId
from closedwon.domain.order import Order, Problem, Revision, Standing, refusal
from closedwon.domain.records import GrantRecord, SlotRecord

START_GRACE = 120_000
"""How long the sweep leaves a requested start alone: StartExecution and a cold start take seconds."""

LOOK_AGAIN = 3_600_000
"""How often a pending payment is checked in Stigg: an hour."""

BACKOFF = (300_000, 900_000, 3_600_000)
"""How long a failed customer waits for its first, second and every later try by the sweep."""

Status = Literal["Provisioning", "Provisioned", "Payment required", "Scheduled", "Held", "Failed", "Superseded"]


class SubscriptionLink(NamedTuple):
    """One subscription a deal contributes to, as Salesforce shows it. status is Stigg's."""

    plan_id: str
    subscription_id: SubscriptionId
    status: str
    checkout_url: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a deal: status, the code of its reason with facts, the subscriptions it contributes to.

    reason: the words of code and facts as they are recorded and shown, empty until then (`words.reasons` says them);
    the first version stored words alone. approval: the ID of what waits for approval. due_at: when a scheduled change
    takes effect, epoch milliseconds.
    """

    status: Status = "Provisioning"
    reason: str = ""
    subscriptions: tuple[SubscriptionLink, ...] = ()
    approval: str | None = None
    due_at: int | None = None
    code: str = ""
    facts: Facts = NO_FACTS

    @classmethod
    def because(
        cls,
        status: Status,
        why: Reason,
        subscriptions: tuple[SubscriptionLink, ...] = (),
        approval: str | None = None,
        due_at: int | None = None,
    ) -> Outcome:
        """The outcome that a deal has for a reason."""
        return cls(status, "", subscriptions, approval, due_at, why.code, why.facts)

    @property
    def why(self) -> Reason | None:
        """Its reason; None where it has none, or was stored without a code."""
        return Reason(self.code, self.facts) if self.code else None

    def is_still(self, other: Outcome) -> bool:
        """Whether nothing became of the deal since another outcome. Words are no difference: the same code and facts
        may be said otherwise by another version, or not have been said yet.
        """
        if not (self.code and other.code):
            return self == other
        return replace(self, reason="") == replace(other, reason="")

    def shown(self) -> dict[str, Any]:
        """What Salesforce shows of it. Without a code, as the first version had it."""
        data: dict[str, Any] = {name: getattr(self, name) for name in _FORMER}
        return {**data, "code": self.code} if self.code else data

    def to_json(self) -> dict[str, Any]:
        """Plain data for the ledger; `from_json` is its inverse."""
        return {**self.shown(), **({"facts": self.facts.to_json()} if self.facts else {})}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        # What a newer version may have added is left out: the next look at the customer makes it anew.
        known = {name: value for name, value in data.items() if name in cls.__dataclass_fields__}
        links = tuple(SubscriptionLink(*link) for link in data["subscriptions"])
        return cls(**{**known, "subscriptions": links, "facts": Facts(data.get("facts") or {})})


_FORMER = ("status", "reason", "subscriptions", "approval", "due_at")
"""What an outcome of the first version had: its mark must not change, or all of them would be written again."""


@dataclass(frozen=True)
class OpportunityState:
    """One opportunity in the ledger.

    version: the customer's version that its newest order made. provisioned: the last order that Stigg stands for;
    won: the last of these that was not a cancellation, where that is another. written: the mark of the outcome that
    Salesforce shows for certain: None again as soon as there is another outcome, because a write of that one may land
    without an answer. at: when the outcome was reached. application: what the user's own application said about it,
    None where it was not asked.
    """

    order: Order
    revision: Revision
    version: int
    execution: str
    provisioned: Order | None = None
    outcome: Outcome = Outcome()
    at: int = 0
    written: str | None = None
    won: Order | None = None
    application: Application | None = None

    @property
    def stands(self) -> bool:
        """Whether Stigg stands for its newest order."""
        return self.provisioned is not None and self.provisioned.digest == self.order.digest

    @property
    def standing(self) -> Standing:
        """The opportunity as the fold takes it, with what the user's own application answered."""

        def ready(order: Order | None) -> Order | None:
            return order and prepared(order, self.application)

        newest = prepared(self.order, self.application)
        # While no cancellation was provisioned, the last order that was is the won one, and `won` stays empty.
        return Standing(newest, ready(self.provisioned), ready(self.won or self.provisioned))

    def with_provisioned(self, order: Order) -> OpportunityState:
        """The opportunity after one of its orders was provisioned."""
        # A cancellation's date may lie ahead: until then the fold needs the order that it ends.
        won = (self.won or self.provisioned) if order.trigger == "cancellation" else None
        return replace(self, provisioned=order, won=won)

    def mark(self, shown_id: str | None) -> str:
        """A short hash of everything Salesforce is to show: another mark means that it has to be written again."""
        # The customer's ID too: each Stigg Provisioning shows it, but only once the customer exists in Stigg.
        shown = [self.outcome.shown(), shown_id]
        return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:16]

    def became(self, outcome: Outcome, now: int) -> OpportunityState:
        """The opportunity with an outcome; unchanged, with its time, where it has that outcome already."""
        return self if outcome.is_still(self.outcome) else replace(self, outcome=outcome, at=now, written=None)

    def to_json(self) -> dict[str, Any]:
        data = {**self.__dict__, "order": self.order.to_json(), "outcome": self.outcome.to_json()}
        data["provisioned"] = None if self.provisioned is None else self.provisioned.to_json()
        data["won"] = None if self.won is None else self.won.to_json()
        data["application"] = None if self.application is None else self.application.to_json()
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OpportunityState:
        order = Order.from_json(data["order"])
        stands = data["provisioned"] == data["order"]  # mostly; then the digest, which is cached, is computed once
        # A field of a newer version fails here as unreadable: left out, the next write would lose it.
        return cls(
            **{
                **data,
                "order": order,
                "revision": Revision(*data["revision"]),
                "provisioned": order if stands else data["provisioned"] and Order.from_json(data["provisioned"]),
                "won": data.get("won") and Order.from_json(data["won"]),
                "application": data.get("application") and Application.from_json(data["application"]),
                "outcome": Outcome.from_json(data["outcome"]),
            }
        )


class Lease(NamedTuple):
    """The right to write for a customer, and until when its owner's writes may still land.

    token: rises each time the lease is acquired; a step that ends hands it to the next one. answered: the step failed,
    but had an answer to everything it wrote.
    """

    owner: str
    token: int
    until: int
    answered: bool = False


@dataclass(frozen=True)
class Customer:
    """A customer in the ledger.

    rev: raised by every write of it: the condition of the next one. version: raised by every accepted order. applied:
    the version that Stigg stands for. customer_id: its ID in Stigg, bound by the first valid order. ensured: whether it
    exists there. due_at: when the sweep is to start it, None when nothing is due. look_again_at: when Stigg has to be
    read again, for a pending payment or a later start. attempt: executions requested so far. slots: what is remembered
    of each slot, by its key. account_written: the customer ID that the account in Salesforce shows. approved: approvals
    whose change is not made yet. grants: the credits that were granted or are about to be, by their keys. asks: whether
    new starts go to the user's own application first. named: whether its ID may be in use in Stigg already, so that it
    stays.
    """

    account_id: AccountId
    rev: int = 0
    version: int = 0
    applied: int = 0
    customer_id: CustomerId | None = None
    ensured: bool = False
    lease: Lease | None = None
    token: int = 0
    due_at: int | None = None
    look_again_at: int | None = None
    attempt: int = 0
    failures: int = 0
    account_written: str | None = None
    approved: tuple[str, ...] = ()
    grants: dict[str, GrantRecord] = field(default_factory=dict)
    asks: bool = False
    named: bool = False
    slots: dict[str, SlotRecord] = field(default_factory=dict)
    opportunities: dict[str, OpportunityState] = field(default_factory=dict)

    @property
    def bound_id(self) -> CustomerId:
        """Its ID in Stigg; empty until a valid order binds it: nothing of it is in Stigg before."""
        return self.customer_id or CustomerId("")

    @property
    def shown_id(self) -> CustomerId | None:
        """Its ID in Stigg as Salesforce shows it: None until it exists there."""
        return self.customer_id if self.ensured else None

    @property
    def unwritten(self) -> list[str]:
        """The opportunities whose outcome Salesforce does not show yet, of those that have one."""
        return [
            id
            for id, state in self.opportunities.items()
            # A deal that nothing came of yet has nothing to show, unless the user's own application says why it waits.
            if (state.outcome.status != "Provisioning" or state.outcome.reason or state.outcome.code)
            and state.written != state.mark(self.shown_id)
        ]

    @property
    def certain_id(self) -> CustomerId | None:
        """Its ID in Stigg once that is final; None while the user's own application may still choose it."""
        # An ID in a valid deal was chosen by people: the user's own application cannot name another.
        chosen = any(s.order.customer_id and not s.order.problems for s in self.opportunities.values())
        stays = self.ensured or self.named or chosen or self.customer_id != CustomerId(self.account_id)
        return self.customer_id if stays else None

    @property
    def unprepared(self) -> dict[str, OpportunityState]:
        """The opportunities that the user's own application has still to prepare, and which wait for it. It is never
        asked about what was provisioned before it was configured.
        """
        if not self.asks:
            return {}
        orders = {id: state.order for id, state in self.opportunities.items()}
        return {
            id: state
            for id, state in self.opportunities.items()
            if state.provisioned is None
            and not (state.application and state.application.answered)
            and begins(state.order, orders)
        }

    @property
    def standings(self) -> list[Standing]:
        """Its orders as the fold takes them, without those that the user's own application has not prepared yet."""
        unprepared = self.unprepared
        return [state.standing for id, state in self.opportunities.items() if id not in unprepared]

    @property
    def unasked(self) -> list[str]:
        """The unprepared opportunities that the application was never asked about: they arrived since it was asked."""
        return [id for id, state in self.unprepared.items() if state.application is None]

    @property
    def account_unwritten(self) -> bool:
        # Not before it exists in Stigg: the link on the account would lead nowhere.
        return self.ensured and self.account_written != self.customer_id


class Arrival(NamedTuple):
    """One order as it arrives."""

    order: Order
    revision: Revision


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


@dataclass(frozen=True)
class Work:
    """What an execution may do for a customer while it holds the lease. needs: read and change Stigg, or only write to
    Salesforce.
    """

    customer: Customer
    needs: Literal["provision", "write_back"]

    @property
    def lease(self) -> Lease:
        assert self.customer.lease is not None
        return self.customer.lease


@dataclass(frozen=True)
class Busy:
    """Another execution holds the lease. Before it releases the lease, it sees what was accepted meanwhile."""

    until: int


@dataclass(frozen=True)
class Current:
    """There is nothing to do for the customer."""


@dataclass(frozen=True)
class Unanswered:
    """An earlier try of this execution may have a write under way until then."""

    until: int


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
    """The customer exists in Stigg."""


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
    is known of credits. approved: the approvals that are used up, because their change was made.
    """

    slots: dict[str, SlotRecord]
    outcomes: dict[str, Outcome]
    provisioned: frozenset[str]
    ensured: bool
    look_again_at: int | None = None
    grants: dict[str, GrantRecord] = field(default_factory=dict)
    approved: frozenset[str] = frozenset()


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


def execution_name(opportunity_id: str, revision: Revision, attempt: int) -> str:
    """``<opportunity>-<SystemModstamp>-<attempt>``: at most 80 characters, none that Step Functions refuses."""
    # Step Functions keeps a name for 90 days after the end: without the attempt nothing could be tried again.
    stamp = datetime.fromtimestamp(revision.modified / 1000, UTC)
    return f"{opportunity_id}-{stamp:%Y%m%dT%H%M%S}{revision.modified % 1000:03d}Z-{attempt}"


def rate_slots_for(orders: Iterable[Order]) -> int:
    """How many of the governor's rate slots an execution takes that brings about these orders of one customer.

    A rate slot stands for one subscription's writes. With one for each customer, deals of several plans would ask more
    of Stigg than the rate slots let through.
    """
    # A deal without a plan, such as one of add-ons, changes a subscription all the same.
    return max(1, len({item.stigg_id for order in orders for item in order.of_kind("Plan")}))


def accept(
    customer: Customer, arrivals: Iterable[Arrival], now: int, rate_slot: int = 0, grace: int = START_GRACE
) -> tuple[Customer, list[Acceptance]]:
    """Accept orders of one customer.

    In: the customer with the state of the arrivals' opportunities; orders with their revisions, in any order; now; when
    the rate slot of the execution that is asked for comes, 0 for at once; how long the sweep leaves it alone.
    Out: the customer, with its version raised once if anything was accepted, and an answer to each arrival in turn. An
    older revision is superseded; an order equal to the newest is a duplicate, whatever its revision; a duplicate of
    one that failed is tried again. An order that is refused is recorded too: it keeps older ones superseded, and its
    reason is shown.
    """
    # One version for all of them: whoever provisions folds the customer as a whole, so one round is enough.
    version, attempt = customer.version + 1, customer.attempt + 1
    opportunities = dict(customer.opportunities)
    customer_id = customer.customer_id
    answers: list[Acceptance] = []
    started: str | None = None  # one execution for all of them: it sees the customer whole
    for order, revision in arrivals:
        order, now_bound = bound(order, customer_id)
        id = order.opportunity_id
        state = opportunities.get(id)
        same = state is not None and order.digest == state.order.digest
        # The digest breaks a tie between two saves of one millisecond, in the same way on every machine.
        newer = state is None or (revision, order.digest) > (state.revision, state.order.digest)
        if state is not None and not newer and not same:
            answers.append(Acceptance(id, "superseded", state.execution))
            continue
        # A failed deal that is sent again, unchanged, is tried again: the catalogue may have been corrected.
        if state is None or not same or (state.outcome.status == "Failed" and not order.problems):
            started = started or execution_name(id, revision, attempt)
            state = _recorded(state, order, revision, version, started, now)
            customer_id = now_bound  # only a recorded order binds: else nothing would be due that shows the ID
        elif newer:
            # The same deal; CPQ may have numbered its lines differently.
            state = replace(state, revision=revision, order=order)
        opportunities[id] = state
        # A duplicate of a deal that is not provisioned yet starts its execution again, in case that start was lost;
        # the same name cannot start twice.
        start = state.version == version or state.outcome.status == "Provisioning"
        answers.append(Acceptance(id, _answer(order, same), state.execution, order.problems, start))
    customer = replace(customer, opportunities=opportunities, customer_id=customer_id)
    if started:
        customer = replace(
            customer,
            version=version,
            attempt=attempt,
            failures=0,
            # Due although somebody starts it now: if that start is lost, the sweep finds it after the grace.
            # From the rate slot on: until then its execution only waits, and would be started twice.
            due_at=_sooner(customer.due_at, max(now, rate_slot) + grace),
        )
    return customer, answers


def _recorded(
    state: OpportunityState | None, order: Order, revision: Revision, version: int, execution: str, now: int
) -> OpportunityState:
    """An opportunity with another newest order, or one that is tried again. state: None where it is new."""
    outcome = Outcome.because("Failed", refusal(order.problems)) if order.problems else Outcome()
    if state is None:
        return OpportunityState(order, revision, version, execution, outcome=outcome, at=now)
    application = state.application
    if application is not None and application.problem:  # asked again: the deal or the application may be corrected
        application = None
    return replace(
        state,
        order=order,
        revision=max(revision, state.revision),  # an older copy that is tried again lets nothing older in
        version=version,
        execution=execution,
        outcome=outcome,
        at=now,
        written=None,
        application=application,
    )


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
    rate_slot: int = 0,
    grace: int = START_GRACE,
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
    customer, accepted = accept(customer, ours, now, rate_slot, grace)
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
        due_at=_sooner(customer.due_at, max(now, rate_slot) + START_GRACE),
        opportunities=states,
    )
    return customer, "approved", name


def made_due(
    customer: Customer, rev: int, look: bool, opportunities: Iterable[str], account: bool, now: int
) -> tuple[Customer, bool]:
    """Make a customer due, so that an execution repairs what differs.

    In: the customer; its rev when it was compared; whether Stigg has to be read again; the opportunities whose outcome
    Salesforce does not show any more; whether the account does not show its customer; now.
    Out: the customer, and whether it is due now. It is not where it was written since the comparison: the difference
    may be gone already.
    """
    # It changed since it was compared, so the finding may be out of date: the next run finds what remains.
    if customer.rev != rev:
        return customer, False
    # Whatever the ledger believes, Salesforce shows something else: the mark must not vouch for it any more.
    states = {id: replace(customer.opportunities[id], written=None) for id in opportunities}
    return replace(
        customer,
        opportunities={**customer.opportunities, **states},
        account_written=None if account else customer.account_written,
        look_again_at=now if look else customer.look_again_at,
        due_at=_sooner(customer.due_at, now),
        failures=0,
    ), True


def erased(customer: Customer) -> Customer:
    """The customer without what could name a person. Nothing becomes due, because what was sold stays the same."""

    # All orders of an opportunity alike, because digests hold the names: one left out would look like a change.
    def nameless(order: Order | None) -> Order | None:
        return order and order.nameless()

    states = {
        id: replace(
            state, order=state.order.nameless(), provisioned=nameless(state.provisioned), won=nameless(state.won)
        )
        for id, state in customer.opportunities.items()
    }
    return replace(customer, opportunities=states)


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


def _sooner(one: int | None, other: int) -> int:
    return other if one is None else min(one, other)


def acquire_lease(
    customer: Customer, owner: str, token: int, now: int, lease_milliseconds: int
) -> tuple[Customer, Work | Busy | Current | Unanswered]:
    """Acquire the customer's lease.

    In: the customer; the execution's name; the token its last step handed on, 0 at the start; now; how long a write of
    this step can take to land, in milliseconds from now.
    Out: the customer and the work, with the lease held; or why there is none. A step that ended hands its token on. An
    execution with an older token is the retry of a step that died: it waits until that step's writes have landed or
    never will.
    """
    lease = customer.lease
    held = lease is not None and now < lease.until
    goes_on = False
    if lease is not None and lease.owner == owner:
        goes_on = token == lease.token  # handed on by a step whose every write was answered
        # The same execution with an older token: its last try died in mid-step, and its write may still land.
        if not goes_on and not lease.answered and held:
            return customer, Unanswered(lease.until)
    elif lease is not None and held:
        return customer, Busy(lease.until)
    looks = customer.look_again_at is not None and customer.look_again_at <= now
    needs: Literal["provision", "write_back"] = "write_back"
    # A customer whose only news is for Salesforce costs no call to Stigg.
    if customer.applied < customer.version or looks:
        needs = "provision"
    # A step that goes on gets the lease even so: its execution has still to record what came of it.
    elif not (customer.unwritten or customer.account_unwritten or goes_on):
        return replace(customer, lease=None, due_at=customer.look_again_at), Current()
    # Due at the lease's end: if this execution dies, the sweep starts the customer then.
    granted = Lease(owner, customer.token + 1, now + lease_milliseconds)
    customer = replace(customer, lease=granted, token=granted.token, due_at=granted.until)
    return customer, Work(customer, needs)


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
        case Ensured():
            return replace(customer, ensured=True), "again"
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
        elif id in report.provisioned:
            # The order that was folded, even where a newer one has come since: Stigg stands for this one.
            state = state.with_provisioned(taken.order)
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
        failures=0,
    )


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
    return replace(customer, lease=None, due_at=customer.look_again_at), "done"


def rate_slots_due(customer: Customer) -> int:
    """How many rate slots a due customer takes: those of its orders that Stigg does not stand for yet.

    One where Stigg is only read again (for a date, a payment, a repair): what differs is not known beforehand, and is
    mostly one subscription.
    """
    return rate_slots_for(state.order for state in customer.opportunities.values() if state.version > customer.applied)


def claim(customer: Customer, now: int, rate_slot: int = 0) -> tuple[Customer, str | None]:
    """Claim a customer that is due, for the sweep.

    In: the customer; now; when the rate slot of its execution comes, 0 for at once.
    Out: the customer and the name of the execution to start; None when it is not due any more. Where no start
    follows a claim, the customer is due again after START_GRACE, under a new name.
    """
    # Another sweep may have claimed it since the index was read; without an opportunity no execution has a name.
    if customer.due_at is None or customer.due_at > now or not customer.opportunities:
        return customer, None
    attempt = customer.attempt + 1
    newest = max(customer.opportunities.values(), key=lambda state: (state.version, state.order.opportunity_id))
    name = execution_name(newest.order.opportunity_id, newest.revision, attempt)
    opportunities = {
        # What Stigg stands for keeps showing the execution that provisioned it.
        id: replace(state, execution=name) if state.version > customer.applied else state
        for id, state in customer.opportunities.items()
    }
    due_at = max(now, rate_slot) + START_GRACE
    return replace(customer, attempt=attempt, due_at=due_at, opportunities=opportunities), name
