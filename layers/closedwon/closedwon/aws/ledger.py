"""The ledger: every accepted order, and what each customer still needs. It owns all concurrency, in four verbs.

`accept` records orders (and `approve` what somebody decided), `acquire_lease` gives one execution at a time the right
to write for a customer, `record_result` records what it did, `due` says which customers to start. What the verbs decide
is in `domain`, by their names; how it is read and written at one moment is in `ledger_table`.

| pk | sk | what |
|---|---|---|
| ``ACCOUNT#<account>`` | ``CUSTOMER`` | the head: versions, lease; in the index `due` while something is due |
| ``ACCOUNT#<account>`` | ``OPPORTUNITY#<opportunity>`` | the opportunity's orders that count, and its outcome |
| ``ACCOUNT#<account>`` | ``SLOT#<slot>`` | what stands in a slot in Stigg (`domain.records.SlotRecord`) |
| ``ACCOUNT#<account>`` | ``GRANT#<grant>`` | a credit grant (`domain.records.GrantRecord`) |
| ``ACCOUNT#<account>`` | ``APPROVAL#<approval>`` | an approval; null once its change is made |
| ``OPPORTUNITY#<opportunity>`` | ``OWNER`` | the account it belongs to, for ever |
| ``OPPORTUNITY#<opportunity>`` | ``ORDER#<revision>#<digest>`` | every accepted order; only names are added later |
| ``STIGG#<customer>`` | ``OWNER`` | the account a customer in Stigg is bound to |
| ``CATALOGUE`` | ``CATALOGUE``, ``PART#<number>`` | the snapshot of Stigg's catalogue (`catalogue_items`) |
| ``PACKAGE`` | ``PACKAGE`` | what the Salesforce organisation's package has |
| ``CONTROL`` | ``CONTROL`` | whether the stack is paused or only watches |
| ``NOTICE#<cause>`` | ``NOTICE`` | see `aws.notices` |
| ``EVENT#<...>``, ``EVENTS``, ``DIFFERS#<account>`` | | see `aws.event_register` |

Bodies are JSON; those of more than a kilobyte are deflated (`ledger_items.text_of`). No item grows with its customer:
the head has nothing of deals and slots, and each of these is written only when it changes.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar

from closedwon.aws import metrics
from closedwon.aws.ledger_items import (
    Accepted,
    accepted_order,
    body_of,
    catalogue_items,
    keep_names_private,
    snapshot_of,
    text_of,
    unreadable,
)
from closedwon.aws.ledger_metrics import measure
from closedwon.aws.ledger_table import ITEMS_A_TRANSACTION, LedgerTable, TooMuch
from closedwon.domain.acceptance import Acceptance, Arrival, Due, accept_owned, approve
from closedwon.domain.customer import Customer, OpportunityState, erased
from closedwon.domain.due import START_GRACE, claim, heard, is_made_by, made_due, rate_slots_due
from closedwon.domain.errors import LedgerContended, as_read
from closedwon.domain.lease import Busy, Current, Unanswered, Work, acquire_lease
from closedwon.domain.order import Order
from closedwon.domain.results import Prepared, StepResult, record_result
from closedwon.words.reasons import recorded

DUE_AT_ONCE = 300
"""The most customers that one sweep starts: more than Stigg takes in its period."""

AT_ONCE = 8
"""Customers worked on at the same time, in threads: most of the time is spent waiting for other services."""

OPPORTUNITIES_A_TRANSACTION = ITEMS_A_TRANSACTION // 3
"""Orders accepted in one transaction: each writes at most its opportunity, its owner and the order."""

K = TypeVar("K")
T = TypeVar("T")


def at_once(work: Callable[[K], T], keys: Collection[K]) -> list[T]:
    """Call a function for each of several customers at the same time. Out: the results, in their order."""
    if len(keys) < 2:  # one needs no thread
        return [work(key) for key in keys]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(work, keys))


class Claim(NamedTuple):
    """A customer to start, the name its execution gets, and when its rate slot comes, in epoch milliseconds."""

    account_id: str
    execution: str
    rate_slot: int


class Control(NamedTuple):
    """What an operator lets the stack do: everything; accept deals only (`pause`); accept, plan and write nothing
    (`shadow`). since: epoch milliseconds; why: in the operator's words.
    """

    mode: Literal["run", "pause", "shadow"] = "run"
    since: int = 0
    why: str = ""


class Room:
    """Rate slots for due customers, reserved as it becomes known how many they need.

    In: a function that reserves so many rate slots, or as many as there is room for, and says when each comes.
    """

    def __init__(self, rate_slots: Callable[[int], Sequence[int]]) -> None:
        self._reserved = rate_slots
        self._left: list[int] = []
        self._full = False

    def there_is(self, wanted: int) -> bool:
        """Whether there is a rate slot left. wanted: how many to reserve, where none is."""
        return bool(self._left or self._reserve(wanted))

    def for_one(self, needed: int) -> tuple[int, int]:
        """How many rate slots a customer takes that needs so many, and when the last comes. None is used yet."""
        if needed > len(self._left):
            self._reserve(needed - len(self._left))
        taken = min(needed, len(self._left))
        return taken, self._left[taken - 1]  # the last: until then Stigg has room for all its writes

    def use(self, count: int) -> None:
        del self._left[:count]

    def _reserve(self, wanted: int) -> bool:
        given = () if self._full else self._reserved(wanted)
        self._left += given
        self._full = self._full or len(given) < wanted  # what comes later lies beyond the next sweep
        return bool(given)


class Ledger:
    """The ledger in one DynamoDB table.

    In: the table's name; a boto3 DynamoDB client; clock, epoch milliseconds; pause, which waits for seconds. Every
    verb raises LedgerContended when it lost every try.
    """

    def __init__(
        self,
        table: str,
        client: Any,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._table = LedgerTable(table, client, clock, pause)
        self._clock = clock

    # The verbs

    def accept(
        self, arrivals: Sequence[Arrival], rate_slots: Mapping[str, int] = {}, starts: bool = True
    ) -> list[Acceptance]:
        """Record orders.

        In: orders; when the rate slot of each account's execution comes, for those that are started; whether the
        caller starts what was accepted: if not, it is due at once.
        Out: an answer to each arrival, in their order. What is answered here is stored, whatever fails later.

        All orders of one account are accepted in as few transactions as possible, and one execution is named for all of
        them. Each transaction is whole by itself: if the rest is never written, what is stored is due all the same.
        """
        # A bulk save may have 200 deals of one account: one transaction for many costs one change of its head.
        groups: dict[str, list[int]] = defaultdict(list)
        for index, arrival in enumerate(arrivals):
            groups[arrival.order.account_id].append(index)
        answers: dict[int, Acceptance] = {}

        def accept_account(account_id: str) -> None:
            indices, most = groups[account_id], OPPORTUNITIES_A_TRANSACTION
            # No grace where the caller starts nothing: then the sweep is the only one that does.
            when = Due(rate_slots.get(account_id, 0), START_GRACE * starts)
            # A chunk that is too large is halved: lines decide the size, and nobody knows it before it is built.
            while chunk := indices[:most]:
                some = [arrivals[i] for i in chunk]
                try:
                    when, given = self._table.retried(partial(self._accept, account_id, some, when))
                except TooMuch:
                    most = len(chunk) // 2
                else:
                    answers.update(zip(chunk, given, strict=True))
                    indices = indices[len(chunk) :]

        at_once(accept_account, groups)
        return [answers[index] for index in range(len(arrivals))]

    def acquire_lease(
        self, account_id: str, owner: str, token: int, lease_milliseconds: int
    ) -> Work | Busy | Current | Unanswered:
        """Acquire a customer's lease for one execution; see `lease.acquire_lease`."""
        return self._table.change(
            account_id, lambda known: acquire_lease(known, owner, token, self._clock(), lease_milliseconds)
        )

    def record_result(self, work: Work, report: StepResult) -> tuple[Customer, Literal["done", "again"]]:
        """Record what a step did; see `results.record_result`. Out: the customer as it is now, and what follows.

        Raises results.LeaseLost when another execution holds the lease.
        """

        def rule(known: Customer) -> tuple[Customer, tuple[Customer, Customer, Literal["done", "again"]]]:
            # Looked up at each try: whoever wrote in between may have bound that ID.
            result = replace(report, taken=self._taken(known, report)) if isinstance(report, Prepared) else report
            changed, follows = record_result(known, work, result, self._clock())
            changed = recorded(known, changed)
            return changed, (known, changed, follows)

        known, changed, follows = self._table.change_held(work.lease, work.customer.account_id, rule)
        measure(known, changed)
        return changed, follows

    def approve(
        self, opportunity_id: str, approval: str, rate_slot: int
    ) -> tuple[Literal["approved", "unknown"], Claim | None]:
        """Approve what is held on an opportunity; see `acceptance.approve`. Out: also the execution to start."""
        # Outside the rule, which may run again: an opportunity never changes its account.
        found = self.find(opportunity_id)
        if found is None:
            return "unknown", None
        account_id = found[0].account_id

        def rule(known: Customer) -> tuple[Customer, tuple[Literal["approved", "unknown"], Claim | None]]:
            changed, status, name = approve(known, opportunity_id, approval, self._clock(), rate_slot)
            return changed, (status, Claim(account_id, name, rate_slot) if name else None)

        return self._table.change(account_id, rule)

    def make_due(self, account_id: str, rev: int, look: bool, opportunities: Collection[str], account: bool) -> bool:
        """Make a customer due, so that an execution repairs what differs; see `due.made_due`. Out: if it is."""
        return self._table.change(
            account_id,
            lambda known: made_due(known, rev, look, opportunities, account, self._clock()),
        )

    def hear(
        self, account_id: str, made: str | None, rate_slot: Callable[[], int | None]
    ) -> tuple[Literal["look", "none", "own"], Claim | None]:
        """Note that Stigg said that something of a customer changed; see `due.heard`.

        made: the subscription that it said was made. One of closed-won's own tells nothing new (`own`).
        Out: whether it leads to a look that was not to come already; and the execution to start.
        """

        def rule(known: Customer) -> tuple[Customer, tuple[Literal["look", "none", "own"], Claim | None]]:
            if made is not None and is_made_by(known, made):
                return known, ("own", None)
            changed, name = heard(known, self._clock(), rate_slot)
            claimed = Claim(account_id, name, changed.heard_at or 0) if name else None
            return changed, ("none" if changed == known else "look", claimed)

        return self._table.change(account_id, rule)

    def due(self, rate_slots: Callable[[int], Sequence[int]], most: int = DUE_AT_ONCE) -> list[Claim]:
        """Claim up to `most` customers that are due, the longest due first.

        rate_slots: a function that reserves so many rate slots and says when each comes; it may give fewer than were
        requested, and then fewer customers are claimed. A customer takes as many as it needs (see
        `due.rate_slots_due`) and begins with its last; the last one claimed takes what is left.
        """
        # After a burst or an outage more may be due than one sweep can start.
        due = self._table.due(self._clock(), most)
        metrics.note("Due", len(due))
        oldest = min((since for _, since in due), default=self._clock())
        metrics.note("OldestDueSeconds", max(0.0, (self._clock() - oldest) / 1000))
        accounts = [account_id for account_id, _ in due]
        claims = []
        room = Room(rate_slots)
        for place, account_id in enumerate(accounts):
            # Without a rate slot the rest stays due: a claim would only move it out of the next sweep's sight.
            if not room.there_is(len(accounts) - place):
                break
            try:
                claim, taken = self._claimed(account_id, room)
            except LedgerContended:  # it stays due; those claimed before it still have to be started
                continue
            if claim is not None:
                claims.append(claim)
                room.use(taken)  # none for one that is not due any more: the next gets them
        return claims

    def _claimed(self, account_id: str, room: Room) -> tuple[Claim | None, int]:
        """Claim one customer. Out: the claim, None where it is not due any more; how many rate slots it takes."""

        def rule(known: Customer) -> tuple[Customer, tuple[Claim | None, int]]:
            taken, rate_slot = room.for_one(rate_slots_due(known))
            changed, name = claim(known, self._clock(), rate_slot)
            return changed, (Claim(account_id, name, rate_slot) if name else None, taken)

        return self._table.change(account_id, rule)

    def erase(self, account_id: str) -> list[str]:
        """Erase what could name a person from a customer's opportunities, and from every order they ever had.

        Out: the opportunities' IDs. It can be repeated after an interruption.
        """

        def rule(known: Customer) -> tuple[Customer, list[str]]:
            return erased(known), sorted(known.opportunities)

        opportunities = self._table.change(account_id, rule)
        for id in opportunities:
            for item in self._table.items(f"OPPORTUNITY#{id}", "ORDER#"):
                # The digest in the key stays the old one: it names the order, and has no name in it that could be read.
                body = body_of(json.dumps(Order.from_json(json.loads(text_of(item))).nameless().to_json()))
                self._table.put({**item, "body": body})  # no condition: nobody else ever changes an order's item
        return opportunities

    # What others read

    def customer(self, account_id: str) -> Customer:
        """A customer with all its opportunities; one of version 0 where the ledger knows nothing."""
        return self._table.customer(account_id)

    def overdue(self, milliseconds: int) -> Iterator[str]:
        """The accounts of customers that have been due for longer than that, the longest due first."""
        return self._table.all_due(self._clock() - milliseconds)

    def find(self, opportunity_id: str) -> tuple[Customer, OpportunityState] | None:
        """An opportunity with its customer; None when it was never accepted."""
        owner = self._table.find(f"OPPORTUNITY#{opportunity_id}", "OWNER")
        if owner is None:
            return None
        known = self._table.some_of(owner["account_id"]["S"], [opportunity_id]).customer
        state = known.opportunities.get(opportunity_id)
        return (known, state) if state else None

    def owners(self, opportunities: Iterable[str]) -> dict[str, str]:
        """The account of each opportunity that was ever accepted: it belongs to that account for ever."""
        keys = sorted({f"OPPORTUNITY#{id}" for id in opportunities})
        items = self._table.find_all((key, "OWNER") for key in keys)
        return {item["pk"]["S"].partition("#")[2]: item["account_id"]["S"] for item in items}

    def bound_to(self, customer_id: str) -> str | None:
        """The account that a customer in Stigg is bound to; None where it is bound to none."""
        owner = self._table.find(f"STIGG#{customer_id}", "OWNER")
        return owner["account_id"]["S"] if owner else None

    def orders(self, opportunity_id: str) -> list[Accepted]:
        """Every order that was accepted for an opportunity, the oldest first."""
        items = self._table.items(f"OPPORTUNITY#{opportunity_id}", "ORDER#")
        return sorted((accepted_order(item) for item in items), key=lambda one: (one.at, one.revision))

    def foresee(self, account_id: str, arrivals: Sequence[Arrival]) -> tuple[Customer, Customer, list[Acceptance]]:
        """What `accept` would do with orders of one account. Nothing is written.

        Out: the whole customer as it is; as it would be; the answer to each arrival, in their order.
        """
        known = changed = self._table.customer(account_id)
        answers: list[Acceptance] = []
        when = Due()
        # In the pieces that `accept` makes, so that versions and names come out the same.
        for start in range(0, len(arrivals), OPPORTUNITIES_A_TRANSACTION):
            some = arrivals[start : start + OPPORTUNITIES_A_TRANSACTION]
            before = changed
            changed, given = self._accepted(before, list(some), when)
            when = when.joined(before, changed)
            answers += given
        return known, changed, answers

    def waiting(self, milliseconds: int) -> int:
        """How many customers are due now or within that time; by one read, which sees some thousands at most."""
        return self._table.count_due(self._clock() + milliseconds)

    def snapshot(self) -> str | None:
        """The kept snapshot of Stigg's catalogue; None where there is none, or not all of it."""
        first = self._table.find("CATALOGUE", "CATALOGUE")
        if first is None:
            return None
        # Most fit into one item, which is read by its key: only a large one has parts.
        return snapshot_of([first] if "body" in first else self._table.items("CATALOGUE"))

    def keep_snapshot(self, text: str) -> None:
        """Keep a snapshot of Stigg's catalogue, of any size."""
        for item in catalogue_items(text):
            self._table.put(item)

    def package(self) -> str | None:
        """What was kept of the Salesforce organisation's package."""
        item = self._table.find("PACKAGE", "PACKAGE")
        return item["body"]["S"] if item else None

    def keep_package(self, text: str) -> None:
        self._table.put({"pk": {"S": "PACKAGE"}, "sk": {"S": "PACKAGE"}, "body": {"S": text}})

    def control(self) -> Control:
        """The stack's mode; `run` where no operator ever chose one."""
        item = self._table.find("CONTROL", "CONTROL")
        with as_read(lambda mistake: unreadable("CONTROL", mistake)):
            told = json.loads(text_of(item)) if item else {}
            return Control(**{name: value for name, value in told.items() if name in Control._fields})

    def set_control(self, mode: Literal["run", "pause", "shadow"], why: str) -> None:
        """Set the stack's mode. Steps that are under way finish first: a step reads the mode only when it begins."""
        body = json.dumps(Control(mode, self._clock(), why)._asdict())
        self._table.put({"pk": {"S": "CONTROL"}, "sk": {"S": "CONTROL"}, "body": {"S": body}})

    # Accepting

    def _accept(self, account_id: str, arrivals: list[Arrival], when: Due) -> tuple[Due, list[Acceptance]]:
        """Accept in one transaction. Out: besides the answers, when the next part of the request is due."""
        # Only these opportunities: accepting needs no others, and an account may have hundreds.
        stored = self._table.some_of(account_id, [arrival.order.opportunity_id for arrival in arrivals])
        known = stored.customer
        changed, answers = self._accepted(known, arrivals, when)
        # Whole: an order that is stored before its head raises the version would be due for nobody.
        self._table.write(stored, changed, whole=True)
        measure(known, changed)
        return when.joined(known, changed), answers

    def _accepted(self, known: Customer, arrivals: list[Arrival], when: Due) -> tuple[Customer, list[Acceptance]]:
        """The customer after the arrivals, and the answer to each. Nothing is written yet."""
        keep_names_private(arrival.order for arrival in arrivals)
        opportunities, customers = self._owners(known, arrivals)
        changed, answers = accept_owned(known, arrivals, opportunities, customers, self._clock(), when)
        return recorded(known, changed), answers

    def _owners(self, known: Customer, arrivals: Iterable[Arrival]) -> tuple[dict[str, str], dict[str, str]]:
        """The accounts that opportunities new to this customer belong to already, and, while it is unbound, those of
        the customers in Stigg it is given.
        """
        keys: list[str] = []
        for order, _ in arrivals:
            if order.opportunity_id not in known.opportunities:
                # A deal that moved to another account in Salesforce must not give a second customer its access.
                keys.append(f"OPPORTUNITY#{order.opportunity_id}")
            if known.customer_id is None:
                # Two accounts must not share one customer in Stigg: each would undo what the other provisions.
                keys.append(f"STIGG#{order.customer_id or known.account_id}")
        of: dict[str, dict[str, str]] = {"OPPORTUNITY": {}, "STIGG": {}}
        for item in self._table.find_all((pk, "OWNER") for pk in keys):
            kind, _, id = item["pk"]["S"].partition("#")
            of[kind][id] = item["account_id"]["S"]
        return of["OPPORTUNITY"], of["STIGG"]

    def _taken(self, known: Customer, report: Prepared) -> dict[str, str]:
        """The customers in Stigg a report names that belong to other accounts, with those accounts."""
        named = {application.customer_id for application in report.applications.values()} - {None, known.customer_id}
        items = self._table.find_all((f"STIGG#{id}", "OWNER") for id in named)
        owners = {item["pk"]["S"].partition("#")[2]: item["account_id"]["S"] for item in items}
        return {id: owner for id, owner in owners.items() if owner != known.account_id}
