"""A model checker for the ledger's rules: what can happen to one customer, in every order, within small bounds.

The rules are the real ones (`acceptance`, `lease`, `results` and `due` in `closedwon.domain`); around them is a small
world: deals that arrive in any order, the sweep, executions that go through the state machine's steps, and two
registers, Stigg and Salesforce, in which the last write to land wins. What a step does between two of its own moments
can be interrupted by anything another one does:

- a step dies: before its write, with its write under way, or once the ledger has recorded what it did and before the
  state machine hears of it; or it lives, but its write is not answered, and it says so. It is retried with the token
  it was given, or given up on and written back as a failure;
- a write whose sender died lands at any later moment before the lease it was sent under ends, or never;
- a write is refused: the step says that everything was answered and is retried, or fails for good;
- an execution disappears altogether; a start that was asked for never happens;
- a step that has nothing more to write is paused, and reports after its lease has gone to somebody else.

Each verb is one moment: the ledger makes it so by compare-and-swap, which test_ledger.py shows.

Moments that cannot be told apart by anybody else are taken together, which loses no interleaving: taking and looking
(one touches the ledger only, the other Stigg only); sending and landing, where the sender lives; taking and recording
a failure. The clock jumps from one time the ledger knows to the next, never past a lease under which something may
still be written: that a step's life and its writes' are over by then is what a lease's length is chosen for.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from closedwon.domain import acceptance, due, lease, results
from closedwon.domain.acceptance import Arrival
from closedwon.domain.codes import Reason
from closedwon.domain.customer import Customer, Lease, OpportunityState, Outcome
from closedwon.domain.identifiers import AccountId, OpportunityId
from closedwon.domain.lease import Unanswered, Work
from closedwon.domain.order import Order, Problem, Revision
from closedwon.domain.records import SlotRecord
from closedwon.domain.results import Applied, Failed, Intended, Interrupted, LeaseLost, StepResult, Written
from unit.domain import settling

Fold = frozenset[tuple[str, str]]
"""What Stigg holds: of each opportunity that contributes, its ID and its order's name."""

Shown = frozenset[tuple[str, tuple[str, str]]]
"""What Salesforce shows: of each opportunity its status and reason; of the account, under "", its customer."""

ACCOUNT = AccountId("account")
SLOT = "product|"

LIFETIME = 60_000
"""How long a write may take to land, in milliseconds."""

LOOK_AGAIN = 240_000
"""How often a pending payment is looked at. Times here are multiples of one another: that keeps worlds few."""


@dataclass(frozen=True)
class Rules:
    """The four verbs. accept gives every state it can leave the customer in: one, unless it is broken."""

    accept: Callable[[Customer, Arrival, int], list[Customer]]
    acquire_lease: Callable[..., Any] = lease.acquire_lease
    record_result: Callable[..., Any] = results.record_result
    claim: Callable[[Customer, int], tuple[Customer, str | None]] = due.claim


def accept_at_once(customer: Customer, arrival: Arrival, now: int) -> list[Customer]:
    return [acceptance.accept(customer, [arrival], now)[0]]


REAL = Rules(accept_at_once)


@dataclass(frozen=True)
class Bounds:
    """How much goes wrong, and how much happens at once.

    arrivals: what arrives, in every order. deaths: steps that die without a word. refusals: writes that are answered,
    but not carried out. vanished: executions that end without writing anything back. lost: starts that never happen.
    at_once: executions that run at the same time. lease: milliseconds. unpaid: whether a payment is pending until it
    is made at some moment. paused: whether a step with nothing left to write may outlive its lease.
    """

    arrivals: tuple[Arrival, ...]
    deaths: int = 1
    refusals: int = 0
    vanished: int = 0
    lost: int = 0
    at_once: int = 2
    lease: int = 120_000
    unpaid: bool = False
    paused: bool = False


Stage = Literal["customer", "subscription", "write-back", "failure"]


class Run(NamedTuple):
    """One execution: the step it is in, the token it was given, and what the step has done so far.

    phase: ready (not begun, or to be tried again), writing (has taken its work and looked; its write is still to be
    sent), reporting (every write answered, or none needed).
    """

    owner: str
    stage: Stage
    token: int
    phase: Literal["ready", "writing", "reporting"] = "ready"
    work: Work | None = None


