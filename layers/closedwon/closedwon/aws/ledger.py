"""The ledger: every accepted order, and what each customer still needs. It owns all concurrency, in four verbs.

`accept` records orders (and `approve` what somebody decided), `acquire_lease` gives one execution at a time the right
to write for a customer, `record_result` records what it did, `due` says whom to start. What the verbs decide is in
`customer`; here it is read and written in DynamoDB.

A customer's head item carries `rev`; every write of a customer's items is one transaction on the condition that `rev`
is what was read, and the head is read before the rest. So each verb happens at one moment, or not at all and is tried
again.

| pk | sk | what |
|---|---|---|
| ``ACCOUNT#<account>`` | ``CUSTOMER`` | the head; in the index `due` while something is due |
| ``ACCOUNT#<account>`` | ``OPPORTUNITY#<opportunity>`` | the opportunity's newest order and its outcome |
| ``OPPORTUNITY#<opportunity>`` | ``OWNER`` | the account it belongs to, for ever |
| ``OPPORTUNITY#<opportunity>`` | ``ORDER#<revision>#<digest>`` | every accepted order, never changed |
| ``STIGG#<customer>`` | ``OWNER`` | the account a customer in Stigg is bound to |
| ``CATALOGUE`` | ``CATALOGUE`` | the snapshot of Stigg's catalogue |
| ``CONTROL`` | ``CONTROL`` | whether the stack is paused or only watches |
| ``NOTICE#<cause>`` | ``NOTICE`` | see `aws.notices` |
"""

from __future__ import annotations

import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields, replace
from functools import partial
from itertools import accumulate, chain, islice
from typing import Any, Literal, NamedTuple, TypeVar

from closedwon.aws import metrics
from closedwon.domain import customer as rules
from closedwon.domain.customer import (
    Acceptance,
    Arrival,
    Busy,
    Current,
    Customer,
    Lease,
    OpportunityState,
    Prepared,
    StepResult,
    Unanswered,
    Work,
)
from closedwon.domain.errors import LedgerContended, LedgerUnreadable, as_read
from closedwon.domain.order import Order, Revision
from closedwon.domain.records import GrantRecord, SlotRecord
from closedwon.wire.private import keep_private

TRIES = 12
"""How often a verb is tried when others write the same customer; with growing pauses, about two seconds in all."""

OPPORTUNITIES_A_TRANSACTION = 20
"""A transaction takes 100 items; an opportunity needs at most three."""

BYTES_A_TRANSACTION = 3_500_000
"""A transaction takes 4 MB; this leaves room for the head. An opportunity with 200 lines is usually about 170 KB, with
the longest IDs, and provisioned before, nearly 600.
"""

KEYS_A_READ = 100
"""The most items BatchGetItem reads."""

DUE_AT_ONCE = 300
"""The most customers that one sweep starts: more than Stigg takes in its period."""

PASSING = (
    "ConditionalCheckFailed",
    "TransactionConflict",
    "ThrottlingError",
    "ProvisionedThroughputExceeded",
)
"""Why DynamoDB gives a transaction up that can be tried again; boto3 does not try these by itself."""

AT_ONCE = 8
"""Customers looked after at the same time: the time goes into waiting for other services."""

Item = dict[str, Any]
Json = dict[str, Any]
K = TypeVar("K")
T = TypeVar("T")


def at_once(work: Callable[[K], T], keys: Collection[K]) -> list[T]:
    """Do something for each of several customers at the same time. Out: what came of it, in their order."""
    if len(keys) < 2:  # threads are not for one
        return [work(key) for key in keys]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(work, keys))


class TooMuch(Exception):
    """What should be written at one moment is more than a transaction holds."""


class Conflict(Exception):
    """Somebody wrote the customer between our reading and writing it."""


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


class Accepted(NamedTuple):
    """An order as it was accepted. at: when, in epoch milliseconds."""

    at: int
    revision: Revision
    order: Order


