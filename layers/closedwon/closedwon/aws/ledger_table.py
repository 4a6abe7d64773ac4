"""The ledger's table in DynamoDB: its items read and written, and a customer's all at one moment.

A customer's head item carries `rev`; every write of a customer's items is one transaction that raises it, on the
condition that it is what was read. So each change of a customer happens at one moment, or not at all and is tried
again. Whether all items were read as they were at one moment, the head tells too (`ledger_items.stored_of`), which is
why a read need not be consistent: it costs half, and what was decided by an older state cannot be written. What the
changes are is decided elsewhere (`ledger`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, repeat
from typing import Any, TypeVar

from closedwon.aws.ledger_items import (
    HEAD,
    Item,
    Stored,
    head_item,
    keep_names_private,
    order_item,
    owner_item,
    part_items,
    size_of,
    stored_of,
)
from closedwon.domain.customer import Customer, Lease
from closedwon.domain.errors import LedgerContended
from closedwon.domain.identifiers import AccountId

T = TypeVar("T")

TRIES = 12
"""How often a verb is tried when others write the same customer; with growing pauses, about two seconds in all."""

KEYS_A_READ = 100
"""The most items BatchGetItem reads."""

ITEMS_A_TRANSACTION = 98
"""A transaction takes 100 items; two are left for the head and the owner of the customer's ID in Stigg."""

BYTES_A_TRANSACTION = 3_500_000
"""A transaction takes 4 MB; this leaves room for the head."""

PASSING = (
    "ConditionalCheckFailed",
    "TransactionConflict",
    "ThrottlingError",
    "ProvisionedThroughputExceeded",
)
"""Reasons for which DynamoDB cancels a transaction that can be tried again; boto3 does not retry these by itself."""


class TooMuch(Exception):
    """A write has more items or bytes than one transaction holds."""


class Conflict(Exception):
    """Somebody wrote the customer after it was read and before it was written here."""