class Flight(NamedTuple):
    """A write under way whose sender is dead; it lands before `until`, or never."""

    to: Literal["Stigg", "Salesforce"]
    content: frozenset[Any]
    until: int


class Left(NamedTuple):
    """What may still go wrong."""

    deaths: int
    refusals: int
    vanished: int
    lost: int


class World(NamedTuple):
    now: int
    customer: Customer
    stigg: Fold
    salesforce: Shown
    paid: bool
    runs: tuple[Run, ...]
    flights: tuple[Flight, ...]
    coming: tuple[int, ...]
    left: Left


class Step(NamedTuple):
    """Something that happens. fault: whether it is one of those that are counted in `Left`."""

    what: str
    world: World
    fault: bool = False


@dataclass
class Result:
    """What a check found. trace: how to get to what is wrong with it, None where nothing is."""

    states: int
    steps: int
    quiet: int
    wrong: str | None = None
    trace: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = f"{self.states} states, {self.steps} steps, {self.quiet} of the states quiet"
        return said if self.wrong is None else "\n".join((f"{self.wrong}\n{said}; it happens like this:", *self.trace))


def order(opportunity: str, name: str, valid: bool = True, ends: bool = False) -> Order:
    """An order that is told from others by its name. ends: it cancels what its own opportunity sold."""
    return Order(
        opportunity_id=OpportunityId(opportunity),
        opportunity_name=name,
        account_id=ACCOUNT,
        account_name="",
        account_email=None,
        stored_customer_id=None,
        customer_id=None,
        resource_id=None,
        trigger="cancellation" if ends else "closed_won",
        currency="usd",
        cancel="end_of_term" if ends else None,
        problems=() if valid else (Problem(None, "terms", "wrong"),),
    )


def arrival(opportunity: str, name: str, at: int, valid: bool = True, ends: bool = False) -> Arrival:
    return Arrival(order(opportunity, name, valid, ends), Revision(at, 0))


def fold(customer: Customer) -> Fold:
    """The desired state, as far as it matters here: a set of what the newest valid orders say, and of what they end."""
    said = ((state.order, state.history.sells) for state in customer.opportunities.values())
    return _contributed((newest, sold and sold.order) for newest, sold in said)


def _contributed(said: Iterable[tuple[Order, Order | None]]) -> Fold:
    """In: by opportunity, its newest order, and what it sold last."""
    found: set[tuple[str, str]] = set()
    for newest, sold in said:
        if newest.trigger == "cancellation" and sold is not None:
            found.add((newest.opportunity_id, f"{sold.opportunity_name} until {newest.opportunity_name}"))
        elif newest.trigger != "cancellation" and not newest.problems:
            found.add((newest.opportunity_id, newest.opportunity_name))
    return frozenset(found)


def outcomes(customer: Customer, folded: Fold, paid: bool) -> dict[str, Outcome]:
    """Each deal's outcome depends on the whole fold, as it does when one deal holds another up."""
    reason = " ".join(f"{opportunity}={name}" for opportunity, name in sorted(folded))
    fine = Outcome("Provisioned" if paid else "Payment required", reason)
    return {
        id: Outcome("Failed", "terms: wrong") if state.order.problems else fine
        for id, state in customer.opportunities.items()
    }


def check(bounds: Bounds, verbs: Rules = REAL, most: int = 2_000_000) -> Result:
    """Go through every world that can come about. Stops at the first that is wrong: no way to one is shorter."""
    collecting = gc.isenabled()
    gc.disable()  # nothing here is garbage before the end: looking for it takes a quarter of the time
    try:
        return _check(bounds, verbs, most)
    finally:
        if collecting:
            gc.enable()


