"""The ledger on a table that answers as badly as DynamoDB may, against the one in memory: they never differ.

A read that is not consistent finds each item as it was at any time; one that is, a transaction half done; a process
dies between two transactions of one write, and another goes on. All of it by chance, as hypothesis wants it.
"""

from __future__ import annotations

import copy
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedwon.aws import ledger_table
from closedwon.aws.ledger import Claim, Ledger
from closedwon.domain.acceptance import Arrival
from closedwon.domain.codes import Reason
from closedwon.domain.customer import Customer, Outcome
from closedwon.domain.identifiers import AccountId, OpportunityId
from closedwon.domain.lease import Work
from closedwon.domain.order import Item, Order, Revision
from closedwon.domain.records import GrantRecord, SlotRecord
from closedwon.domain.results import Applied, Failed, Intended, Interrupted, LeaseLost, StepResult, Written
from sandbox.ledger import MemoryLedger
from unit.capacity import CountingTable
from unit.domain import settling

Json = dict[str, Any]

ACCOUNT = AccountId("0015g00000XyZaBAAV")
NOW = 1_795_338_931_000
LEASE = 60_000
TORN = 3
"""Consistent reads in a row that may find a transaction half done: fewer than a verb is tried."""


class Died(Exception):
    """A process died."""


class BadTable(CountingTable):
    """Answers queries with what was, by a generator of chances. dies: whether the next transaction is not made."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance
        self._versions: dict[tuple[str, str], list[Json | None]] = defaultdict(lambda: [None])
        self._last: set[tuple[str, str]] = set()
        self._torn = 0
        self.dies: Callable[[], bool] = lambda: False

    def transact_write_items(self, *, TransactItems: list[Json], **more: Any) -> Json:
        if self.dies():
            raise Died
        answer = super().transact_write_items(TransactItems=TransactItems, **more)
        items = [one["Put"]["Item"] for one in TransactItems]
        self._last = {key for item in items if (key := (item["pk"]["S"], item["sk"]["S"]))[0].startswith("ACCOUNT#")}
        for key, item in zip(((i["pk"]["S"], i["sk"]["S"]) for i in items), items, strict=True):
            self._versions[key].append(copy.deepcopy(item))
        return answer

    def query(self, *, ConsistentRead: bool = False, **asked: Any) -> Json:
        if "IndexName" in asked:
            return {"Items": [item for item in self.all() if "due" in item]}
        pk = asked["ExpressionAttributeValues"][":pk"]["S"]
        keys = sorted(key for key in self._versions if key[0] == pk)
        if not ConsistentRead and self._chance.random() < 0.5:
            found = [self._chance.choice(self._versions[key]) for key in keys]
        elif ConsistentRead and self._last and self._torn < TORN and self._chance.random() < 0.5:
            self._torn += 1
            # Not all of it as it was before: the transaction is done.
            new = self._chance.sample(sorted(self._last), self._chance.randint(1, len(self._last)))
            found = [self._versions[key][-2 if key in self._last and key not in new else -1] for key in keys]
        else:
            self._torn = 0
            found = [self._versions[key][-1] for key in keys]
        return {"Items": copy.deepcopy([item for item in found if item])}


def order(number: int, quantity: int, trigger: str) -> Order:
    return Order(
        OpportunityId(f"0065g00000ABC{number:02}AAX"),
        "Northwind - Enterprise",
        ACCOUNT,
        "Northwind Traders",
        None,
        None,
        None,
        None,
        trigger,
        "usd",
        items=(Item("Plan", "plan-enterprise", quantity, (1,)),),
    )


class Both:
    """The ledger on the bad table, by two processes in turn, and the one in memory; all do the same."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = NOW
        self.table = BadTable(self.chance)
        self.real = [Ledger("ledger", self.table, lambda: self.now, pause=lambda _: None) for _ in range(2)]
        self.memory = MemoryLedger(lambda: self.now)
        self.works: list[tuple[Ledger, Work, Work]] = []

    def step(self) -> None:
        self.now += self.chance.choice((0, 1_000, LEASE, 200_000))
        verbs = [self.accept, self.accept, self.acquire, self.acquire, self.record, self.record, self.record]
        self.chance.choice([*verbs, self.approve, self.make_due, self.claim])()
        assert plain(self.real[0].customer(ACCOUNT)) == plain(self.memory.customer(ACCOUNT))

    def accept(self) -> None:
        arrivals = [
            Arrival(
                order(
                    self.chance.randrange(6), self.chance.randrange(3), self.chance.choice(("closed_won", "amendment"))
                ),
                Revision(self.chance.randrange(4), 0),
            )
            for _ in range(self.chance.randrange(1, 4))
        ]
        # One opportunity once in a request, as the callout has it.
        arrivals = list({arrival.order.opportunity_id: arrival for arrival in arrivals}.values())
        ledger = self.chance.choice(self.real)
        assert ledger.accept(arrivals) == self.memory.accept(arrivals)

    def acquire(self) -> None:
        ledger = self.chance.choice(self.real)
        owner, token = self.chance.choice("ab"), self.memory.customer(ACCOUNT).token - self.chance.randrange(2)
        one, other = (each.acquire_lease(ACCOUNT, owner, token, LEASE) for each in (ledger, self.memory))
        assert type(one) is type(other)
        if isinstance(one, Work) and isinstance(other, Work):
            assert (one.needs, plain(one.customer)) == (other.needs, plain(other.customer))
            self.works.append((ledger, one, other))
        else:
            assert one == other

    def record(self) -> None:
        if not self.works:
            return
        ledger, one, other = self.chance.choice(self.works[-2:])
        report = self._report(one.customer)
        try:
            wanted, follows = self.memory.record_result(other, report)
        except LeaseLost:
            with pytest.raises(LeaseLost):
                ledger.record_result(one, report)
            return
        if (
            self.chance.random() < 0.3
        ):  # the process dies before one of the transactions, and the step is recorded again
            left = [self.chance.randrange(3)]

            def dies() -> bool:
                left[0] -= 1
                return left[0] == -1

            self.table.dies = dies
            try:
                found = ledger.record_result(one, report)
            except Died:
                self.table.dies = lambda: False
                ledger = self.chance.choice(self.real)
                found = ledger.record_result(one, report)
            self.table.dies = lambda: False
        else:
            found = ledger.record_result(one, report)
        assert (plain(found[0]), found[1]) == (plain(wanted), follows)

    def _report(self, known: Customer) -> StepResult:
        keys = [f"product|workspace-{self.chance.randrange(9)}" for _ in range(self.chance.randrange(8))]
        grants = {f"grant-{self.chance.randrange(5)}": GrantRecord(5) for _ in range(self.chance.randrange(2))}
        outcomes = {
            id: Outcome(self.chance.choice(("Provisioned", "Held")), approval=self.chance.choice((None, "half")))
            for id in known.opportunities
        }
        marks = {
            id: state.mark(known.shown_id) for id, state in known.opportunities.items() if self.chance.random() < 0.7
        }
        return self.chance.choice(
            (
                Intended({key: self.chance.randrange(3) for key in keys}, grants),
                Applied(
                    {key: SlotRecord(self.chance.randrange(3), True, status="ACTIVE") for key in keys},
                    outcomes,
                    {id: told for id, told in settling(known).items() if self.chance.random() < 0.5},
                    ensured=True,
                    look_again_at=self.chance.choice((None, self.now + 1)),
                    grants=grants,
                    approved=frozenset(known.approved) if self.chance.random() < 0.5 else frozenset(),
                ),
                Written(marks, account=True, failed=self.chance.random() < 0.2),
                Failed(Reason.of("stigg_unavailable", said="504")),
                Interrupted(self.chance.choice((0, LEASE)), tuple(keys[:1])),
            )
        )

    def approve(self) -> None:
        id = order(self.chance.randrange(6), 1, "").opportunity_id
        assert self.chance.choice(self.real).approve(id, "half", 0) == self.memory.approve(id, "half", 0)

    def make_due(self) -> None:
        back = self.chance.randrange(2)
        states = {} if back else self.memory.customer(ACCOUNT).opportunities
        ids = [id for id in states if self.chance.random() < 0.5]
        done = [
            ledger.make_due(ACCOUNT, ledger.customer(ACCOUNT).rev - back, True, ids, False)
            for ledger in (self.chance.choice(self.real), self.memory)
        ]
        assert done[0] == done[1]

    def claim(self) -> None:
        found: list[list[Claim]] = []
        for ledger in (self.chance.choice(self.real), self.memory):
            due_at = self.memory.customer(ACCOUNT).due_at
            if (due_at is not None and due_at <= self.now) or found:
                found.append(ledger.due(lambda count: [self.now] * count))
        assert not found or found[0] == found[1]


def plain(customer: Customer) -> Customer:
    """The customer, however often it was written; approvals in any order, and of equal orders no matter which."""
    return replace(customer, rev=0, approved=tuple(sorted(customer.approved)))


@given(seed=st.integers(0, 2**32))
def test_what_a_bad_table_answers_is_never_believed(seed: int) -> None:
    both = Both(seed)
    for _ in range(40):
        both.step()


@given(seed=st.integers(0, 2**32))
def test_nor_where_every_write_takes_several_transactions(seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger_table, "ITEMS_A_TRANSACTION", 9)  # three orders: what is accepted is whole
        both = Both(seed)
        for _ in range(40):
            both.step()