class Room:
    """Rate slots for customers that are due, reserved as it turns out how many they need.

    In: reserves so many rate slots, or as many as there is room for.
    """

    def __init__(self, rate_slots: Callable[[int], Sequence[int]]) -> None:
        self._reserved = rate_slots
        self._left: list[int] = []
        self._full = False

    def there_is(self, wanted: int) -> bool:
        """Whether there is a rate slot left. wanted: how many to reserve, where none is."""
        return bool(self._left or self._reserve(wanted))

    def for_one(self, needed: int) -> tuple[int, int]:
        """How many rate slots somebody takes who needs so many, and the last of them. Nothing is taken yet."""
        if needed > len(self._left):
            self._reserve(needed - len(self._left))
        taken = min(needed, len(self._left))
        return taken, self._left[taken - 1]

    def use(self, count: int) -> None:
        del self._left[:count]

    def _reserve(self, wanted: int) -> bool:
        given = () if self._full else self._reserved(wanted)
        self._left += given
        self._full = self._full or len(given) < wanted
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
        self._table = table
        self._client = client
        self._clock = clock
        self._pause = pause

    # The verbs

    def accept(
        self, arrivals: Sequence[Arrival], rate_slots: Mapping[str, int] = {}, starts: bool = True
    ) -> list[Acceptance]:
        """Record orders. In: orders; when the rate slot of each account's execution comes, for those that are started;
        whether the caller starts what was accepted: if not, it is due at once.
        Out: an answer to each arrival, in their order. What is answered here survives everything after it.

        All orders of one account are accepted in as few transactions as possible, and one execution is named for them.
        """
        groups: dict[str, list[int]] = defaultdict(list)
        for index, arrival in enumerate(arrivals):
            groups[arrival.order.account_id].append(index)
        answers: dict[int, Acceptance] = {}

        def accept_account(account_id: str) -> None:
            indices, most = groups[account_id], OPPORTUNITIES_A_TRANSACTION
            while chunk := indices[:most]:
                some = [arrivals[i] for i in chunk]
                accept = partial(
                    self._accept, account_id, some, rate_slots.get(account_id, 0), rules.START_GRACE * starts
                )
                try:
                    answers.update(zip(chunk, self._retried(accept), strict=True))
                except TooMuch:
                    most = len(chunk) // 2
                else:
                    indices = indices[len(chunk) :]

        at_once(accept_account, groups)
        return [answers[index] for index in range(len(arrivals))]

    def acquire_lease(
        self, account_id: str, owner: str, token: int, lease_milliseconds: int
    ) -> Work | Busy | Current | Unanswered:
        """Take a customer's work for one execution; see `customer.acquire_lease`."""
        return self._change(
            account_id, lambda known: rules.acquire_lease(known, owner, token, self._clock(), lease_milliseconds)
        )

    def record_result(self, work: Work, report: StepResult) -> tuple[Customer, Literal["done", "again"]]:
        """Record what a step did; see `customer.record_result`. Out: the customer as it is now, and what follows.

        Raises customer.LeaseLost when another execution holds the lease.
        """

        def rule(known: Customer) -> tuple[Customer, tuple[Customer, Customer, Literal["done", "again"]]]:
            told = replace(report, taken=self._taken(known, report)) if isinstance(report, Prepared) else report
            changed, follows = rules.record_result(known, work, told, self._clock())
            return changed, (known, changed, follows)

        known, changed, follows = self._change(work.customer.account_id, rule)
        measure(known, changed)
        return changed, follows

    def approve(
        self, opportunity_id: str, approval: str, rate_slot: int
    ) -> tuple[Literal["approved", "unknown"], Claim | None]:
        """Let through what waits for somebody's approval; see `customer.approve`. Out: also the execution to start."""
        found = self.find(opportunity_id)
        if found is None:
            return "unknown", None
        account_id = found[0].account_id

        def rule(known: Customer) -> tuple[Customer, tuple[Literal["approved", "unknown"], Claim | None]]:
            changed, status, name = rules.approve(known, opportunity_id, approval, self._clock(), rate_slot)
            return changed, (status, Claim(account_id, name, rate_slot) if name else None)

        return self._change(account_id, rule)

    def make_due(self, account_id: str, rev: int, look: bool, opportunities: Collection[str], account: bool) -> bool:
        """Have a customer looked at again, to repair what differs; see `customer.made_due`. Out: whether it is due."""
        return self._change(
            account_id,
            lambda known: rules.made_due(known, rev, look, opportunities, account, self._clock()),
        )

    def due(self, rate_slots: Callable[[int], Sequence[int]], most: int = DUE_AT_ONCE) -> list[Claim]:
        """Claim up to `most` customers that are due, the longest due first.

        rate_slots: reserves so many rate slots, and says when each comes; fewer than were asked for where there is no
        room, and then fewer are claimed. A customer takes as many as it needs (see `customer.rate_slots_due`) and
        begins with its last; the last one claimed takes what is left.
        """
        answer = self._client.query(
            TableName=self._table,
            IndexName="due",
            KeyConditionExpression="due = :due AND due_at <= :now",
            ExpressionAttributeValues={":due": {"S": "DUE"}, ":now": {"N": str(self._clock())}},
            Limit=most,
        )
        metrics.note("Due", len(answer["Items"]))
        oldest = min((int(item["due_at"]["N"]) for item in answer["Items"]), default=self._clock())
        metrics.note("OldestDueSeconds", max(0.0, (self._clock() - oldest) / 1000))
        accounts = [item["pk"]["S"].partition("#")[2] for item in answer["Items"]]
        claims = []
        room = Room(rate_slots)
        for place, account_id in enumerate(accounts):
            if not room.there_is(len(accounts) - place):
                break
            try:
                claim, taken = self._claimed(account_id, room)
            except LedgerContended:  # it stays due; what was claimed before it is to be started
                continue
            if claim is not None:
                claims.append(claim)
                room.use(taken)
        return claims

    def _claimed(self, account_id: str, room: Room) -> tuple[Claim | None, int]:
        """Out: the claim, None for a customer that is not due any more; how many rate slots it takes."""

        def rule(known: Customer) -> tuple[Customer, tuple[Claim | None, int]]:
            taken, rate_slot = room.for_one(rules.rate_slots_due(known))
            changed, name = rules.claim(known, self._clock(), rate_slot)
            return changed, (Claim(account_id, name, rate_slot) if name else None, taken)

        return self._change(account_id, rule)

    def erase(self, account_id: str) -> list[str]:
        """Forget what could name a person: in a customer's opportunities, and in every order they ever had.

        Out: the opportunities. Can be repeated; it goes on where it was stopped.
        """

        def rule(known: Customer) -> tuple[Customer, list[str]]:
            return rules.erased(known), sorted(known.opportunities)

        opportunities = self._change(account_id, rule)
        for id in opportunities:
            for item in self._query(f"OPPORTUNITY#{id}", "ORDER#"):
                body = json.dumps(Order.from_json(json.loads(item["body"]["S"])).nameless().to_json())
                self._client.put_item(TableName=self._table, Item={**item, "body": {"S": body}})
        return opportunities

    # What others read

    def customer(self, account_id: str) -> Customer:
        """A customer with all its opportunities; one of version 0 where the ledger knows nothing."""
        return self._read(account_id)

    def overdue(self, milliseconds: int) -> Iterator[str]:
        """The accounts of customers that have been due for longer than that, the longest due first."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            IndexName="due",
            KeyConditionExpression="due = :due AND due_at <= :then",
            ExpressionAttributeValues={":due": {"S": "DUE"}, ":then": {"N": str(self._clock() - milliseconds)}},
        )
        return (item["pk"]["S"].partition("#")[2] for page in pages for item in page["Items"])

    def find(self, opportunity_id: str) -> tuple[Customer, OpportunityState] | None:
        """An opportunity with its customer; None when it was never accepted."""
        owner = self._get(f"OPPORTUNITY#{opportunity_id}", "OWNER")
        if owner is None:
            return None
        known = self._read(owner["account_id"]["S"], [opportunity_id])
        state = known.opportunities.get(opportunity_id)
        return (known, state) if state else None

    def owners(self, opportunities: Iterable[str]) -> dict[str, str]:
        """The accounts that opportunities belong to for ever, of those that were ever accepted."""
        keys = sorted({f"OPPORTUNITY#{id}" for id in opportunities})
        items = [
            item
            for start in range(0, len(keys), KEYS_A_READ)
            for item in self._get_all((key, "OWNER") for key in keys[start : start + KEYS_A_READ])
        ]
        return {item["pk"]["S"].partition("#")[2]: item["account_id"]["S"] for item in items}

    def bound_to(self, customer_id: str) -> str | None:
        """The account that a customer in Stigg is bound to; None where it is bound to none."""
        owner = self._get(f"STIGG#{customer_id}", "OWNER")
        return owner["account_id"]["S"] if owner else None

    def orders(self, opportunity_id: str) -> list[Accepted]:
        """Every order that was accepted for an opportunity, in the order in which that happened."""
        items = self._query(f"OPPORTUNITY#{opportunity_id}", "ORDER#")
        return sorted((_accepted(item) for item in items), key=lambda one: (one.at, one.revision))

    def foresee(self, account_id: str, arrivals: Sequence[Arrival]) -> tuple[Customer, Customer, list[Acceptance]]:
        """What `accept` would make of orders of one account. Nothing is written.

        Out: the whole customer as it is, as it would be, and the answer to each arrival in turn.
        """
        known = changed = self._read(account_id)
        answers: list[Acceptance] = []
        for start in range(0, len(arrivals), OPPORTUNITIES_A_TRANSACTION):
            changed, some = self._accepted(changed, list(arrivals[start : start + OPPORTUNITIES_A_TRANSACTION]))
            answers += some
        return known, changed, answers

    def waiting(self, milliseconds: int) -> int:
        """How many customers are due now or within that time; by one read, which sees some thousands at most."""
        answer = self._client.query(
            TableName=self._table,
            IndexName="due",
            Select="COUNT",
            KeyConditionExpression="due = :due AND due_at <= :then",
            ExpressionAttributeValues={":due": {"S": "DUE"}, ":then": {"N": str(self._clock() + milliseconds)}},
        )
        return int(answer["Count"])

    def snapshot(self) -> str | None:
        """The kept snapshot of Stigg's catalogue."""
        item = self._get("CATALOGUE", "CATALOGUE")
        return item["body"]["S"] if item else None

    def keep_snapshot(self, text: str) -> None:
        self._client.put_item(
            TableName=self._table,
            Item={"pk": {"S": "CATALOGUE"}, "sk": {"S": "CATALOGUE"}, "body": {"S": text}},
        )

    def control(self) -> Control:
        """What an operator lets the stack do; everything where nobody ever said."""
        item = self._get("CONTROL", "CONTROL")
        with as_read(lambda mistake: _unreadable("CONTROL", mistake)):
            return Control(**json.loads(item["body"]["S"])) if item else Control()

    def set_control(self, mode: Literal["run", "pause", "shadow"], why: str) -> None:
        """Let the stack do that from now on. What is being written for a customer is finished first."""
        body = json.dumps(Control(mode, self._clock(), why)._asdict())
        item = {"pk": {"S": "CONTROL"}, "sk": {"S": "CONTROL"}, "body": {"S": body}}
        self._client.put_item(TableName=self._table, Item=item)

    # Reading and writing one customer

    def _accept(self, account_id: str, arrivals: list[Arrival], rate_slot: int, grace: int) -> list[Acceptance]:
        known = self._read(account_id, [arrival.order.opportunity_id for arrival in arrivals])
        changed, answers = self._accepted(known, arrivals, rate_slot, grace)
        self._write(known, changed, whole=True)
        measure(known, changed)
        return answers

    def _accepted(
        self, known: Customer, arrivals: list[Arrival], rate_slot: int = 0, grace: int = rules.START_GRACE
    ) -> tuple[Customer, list[Acceptance]]:
        """The customer with the arrivals, and an answer to each: nothing is written yet."""
        _keep_private(arrival.order for arrival in arrivals)
        opportunities, customers = self._owners(known, arrivals)
        return rules.accept_owned(known, arrivals, opportunities, customers, self._clock(), rate_slot, grace)

    def _owners(self, known: Customer, arrivals: Iterable[Arrival]) -> tuple[dict[str, str], dict[str, str]]:
        """The accounts that opportunities new to this customer belong to already, and, while it is unbound, those of
        the customers in Stigg it is given.
        """
        keys: list[str] = []
        for order, _ in arrivals:
            if order.opportunity_id not in known.opportunities:
                keys.append(f"OPPORTUNITY#{order.opportunity_id}")
            if known.customer_id is None:
                keys.append(f"STIGG#{order.customer_id or known.account_id}")
        of: dict[str, dict[str, str]] = {"OPPORTUNITY": {}, "STIGG": {}}
        for item in self._get_all((pk, "OWNER") for pk in keys):
            kind, _, id = item["pk"]["S"].partition("#")
            of[kind][id] = item["account_id"]["S"]
        return of["OPPORTUNITY"], of["STIGG"]

    def _taken(self, known: Customer, report: Prepared) -> dict[str, str]:
        """The customers in Stigg a report names that belong to other accounts, with those accounts."""
        named = {application.customer_id for application in report.applications.values()} - {None, known.customer_id}
        items = self._get_all((f"STIGG#{id}", "OWNER") for id in named)
        owners = {item["pk"]["S"].partition("#")[2]: item["account_id"]["S"] for item in items}
        return {id: owner for id, owner in owners.items() if owner != known.account_id}

    def _change(self, account_id: str, rule: Callable[[Customer], tuple[Customer, T]]) -> T:
        """Read a customer whole, apply a rule, write what changed; again when somebody was faster."""

        def once() -> T:
            known = self._read(account_id)
            changed, answer = rule(known)
            self._write(known, changed)
            return answer

        return self._retried(once)

    def _retried(self, once: Callable[[], T]) -> T:
        for attempt in range(TRIES):
            try:
                return once()
            except Conflict:
                self._pause(random.uniform(0, min(0.4, 0.01 * 2**attempt)))  # nosec B311 - jitter, no secret
        raise LedgerContended(f"others kept writing the same customer, {TRIES} times over")

    def _read(self, account_id: str, opportunities: Iterable[str] | None = None) -> Customer:
        """A customer with all its opportunities, or only those named. The head comes first: see the module's
        docstring.
        """
        pk = f"ACCOUNT#{account_id}"
        head = self._get(pk, "CUSTOMER")
        if head is None:
            return Customer(account_id)
        if opportunities is None:
            items = self._query(pk, "OPPORTUNITY#")
        else:
            items = self._get_all((pk, f"OPPORTUNITY#{id}") for id in opportunities)
        customer = customer_of(
            account_id,
            int(head["rev"]["N"]),
            head["body"]["S"],
            {item["sk"]["S"].partition("#")[2]: item["body"]["S"] for item in items},
        )
        _keep_private(state.order for state in customer.opportunities.values())
        return customer

    def _get(self, pk: str, sk: str) -> Item | None:
        answer = self._client.get_item(
            TableName=self._table, Key={"pk": {"S": pk}, "sk": {"S": sk}}, ConsistentRead=True
        )
        item: Item | None = answer.get("Item")
        return item

    def _get_all(self, keys: Iterable[tuple[str, str]]) -> list[Item]:
        """The items that exist of at most 100, in any order."""
        wanted = [{"pk": {"S": pk}, "sk": {"S": sk}} for pk, sk in dict.fromkeys(keys)]
        items: list[Item] = []
        while wanted:
            answer = self._client.batch_get_item(RequestItems={self._table: {"Keys": wanted, "ConsistentRead": True}})
            items += answer["Responses"].get(self._table, [])
            wanted = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
        return items

    def _query(self, pk: str, sk: str) -> list[Item]:
        """The items of a partition whose sort key begins so."""
        items: list[Item] = []
        more: dict[str, Any] = {}
        while True:
            answer = self._client.query(
                TableName=self._table,
                KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
                ExpressionAttributeValues={":pk": {"S": pk}, ":sk": {"S": sk}},
                ConsistentRead=True,
                **more,
            )
            items += answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return items
            more = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _write(self, known: Customer, changed: Customer, whole: bool = False) -> None:
        """Write what changed in one transaction. Raises Conflict when somebody wrote the customer since it was read.

        Where a report or a claim changes more opportunities than a transaction holds, some of them are written first
        and the head's news with the last: who dies in between has not applied, released or claimed anything. What must
        be written `whole` is not divided: TooMuch is raised.
        """
        if changed == known:
            return
        states = {id: s for id, s in changed.opportunities.items() if s != known.opportunities.get(id)}
        of_each = [self._of_opportunity(known, changed.account_id, id, state) for id, state in states.items()]
        if (fitting := _fitting(of_each)) < len(states):
            if whole:
                raise TooMuch(f"{len(states)} opportunities")
            first = dict(islice(states.items(), fitting))
            between = replace(known, opportunities={**known.opportunities, **first})
            self._write(known, between)
            return self._write(replace(between, rev=known.rev + 1), changed)
        puts = [
            self._put(
                _head(changed, known.rev + 1),
                "rev = :rev" if known.rev else "attribute_not_exists(pk)",
                known.rev,
            )
        ]
        puts += chain.from_iterable(of_each)
        if changed.customer_id is not None and changed.customer_id != known.customer_id:
            free = "attribute_not_exists(pk)"
            puts.append(self._put(_owner(f"STIGG#{changed.customer_id}", changed.account_id), free))
        try:
            self._client.transact_write_items(TransactItems=puts)
        except self._client.exceptions.TransactionCanceledException as error:
            reasons = {reason["Code"] for reason in error.response.get("CancellationReasons", ())}
            if reasons <= {"None", *PASSING}:
                raise Conflict from error
            raise
        except (
            self._client.exceptions.TransactionInProgressException
        ) as error:  # the same request is still being carried out
            raise Conflict from error

    def _of_opportunity(self, known: Customer, account_id: str, id: str, state: OpportunityState) -> list[Item]:
        """What a transaction does to write one opportunity's new state."""
        puts = [self._put(_opportunity(account_id, id, state))]
        before = known.opportunities.get(id)
        if before is None:
            puts.append(self._put(_owner(f"OPPORTUNITY#{id}", account_id), "attribute_not_exists(pk)"))
        if before is None or before.order != state.order:
            puts.append(self._put(_history(account_id, id, state, self._clock())))
        return puts

    def _put(self, item: Item, condition: str | None = None, rev: int = 0) -> Item:
        put: Item = {"TableName": self._table, "Item": item}
        if condition:
            put["ConditionExpression"] = condition
            if ":rev" in condition:
                put["ExpressionAttributeValues"] = {":rev": {"N": str(rev)}}
        return {"Put": put}