def _check(bounds: Bounds, verbs: Rules, most: int) -> Result:
    first = World(
        now=0,
        customer=Customer(ACCOUNT),
        stigg=frozenset(),
        salesforce=frozenset(),
        paid=not bounds.unpaid,
        runs=(),
        flights=(),
        coming=tuple(range(len(bounds.arrivals))),
        left=Left(bounds.deaths, bounds.refusals, bounds.vanished, bounds.lost),
    )
    model = _Model(bounds, verbs)
    numbers = {_key(first): 0}
    came: list[tuple[int, str]] = [(0, "")]
    without_fault: list[list[int]] = [[]]
    quiet: list[int] = []
    queue = deque([(0, first)])
    steps = 0

    def result(wrong: str | None = None, number: int = 0) -> Result:
        trace: list[str] = []
        while number:
            number, what = came[number]
            trace.insert(0, what)
        return Result(len(came), steps, len(quiet), wrong, tuple(f"{n:3}. {what}" for n, what in enumerate(trace, 1)))

    while queue:
        number, world = queue.popleft()
        if wrong := model.wrong(world):
            return result(f"{wrong}\n{_told(world)}", number)
        if model.is_quiet(world):
            quiet.append(number)
        for step in model.steps(world):
            steps += 1
            key = _key(step.world)
            next_number = numbers.get(key)
            if next_number is None:
                next_number = numbers[key] = len(came)
                came.append((number, f"{step.what:<60} {_short(step.world)}"))
                without_fault.append([])
                queue.append((next_number, step.world))
                if len(came) > most:
                    raise AssertionError(f"more than {most} states: the bounds are too large")
            if not step.fault:
                without_fault[next_number].append(number)
    stuck = set(range(len(came))) - _leading_to(quiet, without_fault)
    if stuck:
        return result("from here nothing ever becomes quiet, even if nothing more goes wrong", min(stuck))
    return result()


def _leading_to(ends: list[int], before: list[list[int]]) -> set[int]:
    """Every state from which one of `ends` can be reached."""
    found = set(ends)
    todo = list(ends)
    while todo:
        for number in before[todo.pop()]:
            if number not in found:
                found.add(number)
                todo.append(number)
    return found