class LedgerTable:
    """The ledger's table.

    In: its name; a boto3 DynamoDB client; clock, epoch milliseconds; pause, which waits for seconds.
    """

    def __init__(self, table: str, client: Any, clock: Callable[[], int], pause: Callable[[float], None]) -> None:
        self._table = table
        self._client = client
        self._clock = clock
        self._pause = pause
        self._held: Stored | None = None  # a customer as this process last left it

    # One customer

    def change(self, account_id: str, rule: Callable[[Customer], tuple[Customer, T]]) -> T:
        """Read a whole customer, apply a rule, write what changed; again when somebody else wrote it first."""
        consistently = chain((False,), repeat(True))

        def once() -> T:
            consistent = next(consistently)
            known = self._read(account_id, consistent)
            changed, answer = rule(known.customer)
            # Nothing is written then that would fail by its condition, so whether this was the newest state is asked.
            if changed == known.customer and not consistent:
                self._confirm(known.customer)
            self._held = self.write(known, changed)
            return answer

        return self.retried(once)

    def change_held(self, lease: Lease, account_id: str, rule: Callable[[Customer], tuple[Customer, T]]) -> T:
        """As `change`, for the holder of a lease: by the state in which this process last left the customer. It is read
        again only when somebody else has written it since.
        """

        def once() -> T:
            # At most once: a write that fails leaves nothing held.
            held, self._held = self._held, None
            known = held if held and held.is_leased(account_id, lease) else self._read(account_id, consistent=True)
            changed, answer = rule(known.customer)
            if changed == known.customer and known is held:
                self._confirm(known.customer)
            self._held = self.write(known, changed)
            return answer

        return self.retried(once)

    def retried(self, once: Callable[[], T]) -> T:
        """Repeat a write until no other came first. Raises LedgerContended when every try was lost."""
        for attempt in range(TRIES):
            try:
                return once()
            except Conflict:
                # Full jitter: writers that met once would otherwise meet again at every try.
                self._pause(random.uniform(0, min(0.4, 0.01 * 2**attempt)))  # nosec B311 - jitter, no secret
        raise LedgerContended(f"others kept writing the same customer, {TRIES} times over")

    def customer(self, account_id: str) -> Customer:
        """A customer with all that is stored of it."""
        return self.retried(lambda: self._read(account_id, consistent=True)).customer

    def some_of(self, account_id: str, opportunities: Iterable[str]) -> Stored:
        """A customer with some of its opportunities, and without slots, grants and approvals."""
        pk = f"ACCOUNT#{account_id}"
        # All in one go. Each item is written only if it still is as it was read, so nothing has to be read at one
        # moment.
        items = self.find_all([(pk, HEAD), *((pk, f"OPPORTUNITY#{id}") for id in opportunities)])
        return _private(stored_of(account_id, items, whole=False) or Stored(Customer(AccountId(account_id)), False))

    def _read(self, account_id: str, consistent: bool) -> Stored:
        """A whole customer, by one query. Raises Conflict where its items are not all of one moment."""
        items = self.items(f"ACCOUNT#{account_id}", consistent=consistent)
        stored = stored_of(account_id, items) if items else None
        # What the first version wrote does not tell whether it is of one moment, so that it is read consistently.
        if not consistent and (stored is None or not stored.total):
            return self._read(account_id, consistent=True)
        if stored is None and items:
            raise Conflict
        return _private(stored or Stored(Customer(AccountId(account_id))))

    def _confirm(self, known: Customer) -> None:
        """Raise Conflict where a customer is not any more as it was read."""
        head = self.find(f"ACCOUNT#{known.account_id}", HEAD)
        if (int(head["rev"]["N"]) if head else 0) != known.rev:
            raise Conflict

    def write(self, known: Stored, changed: Customer, whole: bool = False) -> Stored:
        """Write what changed in one transaction. Out: what the table holds then.

        Raises Conflict when somebody wrote the customer since it was read. Where a report or a claim changes more than
        a transaction holds, some of it is written first and the head's news with the last: who dies in between has not
        applied, released or claimed anything. What must be written `whole` is not divided: TooMuch is raised.
        """
        # A rule that finds nothing to do costs no write, and raises no `rev` for others to lose against.
        if changed == known.customer:
            return known
        pieces = _pieces(self._puts(known, changed))
        if whole and len(pieces) > 1:
            raise TooMuch(f"{len(pieces)} transactions")
        for piece in pieces[:-1]:
            # The head keeps its old content here: only the last transaction releases or applies anything.
            known = self._written(known, known.customer, piece, known.inherited)
        # Now that all it held stands in items of their own, the head lets go of it.
        inherited = {} if known.whole else known.inherited
        news = list(pieces[-1])
        if changed.customer_id not in (None, known.customer.customer_id):
            # Somebody may have bound the customer to another account since it was looked up: then all of it fails.
            owner = owner_item(f"STIGG#{changed.customer_id}", changed.account_id)
            news.append(self._put(owner, "attribute_not_exists(pk)"))
        return self._written(known, changed, news, inherited)

    def _written(self, known: Stored, changed: Customer, puts: Sequence[Item], inherited: Mapping[str, Any]) -> Stored:
        """Write these items and a head in one transaction. Out: what the table holds then."""
        rev = known.customer.rev + 1
        revs = dict(known.revs)
        for put in puts:
            item = put["Put"]["Item"]
            if item["pk"]["S"] == f"ACCOUNT#{changed.account_id}":
                item["rev"] = {"N": str(rev)}
                revs[item["sk"]["S"]] = rev
        total = known.total + sum(revs.values()) - sum(known.revs.values())
        head = head_item(changed, rev, total, inherited)
        condition = "rev = :rev" if known.customer.rev else "attribute_not_exists(pk)"
        self._transact([self._put(head, condition, known.customer.rev), *puts])
        return Stored(replace(changed, rev=rev), known.whole, revs, total, inherited)

    def _puts(self, known: Stored, changed: Customer) -> Iterator[list[Item]]:
        """The writes that store what a customer has become, but its head; those together that belong together."""
        for sk, item in part_items(known, changed).items():
            rev = known.revs.get(sk, 0)
            puts = [self._put(item, "rev = :rev" if rev else "attribute_not_exists(rev)", rev)]
            kind, _, id = sk.partition("#")
            if kind == "OPPORTUNITY":
                puts += self._of_history(known.customer, changed, id)
            yield puts

    def _of_history(self, known: Customer, changed: Customer, id: str) -> Iterator[Item]:
        """The writes beside an opportunity's new state: whose it is, and its order where that is another."""
        before, state = known.opportunities.get(id), changed.opportunities[id]
        if before is None:
            owner = owner_item(f"OPPORTUNITY#{id}", changed.account_id)
            yield self._put(owner, "attribute_not_exists(pk)")
        # Under a key of its own, so that the history is never overwritten, but by the same reading with the names that
        # came later.
        if before is None or before.order != state.order:
            yield self._put(order_item(changed.account_id, id, state, self._clock()))

    def _transact(self, puts: list[Item]) -> None:
        """Write these items in one transaction. Raises Conflict where DynamoDB cancelled it for a passing reason."""
        try:
            self._client.transact_write_items(TransactItems=puts)
        except self._client.exceptions.TransactionCanceledException as error:
            # One reason that does not pass (a denied permission, an item too large) must not be retried.
            reasons = {reason["Code"] for reason in error.response.get("CancellationReasons", ())}
            if reasons <= {"None", *PASSING}:
                raise Conflict from error
            raise
        except self._client.exceptions.TransactionInProgressException as error:  # the same request, not yet done
            raise Conflict from error

    def _put(self, item: Item, condition: str | None = None, rev: int = 0) -> Item:
        put: Item = {"TableName": self._table, "Item": item}
        if condition:
            put["ConditionExpression"] = condition
            if ":rev" in condition:
                put["ExpressionAttributeValues"] = {":rev": {"N": str(rev)}}
        return {"Put": put}

    # The index of what is due

    def due(self, until: int, most: int) -> list[tuple[str, int]]:
        """The accounts of up to `most` customers that are due by then, and since when, the longest due first. In epoch
        milliseconds.
        """
        # An index may lag behind its table: `claim` looks at the customer itself again.
        answer = self._client.query(**self._due_by(until), Limit=most)
        return [(_account_of(item), int(item["due_at"]["N"])) for item in answer["Items"]]

    def all_due(self, until: int) -> Iterator[str]:
        """The accounts of all customers that are due by then, the longest due first."""
        pages = self._client.get_paginator("query").paginate(**self._due_by(until))
        return (_account_of(item) for page in pages for item in page["Items"])

    def count_due(self, until: int) -> int:
        """How many customers are due by then; by one read, which sees some thousands at most."""
        return int(self._client.query(**self._due_by(until), Select="COUNT")["Count"])

    def _due_by(self, until: int) -> dict[str, Any]:
        return {
            "TableName": self._table,
            "IndexName": "due",
            "KeyConditionExpression": "due = :due AND due_at <= :until",
            "ExpressionAttributeValues": {":due": {"S": "DUE"}, ":until": {"N": str(until)}},
        }

    # Items

    def put(self, item: Item) -> None:
        """Write one item, whatever was there."""
        self._client.put_item(TableName=self._table, Item=item)

    def find(self, pk: str, sk: str) -> Item | None:
        """The item with this key; None where there is none."""
        # Consistent: an older copy of a head would only lose against the condition on `rev`, and be read again.
        answer = self._client.get_item(
            TableName=self._table, Key={"pk": {"S": pk}, "sk": {"S": sk}}, ConsistentRead=True
        )
        item: Item | None = answer.get("Item")
        return item

    def find_all(self, keys: Iterable[tuple[str, str]]) -> list[Item]:
        """The items that exist, in any order."""
        # Each once: BatchGetItem refuses a request that names a key twice.
        wanted = [{"pk": {"S": pk}, "sk": {"S": sk}} for pk, sk in dict.fromkeys(keys)]
        items: list[Item] = []
        while wanted:
            some, wanted = wanted[:KEYS_A_READ], wanted[KEYS_A_READ:]
            answer = self._client.batch_get_item(RequestItems={self._table: {"Keys": some, "ConsistentRead": True}})
            items += answer["Responses"].get(self._table, [])
            # DynamoDB returns at most 16 MB, and less under load: what it left out is requested again.
            wanted += answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
        return items

    def items(self, pk: str, sk: str = "", consistent: bool = True) -> list[Item]:
        """The items of a partition, or those whose sort key begins so."""
        items: list[Item] = []
        asked: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND begins_with(sk, :sk)" if sk else "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": pk}, **({":sk": {"S": sk}} if sk else {})},
            "ConsistentRead": consistent,
        }
        while True:
            answer = self._client.query(**asked)
            items += answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return items
            asked["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def _private(stored: Stored) -> Stored:
    """What was read, once its names are registered as private."""
    keep_names_private(state.order for state in stored.customer.opportunities.values())
    return stored


def _pieces(writes: Iterable[list[Item]]) -> list[list[Item]]:
    """Writes in as many pieces as there have to be transactions: at least one, which may be empty."""
    pieces: list[list[Item]] = [[]]
    size = 0
    for together in writes:
        more = sum(size_of(put["Put"]["Item"]) for put in together)
        # One always fits: what does not was refused when it was accepted.
        if pieces[-1] and (len(pieces[-1]) + len(together) > ITEMS_A_TRANSACTION or size + more > BYTES_A_TRANSACTION):
            pieces.append([])
            size = 0
        pieces[-1] += together
        size += more
    return pieces


def _account_of(item: Item) -> str:
    return str(item["pk"]["S"].partition("#")[2])