def _keep_private(orders: Iterable[Order]) -> None:
    """Whoever fails of these from here on says nothing of who the customer is. Addresses are known by their form."""
    for order in orders:
        keep_private(order.account_name, order.opportunity_name)


def customer_of(account_id: str, rev: int, head: str, opportunities: Mapping[str, str]) -> Customer:
    """A customer from what the table holds: the body of its head, and those of its opportunities by their IDs."""
    with as_read(lambda mistake: _unreadable(f"ACCOUNT#{account_id}", mistake)):
        body = json.loads(head)
        return Customer(
            **{
                **body,
                "rev": rev,
                "lease": Lease(*body["lease"]) if body["lease"] else None,
                "slots": {key: SlotRecord.from_json(record) for key, record in body["slots"].items()},
                "grants": {key: GrantRecord(**record) for key, record in body["grants"].items()},
                "approved": tuple(body["approved"]),
                "opportunities": {
                    id: OpportunityState.from_json(json.loads(text)) for id, text in opportunities.items()
                },
            }
        )


def _unreadable(pk: str, mistake: str) -> LedgerUnreadable:
    """What is not as closed-won writes it. In: its partition key; the kind of mistake that reading it was."""
    return LedgerUnreadable(f"the ledger's {pk} cannot be read ({mistake})")