class _Model:
    def __init__(self, bounds: Bounds, verbs: Rules) -> None:
        self._bounds = bounds
        self._verbs = verbs

    # What must hold

    def is_quiet(self, world: World) -> bool:
        """Nothing due, nobody at work, nothing under way, nothing to come."""
        return not (world.customer.due_at is not None or world.runs or world.flights or world.coming)

    def wrong(self, world: World) -> str | None:
        """What is wrong with a world, None when nothing is."""
        customer = world.customer
        newest = self._newest(world)
        kept = {id: state.order for id, state in customer.opportunities.items()}
        if kept != newest:
            return "an accepted order is lost: the ledger does not hold the newest revisions that arrived"
        if customer.due_at is not None:
            return None
        if customer.lease is not None:
            return "a lease is held, but nothing is due when its holder dies"
        if customer.applied != customer.version:
            return "an order is accepted, but not applied, and nothing is due"
        sold = self._newest(world, "closed_won")
        wanted = _contributed((order, sold.get(id)) for id, order in newest.items())
        if world.stigg != wanted:
            return f"nothing is due, but Stigg holds {_list(world.stigg)} instead of {_list(wanted)}"
        shown: set[tuple[str, tuple[str, str]]] = {
            (id, (o.status, o.reason)) for id, o in outcomes(customer, wanted, world.paid).items()
        }
        if customer.ensured:
            shown.add(("", ("", "account")))
        if world.salesforce != shown:
            return f"nothing is due, but Salesforce shows {_list(world.salesforce)} instead of {_list(shown)}"
        return None

    def _newest(self, world: World, trigger: str | None = None) -> dict[str, Order]:
        """The newest order of each opportunity of those that arrived. trigger: of those that are of one kind."""
        newest: dict[str, Arrival] = {}
        for number, arrived in enumerate(self._bounds.arrivals):
            id = arrived.order.opportunity_id
            if trigger not in (None, arrived.order.trigger):
                continue
            if number not in world.coming and (id not in newest or arrived.revision > newest[id].revision):
                newest[id] = arrived
        return {id: arrived.order for id, arrived in newest.items()}

    # What can happen

    def steps(self, world: World) -> Iterator[Step]:
        yield from self._arrivals(world)
        yield from self._sweep(world)
        yield from self._landings(world)
        yield from self._clock(world)
        if not world.paid:
            yield Step("the customer pays", world._replace(paid=True))
        for index, run in enumerate(world.runs):
            runs = world.runs[:index] + world.runs[index + 1 :]
            yield from self._run(world._replace(runs=runs), run)

    def _arrivals(self, world: World) -> Iterator[Step]:
        for number in world.coming:
            arrived = self._bounds.arrivals[number]
            for customer in self._verbs.accept(world.customer, arrived, world.now):
                coming = tuple(other for other in world.coming if other != number)
                after = world._replace(customer=customer, coming=coming)
                what = f"{arrived.order.opportunity_name} of {arrived.order.opportunity_id} arrives"
                started = customer.attempt != world.customer.attempt
                yield from self._start(after, what) if started else (Step(what, after),)

    def _sweep(self, world: World) -> Iterator[Step]:
        customer, name = self._verbs.claim(world.customer, world.now)
        if name is not None and len(world.runs) < self._bounds.at_once:
            yield from self._start(world._replace(customer=customer), "the sweep finds the customer due")

    def _start(self, world: World, what: str) -> Iterator[Step]:
        if len(world.runs) < self._bounds.at_once:
            taken = {run.owner for run in world.runs} | (
                {world.customer.lease.owner} if world.customer.lease else set()
            )
            owner = next(name for name in "ABCDEFGH" if name not in taken)
            yield Step(f"{what}; {owner} starts", self._with(world, Run(owner, "customer", 0)))
        if world.left.lost:
            yield Step(f"{what}; the start is lost", _less(world, lost=1), True)

    def _landings(self, world: World) -> Iterator[Step]:
        for index, flight in enumerate(world.flights):
            after = world._replace(flights=world.flights[:index] + world.flights[index + 1 :])
            yield Step(f"a dead step's write lands in {flight.to}", self._landed(after, flight.to, flight.content))
            yield Step(f"a dead step's write to {flight.to} never lands", after)

    def _clock(self, world: World) -> Iterator[Step]:
        customer = world.customer
        times = [customer.due_at, customer.look_again_at, customer.lease and customer.lease.until]
        later = [time for time in times if time is not None and time > world.now]
        if not later:
            return
        now = min(later)
        phases = ("writing",) if self._bounds.paused else ("writing", "reporting")
        writers = [run.work.lease.until for run in world.runs if run.phase in phases and run.work]
        if all(until > now for until in (*writers, *(flight.until for flight in world.flights))):
            yield Step(f"{(now - world.now) // 1000} seconds pass", world._replace(now=now))

    # One execution's next moment; it is not in world.runs

    def _run(self, world: World, run: Run) -> Iterator[Step]:
        if run.phase == "ready":
            if world.left.vanished:
                yield Step(f"{run.owner} disappears before its {run.stage} step", _less(world, vanished=1), True)
            yield from self._take(world, run)
        elif run.phase == "writing":
            yield from self._write(world, run)
        else:
            yield from self._report(world, run)

    def _take(self, world: World, run: Run) -> Iterator[Step]:
        lease = self._bounds.lease
        customer, answer = self._verbs.acquire_lease(world.customer, run.owner, run.token, world.now, lease)
        who = f"{run.owner} {run.stage}"
        if isinstance(answer, Unanswered):
            return  # waits: the next try changes nothing before time passes
        after = world._replace(customer=customer)
        if not isinstance(answer, Work):
            yield self._moving_on(after, run, f"{who}: {type(answer).__name__.lower()}")
            return
        token = answer.lease.token
        took = f"{who}: takes version {customer.version}"
        if run.stage == "customer":
            stage: Stage = "subscription" if answer.needs == "provision" else "write-back"
            yield Step(took, self._with(after, Run(run.owner, stage, token)))
            yield from self._dying(after, run, took)
            yield from self._refusing(after, run, answer, took)
            return
        if run.stage == "subscription":
            writes = world.stigg != fold(customer)
        else:
            if run.stage == "failure":
                customer, answer = self._settled(
                    customer, answer, Failed(Reason.of("stigg_refused", said="wrong")), world.now
                )[:2]
                after = world._replace(customer=customer)
            writes = bool(answer.customer.unwritten or answer.customer.account_unwritten)
        found = took + (", has something to write" if writes else ", finds nothing to write")
        yield Step(found, self._with(after, run._replace(phase="writing" if writes else "reporting", work=answer)))

    def _write(self, world: World, run: Run) -> Iterator[Step]:
        """The step's write: to Stigg after its intention is recorded, or to Salesforce."""
        work = run.work
        assert work is not None
        to: Literal["Stigg", "Salesforce"] = "Stigg" if run.stage == "subscription" else "Salesforce"
        # What is written is what was taken: an order accepted since is another round's.
        content: frozenset[Any] = fold(work.customer) if to == "Stigg" else _shown(work.customer)
        if to == "Stigg":
            try:
                intended = Intended({SLOT: work.customer.version})
                customer = self._settled(world.customer, work, intended, world.now)[0]
            except LeaseLost:
                yield self._lost(world, run)
                return
            world = world._replace(customer=customer)
        who = f"{run.owner} {run.stage}: writes {_list(content)} to {to}"
        landed = self._landed(world, to, content)
        yield Step(who, self._with(landed, run._replace(phase="reporting", work=work)))
        flights = (*world.flights, Flight(to, content, work.lease.until))
        yield from self._dying(world._replace(flights=flights), run, who)
        yield from self._refusing(world, run, work, who)
        if world.left.deaths:
            flights = (*world.flights, Flight(to, content, world.now + LIFETIME))
            after = self._interrupted(world, work, Interrupted(unanswered_for=LIFETIME))._replace(flights=flights)
            yield from self._again(_less(after, deaths=1), run, f"{who}, is not answered")

    def _report(self, world: World, run: Run) -> Iterator[Step]:
        work = run.work
        assert work is not None
        report: StepResult
        if run.stage == "subscription":
            customer = work.customer
            looks = None if world.paid else world.now + LOOK_AGAIN
            report = Applied(
                slots={SLOT: SlotRecord(customer.version, made=True)},
                outcomes=outcomes(customer, fold(customer), world.paid),
                settles=settling(customer),
                ensured=bool(fold(customer)),
                look_again_at=looks,
            )
        else:
            known = work.customer
            marks = {id: known.opportunities[id].mark(known.shown_id) for id in known.unwritten}
            report = Written(marks, known.account_unwritten, failed=run.stage == "failure")
        try:
            customer, work, follows = self._settled(world.customer, work, report, world.now)
        except LeaseLost:
            yield self._lost(world, run)
            return
        after = world._replace(customer=customer)
        what = f"{run.owner} {run.stage}: reports {type(report).__name__}"
        token = work.lease.token if work.customer.lease else 0
        if run.stage == "subscription":
            yield Step(what, self._with(after, Run(run.owner, "write-back", token)))
        elif follows == "again" and run.stage == "write-back":
            yield Step(f"{what}, again", self._with(after, Run(run.owner, "customer", token)))
        else:
            yield Step(f"{what}, ends", after)
        yield from self._dying(after, run, what)

    def _settled(
        self, customer: Customer, work: Work, report: StepResult, now: int
    ) -> tuple[Customer, Work, Literal["done", "again"]]:
        changed, follows = self._verbs.record_result(customer, work, report, now)
        return changed, replace(work, customer=changed), follows

    def _lost(self, world: World, run: Run) -> Step:
        return self._moving_on(world, run, f"{run.owner} {run.stage}: has lost its lease")

    def _moving_on(self, world: World, run: Run, what: str) -> Step:
        """A step without work, or without its lease, ends well; after the subscriptions' comes the write-back."""
        if run.stage == "subscription":
            return Step(what, self._with(world, Run(run.owner, "write-back", run.token)))
        return Step(f"{what}, ends", world)

    def _dying(self, world: World, run: Run, what: str) -> Iterator[Step]:
        """The step dies without a word. It is retried with the token it was given, or failed with the same."""
        if world.left.deaths:
            yield from self._again(_less(world, deaths=1), run, f"{what}, dies")

    def _refusing(self, world: World, run: Run, work: Work, what: str) -> Iterator[Step]:
        """The write is refused: nothing is done, and the step says so."""
        if world.left.refusals:
            after = _less(self._interrupted(world, work, Interrupted()), refusals=1)
            yield from self._again(after, run, f"{what}, is refused")

    def _interrupted(self, world: World, work: Work, report: Interrupted) -> World:
        try:
            return world._replace(customer=self._settled(world.customer, work, report, world.now)[0])
        except LeaseLost:  # the error that matters is the one under way
            return world

    def _again(self, world: World, run: Run, what: str) -> Iterator[Step]:
        yield Step(f"{what}, is retried", self._with(world, Run(run.owner, run.stage, run.token)), True)
        if run.stage in ("customer", "subscription"):
            yield Step(f"{what}, is written back", self._with(world, Run(run.owner, "failure", run.token)), True)
        else:
            yield Step(f"{what}, is not retried", world, True)

    def _landed(self, world: World, to: str, content: frozenset[Any]) -> World:
        if to == "Stigg":
            return world._replace(stigg=content)
        return world._replace(salesforce=frozenset({**dict(world.salesforce), **dict(content)}.items()))

    def _with(self, world: World, run: Run) -> World:
        return world._replace(runs=(*world.runs, run))


