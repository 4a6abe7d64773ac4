"""What is kept of Stigg's events in the ledger's table: which were dealt with, when the last one came, and which
customers an event showed to be changed.

| pk | sk | what |
|---|---|---|
| ``EVENT#<hash of messageId>`` | ``EVENT`` | the event was dealt with; expires |
| ``EVENTS`` | ``WEBHOOK``, ``QUEUE`` | when the last one came that way |
| ``DIFFERS#<account>`` | ``DIFFERS`` | reconciliation is to compare it; in the index `due` under ``DIFFERS`` |

None of it is needed for the truth: without it an event is looked at twice, or a difference found by the next night.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Literal

Way = Literal["WEBHOOK", "QUEUE"]
WAYS: tuple[Way, ...] = ("WEBHOOK", "QUEUE")
"""How events come."""

REMEMBERED = 86_400
"""Seconds for which an event is remembered: Stigg sends it again within minutes; its queue, if it was not deleted."""

DIFFERENCES = 2 * 86_400
"""Seconds for which a difference is marked: several runs find it by then, and the nightly one needs no mark."""

NOTED_EVERY = 60_000
"""Milliseconds for which a process does not note again that an event came."""


class EventRegister:
    """The register of events, in one DynamoDB table.

    In: its name; a boto3 DynamoDB client; clock, epoch milliseconds.
    """

    def __init__(self, table: str, client: Any, clock: Callable[[], int]) -> None:
        self._table = table
        self._client = client
        self._clock = clock
        self._noted: dict[Way, int] = {}

    def is_known(self, message_id: str) -> bool:
        """Whether an event was dealt with already. One without an ID never was."""
        if not message_id:
            return False
        answer = self._client.get_item(TableName=self._table, Key=_event(message_id))
        return "Item" in answer

    def keep(self, message_id: str) -> bool:
        """Remember that an event was dealt with. Out: whether it is remembered for the first time."""
        if not message_id:
            return True
        try:
            self._client.put_item(
                TableName=self._table,
                Item={**_event(message_id), "expires": self._expires(REMEMBERED)},
                ConditionExpression="attribute_not_exists(pk)",
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def note(self, way: Way) -> None:
        """Note that an event came: at most once a minute for each process, so that a flood costs nothing."""
        now = self._clock()
        if now - self._noted.get(way, 0) < NOTED_EVERY:
            return
        self._client.put_item(TableName=self._table, Item={"pk": {"S": "EVENTS"}, "sk": {"S": way}, "at": _number(now)})
        self._noted[way] = now

    def last(self, way: Way) -> int | None:
        """When the last event came that way, to about a minute, in epoch milliseconds; None where none ever did."""
        answer = self._client.get_item(TableName=self._table, Key={"pk": {"S": "EVENTS"}, "sk": {"S": way}})
        return int(answer["Item"]["at"]["N"]) if "Item" in answer else None

    def mark(self, account_id: str) -> None:
        """Mark a customer, whose subscriptions in Stigg differ, for the next reconciliation of what changed."""
        self._client.put_item(
            TableName=self._table,
            Item={
                "pk": {"S": f"DIFFERS#{account_id}"},
                "sk": {"S": "DIFFERS"},
                # In the index of what is due, by a key of its own: the sweep does not see it.
                "due": {"S": "DIFFERS"},
                "due_at": _number(self._clock()),
                "expires": self._expires(DIFFERENCES),
            },
        )

    def marked(self, since: int) -> Iterator[str]:
        """The accounts of customers that were marked since then, in epoch milliseconds."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            IndexName="due",
            KeyConditionExpression="due = :due AND due_at >= :since",
            ExpressionAttributeValues={":due": {"S": "DIFFERS"}, ":since": _number(since)},
        )
        return (item["pk"]["S"].partition("#")[2] for page in pages for item in page["Items"])

    def _expires(self, seconds: int) -> dict[str, str]:
        return _number(self._clock() // 1000 + seconds)


def _event(message_id: str) -> dict[str, dict[str, str]]:
    # Hashed: somebody else chose it, and may have made it of anything, of any length.
    name = hashlib.sha256(message_id.encode(errors="surrogatepass")).hexdigest()[:32]
    return {"pk": {"S": f"EVENT#{name}"}, "sk": {"S": "EVENT"}}


def _number(value: int) -> dict[str, str]:
    return {"N": str(value)}