def exported(line: bytes) -> tuple[str, Json] | None:
    """One line of DynamoDB's export of the table (DYNAMODB_JSON): an account and its head, or one of its opportunities,
    with plain values. None for everything else the ledger holds.
    """
    if b'"ACCOUNT#' not in line:  # most lines are orders: they are not worth reading
        return None
    with as_read(lambda mistake: _unreadable("export", mistake)):
        item = json.loads(line)["Item"]
        kind, _, account_id = item["pk"]["S"].partition("#")
        if kind != "ACCOUNT":
            return None
        plain = {name: int(value["N"]) if "N" in value else value["S"] for name, value in item.items()}
        return account_id, plain


def _head(customer: Customer, rev: int) -> Item:
    body = {f.name: getattr(customer, f.name) for f in fields(customer) if f.name not in ("rev", "opportunities")}
    body["slots"] = {key: record.to_json() for key, record in customer.slots.items()}
    body["grants"] = {key: asdict(record) for key, record in customer.grants.items()}
    item: Item = {
        "pk": {"S": f"ACCOUNT#{customer.account_id}"},
        "sk": {"S": "CUSTOMER"},
        "rev": {"N": str(rev)},
        "body": {"S": json.dumps(body, separators=(",", ":"))},
    }
    if customer.due_at is not None:
        item |= {"due": {"S": "DUE"}, "due_at": {"N": str(customer.due_at)}}
    return item