def _shown(customer: Customer) -> Shown:
    """What the write-back sends: the outcomes Salesforce does not show yet."""
    states = ((id, customer.opportunities[id].outcome) for id in customer.unwritten)
    shown = {(id, (str(outcome.status), outcome.reason)) for id, outcome in states}
    if customer.account_unwritten:
        shown.add(("", ("", customer.customer_id or "")))
    return frozenset(shown)


def _less(world: World, **used: int) -> World:
    return world._replace(left=world.left._replace(**{name: getattr(world.left, name) - n for name, n in used.items()}))


# Two worlds are the same when everything the rules and the steps look at is the same: times count from now,
# tokens and names only by whether they are the lease's, attempts and execution names not at all.


def _key(world: World) -> tuple[Any, ...]:
    now = world.now
    customer = world.customer
    lease = customer.lease

    def later(time: int | None) -> int | None:
        return None if time is None else max(time - now, 0)

    states = tuple(
        (id, _said(s), s.revision, s.version, s.outcome.status, s.outcome.reason, s.written)
        for id, s in sorted(customer.opportunities.items())
    )
    runs = sorted(
        (
            run.stage,
            run.phase,
            lease is not None and run.owner == lease.owner,
            lease is not None and run.token == lease.token,
            _work_key(run.work, lease, now),
        )
        for run in world.runs
    )
    flights = sorted((flight.to, sorted(flight.content), flight.until - now) for flight in world.flights)
    return (
        customer.version,
        customer.applied,
        customer.customer_id,
        customer.ensured,
        customer.account_written,
        min(customer.failures, len(results.BACKOFF)),
        later(customer.due_at),
        later(customer.look_again_at),
        lease and (later(lease.until), lease.answered),
        states,
        world.stigg,
        world.salesforce,
        world.paid,
        tuple(runs),
        str(flights) if flights else "",
        world.coming,
        world.left,
    )


