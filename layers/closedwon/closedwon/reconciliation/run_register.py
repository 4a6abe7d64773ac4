"""The register of runs of reconciliation: which is under way, and when the last good one began.

It is one item of the ledger's table: pk ``RECONCILIATION``, sk ``RUN``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from closedwon.domain.errors import RunUnderWay
from closedwon.reconciliation.runs import Run

_KEY = {"pk": {"S": "RECONCILIATION"}, "sk": {"S": "RUN"}}


class Registered(NamedTuple):
    """What the register says. last_good: when the last good run began, an ISO instant, "" before the first.
    deals_since: the date of the first deals that are closed-won's business.
    """

    last_good: str
    deals_since: str


class Entry(NamedTuple):
    """What the register holds. run: the ID of the last run that was entered; execution: its ARN while it is entered.
    Each is "" where there is none, and so are the others, as in `Registered`.
    """

    run: str = ""
    execution: str = ""
    last_good: str = ""
    deals_since: str = ""


class Register:
    """The register. In: a boto3 DynamoDB client; the ledger's table."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def enter(
        self, run_id: str, execution: str, today: str, deals_since: str, under_way: Callable[[str], bool]
    ) -> Registered:
        """Enter a run into the register, unless another is under way. Entering it again changes nothing.

        In: the run's ID; its execution's ARN; its day; since when deals count, "" for what the register says, or today
        where it says nothing; whether an execution is still under way: one that was aborted or died holds up nobody.
        Raises RunUnderWay.
        """
        # Consistent, because an older copy may still show a run that has ended, or not yet one that has begun.
        known = self._dynamodb.get_item(TableName=self._table, Key=_KEY, ConsistentRead=True).get("Item", {})
        holder = known.get("execution", {}).get("S")
        # The step may be tried again after it had entered the run: the holder is this execution then.
        if holder is not None and holder != execution and under_way(holder):
            raise RunUnderWay(f"another run is under way: {known['run']['S']}")
        since = deals_since or known.get("deals_since", {}).get("S") or today
        values = {":run": {"S": run_id}, ":execution": {"S": execution}, ":since": {"S": since}}
        try:
            self._dynamodb.update_item(
                TableName=self._table,
                Key=_KEY,
                UpdateExpression="SET run = :run, execution = :execution, deals_since = :since",
                # Two runs that begin at once have read the same: the condition lets only one of them in.
                ConditionExpression="execution = :holder" if holder else "attribute_not_exists(execution)",
                ExpressionAttributeValues={**values, ":holder": {"S": holder}} if holder else values,
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            raise RunUnderWay("another run has just begun") from None
        return Registered(known.get("last_good", {}).get("S", ""), since)

    def read(self) -> Entry:
        """Read the register."""
        known = self._dynamodb.get_item(TableName=self._table, Key=_KEY, ConsistentRead=True).get("Item", {})
        return Entry(*(known.get(name, {}).get("S", "") for name in Entry._fields))

    def finish(self, run: Run, good: bool) -> None:
        """Strike a run from the register, and remember a good one: the next one in mode ``changed`` goes on from
        there.

        In: the run; whether it looked at everything it was to look at. Nothing happens where it is not the one
        entered.
        """
        values = {":run": {"S": run.id}}
        change = "REMOVE execution"
        if good:
            # Not its end: what changed while it ran may have been exported before the change.
            change += " SET last_good = :began"
            values[":began"] = {"S": run.started_at}
        try:
            self._dynamodb.update_item(
                TableName=self._table,
                Key=_KEY,
                UpdateExpression=change,
                # A report that is written again must strike no run that has begun since.
                ConditionExpression="run = :run AND attribute_exists(execution)",
                ExpressionAttributeValues=values,
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return