def _fitting(of_each: Sequence[list[Item]]) -> int:
    """How many opportunities, of those whose writes are given, a transaction takes: one at least."""
    sizes = (sum(_size(put["Put"]["Item"]) for put in puts) for puts in of_each)
    fitting = sum(together <= BYTES_A_TRANSACTION for together in accumulate(sizes))
    return max(1, min(fitting, OPPORTUNITIES_A_TRANSACTION))


def _size(item: Item) -> int:
    """Bytes, as DynamoDB counts them: names and values. What is written here is ASCII."""
    return sum(len(name) + len(text) for name, value in item.items() for text in value.values())


def _opportunity(account_id: str, id: str, state: OpportunityState) -> Item:
    return {
        "pk": {"S": f"ACCOUNT#{account_id}"},
        "sk": {"S": f"OPPORTUNITY#{id}"},
        "body": {"S": json.dumps(state.to_json(), separators=(",", ":"))},
    }


def _owner(pk: str, account_id: str) -> Item:
    return {"pk": {"S": pk}, "sk": {"S": "OWNER"}, "account_id": {"S": account_id}}


def _history(account_id: str, id: str, state: OpportunityState, now: int) -> Item:
    revision = f"{state.revision.modified:013d}.{state.revision.read:013d}"
    return {
        "pk": {"S": f"OPPORTUNITY#{id}"},
        "sk": {"S": f"ORDER#{revision}#{state.order.digest[:16]}"},
        "account_id": {"S": account_id},
        "accepted_at": {"N": str(now)},
        "body": {"S": json.dumps(state.order.to_json(), separators=(",", ":"))},
    }