def _said(state: OpportunityState) -> tuple[str, ...]:
    """By their names, the newest order, and what it ends if it is a cancellation."""
    ends = state.order.trigger == "cancellation" and state.history.sells
    return (state.order.opportunity_name, *((ends.order.opportunity_name, str(ends.revision)) if ends else ()))


def _work_key(work: Work | None, lease: Lease | None, now: int) -> tuple[Any, ...]:
    if work is None:
        return ()
    taken = work.customer
    return (
        work.needs,
        lease is not None and work.lease.token == lease.token,
        max(work.lease.until - now, 0),
        taken.version,
        tuple((id, _said(s), s.outcome.status, s.outcome.reason) for id, s in sorted(taken.opportunities.items())),
        tuple(sorted(taken.unwritten)),
        taken.account_unwritten,
    )


def _list(content: Any) -> str:
    return "{" + ", ".join(f"{one}: {other}" for one, other in sorted(content)) + "}"


def _short(world: World) -> str:
    customer = world.customer
    lease = customer.lease
    due = "-" if customer.due_at is None else f"{(customer.due_at - world.now) / 1000:+.0f} s"
    held = f"{lease.owner}#{lease.token} {(lease.until - world.now) / 1000:+.0f} s" if lease else "-"
    return f"| applied {customer.applied} of {customer.version}, due {due}, lease {held}, Stigg {_list(world.stigg)}"


