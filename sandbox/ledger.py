"""A ledger in memory, for scenes that do not test DynamoDB: the verbs and reads of `closedwon.aws.ledger.Ledger`.

Both decide by the same rules, those of `domain.acceptance`, `lease`, `results` and `due`; tests/unit/test_ledger.py
holds both to the same promises.
One lock makes each verb happen at one moment, so nobody ever loses a try.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from closedwon.aws.ledger import DUE_AT_ONCE, Claim, Control, Room
from closedwon.aws.ledger_items import Accepted, Item, text_of
from closedwon.aws.ledger_metrics import measure
from closedwon.domain.acceptance import Acceptance, Arrival, Due, accept_owned, approve
from closedwon.domain.customer import Customer, OpportunityState, erased
from closedwon.domain.due import START_GRACE, claim, made_due, rate_slots_due
from closedwon.domain.identifiers import AccountId
from closedwon.domain.lease import Busy, Current, Unanswered, Work, acquire_lease
from closedwon.domain.order import Order, Revision
from closedwon.domain.results import Prepared, StepResult, record_result
from closedwon.words.reasons import recorded


def readable(item: Item) -> Item:
    """An item of the real ledger, with a body that is a text, as it may be stored as well."""
    return {**item, "body": {"S": text_of(item)}} if "body" in item else item


class MemoryLedger:
    """In: clock, epoch milliseconds."""

    def __init__(self, clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._customers: dict[str, Customer] = {}
        self._owners: dict[str, str] = {}  # accounts, by opportunity
        self._bound: dict[str, str] = {}  # accounts, by customer in Stigg
        self._orders: dict[str, dict[tuple[Revision, str], Accepted]] = defaultdict(dict)  # by opportunity
        self._snapshot: str | None = None
        self._package: str | None = None
        self._control = Control()

    # The verbs

    def accept(
        self, arrivals: Sequence[Arrival], rate_slots: Mapping[str, int] = {}, starts: bool = True
    ) -> list[Acceptance]:
        """Record orders; an answer to each. See `Ledger.accept`."""
        groups: dict[str, list[int]] = defaultdict(list)
        for index, arrival in enumerate(arrivals):
            groups[arrival.order.account_id].append(index)
        answers: dict[int, Acceptance] = {}
        with self._lock:
            for account_id, indices in groups.items():
                known = self.customer(account_id)
                when = Due(rate_slots.get(account_id, 0), START_GRACE * starts)
                changed, some = self._accepted(known, [arrivals[i] for i in indices], when)
                self._write(known, changed)
                measure(known, changed)
                answers.update(zip(indices, some, strict=True))
        return [answers[index] for index in range(len(arrivals))]

    def acquire_lease(
        self, account_id: str, owner: str, token: int, lease_milliseconds: int
    ) -> Work | Busy | Current | Unanswered:
        """Take a customer's work for one execution; see `lease.acquire_lease`."""
        with self._lock:
            known = self.customer(account_id)
            changed, answer = acquire_lease(known, owner, token, self._clock(), lease_milliseconds)
            self._write(known, changed)
            return answer

    def record_result(self, work: Work, report: StepResult) -> tuple[Customer, Literal["done", "again"]]:
        """Record what a step did; see `results.record_result`. Raises results.LeaseLost."""
        with self._lock:
            known = self.customer(work.customer.account_id)
            if isinstance(report, Prepared):
                report = replace(report, taken=self._taken(known, report))
            changed, follows = record_result(known, work, report, self._clock())
            changed = recorded(known, changed)
            self._write(known, changed)
        measure(known, changed)
        return changed, follows

    def approve(
        self, opportunity_id: str, approval: str, rate_slot: int
    ) -> tuple[Literal["approved", "unknown"], Claim | None]:
        """Let through what waits for somebody's approval; see `acceptance.approve`. Out: also what to start."""
        with self._lock:
            account_id = self._owners.get(opportunity_id)
            if account_id is None:
                return "unknown", None
            known = self.customer(account_id)
            changed, status, name = approve(known, opportunity_id, approval, self._clock(), rate_slot)
            self._write(known, changed)
            return status, Claim(account_id, name, rate_slot) if name else None

    def make_due(self, account_id: str, rev: int, look: bool, opportunities: Collection[str], account: bool) -> bool:
        """Have a customer looked at again; see `due.made_due`. Out: whether it is due."""
        with self._lock:
            known = self.customer(account_id)
            changed, due = made_due(known, rev, look, opportunities, account, self._clock())
            self._write(known, changed)
            return due

    def due(self, rate_slots: Callable[[int], Sequence[int]], most: int = DUE_AT_ONCE) -> list[Claim]:
        """Claim up to `most` customers that are due, the longest due first; see `Ledger.due`."""
        claims = []
        room = Room(rate_slots)
        with self._lock:
            accounts = self._due_until(self._clock())[:most]
            for place, account_id in enumerate(accounts):
                if not room.there_is(len(accounts) - place):
                    break
                known = self.customer(account_id)
                taken, rate_slot = room.for_one(rate_slots_due(known))
                changed, name = claim(known, self._clock(), rate_slot)
                self._write(known, changed)
                if name:
                    claims.append(Claim(account_id, name, rate_slot))
                    room.use(taken)
        return claims

    def erase(self, account_id: str) -> list[str]:
        """Forget what could name a person, in a customer's opportunities and in every order. Out: the opportunities."""
        with self._lock:
            known = self.customer(account_id)
            self._write(known, erased(known))
            for id in known.opportunities:
                self._orders[id] = {
                    key: accepted._replace(order=accepted.order.nameless())
                    for key, accepted in self._orders[id].items()
                }
            return sorted(known.opportunities)

    # What others read

    def customer(self, account_id: str) -> Customer:
        """A customer with all its opportunities; one of version 0 where the ledger knows nothing."""
        # Without a copy: a customer is frozen, and each change puts another in its place.
        return self._customers.get(account_id) or Customer(AccountId(account_id))

    def overdue(self, milliseconds: int) -> Iterator[str]:
        """The accounts of customers that have been due for longer than that, the longest due first."""
        return iter(self._due_until(self._clock() - milliseconds))

    def find(self, opportunity_id: str) -> tuple[Customer, OpportunityState] | None:
        """An opportunity with its customer, which has no other one then; None when it was never accepted."""
        account_id = self._owners.get(opportunity_id)
        if account_id is None:
            return None
        known = self.customer(account_id)
        state = known.opportunities[opportunity_id]
        return replace(known, opportunities={opportunity_id: state}), state

    def owners(self, opportunities: Iterable[str]) -> dict[str, str]:
        """The accounts that opportunities belong to for ever, of those that were ever accepted."""
        return {id: self._owners[id] for id in opportunities if id in self._owners}

    def bound_to(self, customer_id: str) -> str | None:
        """The account that a customer in Stigg is bound to; None where it is bound to none."""
        return self._bound.get(customer_id)

    def orders(self, opportunity_id: str) -> list[Accepted]:
        """Every order that was accepted for an opportunity, in the order in which that happened."""
        kept = self._orders.get(opportunity_id, {})
        return sorted(kept.values(), key=lambda one: (one.at, one.revision))

    def foresee(self, account_id: str, arrivals: Sequence[Arrival]) -> tuple[Customer, Customer, list[Acceptance]]:
        """What `accept` would make of orders of one account: the customer now and then, and the answers."""
        with self._lock:
            known = self.customer(account_id)
            return known, *self._accepted(known, arrivals, Due())

    def waiting(self, milliseconds: int) -> int:
        """How many customers are due now or within that time."""
        return len(self._due_until(self._clock() + milliseconds))

    def snapshot(self) -> str | None:
        """The kept snapshot of Stigg's catalogue."""
        return self._snapshot

    def keep_snapshot(self, text: str) -> None:
        self._snapshot = text

    def package(self) -> str | None:
        """What was kept of the Salesforce organisation's package."""
        return self._package

    def keep_package(self, text: str) -> None:
        self._package = text

    def control(self) -> Control:
        """What an operator lets the stack do; everything where nobody ever said."""
        return self._control

    def set_control(self, mode: Literal["run", "pause", "shadow"], why: str) -> None:
        """Let the stack do that from now on."""
        self._control = Control(mode, self._clock(), why)

    def put(self, customer: Customer) -> None:
        """Change a customer behind the rules' back, as no verb does: for scenes in which time has passed."""
        with self._lock:
            self._write(self.customer(customer.account_id), customer)

    # Reading and writing one customer, under the lock

    def _accepted(self, known: Customer, arrivals: Sequence[Arrival], when: Due) -> tuple[Customer, list[Acceptance]]:
        # Who is bound already cannot take another account's customer.
        bound = self._bound if known.customer_id is None else {}
        changed, answers = accept_owned(known, arrivals, self._owners, bound, self._clock(), when)
        return recorded(known, changed), answers

    def _taken(self, known: Customer, report: Prepared) -> dict[str, str]:
        """The customers in Stigg a report names that belong to other accounts, with those accounts."""
        named = {application.customer_id for application in report.applications.values()}
        return {id: self._bound[id] for id in named if id in self._bound and self._bound[id] != known.account_id}

    def _due_until(self, then: int) -> list[str]:
        """The accounts of customers that are due then, the longest due first."""
        # Over a copy, because some ask without the lock.
        due = [(known.due_at, id) for id, known in list(self._customers.items()) if known.due_at is not None]
        return [id for due_at, id in sorted(due) if due_at <= then]

    def _write(self, known: Customer, changed: Customer) -> None:
        """Keep what changed, under the next rev; an order that is new for its opportunity also in its history."""
        # As the table does it: what changes nothing raises no `rev`.
        if changed == known:
            return
        for id, state in changed.opportunities.items():
            before = known.opportunities.get(id)
            self._owners[id] = changed.account_id
            if before is None or before.order != state.order:
                self._keep_order(id, state.revision, state.order)
        if changed.customer_id is not None:
            self._bound[changed.customer_id] = changed.account_id
        self._customers[changed.account_id] = replace(changed, rev=known.rev + 1)

    def _keep_order(self, opportunity_id: str, revision: Revision, order: Order) -> None:
        accepted = Accepted(self._clock(), revision, order)
        self._orders[opportunity_id][revision, order.digest] = accepted