def _accepted(item: Item) -> Accepted:
    with as_read(lambda mistake: _unreadable(item["pk"]["S"], mistake)):
        modified, read = item["sk"]["S"].split("#")[1].split(".")
        order = Order.from_json(json.loads(item["body"]["S"]))
        return Accepted(int(item["accepted_at"]["N"]), Revision(int(modified), int(read)), order)


BROUGHT_IN_LATE = 172_800_000
"""A deal that was accepted, or failed last, so long after its revision was not on its way: the backfill brought it in,
or somebody had to mend something. How long it took says nothing about provisioning. In milliseconds.
"""


def measure(known: Customer, changed: Customer) -> None:
    """Note the outcomes that a write of the ledger changed, once it is written."""
    for id, state in changed.opportunities.items():
        before = known.opportunities.get(id)
        status, was = state.outcome.status, before.outcome.status if before else None
        if status in (was, "Provisioning"):
            continue
        metrics.note("Deals", Status=status)
        if status == "Held":
            metrics.note("Held", For="Approval" if state.outcome.approval else "Change")
        # What was scheduled, held or to be paid waited for a date or for somebody, not for closed-won.
        if before is None or before.provisioned is not None or was not in ("Provisioning", "Failed"):
            continue
        if status == "Provisioned" and before.at - state.revision.modified <= BROUGHT_IN_LATE:
            metrics.note("SecondsToProvisioned", max(0.0, (state.at - state.revision.modified) / 1000))