def _told(world: World) -> str:
    states = "; ".join(
        f"{id}: {s.order.opportunity_name}, {s.outcome.status} {s.outcome.reason!r}, written {s.written}"
        for id, s in sorted(world.customer.opportunities.items())
    )
    return f"the ledger: {states}; still running: {[(run.owner, run.stage, run.phase) for run in world.runs]}"


# The rules with one of them taken out


def without_lease(verbs: Rules = REAL) -> Rules:
    """take gives the work to everybody, whoever holds it."""

    def acquire_lease(customer: Customer, owner: str, token: int, now: int, lease: int) -> Any:
        if customer.lease is not None and customer.lease.owner != owner:
            customer = replace(customer, lease=customer.lease._replace(until=now))
        return verbs.acquire_lease(customer, owner, token, now, lease)

    return replace(verbs, acquire_lease=acquire_lease)


def without_late_readings(verbs: Rules = REAL) -> Rules:
    """accept records an older reading only if it comes in time."""

    def accept(customer: Customer, arrived: Arrival, now: int) -> list[Customer]:
        known = customer.opportunities.get(arrived.order.opportunity_id)
        late = known is not None and arrived.revision < known.revision
        return [customer] if late else verbs.accept(customer, arrived, now)

    return replace(verbs, accept=accept)


def without_version(verbs: Rules = REAL) -> Rules:
    """settle records the version the customer has now as applied, not the one that was taken."""

    def record_result(customer: Customer, work: Work, report: StepResult, now: int) -> Any:
        return verbs.record_result(
            customer, replace(work, customer=replace(work.customer, version=customer.version)), report, now
        )

    return replace(verbs, record_result=record_result)


def without_transaction(verbs: Rules = REAL) -> Rules:
    """accept records the order first, and that something is to be done about it in a second write; it may die in
    between.
    """

    def accept(customer: Customer, arrived: Arrival, now: int) -> list[Customer]:
        whole = verbs.accept(customer, arrived, now)
        return [*whole, *(replace(customer, opportunities=one.opportunities) for one in whole)]

    return replace(verbs, accept=accept)


def without_token(verbs: Rules = REAL) -> Rules:
    """take lets a retry go on at once, whatever its dead predecessor has under way."""

    def acquire_lease(customer: Customer, owner: str, token: int, now: int, lease: int) -> Any:
        if customer.lease is not None and customer.lease.owner == owner:
            customer = replace(customer, lease=customer.lease._replace(answered=True))
        return verbs.acquire_lease(customer, owner, token, now, lease)

    return replace(verbs, acquire_lease=acquire_lease)


def without_forgetting(verbs: Rules = REAL) -> Rules:
    """What Salesforce was last known to show is believed still when another outcome has come in between."""

    def remembering(before: Customer, after: Customer) -> Customer:
        known = before.opportunities
        return replace(
            after,
            opportunities={
                id: replace(state, written=known[id].written) if id in known and state.written is None else state
                for id, state in after.opportunities.items()
            },
        )

    def accept(customer: Customer, arrived: Arrival, now: int) -> list[Customer]:
        return [remembering(customer, one) for one in verbs.accept(customer, arrived, now)]

    def record_result(customer: Customer, work: Work, report: StepResult, now: int) -> Any:
        changed, follows = verbs.record_result(customer, work, report, now)
        return remembering(customer, changed), follows

    return replace(verbs, accept=accept, record_result=record_result)
