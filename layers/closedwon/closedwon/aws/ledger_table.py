"""The ledger's table in DynamoDB: its items read and written, and a customer's all at one moment.

A customer's head item carries `rev`; every write of a customer's items is one transaction on the condition that `rev`
is what was read, and the head is read before the rest. So each change of a customer happens at one moment, or not at
all and is tried again. What the changes are is decided elsewhere (`ledger`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice
from typing import Any, TypeVar

from closedwon.aws.ledger_items import (
    Item,
    customer_of,
    fitting,
    head_item,
    keep_names_private,
    opportunity_item,
    order_item,
    owner_item,
)
from closedwon.domain.customer import Customer, OpportunityState
from closedwon.domain.errors import LedgerContended
from closedwon.domain.identifiers import AccountId

T = TypeVar("T")

TRIES = 12
"""How often a verb is tried when others write the same customer; with growing pauses, about two seconds in all."""

KEYS_A_READ = 100
"""The most items BatchGetItem reads."""

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

    # One customer

    def change(self, account_id: str, rule: Callable[[Customer], tuple[Customer, T]]) -> T:
        """Read a whole customer, apply a rule, write what changed; again when somebody else wrote it first."""

        def once() -> T:
            known = self.customer(account_id)
            changed, answer = rule(known)
            self.write(known, changed)
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

    def customer(self, account_id: str, opportunities: Iterable[str] | None = None) -> Customer:
        """A customer with all its opportunities, or only those named. The head comes first: see the module's
        docstring.
        """
        pk = f"ACCOUNT#{account_id}"
        # Read in this order, a write in between shows as another `rev` when the transaction checks it.
        head = self.find(pk, "CUSTOMER")
        if head is None:
            return Customer(AccountId(account_id))
        if opportunities is None:
            items = self.items(pk, "OPPORTUNITY#")
        else:
            items = self.find_all((pk, f"OPPORTUNITY#{id}") for id in opportunities)
        customer = customer_of(
            account_id,
            int(head["rev"]["N"]),
            head["body"]["S"],
            {item["sk"]["S"].partition("#")[2]: item["body"]["S"] for item in items},
        )
        keep_names_private(state.order for state in customer.opportunities.values())
        return customer

    def write(self, known: Customer, changed: Customer, whole: bool = False) -> None:
        """Write what changed in one transaction. Raises Conflict when somebody wrote the customer since it was read.

        Where a report or a claim changes more opportunities than a transaction holds, some of them are written first
        and the head's news with the last: who dies in between has not applied, released or claimed anything. What must
        be written `whole` is not divided: TooMuch is raised.
        """
        # A rule that finds nothing to do costs no write, and raises no `rev` for others to lose against.
        if changed == known:
            return
        states = {id: s for id, s in changed.opportunities.items() if s != known.opportunities.get(id)}
        of_each = [self._of_opportunity(known, changed.account_id, id, state) for id, state in states.items()]
        most = fitting(of_each)
        if most < len(states):
            if whole:
                raise TooMuch(f"{len(states)} opportunities")
            first = dict(islice(states.items(), most))
            # The head keeps its old content here: only the last transaction releases or applies anything.
            between = replace(known, opportunities={**known.opportunities, **first})
            self.write(known, between)
            return self.write(replace(between, rev=known.rev + 1), changed)
        puts = [
            self._put(
                head_item(changed, known.rev + 1),
                "rev = :rev" if known.rev else "attribute_not_exists(pk)",
                known.rev,
            )
        ]
        puts += chain.from_iterable(of_each)
        if changed.customer_id not in (None, known.customer_id):
            # Somebody may have bound the customer to another account since it was looked up: then all of it fails.
            free = "attribute_not_exists(pk)"
            puts.append(self._put(owner_item(f"STIGG#{changed.customer_id}", changed.account_id), free))
        self._transact(puts)

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

    def _of_opportunity(self, known: Customer, account_id: str, id: str, state: OpportunityState) -> list[Item]:
        """The writes that store one opportunity's new state, as a transaction takes them."""
        # The order is written beside it under a key of its own, so that the history is never overwritten, but by the
        # same reading with the names that came later.
        puts = [self._put(opportunity_item(account_id, id, state))]
        before = known.opportunities.get(id)
        if before is None:
            puts.append(self._put(owner_item(f"OPPORTUNITY#{id}", account_id), "attribute_not_exists(pk)"))
        if before is None or before.order != state.order:
            puts.append(self._put(order_item(account_id, id, state, self._clock())))
        return puts

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

    def items(self, pk: str, sk: str) -> list[Item]:
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


def _account_of(item: Item) -> str:
    return str(item["pk"]["S"].partition("#")[2])
